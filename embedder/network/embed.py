"""Images to embeddings and logits: from decoded images, from pixels, and from a stream of files
whose pictures are made ahead.

The embedding is the CLS token after the final LayerNorm: the vector that the classifier's head
reads, so that `logit == cls @ w + b`. The matrix products run in the precision of
`embedder.network.device`; the first layer, the head, the norm and all results are float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from embedder.decoding.ahead import make_pictures_ahead
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.decoding.threads import ThreadDecoders, count_cores, count_threads
from embedder.errors import ImageError, PrecisionRefused
from embedder.network.device import (
    EXACT,
    DeviceKind,
    Placement,
    Precision,
    choose_placements,
    set_own_thread_count,
)
from embedder.network.download import (
    ModelFiles,
    describe_model,
    locate_model,
    read_shipped_references,
)
from embedder.network.forward import NO_EXTRAS, Extras, Forward, LaunchedForward
from embedder.network.kept_checks import check_placement
from embedder.network.panel import Panel, PanelCheck
from embedder.network.prefetch import take_ahead
from embedder.network.references import ReferenceVectors
from embedder.network.registry import BUILTIN, ModelInfo
from embedder.network.results import Embedded, Embeddings, Failed, concatenate
from embedder.network.vit import ViT
from embedder.network.weights import load_vit, map_weights
from embedder.pictures.decode import DecodedImage
from embedder.pictures.limits import DEFAULT_LIMITS, ImageLimits
from embedder.pictures.preprocess import preprocess

K = TypeVar("K")

# Limit of the files and pictures that decoders have or that wait. The pictures of two batches of 64
# with 384 pixels a side are 54 MiB; the rest is room for their files and for what callers order.
MAX_WAITING_BYTES = 256 * 2**20
# At least so many items are with the decoders, where they fit: a CPU's batch of 8 would leave many
# decoders without work while it is embedded.
MIN_AHEAD = 64
# One core multiplies so much in 10 ms: the built-in model, of 0.6, takes 4.2 ms. On two cores that
# is 2.7 to 3.3 ms and 10.8 ms of their time, because threads of torch spin between its products
# (AMD EPYC with AVX-512, bfloat16, 2026-12-01).
_LITTLE_WORK = 2e9  # multiplications and additions


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared(Generic[K]):
    key: K
    picture: Picture  # without its pixels
    pixels: NDArray[np.uint8]  # (h, w, 3)


@dataclass(frozen=True, slots=True, eq=False)
class _Launched(Generic[K]):
    """A launched batch. Only keys, pictures without pixels and failures are still held, in
    order.
    """

    waiting: deque[tuple[K, Picture] | Failed[K]]
    forward: LaunchedForward | None  # None where every item failed


class Embedder:
    """A loaded model on its device.

    `precision_check` says how far its precision moves the answers from float32 on a CPU. It is None
    where there is nothing to compare. `refused_check` is that of a precision that was tried first
    and moves them too far; None if there was none. `references` are the photographs whose vectors
    travel with the model; None without any. `decoders` make the pictures of files; who gives them
    closes them, and without them threads do it. Every method may be called from any thread;
    forwards run one at a time.
    """

    def __init__(
        self,
        info: ModelInfo,
        model: ViT,
        placement: Placement,
        limits: ImageLimits = DEFAULT_LIMITS,
        batch_size: int | None = None,
        precision_check: PanelCheck | None = None,
        refused_check: PanelCheck | None = None,
        decoders: Decoders | None = None,
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
        self.decoders: Decoders = decoders or ThreadDecoders(count_threads(limits, count_cores()))
        self.batch_size = batch_size or placement.batch_size
        self.lookup_batch_size = min(placement.lookup_batch_size, self.batch_size)
        self._placement = placement
        self._architecture = model.architecture
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
        decoders: Decoders | None = None,
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
        return cls._load_files(files, placements, checks_dir, limits, batch_size, decoders)

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
        decoders: Decoders | None = None,
    ) -> Embedder:
        vit = load_vit(files.weights, files.architecture, files.head)
        info = describe_model(files)
        embedder = cls._load_checked(
            info, vit, placements, checks_dir, limits, batch_size, decoders
        )
        if embedder.precision != Precision.FLOAT32:
            map_weights(vit, files.weights, files.head)  # not read again, so not in memory twice
        embedder.references = read_shipped_references(files, info)
        return embedder

    @classmethod
    def _load_checked(
        cls,
        info: ModelInfo,
        vit: ViT,
        placements: Sequence[Placement],
        checks_dir: Path | None,
        limits: ImageLimits,
        batch_size: int | None,
        decoders: Decoders | None,
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
                return cls(info, vit, placement, limits, batch_size, check, refused, decoders)
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

    @property
    def picture_order(self) -> PictureOrder:
        """The order for the pixels that the model reads, within the limits. Callers add to it."""
        return PictureOrder(self.limits, self.info.preprocessing)

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

    def spare_cores(self) -> None:
        """Let forwards that start in the calling thread use one core, if that is soon enough.

        For a thread whose forwards run beside other work on the same cores. Results are the same.
        """
        tokens = 1 + self._architecture.token_count
        if self._placement.kind is DeviceKind.CPU and (
            2 * self.info.parameter_count * tokens < _LITTLE_WORK
        ):
            set_own_thread_count(1)

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
        self, items: Iterable[tuple[K, bytes, PictureOrder]]
    ) -> Generator[Embedded[K] | Failed[K], None, None]:
        """Yield, in order, each item's embedding with what else its order made, or its ImageError.

        Each order makes pixels for this model: `picture_order` with more. The decoders make the
        pictures ahead of the forward. An error of theirs that is no ImageError is raised here in
        the item's turn. `items` is read in the caller's thread; what it raises is raised here after
        the results of the items before it. Closing the iterator cancels what has not started.

        These are in memory at once: what the decoders need for one picture each; at most
        MAX_WAITING_BYTES of files and finished pictures, or one item; the batch that is being
        filled; and the launched batches.
        """
        pictures = make_pictures_ahead(
            self.decoders,
            items,
            ahead=max(2 * self.batch_size, MIN_AHEAD),
            max_bytes=MAX_WAITING_BYTES,
        )
        with closing(pictures):
            prepared = (_receive(key, future) for key, future in pictures)
            launched = map(self._launch, _collect_batches(prepared, self.batch_size))
            for batch in take_ahead(launched, self._placement.batches_ahead):
                yield from _yield_results(batch)

    def _launch(self, batch: list[_Prepared[K] | Failed[K]]) -> _Launched[K]:
        pixels = [one.pixels for one in batch if isinstance(one, _Prepared)]
        waiting = deque(one if isinstance(one, Failed) else (one.key, one.picture) for one in batch)
        batch.clear()  # the caller still holds the list; its pixels can go
        return _Launched(waiting, self._forward.launch(pixels) if pixels else None)


def _receive(key: K, future: Future[Picture]) -> _Prepared[K] | Failed[K]:
    """Wait for a picture. Raises ValueError if no pixels were ordered."""
    try:
        picture = future.result()
    except ImageError as err:
        return Failed(key, _without_tracebacks(err))
    if picture.pixels is None:
        raise ValueError("an order of a stream must have the preprocessing of its model")
    return _Prepared(key, replace(picture, pixels=None), picture.pixels)


def _collect_batches(
    prepared: Iterable[_Prepared[K] | Failed[K]], batch_size: int
) -> Iterator[list[_Prepared[K] | Failed[K]]]:
    """Yield lists of at most `batch_size` items; a list whose pictures hold many bytes besides
    their pixels is closed early.
    """
    batch: list[_Prepared[K] | Failed[K]] = []
    held_bytes = 0
    try:
        for one in prepared:
            batch.append(one)
            held_bytes += one.picture.held_bytes if isinstance(one, _Prepared) else 0
            del one  # only the batch holds it now, so it is freed with the batch
            if len(batch) == batch_size or held_bytes >= MAX_WAITING_BYTES:
                yield batch
                batch, held_bytes = [], 0
    except Exception:  # of the source or of an item; the items before it come first
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _yield_results(batch: _Launched[K]) -> Iterator[Embedded[K] | Failed[K]]:
    rows = iter(()) if batch.forward is None else _yield_rows(batch.forward.wait())
    while batch.waiting:
        one = batch.waiting.popleft()
        yield one if isinstance(one, Failed) else Embedded(*one, *next(rows))


def _yield_rows(embeddings: Embeddings) -> Iterator[tuple[NDArray[np.float32], float]]:
    for vector, logit in zip(embeddings.vectors, embeddings.logits, strict=True):
        yield vector, float(logit)


def _without_tracebacks(err: ImageError) -> ImageError:
    """Remove the frames that an error came through; they hold the file's bytes and its picture."""
    chain: list[BaseException | None] = [err]
    while chain:
        each = chain.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            chain += (each.__cause__, each.__context__)
    return err
