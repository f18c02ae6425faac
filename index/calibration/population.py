"""Images as arrays, and how near each of some images comes to the members of a population that are
other pictures.

What is never compared: an image with itself, with its near duplicates by perceptual hash, and with
what was made of the same photograph. Memory is bounded by blocks of probes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from index.near_hashes import NearHashes
from index.truth.perceptual import PerceptualHash

BLOCK_ROWS, BLOCK_COLUMNS = 2**8, 2**16  # compared at a time, 64 MB of float32
NOTHING = -np.inf  # similarity to what is not compared, or not there


class CollectionName(NamedTuple):
    """Where an image is from: a corpus, and what its entry there has as its source."""

    corpus: str
    source: str | None

    @property
    def key(self) -> tuple[str, str]:
        """What collections are ordered by."""
        return self.corpus, self.source or ""


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """n images: row ids (n,), numbers of their source images (n,), vectors (n, d) of norm 1, logits
    (n,).

    Images with the same source number were made of one photograph, or are parts of it.
    `collections` is empty where nobody said what they are from.
    """

    image_ids: NDArray[np.int64]
    sources: NDArray[np.int64]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]
    generators: tuple[str | None, ...]
    hashes: tuple[PerceptualHash | None, ...]
    collections: tuple[CollectionName, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

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

    def delivered(
        self,
        image_ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        logits: NDArray[np.float64],
    ) -> Self:
        """Return those of the images that are in `image_ids` (rising), with other vectors (m, d)
        and logits (m,).
        """
        rows = np.flatnonzero(np.isin(self.image_ids, image_ids))
        places = np.searchsorted(image_ids, self.image_ids[rows])
        return replace(self.taking(rows), vectors=vectors[places], logits=logits[places])


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The k nearest members of each probe: similarities (m, k) float64, falling, and positions (m,
    k).

    Where fewer than k may be compared the rest is `NOTHING` at position -1. `counts` (m, t) says
    how many members have at least each of t similarities that were asked for.
    """

    similarities: NDArray[np.float64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def maxima(self) -> NDArray[np.float64]:
        """The largest similarity of each probe (m,)."""
        maxima: NDArray[np.float64] = self.similarities[:, 0]
        return maxima


class Others:
    """For each image, the members of a population that are not to be compared with it."""

    def __init__(self, members: Population) -> None:
        self._by_image = _Places(members.image_ids)
        self._by_source = _Places(members.sources)
        self._hashes = NearHashes()
        reliable = [
            row
            for row, hashed in enumerate(members.hashes)
            if hashed is not None and hashed.reliable
        ]
        self._hashes.add(
            reliable,
            [hashed.bits for hashed in members.hashes if hashed is not None and hashed.reliable],
        )

    def excluded(self, probes: Population) -> list[NDArray[np.int64]]:
        """Return, for each probe, the positions (e,) of members that show the same picture or come
        from its source.
        """
        near = self._hashes.find(probes.hashes)
        return [
            np.concatenate([self._by_image.of(image_id), self._by_source.of(source), same_picture])
            for image_id, source, same_picture in zip(
                probes.image_ids, probes.sources, near, strict=True
            )
        ]


class _Places:
    """Where each value stands in an array."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def of(self, value: np.int64) -> NDArray[np.int64]:
        first, last = (
            np.searchsorted(self._sorted, value, "left"),
            np.searchsorted(self._sorted, value, "right"),
        )
        places: NDArray[np.int64] = self._order[first:last]
        return places


def nearest(
    probes: Population,
    members: Population,
    others: Others,
    *,
    k: int = 1,
    thresholds: Sequence[float] | NDArray[np.float64] = (),
) -> Nearest:
    """Return the k nearest members of each probe among other pictures;

    `others` was made of the members.
    """
    m, limits = len(probes), _in_float32(np.asarray(thresholds, np.float64))
    similarities = np.full((m, k), NOTHING, np.float32)
    positions = np.full((m, k), -1, np.int64)
    counts = np.zeros((m, len(limits)), np.int64)
    excluded = others.excluded(probes)
    for start in range(0, m, BLOCK_ROWS):
        some = slice(start, start + BLOCK_ROWS)
        left_out = _Pairs.of(excluded[some])
        for first in range(0, len(members), BLOCK_COLUMNS):
            columns = slice(first, first + BLOCK_COLUMNS)
            block = probes.vectors[some] @ members.vectors[columns].T  # (b, c)
            block[left_out.within(columns)] = NOTHING
            for column, limit in enumerate(limits):
                counts[some, column] += np.count_nonzero(block >= limit, axis=1)
            found, values = _largest(block, k)
            # What is equally near and stands before comes first: the columns rise.
            found, values = (
                np.hstack([positions[some], found + first]),
                np.hstack([similarities[some], values]),
            )
            order = np.argsort(-values, axis=1, kind="stable")[:, :k]
            positions[some] = np.take_along_axis(found, order, axis=1)
            similarities[some] = np.take_along_axis(values, order, axis=1)
    positions[similarities == NOTHING] = -1
    return Nearest(similarities.astype(np.float64).clip(NOTHING, 1.0), positions, counts)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Rows of a block and the positions that they are not compared with, (p,) each."""

    rows: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, excluded: Sequence[NDArray[np.int64]]) -> Self:
        rows = np.repeat(np.arange(len(excluded)), [len(places) for places in excluded])
        return cls(rows, np.concatenate(excluded).astype(np.int64))

    def within(self, columns: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and columns of those that stand in these columns."""
        inside = (self.positions >= columns.start) & (self.positions < columns.stop)
        return self.rows[inside], self.positions[inside] - columns.start


def _in_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the smallest float32 that are not under the thresholds: what reaches the one reaches
    the other.
    """
    rounded = thresholds.astype(np.float32)
    limits: NDArray[np.float32] = np.where(
        rounded < thresholds, np.nextafter(rounded, np.float32(np.inf)), rounded
    )
    return limits


def _largest(block: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return positions (b, k) and values (b, k) of the largest in each row (b, n), falling; equal
    ones by position.
    """
    if k == 1:
        first = block.argmax(axis=1)[:, None]
        return first, np.take_along_axis(block, first, axis=1)
    width = min(k, block.shape[1])
    least = -np.partition(-block, width - 1, axis=1)[:, width - 1]  # (b,): the k-th largest
    positions = np.full((len(block), k), -1, np.int64)
    values = np.full((len(block), k), NOTHING, np.float32)
    for row, (similarities, limit) in enumerate(zip(block, least, strict=True)):
        above, equal = np.flatnonzero(similarities > limit), np.flatnonzero(similarities == limit)
        some = np.concatenate([above[np.argsort(-similarities[above], kind="stable")], equal])[
            :width
        ]
        positions[row, :width] = some
        values[row, :width] = similarities[some]
    return positions, values
