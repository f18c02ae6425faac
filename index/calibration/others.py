"""How near each of some images comes to the members of a collection that show another picture.

Three kinds of pair are never compared, because their similarity says nothing about other pictures:
an image with itself, an image with its near duplicates by perceptual hash, and two images made of
the same photograph. Two questions are answered: the k nearest members of each probe, and the one
nearest in both directions. Memory is bounded by blocks of probes and members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.near_hashes import NearHashes
from index.truth.perceptual import PerceptualHash

NOTHING = -np.inf  # the similarity to a member that is not compared, or not there
# Hashes are compared for many probes before vectors are: FAISS and BLAS each keep threads that wait
# busily after every call, and alternating them by block took half as long again.
HASHES_AT_ONCE = 4096


class BlockShape(NamedTuple):
    """How many probes and members are multiplied at a time."""

    rows: int
    columns: int


# 64 MB of float32: the k largest of a row are sorted once a block, so rows are long.
NEAREST_BLOCK = BlockShape(2**8, 2**16)
# As many, for members as float16: with 256 rows, making them float32 took as long as the products.
HALF_BLOCK = BlockShape(2**11, 2**13)
# 16 MB of float32: a matrix product fills it at full speed, and a CPU's cache nearly holds it for
# the two passes that follow, one by row and one by column.
BOTH_WAYS_BLOCK = BlockShape(512, 8192)


class Pictures(Protocol):
    """n images as arrays of n rows; images with equal source numbers come from one photograph."""

    @property
    def image_ids(self) -> NDArray[np.int64]: ...

    @property
    def sources(self) -> NDArray[np.int64]: ...

    @property
    def vectors(self) -> NDArray[np.floating[Any]]:
        """Vectors (n, d) of norm 1, as float32 or float16. They are compared as float32."""
        ...

    def __len__(self) -> int: ...

    def hashes_of(self, rows: slice) -> Sequence[PerceptualHash | None]: ...


class Pairs(NamedTuple):
    """Rows (p,) of the probes and rows (p,) of the members, pair by pair."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def within(self, rows: slice, columns: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where those of the pairs that lie in the block of these rows and columns stand in
        it.
        """
        inside = (self.rows >= rows.start) & (self.rows < rows.stop)
        inside &= (self.columns >= columns.start) & (self.columns < columns.stop)
        return self.rows[inside] - rows.start, self.columns[inside] - columns.start


class SamePictures:
    """Finds the members of a collection that an image must not be compared with."""

    def __init__(self, members: Pictures) -> None:
        self._by_image = _Places(members.image_ids)
        self._by_source = _Places(members.sources)
        self._hashes = NearHashes()
        for span in spans(len(members), HASHES_AT_ONCE):
            reliable = {
                row: each.bits
                for row, each in enumerate(members.hashes_of(span), span.start)
                if each is not None and each.reliable
            }
            self._hashes.add(list(reliable), list(reliable.values()))

    def near_duplicates(self, probes: Pictures, rows: slice) -> Pairs:
        """Return pairs that are near duplicates by perceptual hash, of each row the nearest
        first.
        """
        return _pairs(rows, self._hashes.find(probes.hashes_of(rows)))

    def identical(self, probes: Pictures, rows: slice) -> Pairs:
        """Return pairs that are the same image, byte for byte."""
        return _pairs(rows, self._by_image.of(probes.image_ids[rows]))

    def of_one_photograph(self, probes: Pictures, rows: slice) -> Pairs:
        """Return pairs that were made of one photograph."""
        return _pairs(rows, self._by_source.of(probes.sources[rows]))

    def excluded(self, probes: Pictures, rows: slice) -> Pairs:
        """Return all pairs that are not compared; a pair may come more than once."""
        return _join_pairs(
            self.identical(probes, rows),
            self.of_one_photograph(probes, rows),
            self.near_duplicates(probes, rows),
        )


class _Places:
    """Where each value stands in an array."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def of(self, values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        first = np.searchsorted(self._sorted, values, "left").tolist()
        last = np.searchsorted(self._sorted, values, "right").tolist()
        return [self._order[start:end] for start, end in zip(first, last, strict=True)]


class Kinds(NamedTuple):
    """A number for each probe (m,) and for each member (n,), such as that of its collection."""

    probes: NDArray[np.int64]
    members: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The k nearest members of each of m probes: similarities (m, k) float64, falling, and their
    positions (m, k).

    Where fewer than k members may be compared, the rest is `NOTHING` at position -1. `counts`
    (m, t) says how many members reach each of t thresholds. `elsewhere` (m,) is the largest
    similarity to a member of another kind than the probe's, if kinds were given.
    """

    similarities: NDArray[np.float64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]
    elsewhere: NDArray[np.float64] | None = None

    @property
    def maxima(self) -> NDArray[np.float64]:
        """The largest similarity (m,) of each probe."""
        maxima: NDArray[np.float64] = self.similarities[:, 0]
        return maxima

    def taking(self, rows: NDArray[np.int64]) -> Self:
        """Return the same for some of the probes."""
        elsewhere = None if self.elsewhere is None else self.elsewhere[rows]
        return type(self)(
            self.similarities[rows], self.positions[rows], self.counts[rows], elsewhere
        )


def join_nearest(parts: Sequence[Nearest]) -> Nearest:
    """Return what was found for the probes of several searches among the same members."""
    elsewhere = [each.elsewhere for each in parts if each.elsewhere is not None]
    return Nearest(
        np.concatenate([each.similarities for each in parts]),
        np.concatenate([each.positions for each in parts]),
        np.concatenate([each.counts for each in parts]),
        np.concatenate(elsewhere) if len(elsewhere) == len(parts) else None,
    )


def find_nearest(
    probes: Pictures,
    members: Pictures,
    same: SamePictures,
    *,
    k: int = 1,
    thresholds: ArrayLike = (),
    kinds: Kinds | None = None,
    block: BlockShape | None = None,
) -> Nearest:
    """Return the k nearest members of each probe among other pictures.

    `same` was made of these members. Equally near members come in the order of their positions.
    """
    if block is None:
        block = HALF_BLOCK if members.vectors.dtype == np.float16 else NEAREST_BLOCK
    elsewhere = None if kinds is None else np.full(len(probes), NOTHING, np.float32)
    m, limits = len(probes), _in_float32(np.asarray(thresholds, np.float64))
    similarities = np.full((m, k), NOTHING, np.float32)
    positions = np.full((m, k), -1, np.int64)
    counts = np.zeros((m, len(limits)), np.int64)
    for part in spans(m, HASHES_AT_ONCE):
        excluded = same.excluded(probes, part)
        for rows in spans(part.stop, block.rows, part.start):
            for columns, products in _products(probes, members, rows, excluded, block.columns):
                if kinds is not None and elsewhere is not None:
                    own = kinds.probes[rows, None] == kinds.members[None, columns]  # (b, c)
                    largest = np.where(own, NOTHING, products).max(axis=1)
                    elsewhere[rows] = np.maximum(elsewhere[rows], largest)
                for column, limit in enumerate(limits):
                    counts[rows, column] += np.count_nonzero(products >= limit, axis=1)
                places, values = _largest(products, k)
                # Earlier columns come first: a stable sort keeps equal values by position.
                places = np.hstack([positions[rows], places + columns.start])
                values = np.hstack([similarities[rows], values])
                order = np.argsort(-values, axis=1, kind="stable")[:, :k]
                positions[rows] = np.take_along_axis(places, order, axis=1)
                similarities[rows] = np.take_along_axis(values, order, axis=1)
    positions[similarities == NOTHING] = -1
    return Nearest(
        similarities.astype(np.float64).clip(NOTHING, 1.0),
        positions,
        counts,
        None if elsewhere is None else elsewhere.astype(np.float64).clip(NOTHING, 1.0),
    )


def _in_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the smallest float32 not below each threshold: a float32 similarity reaches one
    exactly when it reaches the other.
    """
    rounded = thresholds.astype(np.float32)
    limits: NDArray[np.float32] = np.where(
        rounded < thresholds, np.nextafter(rounded, np.float32(np.inf)), rounded
    )
    return limits


def _largest(
    products: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return positions (b, k) and values (b, k) of the k largest in each row (b, n), falling;
    equal values by position.
    """
    if k == 1:
        first = products.argmax(axis=1)[:, None]
        return first, np.take_along_axis(products, first, axis=1)
    width = min(k, products.shape[1])
    least = -np.partition(-products, width - 1, axis=1)[:, width - 1]  # (b,): the k-th largest
    positions = np.full((len(products), k), -1, np.int64)
    values = np.full((len(products), k), NOTHING, np.float32)
    for row, (similarities, limit) in enumerate(zip(products, least, strict=True)):
        above, equal = np.flatnonzero(similarities > limit), np.flatnonzero(similarities == limit)
        falling = above[np.argsort(-similarities[above], kind="stable")]
        some = np.concatenate([falling, equal])[:width]
        positions[row, :width] = some
        values[row, :width] = similarities[some]
    return positions, values


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """n images beside m members, each with the nearest of the other side that shows another
    picture; position -1 where there is none.

    `same_counts` (n,) counts the members that show the same picture, byte for byte or by
    perceptual hash. `first_same` (n,) is one of them, an identical one if there is one;
    `identical` (n,) says so. Where a collection is compared with itself, an image does not count as
    its own copy.
    """

    similarities: NDArray[np.float32]  # (n,)
    positions: NDArray[np.int64]  # (n,)
    back_similarities: NDArray[np.float32]  # (m,)
    back_positions: NDArray[np.int64]  # (m,)
    same_counts: NDArray[np.int64]
    first_same: NDArray[np.int64]
    identical: NDArray[np.bool_]


def compare_both_ways(
    images: Pictures,
    members: Pictures,
    visit: Callable[[Pairs], None] | None = None,
    *,
    block: BlockShape = BOTH_WAYS_BLOCK,
) -> Comparison:
    """Compare each image with each member, which may be the same images; `visit` gets the pairs
    that are near duplicates.

    A collection compared with itself takes half the time: each similarity serves both directions.
    """
    n, m = len(images), len(members)
    found = Comparison(
        similarities=np.full(n, NOTHING, np.float32),
        positions=np.full(n, -1, np.int64),
        back_similarities=np.full(m, NOTHING, np.float32),
        back_positions=np.full(m, -1, np.int64),
        same_counts=np.zeros(n, np.int64),
        first_same=np.full(n, -1, np.int64),
        identical=np.zeros(n, np.bool_),
    )
    same, with_itself = SamePictures(members), images is members
    for rows in spans(n, block.rows):
        near, identical = same.near_duplicates(images, rows), same.identical(images, rows)
        if visit:
            visit(near)
        _note_same(found, near, identical, with_itself=with_itself)
        excluded = _join_pairs(near, identical, same.of_one_photograph(images, rows))
        first = rows.start if with_itself else 0
        for columns, products in _products(images, members, rows, excluded, block.columns, first):
            _note_nearest(found, products, rows, columns)
    return _join_directions(found) if with_itself else found


def _note_same(found: Comparison, near: Pairs, identical: Pairs, *, with_itself: bool) -> None:
    """Count the same pictures of some rows, each once, and remember the first of them."""
    if with_itself:  # an image is in a collection once: the identical one is the image itself
        apart = near.rows != near.columns
        near = Pairs(near.rows[apart], near.columns[apart])
        identical = Pairs(near.rows[:0], near.columns[:0])
    both = np.unique(np.stack(_join_pairs(near, identical)), axis=1)  # (2, p)
    np.add.at(found.same_counts, both[0], 1)
    for pairs in (near, identical):  # an identical one replaces a near duplicate
        found.first_same[pairs.rows[::-1]] = pairs.columns[::-1]
    found.identical[identical.rows] = True


def _note_nearest(
    found: Comparison, products: NDArray[np.float32], rows: slice, columns: slice
) -> None:
    """Take over the largest similarities of a block (b, c) in both directions; of equal ones the
    first stays.
    """
    largest = products.max(axis=1)  # (b,)
    better = np.flatnonzero(largest > found.similarities[rows])
    found.similarities[rows.start + better] = largest[better]
    found.positions[rows.start + better] = columns.start + products[better].argmax(axis=1)
    largest = products.max(axis=0)  # (c,)
    better = np.flatnonzero(largest > found.back_similarities[columns])
    found.back_similarities[columns.start + better] = largest[better]
    found.back_positions[columns.start + better] = rows.start + products[:, better].argmax(axis=0)


def _join_directions(found: Comparison) -> Comparison:
    """Join, for a collection compared with itself, the nearest among the images behind each one's
    block with the nearest among the images before it.
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


def _products(
    probes: Pictures,
    members: Pictures,
    rows: slice,
    excluded: Pairs,
    size: int,
    first: int = 0,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield columns, from `first` on, and the similarities (b, c) of some probes there, `NOTHING`
    where a pair is excluded.
    """
    own = probes.vectors[rows].astype(np.float32, copy=False)
    for columns in spans(len(members), size, first):
        some = members.vectors[columns].astype(np.float32, copy=False)
        products = own @ some.T  # (b, d) @ (d, c) -> (b, c)
        products[excluded.within(rows, columns)] = NOTHING
        yield columns, products


def _pairs(rows: slice, columns: Sequence[NDArray[np.int64]]) -> Pairs:
    lengths = [len(each) for each in columns]
    return Pairs(
        np.repeat(np.arange(rows.start, rows.stop, dtype=np.int64), lengths),
        np.concatenate([*columns, np.empty(0, np.int64)]),
    )


def _join_pairs(*pairs: Pairs) -> Pairs:
    return Pairs(
        np.concatenate([each.rows for each in pairs]),
        np.concatenate([each.columns for each in pairs]),
    )


def spans(count: int, size: int, first: int = 0) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `first` to `count`."""
    for start in range(first, count, size):
        yield slice(start, min(start + size, count))
