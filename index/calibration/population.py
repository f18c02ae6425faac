"""The images that a calibration is measured on, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from index.truth.perceptual import PerceptualHash


class CollectionName(NamedTuple):
    """Where an image comes from: its corpus, and the source that its entry there names, otherwise
    the folder that it was ingested from.
    """

    corpus: str
    source: str | None

    @property
    def key(self) -> tuple[str, str]:
        """The key by which collections are sorted."""
        return self.corpus, self.source or ""


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """n images: row ids (n,), source numbers (n,), vectors (n, d) of norm 1, logits (n,).

    The vectors have the form in which their space stores them: float32, or float16 for copies.
    Images with the same source number were made of one photograph, or are parts of it.
    `collections` is empty where the origin of the images is not known. Images that came with a
    model are in no database: their ids and source numbers are below 0. Implements
    `others.Pictures`.
    """

    image_ids: NDArray[np.int64]
    sources: NDArray[np.int64]
    vectors: NDArray[np.floating[Any]]
    logits: NDArray[np.float64]
    generators: tuple[str | None, ...]
    hashes: tuple[PerceptualHash | None, ...]
    collections: tuple[CollectionName, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def is_shipped(self) -> NDArray[np.bool_]:
        """Whether each image (n,) came with a model."""
        return self.image_ids < 0

    def hashes_of(self, rows: slice) -> Sequence[PerceptualHash | None]:
        return self.hashes[rows]

    def taking(self, rows: NDArray[np.int64]) -> Self:
        """Return some of the images, in the order of `rows`."""
        return replace(
            self,
            image_ids=self.image_ids[rows],
            sources=self.sources[rows],
            vectors=self.vectors[rows],
            logits=self.logits[rows],
            generators=tuple(self.generators[row] for row in rows),
            hashes=tuple(self.hashes[row] for row in rows),
            collections=tuple(self.collections[row] for row in rows) if self.collections else (),
        )

    def as_delivered(
        self,
        image_ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        logits: NDArray[np.float64],
    ) -> Self:
        """Return the images listed in `image_ids` (rising) as they look after a delivery: with
        other vectors (m, d) and logits (m,), one for each of `image_ids`.
        """
        rows = np.flatnonzero(np.isin(self.image_ids, image_ids))
        places = np.searchsorted(image_ids, self.image_ids[rows])
        return replace(self.taking(rows), vectors=vectors[places], logits=logits[places])


def join_populations(*populations: Population) -> Population:
    """Return the images of several populations, in their order.

    If one of them has no collections, the result has none. No image may be in two of them.
    """
    parts = [each for each in populations if len(each)] or list(populations[:1])
    has_collections = all(each.collections for each in parts)
    return Population(
        image_ids=np.concatenate([each.image_ids for each in parts]),
        sources=np.concatenate([each.sources for each in parts]),
        vectors=np.concatenate([each.vectors for each in parts]),
        logits=np.concatenate([each.logits for each in parts]),
        generators=tuple(name for each in parts for name in each.generators),
        hashes=tuple(value for each in parts for value in each.hashes),
        collections=tuple(name for each in parts for name in each.collections)
        if has_collections
        else (),
    )
