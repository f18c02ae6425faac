"""What is wrong with a corpus, from stored vectors, logits and hashes alone: clusters, hubs, images
on the wrong side.

Pure functions of arrays; `index.proof.inspection` reads them from SQL. Memory is bounded by blocks,
whatever the numbers of images are: vectors may be a mapped file.

Source: M. Radovanovic, A. Nanopoulos, M. Ivanovic, "Hubs in Space: Popular Nearest Neighbors in
High-Dimensional Data", JMLR 11 (2010), for k-occurrences and their skewness. The limits of what is
called a hub are our own choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import pdtrc

from index.near_hashes import NearHashes
from index.truth.perceptual import PerceptualHash

# Similarities at a time: 16 MB of float32, which a matrix product fills at full speed and a cache
# nearly holds.
BLOCK_ROWS = 512
BLOCK_COLUMNS = 8192
# Our choice, the common one for what sticks out: in a corpus that is skewed as a whole few entries
# do.
HUB_DEVIATIONS = 2.0
# By chance alone, if every picture found its nearest at random, one corpus in a hundred would have
# such an entry.
HUB_CHANCE = 0.01
NOTHING = -np.inf  # similarity to what is not compared, or not there


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """n entries with different images, as arrays of as many rows.

    Vectors (n, d) of norm 1. Images with the same source number were made of one photograph.
    `hash_bits` (n, 32) count where `hashed`, which is where there is a hash of enough quality.
    """

    entry_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    sources: NDArray[np.int64]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]
    hash_bits: NDArray[np.uint8]
    hashed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.entry_ids)


class Pairs(NamedTuple):
    """Rows (p,) of one side and rows (p,) of the other."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """n images beside m others, each with its nearest of the other side among other pictures;
    position -1 for none.

    Other pictures: neither the same bytes, nor near duplicates, nor made of the same photograph.
    `same` (n,) counts the others that show the same picture, bytes or hash; `first_same` (n,) is
    one of them, that of the same bytes where there is one, which `identical` (n,) says. An image is
    not the same as itself.
    """

    similarities: NDArray[np.float32]  # (n,)
    positions: NDArray[np.int64]  # (n,)
    back_similarities: NDArray[np.float32]  # (m,)
    back_positions: NDArray[np.int64]  # (m,)
    same: NDArray[np.int64]
    first_same: NDArray[np.int64]
    identical: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Hubs:
    """Which of n entries are the nearest of more pictures than they should be.

    `counts` (n,) is the 1-occurrence of each; `rows` are the entries at or over `limit`, most often
    nearest first.
    """

    counts: NDArray[np.int64]
    rows: NDArray[np.int64]
    expected: float
    skewness: float
    limit: int


class Clusters:
    """The connected components of rows that show the same picture, from pairs that come in any
    order.
    """

    def __init__(self, count: int) -> None:
        self._labels = np.arange(count, dtype=np.int64)

    def join(self, pairs: Pairs) -> None:
        """Take pairs of rows that belong together; a row with itself says nothing."""
        apart = pairs.rows != pairs.columns
        if not apart.any():
            return
        ends = self._labels[pairs.rows[apart]], self._labels[pairs.columns[apart]]
        count = len(self._labels)
        graph = coo_array((np.ones(len(ends[0]), np.bool_), ends), shape=(count, count))
        _, joined = connected_components(graph, directed=False)
        self._labels = joined.astype(np.int64)[self._labels]

    def members(self) -> list[NDArray[np.int64]]:
        """Return the rows of each cluster of two or more, rising: the largest first, then by their
        first row.
        """
        order = np.argsort(self._labels, kind="stable")
        starts = np.flatnonzero(np.diff(self._labels[order], prepend=-1))
        groups = np.split(order, starts[1:]) if len(order) else []
        return sorted(
            (group for group in groups if len(group) > 1), key=lambda group: (-len(group), group[0])
        )


def compare(
    images: Images, others: Images, visit: Callable[[Pairs], None] | None = None
) -> Comparison:
    """Compare each image with each of the others, which may be the same images; `visit` gets the
    near duplicates.

    Images with themselves take half the time: a similarity is that of both directions.
    """
    n, m = len(images), len(others)
    found = Comparison(
        similarities=np.full(n, NOTHING, np.float32),
        positions=np.full(n, -1, np.int64),
        back_similarities=np.full(m, NOTHING, np.float32),
        back_positions=np.full(m, -1, np.int64),
        same=np.zeros(n, np.int64),
        first_same=np.full(n, -1, np.int64),
        identical=np.zeros(n, np.bool_),
    )
    pictures, itself = _Pictures(others), images is others
    for rows in _blocks(n, BLOCK_ROWS):
        near, identical = pictures.near(images, rows), pictures.identical(images, rows)
        if visit:
            visit(near)
        _note_same(found, near, identical, itself=itself)
        left_out = _joined([near, identical, pictures.kin(images, rows)])
        for columns in _blocks(m, BLOCK_COLUMNS, first=rows.start if itself else 0):
            block = images.vectors[rows] @ others.vectors[columns].T  # (b, c)
            inside = (left_out.columns >= columns.start) & (left_out.columns < columns.stop)
            block[left_out.rows[inside] - rows.start, left_out.columns[inside] - columns.start] = (
                NOTHING
            )
            _note_nearest(found, block, rows, columns)
    return _both_ways(found) if itself else found


def find_hubs(nearest: NDArray[np.int64], count: int) -> Hubs:
    """Return the hubs among `count` entries, given for each picture (m,) the entry nearest to it,
    -1 for none.

    A hub is nearest more often than two standard deviations over the mean, and so often that chance
    gives no entry of the corpus so many: the Poisson tail beyond `limit`, times the number of
    entries, is at most `HUB_CHANCE`.
    """
    counts = np.bincount(nearest[nearest >= 0], minlength=count).astype(np.int64)  # (n,)
    if not count or not counts.any():
        return Hubs(counts, np.empty(0, np.int64), 0.0, 0.0, 0)
    mean, deviation = float(counts.mean()), float(counts.std())
    limit = math.floor(mean + HUB_DEVIATIONS * deviation) + 1
    while (
        count * pdtrc(limit - 1, mean) > HUB_CHANCE
    ):  # of the entries, so many would have `limit` or more
        limit += 1
    rows = np.flatnonzero(counts >= limit)
    order = np.argsort(-counts[rows], kind="stable")
    skewness = float((((counts - mean) / deviation) ** 3).mean()) if deviation else 0.0
    return Hubs(counts, rows[order], mean, skewness, limit)


def looks_real(
    logits: NDArray[np.float64],
    authentic_logit: float,
    to_real: NDArray[np.float32],
    to_fake: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Return the rows of known fakes that look real from both sides, those nearest to the real side
    first.

    One side is the classifier: the logit (n,) is not over the limit of authentic. The other is
    similarity: the nearest known-real image is nearer (n,) than the nearest known fake (n,), of
    other pictures both. Nothing to compare with on a side, `NOTHING`, is no evidence.
    """
    margins = np.where(np.isfinite(to_real) & np.isfinite(to_fake), 0.0, NOTHING)  # (n,)
    both = np.isfinite(margins)
    margins[both] = to_real[both].astype(np.float64) - to_fake[both]
    rows = np.flatnonzero((logits <= authentic_logit) & (margins > 0.0))
    return rows[np.argsort(-margins[rows], kind="stable")]


class _Pictures:
    """For rows of images, those of the others that show the same picture or are made of the same
    photograph.
    """

    def __init__(self, others: Images) -> None:
        self._images = _Places(others.image_ids)
        self._sources = _Places(others.sources)
        self._hashes = NearHashes()
        rows = np.flatnonzero(others.hashed)
        self._hashes.add(rows.tolist(), [others.hash_bits[row].tobytes() for row in rows])

    def near(self, images: Images, rows: slice) -> Pairs:
        """Near duplicates by perceptual hash; of each row the nearest first."""
        return _pairs(
            rows, self._hashes.find([_hash_of(images, row) for row in range(rows.start, rows.stop)])
        )

    def identical(self, images: Images, rows: slice) -> Pairs:
        return _pairs(rows, self._images.of(images.image_ids[rows]))

    def kin(self, images: Images, rows: slice) -> Pairs:
        return _pairs(rows, self._sources.of(images.sources[rows]))


class _Places:
    """Where each value stands in an array."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def of(self, values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        first = np.searchsorted(self._sorted, values, "left").tolist()
        last = np.searchsorted(self._sorted, values, "right").tolist()
        return [self._order[start:end] for start, end in zip(first, last, strict=True)]


def _hash_of(images: Images, row: int) -> PerceptualHash | None:
    return PerceptualHash(images.hash_bits[row].tobytes(), 100) if images.hashed[row] else None


def _pairs(rows: slice, columns: list[NDArray[np.int64]]) -> Pairs:
    lengths = [len(each) for each in columns]
    return Pairs(
        np.repeat(np.arange(rows.start, rows.stop, dtype=np.int64), lengths),
        np.concatenate([*columns, np.empty(0, np.int64)]),
    )


def _joined(pairs: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([each.rows for each in pairs]),
        np.concatenate([each.columns for each in pairs]),
    )


def _note_same(found: Comparison, near: Pairs, identical: Pairs, *, itself: bool) -> None:
    """Count the same pictures of some rows, each once, and remember the first of them."""
    if itself:  # an image is once in a corpus, so the same bytes are itself
        apart = near.rows != near.columns
        near, identical = (
            Pairs(near.rows[apart], near.columns[apart]),
            Pairs(near.rows[:0], near.columns[:0]),
        )
    both = np.unique(np.stack(_joined([near, identical])), axis=1)  # (2, p)
    np.add.at(found.same, both[0], 1)
    for pairs in (near, identical):  # the latter wins
        found.first_same[pairs.rows[::-1]] = pairs.columns[::-1]
    found.identical[identical.rows] = True


def _note_nearest(
    found: Comparison, block: NDArray[np.float32], rows: slice, columns: slice
) -> None:
    """Take the largest similarities of a block (b, c) in both directions; of equal ones the first
    stays.
    """
    largest = block.max(axis=1)  # (b,)
    better = np.flatnonzero(largest > found.similarities[rows])
    found.similarities[rows.start + better] = largest[better]
    found.positions[rows.start + better] = columns.start + block[better].argmax(axis=1)
    largest = block.max(axis=0)  # (c,)
    better = np.flatnonzero(largest > found.back_similarities[columns])
    found.back_similarities[columns.start + better] = largest[better]
    found.back_positions[columns.start + better] = rows.start + block[:, better].argmax(axis=0)


def _both_ways(found: Comparison) -> Comparison:
    """Join what was found of images among those from their own block on with what was found of them
    from before it.
    """
    back = (found.back_similarities > found.similarities) | (
        (found.back_similarities == found.similarities) & (found.back_positions < found.positions)
    )
    similarities = np.where(back, found.back_similarities, found.similarities)
    positions = np.where(back, found.back_positions, found.positions)
    return replace(
        found,
        similarities=similarities,
        positions=positions,
        back_similarities=similarities,
        back_positions=positions,
    )


def _blocks(count: int, size: int, first: int = 0) -> Iterator[slice]:
    for start in range(first, count, size):
        yield slice(start, min(start + size, count))
