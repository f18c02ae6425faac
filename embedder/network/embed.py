"""Images to embeddings and logits: from decoded images, from pixels, and from a stream of files
that is prepared ahead.

The embedding is the CLS token after the final LayerNorm: the vector that the classifier's head
reads, so that `logit == cls @ w + b`. The matrix products run in the precision of
`embedder.network.device`; the first layer, the head, the norm and all results are float32.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import ViTForImageClassification

from embedder.errors import ImageError, PrecisionRefused
from embedder.network.device import (
    EXACT,
    POLICIES,
    DeviceKind,
    Placement,
    choose_placements,
)
from embedder.network.download import ModelFiles, locate_model
from embedder.network.forward import NO_EXTRAS, Extras, Forward, LaunchedForward
from embedder.network.kept_checks import check_placement
from embedder.network.panel import Panel, PanelCheck
from embedder.network.prefetch import prepare_ahead, take_ahead
from embedder.network.references import ReferenceVectors, find_references
from embedder.network.registry import BUILTIN, ModelInfo
from embedder.network.results import Embedded, Embeddings, Failed, concatenate
from embedder.network.weights import load_vit
from embedder.pictures.decode import DEFAULT_LIMITS, DecodedImage, ImageLimits, decode
from embedder.pictures.preprocess import preprocess

K = TypeVar("K")
T = TypeVar("T")

# Limit of prepared items that wait. Two batches of 64 with 384 pixels a side are 54 MiB; the rest
# is room for what callers derive.
MAX_WAITING_BYTES = 256 * 2**20
# Each preparing thread holds one decoded image. This is the most that all of them may hold as RGB
# when each image is the largest that the limits allow. A thread holds as much again while it
# converts or turns its image. With the default limit of 100 megapixels this allows 28 threads.
MAX_DECODED_BYTES = 8 * 2**30


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared(Generic[K, T]):
    key: K
    derived: T
    derived_bytes: int
    pixels: NDArray[np.uint8]  # (h, w, 3)


@dataclass(frozen=True, slots=True, eq=False)
class _Launched(Generic[K, T]):
    """A launched batch. Only keys, derived values and failures are still held, in order."""

    waiting: deque[tuple[K, T] | Failed[K]]
    forward: LaunchedForward | None  # None where every item failed


class Embedder:
    """A loaded model on its device.

    `precision_check` says how far its precision moves the answers from float32 on a CPU. It is None
    where there is nothing to compare. `refused_check` is that of a precision that was tried first
    and moves them too far; None if there was none. `references` are the photographs whose vectors
    travel with the model; None without any. Every method may be called from any thread; forwards
    run one at a time.
    """

    def __init__(
        self,
        info: ModelInfo,
        model: ViTForImageClassification,
        placement: Placement,
        limits: ImageLimits = DEFAULT_LIMITS,
        batch_size: int | None = None,
        precision_check: PanelCheck | None = None,
        refused_check: PanelCheck | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        self.info = info
        self.limits = limits
        self.device = placement.device
        self.precision = placement.precision.value
        self.precision_check = precision_check
        self.refused_check = refused_check
        self.references: ReferenceVectors | None = None
        self.batch_size = batch_size or placement.batch_size
        self.lookup_batch_size = min(placement.lookup_batch_size, self.batch_size)
        self._placement = placement
        self._forward = Forward(info.name, model, info.preprocessing, placement, self.batch_size)

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
        added_dir: Path | None = None,
        checks_dir: Path | None = None,
    ) -> Embedder:
        """Load and verify a named model or a local directory.

        A precision other than float32 on a CPU is compared with it on the panel's pictures. With
        `precision` "auto", float32 is taken where the check refuses what the device would use.
        `checks_dir` keeps the outcome, so that the next load does not compute it again; None keeps
        nothing.

        `cache_dir` is where huggingface_hub keeps fetched files; None is its own default.
        `added_dir` holds the models that the user added under a name.

        Raises the leaves of ModelError, DeviceUnavailable, PrecisionRefused.
        """
        placements = choose_placements(device, precision)
        files = locate_model(model, cache_dir, offline=offline, added_dir=added_dir)
        return cls._load_files(files, placements, checks_dir, limits, batch_size)

    @classmethod
    def load_files(
        cls, files: ModelFiles, *, device: str = "auto", precision: str = "auto"
    ) -> Embedder:
        """Load a model whose files were located, as `load` does.

        Raises the leaves of ModelError, DeviceUnavailable, PrecisionRefused.
        """
        placements = choose_placements(device, precision)
        return cls._load_files(files, placements, None, DEFAULT_LIMITS, None)

    @classmethod
    def _load_files(
        cls,
        files: ModelFiles,
        placements: Sequence[Placement],
        checks_dir: Path | None,
        limits: ImageLimits,
        batch_size: int | None,
    ) -> Embedder:
        vit = load_vit(files.weights, files.architecture, files.head)
        info = describe_model(files, sum(parameter.numel() for parameter in vit.parameters()))
        embedder = cls._load_checked(info, vit, placements, checks_dir, limits, batch_size)
        embedder.references = find_references(
            files.weights[0].parent,
            info.space_fingerprint,
            info.dimension,
            files.references_sha256,
        )
        return embedder

    @classmethod
    def _load_checked(
        cls,
        info: ModelInfo,
        vit: ViTForImageClassification,
        placements: Sequence[Placement],
        checks_dir: Path | None,
        limits: ImageLimits,
        batch_size: int | None,
    ) -> Embedder:
        """Return the embedder in the first placement whose answers are those of float32 on a CPU.

        Raises PrecisionRefused where the panel check accepts none.
        """
        panel = Panel(info.name, vit, info.preprocessing)
        refused: PanelCheck | None = None
        for placement in placements:
            is_exact = (placement.kind, placement.precision) == (EXACT.kind, EXACT.precision)
            check = (
                None
                if is_exact
                else check_placement(panel, info.space_fingerprint, placement, checks_dir)
            )
            if check is None or check.accepted:
                return cls(info, vit, placement, limits, batch_size, check, refused)
            refused = check
        assert refused is not None
        raise PrecisionRefused(
            refused.device,
            refused.precision,
            refused.smallest_cosine,
            refused.largest_logit_difference,
        )

    @property
    def network(self) -> nn.Module:
        """The network on its device, for measurements; it changes with the release."""
        return self._forward.network

    def preprocess(self, decoded: DecodedImage) -> NDArray[np.uint8]:
        """Return the pixels `(h, w, 3)` of one image, resized and cropped; the device normalises
        them.

        Raises ImageTooSmall.
        """
        return preprocess(decoded.image, self.info.preprocessing)

    def embed(
        self,
        images: Sequence[DecodedImage],
        *,
        patch_tokens: bool = False,
        attentions: bool = False,
    ) -> Embeddings:
        """Embed decoded images, in their order.

        Raises ImageTooSmall.
        """
        side = self.info.image_size
        pixels = np.empty((len(images), side, side, 3), np.uint8)  # (n, h, w, 3)
        for row, decoded in enumerate(images):
            pixels[row] = self.preprocess(decoded)
        return self.embed_pixels(pixels, patch_tokens=patch_tokens, attentions=attentions)

    def embed_pixels(
        self, pixels: NDArray[np.uint8], *, patch_tokens: bool = False, attentions: bool = False
    ) -> Embeddings:
        """Embed preprocessed pixels `(n, h, w, 3)` uint8, `batch_size` at a time; n may be 0.

        Raises ValueError for pixels of another shape or type.
        """
        return self._embed_batches(pixels, self.batch_size, Extras(patch_tokens, attentions))

    def embed_each(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """Embed preprocessed pixels `(n, h, w, 3)` uint8; equal pixels have equal results to the
        last bit, whatever else is embedded beside them.

        The order in which a matrix product adds depends on the shape of the batch. So these
        forwards have one shape, `lookup_batch_size` images. Raises like `embed_pixels`.
        """
        size = self.lookup_batch_size
        return self._embed_batches(pixels, size, NO_EXTRAS, filled_to=size)

    def _embed_batches(
        self,
        pixels: NDArray[np.uint8],
        batch_size: int,
        extras: Extras,
        filled_to: int | None = None,
    ) -> Embeddings:
        side = self.info.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
            raise ValueError(
                f"pixels must be uint8 (n, {side}, {side}, 3), as Embedder.preprocess returns "
                f"them, not {pixels.dtype} {pixels.shape}"
            )
        launched = (
            self._forward.launch(pixels[at : at + batch_size], extras, filled_to=filled_to)
            for at in range(0, len(pixels), batch_size)
        )
        parts = [forward.wait() for forward in take_ahead(launched, self._placement.batches_ahead)]
        return concatenate(parts) if parts else self._forward.empty_results(extras)

    def embed_stream(
        self,
        items: Iterable[tuple[K, bytes]],
        derive: Callable[[K, DecodedImage], T],
        *,
        change: Callable[[K, Image.Image], Image.Image] = lambda _, image: image,
        derived_bytes: Callable[[T], int] = lambda _: 0,
    ) -> Generator[Embedded[K, T] | Failed[K], None, None]:
        """Yield, in order, each item's embedding with what `derive(key, decoded)` returned, or its
        ImageError.

        `change(key, image)` may replace the decoded, upright image. What it returns is embedded and
        given to `derive`.

        Threads decode, preprocess and derive two batches ahead of the forward, and drop the decoded
        image there: `change` and `derive` must be thread-safe, and should not keep the image. An
        ImageError of theirs is that item's failure; any other exception is raised here in the
        item's turn. `items` is read in the caller's thread; what it raises is raised here after the
        results of the items before it. Closing the iterator ends the threads.

        These are in memory at once: one decoded image for each thread (MAX_DECODED_BYTES); the
        files of two batches, or their pixels and derived values, of which MAX_WAITING_BYTES and one
        item for each thread may wait; the batch that is being filled; and the launched batches.
        Derived values that `derived_bytes` does not count are limited only in number.
        """
        prepared = prepare_ahead(
            items,
            lambda item: self._prepare(item, change, derive, derived_bytes),
            _count_waiting_bytes,
            workers=count_workers(self._placement.kind, self.limits, os.cpu_count() or 1),
            ahead=2 * self.batch_size,
            max_weight=MAX_WAITING_BYTES,
        )
        with closing(prepared):
            launched = map(self._launch, _collect_batches(prepared, self.batch_size))
            for batch in take_ahead(launched, self._placement.batches_ahead):
                yield from _yield_results(batch)

    def _prepare(
        self,
        item: tuple[K, bytes],
        change: Callable[[K, Image.Image], Image.Image],
        derive: Callable[[K, DecodedImage], T],
        derived_bytes: Callable[[T], int],
    ) -> _Prepared[K, T] | Failed[K]:
        key, data = item
        try:
            decoded = decode(data, self.limits)
            changed = change(key, decoded.image)
            if changed is not decoded.image:
                self.limits.check(*changed.size)
                decoded = replace(decoded, image=changed)
            pixels = self.preprocess(decoded)
            derived = derive(key, decoded)
        except ImageError as err:
            return Failed(key, _without_tracebacks(err))
        return _Prepared(key, derived, derived_bytes(derived), pixels)

    def _launch(self, batch: list[_Prepared[K, T] | Failed[K]]) -> _Launched[K, T]:
        pixels = [one.pixels for one in batch if isinstance(one, _Prepared)]
        waiting = deque(one if isinstance(one, Failed) else (one.key, one.derived) for one in batch)
        batch.clear()  # the caller still holds the list; its pixels can go
        return _Launched(waiting, self._forward.launch(pixels) if pixels else None)


def count_workers(kind: DeviceKind, limits: ImageLimits, cores: int) -> int:
    """Return the threads that prepare a stream: the device's policy, as far as images fit in
    memory.
    """
    policy = POLICIES[kind]
    fitting = MAX_DECODED_BYTES // (3 * limits.max_image_pixels)
    return max(1, min(policy.max_workers, policy.workers_per_core * cores, fitting))


def describe_model(files: ModelFiles, parameter_count: int) -> ModelInfo:
    """Return what identifies the model in these files."""
    measured = files.measured
    readings = (files.head.reading, files.architecture.reading)
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
        no_traces_logit=measured.no_traces_logit,
        logit_source=measured.logit_source,
        caution=files.caution,
        reading=";".join(each for each in readings if each is not None) or None,
    )


def _collect_batches(
    prepared: Iterable[_Prepared[K, T] | Failed[K]], batch_size: int
) -> Iterator[list[_Prepared[K, T] | Failed[K]]]:
    """Yield lists of at most `batch_size` items; a list with many derived bytes is closed early."""
    batch: list[_Prepared[K, T] | Failed[K]] = []
    derived_bytes = 0
    try:
        for one in prepared:
            batch.append(one)
            derived_bytes += one.derived_bytes if isinstance(one, _Prepared) else 0
            del one  # only the batch holds it now, so it is freed with the batch
            if len(batch) == batch_size or derived_bytes >= MAX_WAITING_BYTES:
                yield batch
                batch, derived_bytes = [], 0
    except Exception:  # of the source or of an item; the items before it come first
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _yield_results(batch: _Launched[K, T]) -> Iterator[Embedded[K, T] | Failed[K]]:
    rows = iter(()) if batch.forward is None else _yield_rows(batch.forward.wait())
    while batch.waiting:
        one = batch.waiting.popleft()
        yield one if isinstance(one, Failed) else Embedded(*one, *next(rows))


def _yield_rows(embeddings: Embeddings) -> Iterator[tuple[NDArray[np.float32], float]]:
    for vector, logit in zip(embeddings.vectors, embeddings.logits, strict=True):
        yield vector, float(logit)


def _count_waiting_bytes(one: object) -> int:
    return one.pixels.nbytes + one.derived_bytes if isinstance(one, _Prepared) else 0


def _without_tracebacks(err: ImageError) -> ImageError:
    """Remove the frames that an error came through; they hold the file's bytes and its picture."""
    chain: list[BaseException | None] = [err]
    while chain:
        each = chain.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            chain += (each.__cause__, each.__context__)
    return err
