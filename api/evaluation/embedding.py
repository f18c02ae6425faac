"""Embedding each image once, and after each requested kind of delivery, in one pass over the files.

Of each image, its vector, its logit and its perceptual hash are kept. Decoded images do not leave
the threads that decode them. Thumbnails are kept of the worst errors of the classifier.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from api.evaluation.reading import Labelled, read_images
from api.fields import FailedItem
from api.images import hash_image
from api.sources.item import Source
from embedder.errors import ImageError
from embedder.network.embed import Embedder
from embedder.network.results import Failed
from embedder.pictures.decode import DecodedImage, make_thumbnail
from embedder.pictures.delivery import Condition, deliver
from index.calibration.population import Population
from index.truth.perceptual import PerceptualHash

MOST_WRONG = 12  # images of each kind that the page shows: three rows
THUMBNAIL_PIXELS = 160

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class DeliveredImages:
    """Images after one kind of delivery: their rows in the population (m,), increasing, and their
    logits (m,).
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Misclassified:
    """An image on the wrong side of logit 0, and its thumbnail (WebP)."""

    image: Labelled
    logit: float
    thumbnail: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """n images in the order of the source. `wrong` begins with the worst.

    In `population`, identical files have the same image id, and each image is its own source, so
    that a search for neighbours leaves out nothing of a collection. `sources` (n,) numbers the
    declared sources.
    """

    images: tuple[Labelled, ...]
    population: Population
    synthetic: NDArray[np.bool_]
    sources: NDArray[np.int64]
    delivered: Mapping[Condition, DeliveredImages]
    conditioned: NDArray[np.int64]  # rows of the images that were delivered, (m,)
    failures: tuple[FailedItem, ...]
    wrong: tuple[Misclassified, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Derived:
    """What is computed from a decoded image; `pixels` (h, w, 3) by condition."""

    hashed: PerceptualHash
    thumbnail: bytes
    pixels: Mapping[Condition, NDArray[np.uint8]]


@dataclass(slots=True)
class _Worst:
    """The images of one kind that are furthest on the wrong side, with their thumbnails."""

    most: int
    kept: list[tuple[float, int, Misclassified]] = field(default_factory=list)

    def offer(self, wrong: Misclassified) -> None:
        how_far = abs(wrong.logit)
        heapq.heappush(self.kept, (how_far, -wrong.image.number, wrong))
        if len(self.kept) > self.most:
            heapq.heappop(self.kept)

    def worst_first(self) -> list[Misclassified]:
        return [wrong for _, _, wrong in sorted(self.kept, key=lambda each: each[:2], reverse=True)]


class _Deliveries:
    """Collects the pixels of delivered images, and embeds them in batches."""

    def __init__(self, embedder: Embedder, conditions: Sequence[Condition]) -> None:
        self._embedder = embedder
        self._waiting: list[tuple[Condition, int, NDArray[np.uint8]]] = []
        self._logits: dict[Condition, list[tuple[int, float]]] = {
            condition: [] for condition in conditions
        }

    def add(self, row: int, pixels: Mapping[Condition, NDArray[np.uint8]]) -> None:
        self._waiting += [(condition, row, each) for condition, each in pixels.items()]
        while len(self._waiting) >= self._embedder.batch_size:
            self._embed(self._embedder.batch_size)

    def finish(self) -> dict[Condition, DeliveredImages]:
        if self._waiting:
            self._embed(len(self._waiting))
        return {
            condition: DeliveredImages(
                np.array([row for row, _ in pairs], np.int64),
                np.array([logit for _, logit in pairs], np.float64),
            )
            for condition, pairs in self._logits.items()
        }

    def _embed(self, count: int) -> None:
        some, self._waiting = self._waiting[:count], self._waiting[count:]
        made = self._embedder.embed_pixels(
            np.stack([pixels for _, _, pixels in some])
        )  # (b, h, w, 3)
        for (condition, row, _), logit in zip(some, made.logits, strict=True):
            self._logits[condition].append((row, float(logit)))


def embed_images(
    embedder: Embedder,
    source: Source,
    wanted: Sequence[Labelled],
    conditions: Sequence[Condition],
    conditioned: frozenset[int],
    progress: Progress,
    roots: Sequence[str] | None = None,
    most_wrong: int = MOST_WRONG,
) -> Embeddings:
    """Embed the wanted images; those whose numbers are in `conditioned` also after each delivery.

    An image that cannot be read or decoded, or lies outside of the roots if there are any, is a
    failure. Thumbnails are made of at most `most_wrong` images of each kind. Raises
    `UnusableSource`.
    """
    unread, undecoded = list[FailedItem](), list[FailedItem]()
    images, hashes = list[Labelled](), list[PerceptualHash]()
    digests, vectors, logits = list[str](), list[NDArray[np.float32]](), list[float]()
    deliveries, worst = _Deliveries(embedder, conditions), (_Worst(most_wrong), _Worst(most_wrong))

    def derive(key: tuple[Labelled, str], decoded: DecodedImage) -> _Derived:
        ways = conditions if key[0].number in conditioned else ()
        return _derive(embedder, decoded, ways)

    stream = embedder.embed_stream(
        _add_digests(read_images(source, wanted, embedder.limits.max_image_bytes, unread, roots)),
        derive,
        derived_bytes=_count_bytes,
    )
    for done, one in enumerate(stream, 1):
        image, digest = one.key
        progress(done + len(unread), len(wanted))
        if isinstance(one, Failed):
            undecoded.append(
                FailedItem(name=image.name, reason=one.error.reason, detail=str(one.error))
            )
            continue
        deliveries.add(len(images), one.derived.pixels)
        if (one.logit >= 0) is not image.synthetic:
            worst[image.synthetic].offer(Misclassified(image, one.logit, one.derived.thumbnail))
        images.append(image)
        hashes.append(one.derived.hashed)
        digests.append(digest)
        vectors.append(one.vector)
        logits.append(one.logit)
    return Embeddings(
        images=tuple(images),
        population=_build_population(
            embedder.info.dimension, images, digests, vectors, logits, hashes
        ),
        synthetic=np.array([image.synthetic for image in images], np.bool_),
        sources=_number_names([image.source for image in images]),
        delivered=deliveries.finish(),
        conditioned=np.flatnonzero([image.number in conditioned for image in images]).astype(
            np.int64
        ),
        failures=(*unread, *undecoded),
        wrong=tuple(wrong for kind in worst for wrong in kind.worst_first()),
    )


def _add_digests(
    images: Iterable[tuple[Labelled, bytes]],
) -> Iterator[tuple[tuple[Labelled, str], bytes]]:
    for image, data in images:
        yield (image, hashlib.sha256(data).hexdigest()), data


def _derive(embedder: Embedder, decoded: DecodedImage, conditions: Sequence[Condition]) -> _Derived:
    """Compute the hash, the thumbnail and the pixels after each delivery.

    Leaves out a delivery after which the image is too small, or too large for its format.
    """
    pixels = {}
    for condition in conditions:
        try:
            pixels[condition] = embedder.preprocess(
                replace(decoded, image=deliver(decoded.image, condition))
            )
        except ImageError:
            continue
    return _Derived(hash_image(decoded), make_thumbnail(decoded.image, THUMBNAIL_PIXELS), pixels)


def _count_bytes(seen: _Derived) -> int:
    return len(seen.thumbnail) + sum(pixels.nbytes for pixels in seen.pixels.values())


def _build_population(
    dimension: int,
    images: Sequence[Labelled],
    digests: Sequence[str],
    vectors: Sequence[NDArray[np.float32]],
    logits: Sequence[float],
    hashes: Sequence[PerceptualHash],
) -> Population:
    return Population(
        image_ids=_number_names(digests),
        sources=np.arange(len(images), dtype=np.int64),
        vectors=np.array(vectors, np.float32).reshape(-1, dimension),  # (n, d)
        logits=np.array(logits, np.float64),
        generators=tuple(image.generator if image.synthetic else None for image in images),
        hashes=tuple(hashes),
    )


def _number_names(names: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each name (n,); equal names have equal numbers."""
    return np.unique(np.array(names, np.str_), return_inverse=True)[1].astype(np.int64).reshape(-1)
