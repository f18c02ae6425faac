"""Images -> embeddings and logits, by one forward; it owns the loaded model and its lock.

The embedding is the CLS token after the final LayerNorm: the very vector that the classifier's head reads, so that
`logit == cls @ w + b`. The matrix products run in the precision of `embedder.device`; the head, the norm and all
results are float32.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import ViTForImageClassification

from embedder.decode import DEFAULT_LIMITS, DecodedImage, ImageLimits, decode
from embedder.device import DeviceKind, Placement, Precision, choose_placement, refuse_imprecise, torch_device
from embedder.download import ModelFiles, find_model
from embedder.errors import CorruptWeights, ImageError
from embedder.prefetch import prepare_ahead
from embedder.preprocess import preprocess
from embedder.registry import BUILTIN, ModelInfo
from embedder.results import Embedded, Embeddings, Failed, joined
from embedder.weights import load_vit

K = TypeVar("K")

# Decoded images that wait for a forward, and those of the batch in it: 256 MiB each is 7 photographs of 12 megapixels.
MAX_WAITING_BYTES = 256 * 2**20
# Decoding is mostly outside the interpreter lock. Two threads a core, for those of the forward compete with them: with
# the built-in model on two cores 1, 2 and 4 threads gave 58, 70 and 77 images/s (median of 7; JPEG of 1.2 megapixels).
WORKERS_PER_CORE = 2
MAX_WORKERS = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared(Generic[K]):
    key: K
    decoded: DecodedImage
    pixels: NDArray[np.float32]  # (3, h, w)

    @property
    def byte_size(self) -> int:
        return 3 * self.decoded.width * self.decoded.height + self.pixels.nbytes


class Embedder:
    """A loaded model on its device. Every method may be called from any thread; forwards take turns behind a lock."""

    def __init__(
        self,
        info: ModelInfo,
        model: ViTForImageClassification,
        placement: Placement,
        limits: ImageLimits = DEFAULT_LIMITS,
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        self.info = info
        self.limits = limits
        self.device = placement.device
        self.precision = placement.precision.value
        self.batch_size = batch_size or placement.batch_size
        self._placement = placement
        self._device = torch_device(placement)
        self._model = model.to(self._device)  # type: ignore[arg-type]  # transformers' stub takes no torch.device
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        model: str | Path = BUILTIN,
        *,
        device: str = "auto",
        precision: str = "auto",
        limits: ImageLimits = DEFAULT_LIMITS,
        batch_size: int | None = None,
        cache_dir: Path | None = None,
        offline: bool = False,
    ) -> Embedder:
        """A named model or a local directory, verified, on the chosen device and checked against float32.

        Raises ModelError's leaves, DeviceUnavailable, PrecisionRefused. `cache_dir` is where huggingface_hub keeps
        fetched files; None is its own default.
        """
        placement = choose_placement(device, precision)
        files = find_model(model, cache_dir, offline=offline)
        vit = load_vit(files.weights, files.architecture)
        info = describe(files, sum(parameter.numel() for parameter in vit.parameters()))
        return cls._checked(info, vit, placement, limits, batch_size)

    @classmethod
    def _checked(
        cls,
        info: ModelInfo,
        vit: ViTForImageClassification,
        placement: Placement,
        limits: ImageLimits,
        batch_size: int | None,
    ) -> Embedder:
        """The embedder, once the fixed image has the same embedding as in float32 on the CPU."""
        exact = Placement("cpu", DeviceKind.CPU, Precision.FLOAT32, 1, False)
        if (placement.kind, placement.precision) == (exact.kind, exact.precision):
            return cls(info, vit, placement, limits, batch_size)  # it would be compared with itself
        pixels = preprocess(fixed_image(info.image_size), info.preprocessing)[None]  # (1, 3, h, w)
        reference = cls(info, vit, exact).embed_pixels(pixels).vectors[0]
        embedder = cls(info, vit, placement, limits, batch_size)
        refuse_imprecise(placement, reference, embedder.embed_pixels(pixels).vectors[0])
        return embedder

    def preprocess(self, decoded: DecodedImage) -> NDArray[np.float32]:
        """Pixels `(3, h, w)` of one image. Raises ImageTooSmall."""
        return preprocess(decoded.image, self.info.preprocessing)

    def embed(
        self, images: Sequence[DecodedImage], *, patch_tokens: bool = False, attentions: bool = False
    ) -> Embeddings:
        """Embeddings of decoded images, in their order. Raises ImageTooSmall."""
        side = self.info.image_size
        pixels = np.empty((len(images), 3, side, side), np.float32)  # (n, 3, h, w)
        for row, decoded in enumerate(images):
            pixels[row] = self.preprocess(decoded)
        return self.embed_pixels(pixels, patch_tokens=patch_tokens, attentions=attentions)

    def embed_pixels(
        self, pixels: NDArray[np.float32], *, patch_tokens: bool = False, attentions: bool = False
    ) -> Embeddings:
        """Embeddings of preprocessed pixels `(n, 3, h, w)` float32, `batch_size` at a time; n may be 0."""
        side = self.info.image_size
        if pixels.dtype != np.float32 or pixels.shape[1:] != (3, side, side):
            raise ValueError(f"pixels must be float32 (n, 3, {side}, {side}), not {pixels.dtype} {pixels.shape}")
        starts = range(0, len(pixels), self.batch_size)
        parts = [self._embed_batch(pixels[at : at + self.batch_size], patch_tokens, attentions) for at in starts]
        return joined(parts) if parts else self._no_embeddings(patch_tokens, attentions)

    def embed_stream(self, items: Iterable[tuple[K, bytes]]) -> Iterator[Embedded[K] | Failed[K]]:
        """Each item's embedding or its ImageError, in order; a bad item never ends the stream.

        The next two batches are decoded and preprocessed in threads while this one is in the forward; decoded images
        that wait are bounded in number and in bytes. `items` is read in the caller's thread; what it raises is raised
        here after the results of what came before. Closing the iterator ends the threads.
        """
        prepared = prepare_ahead(
            items,
            self._prepare,
            _waiting_bytes,
            workers=min(MAX_WORKERS, WORKERS_PER_CORE * (os.cpu_count() or 1)),
            ahead=2 * self.batch_size,
            max_weight=MAX_WAITING_BYTES,
        )
        with closing(prepared):
            for batch in _batched(prepared, self.batch_size):
                yield from self._embed_prepared(batch)

    def _prepare(self, item: tuple[K, bytes]) -> _Prepared[K] | Failed[K]:
        key, data = item
        try:
            decoded = decode(data, self.limits)
            return _Prepared(key, decoded, self.preprocess(decoded))
        except ImageError as err:
            return Failed(key, err)

    def _embed_prepared(self, batch: list[_Prepared[K] | Failed[K]]) -> Iterator[Embedded[K] | Failed[K]]:
        good = [one for one in batch if isinstance(one, _Prepared)]
        side = self.info.image_size
        stacked = np.stack([one.pixels for one in good]) if good else np.empty((0, 3, side, side), np.float32)
        made = self.embed_pixels(stacked)
        row = 0
        batch.reverse()
        del good
        while batch:  # from its end, so that an image is let go of as soon as it was handed on
            one = batch.pop()
            if isinstance(one, Failed):
                yield one
            else:
                yield Embedded(one.key, one.decoded, made.vectors[row], float(made.logits[row]))
                row += 1

    def _embed_batch(self, pixels: NDArray[np.float32], patch_tokens: bool, attentions: bool) -> Embeddings:
        """One forward; in float32 once more when the precision overflowed on these very images."""
        made = self._forward(pixels, self._placement.precision, patch_tokens, attentions)
        if not np.isfinite(made.vectors).all() and self._placement.precision is not Precision.FLOAT32:
            made = self._forward(pixels, Precision.FLOAT32, patch_tokens, attentions)
        if not np.isfinite(made.vectors).all():
            raise CorruptWeights(self.info.name, "the weights give embeddings that are not finite")
        return made

    def _forward(
        self, pixels: NDArray[np.float32], precision: Precision, patch_tokens: bool, attentions: bool
    ) -> Embeddings:
        count = len(pixels)
        if self._placement.full_batches and count < self.batch_size:
            filling = np.zeros((self.batch_size - count, *pixels.shape[1:]), np.float32)
            pixels = np.concatenate([pixels, filling])
        with self._lock, torch.inference_mode():
            hidden, maps = self._hidden_states(torch.from_numpy(pixels).to(self._device), precision, attentions)
            cls = hidden[:, 0]  # (b, d)
            logits = self._model.classifier(cls)[:, 0]  # (b,)
            vectors = torch.nn.functional.normalize(cls, dim=-1)
            return Embeddings(
                vectors=_array(vectors[:count]),
                logits=_array(logits[:count]),
                patch_tokens=_array(hidden[:count, 1:]) if patch_tokens else None,
                attentions=_array(torch.stack(maps, dim=1)[:count]) if maps else None,
            )

    def _hidden_states(self, pixels: Tensor, precision: Precision, attentions: bool) -> tuple[Tensor, list[Tensor]]:
        """Hidden states `(b, 1 + t, d)` after the final LayerNorm, and attentions `(b, heads, 1 + t, 1 + t)` by layer.

        Only the eager attention forms its map; it is chosen for such a call alone, for it is slower and takes more
        memory.
        """
        reduced = precision is not Precision.FLOAT32
        if attentions:
            self._model.set_attn_implementation("eager")
        try:
            with torch.autocast(self._device.type, dtype=self._placement.dtype, enabled=reduced):
                output = self._model.vit(pixel_values=pixels, output_attentions=attentions)
        finally:
            if attentions:
                self._model.set_attn_implementation("sdpa")
        return output.last_hidden_state.float(), [each.float() for each in output.attentions or ()]

    def _no_embeddings(self, patch_tokens: bool, attentions: bool) -> Embeddings:
        config = self._model.config
        tokens, dimension = self._model.vit.embeddings.patch_embeddings.num_patches, self.info.dimension
        maps = (0, config.num_hidden_layers, config.num_attention_heads, 1 + tokens, 1 + tokens)
        return Embeddings(
            vectors=np.empty((0, dimension), np.float32),
            logits=np.empty(0, np.float32),
            patch_tokens=np.empty((0, tokens, dimension), np.float32) if patch_tokens else None,
            attentions=np.empty(maps, np.float32) if attentions else None,
        )


def describe(files: ModelFiles, parameter_count: int) -> ModelInfo:
    """What identifies the model in these files."""
    measured = files.measured
    return ModelInfo(
        name=files.name,
        revision=files.revision,
        licence=files.licence,
        weights_sha256=files.weights_sha256,
        preprocessing=files.preprocessing,
        dimension=files.architecture.hidden_size,
        parameter_count=parameter_count,
        image_size=files.architecture.image_size,
        generators=measured.generators,
        similarity_threshold=measured.similarity_threshold,
        threshold_source=measured.threshold_source,
        synthetic_logit=measured.synthetic_logit,
        authentic_logit=measured.authentic_logit,
        logit_source=measured.logit_source,
    )


def fixed_image(side: int) -> Image.Image:
    """The RGB picture of the self-check: coloured gradients under fine stripes, the same on every machine."""
    rows, columns = np.mgrid[0:side, 0:side]
    channels = [rows * 255 // side, columns * 255 // side, (rows * columns * 7 + rows * 13) % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))  # (side, side, 3)


def _batched(prepared: Iterable[_Prepared[K] | Failed[K]], batch_size: int) -> Iterator[list[_Prepared[K] | Failed[K]]]:
    """Lists of at most `batch_size` items; a list of very large images is closed early."""
    batch: list[_Prepared[K] | Failed[K]] = []
    weight = 0
    try:
        for one in prepared:
            batch.append(one)
            weight += _waiting_bytes(one)
            if len(batch) == batch_size or weight >= MAX_WAITING_BYTES:
                yield batch
                batch, weight = [], 0
    except Exception:  # of the source: what came before it has its turn first
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _waiting_bytes(one: object) -> int:
    return one.byte_size if isinstance(one, _Prepared) else 0


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
