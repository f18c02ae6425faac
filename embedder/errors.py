"""The errors that `embedder` raises on purpose. Their HTTP status and exit code are in
`api/problems.py`.

EmbedderError
├── ImageError                one image cannot be used; `reason` is a machine code
│   ├── NotAnImage            "not_an_image"        the bytes start like no known image format
│   ├── UnsupportedFormat     "unsupported_format"  the image format or sample type is not supported
│   ├── TruncatedImage        "truncated"           the file ends before its declared end
│   ├── ImageTooLarge         "too_large"           it has more bytes or pixels than allowed
│   ├── ImageTooSmall         "too_small"           a side is under the limit or the model's crop
│   ├── CorruptImage          "corrupt"             it has its full length but cannot be decoded
│   ├── DecoderCrashed        "decoder_crashed"     it ended the process that decoded it
│   ├── DecodingTimedOut      "decoding_timed_out"  decoding it took longer than allowed
│   └── NeedsTooMuchMemory    "needs_too_much_memory"  decoding it takes more memory than allowed
├── ModelError
│   ├── UnknownModel          the name is neither a known model nor a directory
│   ├── ModelUnavailable      the model is not on this machine, or a file of it is missing
│   ├── UnsafeWeights         the weights are a pickle, by name or by content
│   ├── CorruptWeights        size, sha256 or safetensors header is wrong
│   ├── TensorMismatch        tensors are missing, not expected or of a wrong shape
│   ├── InvalidModelConfig    a configuration file of the model has a value that is not supported
│   └── InvalidReferences     the reference vectors beside a model are not its own, or are damaged
├── DecodersUnavailable       no process that decodes images can be started
├── DeviceUnavailable         this machine lacks the requested device or precision
└── PrecisionRefused          the precision moves embedding or logit too far from float32
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal


class EmbedderError(Exception):
    """Root of the tree. `str(error)` is one line for a person."""


class ImageError(EmbedderError):
    """One image cannot be used. `reason` is stored and answered, so it stays the same in every
    release.
    """

    reason: ClassVar[str] = "image_error"


class NotAnImage(ImageError):
    reason: ClassVar[str] = "not_an_image"

    def __init__(self, detail: str = "the bytes start like no known image format") -> None:
        super().__init__(detail)
        self.detail = detail


class UnsupportedFormat(ImageError):
    reason: ClassVar[str] = "unsupported_format"

    def __init__(self, format_name: str, detail: str = "") -> None:
        super().__init__(f"{format_name} is not supported" + (f": {detail}" if detail else ""))
        self.format = format_name
        self.detail = detail


class TruncatedImage(ImageError):
    reason: ClassVar[str] = "truncated"

    def __init__(self, format_name: str, detail: str) -> None:
        super().__init__(f"truncated {format_name}: {detail}")
        self.format = format_name
        self.detail = detail


class ImageTooLarge(ImageError):
    """`unit` says what is too large: the bytes of the file, or the pixels in its header."""

    reason: ClassVar[str] = "too_large"

    def __init__(self, unit: Literal["bytes", "pixels"], actual: int, limit: int) -> None:
        super().__init__(f"the image has {actual:,} {unit}; the limit is {limit:,}")
        self.unit = unit
        self.actual = actual
        self.limit = limit


class ImageTooSmall(ImageError):
    reason: ClassVar[str] = "too_small"

    def __init__(self, width: int, height: int, min_side: int) -> None:
        super().__init__(
            f"the image is {width} x {height} pixels; the shorter side must be at least {min_side}"
        )
        self.width = width
        self.height = height
        self.min_side = min_side


class CorruptImage(ImageError):
    reason: ClassVar[str] = "corrupt"

    def __init__(self, format_name: str, detail: str) -> None:
        super().__init__(f"corrupt {format_name}: {detail}")
        self.format = format_name
        self.detail = detail


class DecoderCrashed(ImageError):
    """The process that decoded the image ended, or answered what no decoder of Lineup answers."""

    reason: ClassVar[str] = "decoder_crashed"

    def __init__(self, detail: str) -> None:
        super().__init__(f"the image ended the process that decoded it: {detail}")
        self.detail = detail


class DecodingTimedOut(ImageError):
    reason: ClassVar[str] = "decoding_timed_out"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"decoding the image took longer than {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds


class NeedsTooMuchMemory(ImageError):
    """`needed_bytes` is what the image was expected to take; None where it took more than it
    declared.
    """

    reason: ClassVar[str] = "needs_too_much_memory"

    def __init__(self, limit_bytes: int, needed_bytes: int | None = None) -> None:
        super().__init__(
            f"decoding the image takes more memory than the limit of {limit_bytes:,} bytes"
            if needed_bytes is None
            else f"decoding the image takes about {needed_bytes:,} bytes of memory; the limit is "
            f"{limit_bytes:,}"
        )
        self.limit_bytes = limit_bytes
        self.needed_bytes = needed_bytes


class ModelError(EmbedderError):
    """A model cannot be loaded."""


class UnknownModel(ModelError):
    def __init__(
        self,
        name: str,
        known: Sequence[str],
        *,
        kind: str = "model",
        place: str = "a directory",
    ) -> None:
        super().__init__(f"unknown {kind} {name!r}: neither {place} nor one of {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


class ModelUnavailable(ModelError):
    """The files of a model are not on this machine. The message says what to do."""


class UnsafeWeights(ModelError):
    def __init__(self, path: str, detail: str) -> None:
        super().__init__(
            f"{path}: {detail}; only safetensors files (of copy descriptors: ONNX files) are "
            "loaded, because a pickle can run code"
        )
        self.path = path
        self.detail = detail


class CorruptWeights(ModelError):
    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail


class TensorMismatch(ModelError):
    """The tensors of a checkpoint do not fit its configuration. The attributes use the file's
    names.
    """

    def __init__(
        self, *, missing: Sequence[str] = (), extra: Sequence[str] = (), shapes: Sequence[str] = ()
    ) -> None:
        self.missing = tuple(missing)
        self.extra = tuple(extra)
        self.shapes = tuple(shapes)
        parts = [("missing", self.missing), ("not expected", self.extra), ("wrong", self.shapes)]
        listed = "; ".join(f"{word}: {_some(names)}" for word, names in parts if names)
        super().__init__(f"tensors do not fit: {listed}")


class InvalidModelConfig(ModelError):
    def __init__(self, source: str, detail: str) -> None:
        super().__init__(f"{source}: {detail}")
        self.source = source
        self.detail = detail


class InvalidReferences(ModelError):
    """The file of reference vectors beside a model cannot be used."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail


class DecodersUnavailable(EmbedderError):
    """No process that decodes images can be started. No image is to blame."""


class DeviceUnavailable(EmbedderError):
    """A device or a precision that this machine does not have."""


class PrecisionRefused(EmbedderError):
    """The precision moves this model's answers too far.

    `cosine` is the smallest of embeddings in float32 and in the precision, and `logit_difference`
    the largest, on the panel's pictures.
    """

    def __init__(self, device: str, precision: str, cosine: float, logit_difference: float) -> None:
        super().__init__(
            f"{precision} on {device} moves embeddings of this model to a cosine of {cosine:.6f} "
            f"with float32, and its logit by up to {logit_difference:.3f}: "
            + (
                "the device computes wrong numbers; use the device cpu"
                if precision == "float32"
                else "use precision float32"
            )
        )
        self.device = device
        self.precision = precision
        self.cosine = cosine
        self.logit_difference = logit_difference


def _some(names: Sequence[str], at_most: int = 8) -> str:
    """Join the first names. A checkpoint of another model has hundreds of them."""
    rest = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {rest} more" if rest > 0 else "")
