"""Embedding each image once, and after each requested kind of delivery, in one pass over the files.

Of each image, its vector, its logit and its perceptual hash are kept, and thumbnails of the worst
errors of the classifier.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from api.evaluation.reading import Labelled, read_images
from api.fields import FailedItem
from api.images import hash_of
from api.sources.item import Source
from embedder.decoding.picture import DeliveredPicture, Picture
from embedder.network.embed import Embedder
from embedder.network.results import Failed
from embedder.pictures.delivery import Condition, coarser_of
from embedder.pictures.legibility import PictureQuality, is_flat
from index.calibration.population import Population
from index.evidence import ProbeFacts
from index.truth.perceptual import PerceptualHash

MOST_WRONG = 12  # images of each kind that the page shows: three rows
THUMBNAIL_PIXELS = 160

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class DeliveredImages:
    """Images after one kind of delivery: their rows in the population (m,), increasing, their
    vectors (m, d) and logits (m,), and m times what a look-up knows of such a probe.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]
    facts: tuple[ProbeFacts, ...]


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
    declared sources. `facts` are n times what a look-up knows of a probe.
    """

    images: tuple[Labelled, ...]
    population: Population
    synthetic: NDArray[np.bool_]
    sources: NDArray[np.int64]
    facts: tuple[ProbeFacts, ...]
    delivered: Mapping[Condition, DeliveredImages]
    conditioned: NDArray[np.int64]  # rows of the images that were delivered, (m,)
    failures: tuple[FailedItem, ...]
    wrong: tuple[Misclassified, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """A labelled image and the sha256 of its bytes."""

    image: Labelled
    digest: str


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
        self._waiting: list[tuple[Condition, int, NDArray[np.uint8], ProbeFacts]] = []
        self._embedded: dict[Condition, list[tuple[int, NDArray[np.float32], ProbeFacts]]] = {
            condition: [] for condition in conditions
        }

    def add(self, row: int, picture: Picture) -> None:
        side = self._embedder.info.image_size
        self._waiting += [
            (each.condition, row, each.pixels, _describe_delivered(picture, each, side))
            for each in picture.deliveries
        ]
        while len(self._waiting) >= self._embedder.batch_size:
            self._embed(self._embedder.batch_size)

    def finish(self) -> dict[Condition, DeliveredImages]:
        if self._waiting:
            self._embed(len(self._waiting))
        return {
            condition: DeliveredImages(
                np.array([row for row, _, _ in images], np.int64),
                np.array([vector for _, vector, _ in images], np.float32).reshape(
                    -1, self._embedder.info.dimension
                ),
                np.array([facts.logit for _, _, facts in images], np.float64),
                tuple(facts for _, _, facts in images),
            )
            for condition, images in self._embedded.items()
        }

    def _embed(self, count: int) -> None:
        some, self._waiting = self._waiting[:count], self._waiting[count:]
        made = self._embedder.embed_pixels(
            np.stack([pixels for _, _, pixels, _ in some])
        )  # (b, h, w, 3)
        for (condition, row, _, facts), vector, logit in zip(
            some, made.vectors, made.logits, strict=True
        ):
            known = replace(facts, logit=float(logit))
            self._embedded[condition].append((row, vector, known))


def embed_images(
    embedder: Embedder,
    source: Source,
    wanted: Sequence[Labelled],
    conditions: Sequence[Condition],
    conditioned: frozenset[int],
    progress: Progress,
    most_wrong: int = MOST_WRONG,
) -> Embeddings:
    """Embed the wanted images; those whose numbers are in `conditioned` also after each delivery.

    An image that cannot be read or decoded is a failure. Thumbnails are made of at most
    `most_wrong` images of each kind. Raises `UnusableSource`.
    """
    unread, undecoded = list[FailedItem](), list[FailedItem]()
    images, hashes = list[Labelled](), list[PerceptualHash]()
    digests, vectors, logits = list[str](), list[NDArray[np.float32]](), list[float]()
    facts = list[ProbeFacts]()
    deliveries, worst = _Deliveries(embedder, conditions), (_Worst(most_wrong), _Worst(most_wrong))

    order = replace(
        embedder.picture_order,
        perceptual_hash=True,
        condition=True,
        luminance=True,
        thumbnail_pixels=THUMBNAIL_PIXELS if most_wrong else None,
    )
    delivered = replace(order, deliveries=tuple(conditions))
    images_with_bytes = read_images(source, wanted, embedder.limits.max_image_bytes, unread)
    stream = embedder.embed_stream(
        (
            _File(image, hashlib.sha256(data).hexdigest()),
            data,
            delivered if image.number in conditioned else order,
        )
        for image, data in images_with_bytes
    )
    for done, one in enumerate(stream, 1):
        image = one.key.image
        progress(done + len(unread), len(wanted))
        if isinstance(one, Failed):
            undecoded.append(
                FailedItem(name=image.name, reason=one.error.reason, detail=str(one.error))
            )
            continue
        deliveries.add(len(images), one.picture)
        if (one.logit >= 0) is not image.synthetic and one.picture.thumbnail is not None:
            worst[image.synthetic].offer(Misclassified(image, one.logit, one.picture.thumbnail))
        images.append(image)
        hashes.append(hash_of(one.picture))
        digests.append(one.key.digest)
        known = _describe_probe(one.picture, embedder.info.image_size)
        facts.append(replace(known, logit=one.logit))
        vectors.append(one.vector)
        logits.append(one.logit)
    return Embeddings(
        images=tuple(images),
        population=_build_population(
            embedder.info.dimension, images, digests, vectors, logits, hashes
        ),
        synthetic=np.array([image.synthetic for image in images], np.bool_),
        sources=_number_names([image.source for image in images]),
        facts=tuple(facts),
        delivered=deliveries.finish(),
        conditioned=np.flatnonzero([image.number in conditioned for image in images]).astype(
            np.int64
        ),
        failures=(*unread, *undecoded),
        wrong=tuple(wrong for kind in worst for wrong in kind.worst_first()),
    )


def _describe_probe(picture: Picture, model_side: int) -> ProbeFacts:
    """Return what a look-up knows of such a probe beside its embedding."""
    assert picture.condition is not None
    return _describe(
        min(picture.width, picture.height),
        hash_of(picture),
        picture.luminance_std,
        picture.condition,
        model_side,
    )


def _describe_delivered(
    picture: Picture, delivered: DeliveredPicture, model_side: int
) -> ProbeFacts:
    """Return what a look-up knows of a probe that was delivered in this way."""
    assert picture.condition is not None
    return _describe(
        min(delivered.width, delivered.height),
        hash_of(delivered),
        delivered.luminance_std,
        coarser_of(picture.condition, delivered.condition),
        model_side,
    )


def _describe(
    shortest_side: int,
    hashed: PerceptualHash,
    luminance_std: float | None,
    condition: Condition,
    model_side: int,
) -> ProbeFacts:
    quality = PictureQuality(shortest_side, hashed.quality, luminance_std)
    return ProbeFacts(
        condition=condition.value,
        shortest_side=shortest_side,
        model_side=model_side,
        is_flat=is_flat(quality),
    )


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
