"""Everything that `embedder` raises on purpose; it owns no HTTP status and no exit code (those are
`api/problems.py`).

EmbedderError
├── ImageError                one image cannot be used; `reason` is a machine code
│   ├── NotAnImage            "not_an_image"        the bytes start like no known image format
│   ├── UnsupportedFormat     "unsupported_format"  the image format or sample type is not supported
│   ├── TruncatedImage        "truncated"           the file ends before its declared end
│   ├── ImageTooLarge         "too_large"           more bytes or pixels than the limits allow
│   ├── ImageTooSmall         "too_small"           a side is below the limit or the model's crop
│   └── CorruptImage          "corrupt"             whole by its length, and still cannot be decoded
├── ModelError
│   ├── UnknownModel          no named model and no directory
│   ├── ModelUnavailable      not downloaded and no network, or a local directory that lacks a file
│   ├── UnsafeWeights         a pickle, by name or by content
│   ├── CorruptWeights        size, sha256 or safetensors header is wrong
│   ├── TensorMismatch        missing or extra tensors, or one of another shape
│   └── InvalidModelConfig    a configuration file of the model has an unsupported value
├── DeviceUnavailable         the device or precision that was asked for is not there
└── PrecisionRefused          this precision moves the embedding too far from float32
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal


class EmbedderError(Exception):
    """Root of the tree; `str(error)` is one line for a person."""


class ImageError(EmbedderError):
    """One image cannot be used. `reason` is stable across releases: it is stored and answered."""

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
    """`unit` says what is too much: bytes of the file, or pixels that its header announces."""

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


class ModelError(EmbedderError):
    """A model cannot be loaded."""


class UnknownModel(ModelError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"unknown model {name!r}: neither a directory nor one of {', '.join(known)}"
        )
        self.name = name
        self.known = tuple(known)


class ModelUnavailable(ModelError):
    """The one line says what to do."""


class UnsafeWeights(ModelError):
    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}; only safetensors are loaded, a pickle can run code")
        self.path = path
        self.detail = detail


class CorruptWeights(ModelError):
    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail


class TensorMismatch(ModelError):
    """The tensors of a checkpoint are not those of its configuration; each attribute names them as
    the file does.
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


class DeviceUnavailable(EmbedderError):
    """A device or a precision that this machine does not have."""


class PrecisionRefused(EmbedderError):
    def __init__(self, device: str, precision: str, cosine: float, minimum: float) -> None:
        super().__init__(
            f"{precision} on {device} gives an embedding with cosine {cosine:.6f} to float32 (at "
            f"least {minimum} is "
            "needed); use precision float32"
        )
        self.device = device
        self.precision = precision
        self.cosine = cosine
        self.minimum = minimum


def _some(names: Sequence[str], at_most: int = 8) -> str:
    """The first names; a checkpoint of another model has hundreds."""
    rest = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {rest} more" if rest > 0 else "")
