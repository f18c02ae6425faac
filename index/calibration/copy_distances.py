"""How near the views of unrelated pictures come to known fakes, by Hamming distance, and the curve
of false leads that follows.

A pair is left out if both images were made of one photograph, and if any view is a near duplicate:
then the two show one picture, or the rule of near duplicates is wrong about them, which is counted
apart. What is measured is the band beyond that rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import faiss
import numpy as np
from numpy.typing import NDArray

from index.calibration.copies import fit_distances
from index.calibration.false_matches import FalseMatches
from index.calibration.growth import fit_growth
from index.copies import ViewHash
from index.truth.perceptual import HASH_BYTES, MAX_HAMMING_DISTANCE

Bits = NDArray[np.uint8]
Numbers = NDArray[np.int64]

# Distances from here on count as one. Half of all photographs have an unrelated neighbour at
# 96 bits among 1,600 pictures, so that a tail has enough to rest on. Among many entries there are
# nearer ones, and all pairs as far apart as this would be too many.
FURTHEST, FURTHEST_OF_MANY = 112, 98
MANY = 20_000
# Images and entries that are compared at once: a tenth of the pairs of all views takes 100 MB.
IMAGES_AT_ONCE, ENTRIES_AT_ONCE = 16, 2**15
# Nearest entries looked for beyond those that are wanted: so many may be of one photograph.
SPARE = 12
# The distances at which neighbours are counted, to learn how the rate grows: those reached by these
# shares of the images (as `calibration.GROWTH_SHARES`).
GROWTH_SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)


@dataclass(frozen=True, slots=True, eq=False)
class ViewedImages:
    """n images as their views: the hashes (v, 32) that are reliable, the row of each one's image
    (v,), and the source number of each image (n,).
    """

    bits: Bits
    rows: Numbers
    sources: Numbers

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """The neighbours of n images: how many entries that show another picture are nearer than
    `FURTHEST`, by their distance (n, FURTHEST); and whether a view is a near duplicate of some
    entry (n,).
    """

    histogram: Numbers
    is_near_duplicate: NDArray[np.bool_]

    @property
    def smallest(self) -> Numbers:
        """The smallest distance of each image (n,); `FURTHEST` if there is none."""
        found = self.histogram > 0
        return np.where(found.any(axis=1), found.argmax(axis=1), FURTHEST)

    def count_within(self, bits: Numbers) -> Numbers:
        """Return how many entries are within each of t distances (n, t)."""
        counted: Numbers = np.cumsum(self.histogram, axis=1)[:, bits]
        return counted


def gather_views(views: Sequence[Sequence[ViewHash]], sources: Numbers) -> ViewedImages:
    """Return images by their reliable views. An image without one has no neighbour."""
    pairs = [
        (row, each.hash.bits) for row, own in enumerate(views) for each in own if each.hash.reliable
    ]
    return ViewedImages(
        np.frombuffer(b"".join(bits for _, bits in pairs), np.uint8).reshape(-1, HASH_BYTES),
        np.array([row for row, _ in pairs], np.int64),
        sources,
    )


def find_distances(images: ViewedImages, entries: Bits, entry_sources: Numbers) -> Distances:
    """Compare all views with the reliable hashes (m, 32) of entries; `entry_sources` (m,) are the
    photographs that they were made of.
    """
    histogram = np.zeros(len(images) * FURTHEST, np.int64)
    near = np.zeros(len(images), np.bool_)
    radius = FURTHEST if len(entries) < MANY else FURTHEST_OF_MANY
    for first in range(0, len(entries), ENTRIES_AT_ONCE):
        block = slice(first, first + ENTRIES_AT_ONCE)
        index = faiss.IndexBinaryFlat(HASH_BYTES * 8)
        index.add(np.ascontiguousarray(entries[block]))
        for start in range(0, len(images), IMAGES_AT_ONCE):
            end = min(start + IMAGES_AT_ONCE, len(images))
            views = slice(*np.searchsorted(images.rows, [start, end]).tolist())
            rows, columns, distances = _find_pairs(
                index, images.bits[views], images.rows[views], radius
            )
            same = images.sources[rows] == entry_sources[block][columns]
            is_copy = (distances <= MAX_HAMMING_DISTANCE) & ~same
            near[rows[is_copy]] = True
            kept = ~(same | is_copy)
            places = rows[kept] * FURTHEST + distances[kept]
            histogram += np.bincount(places, minlength=len(histogram))
    return Distances(histogram.reshape(len(images), FURTHEST), near)


def find_nearest_entries(
    images: ViewedImages, entries: Bits, entry_sources: Numbers, most: int
) -> list[Numbers]:
    """Return the places of the nearest entries that show another picture than each image, nearest
    first, at most `most`: those that a look-up of it would verify.
    """
    index = faiss.IndexBinaryFlat(HASH_BYTES * 8)
    index.add(np.ascontiguousarray(entries))
    found: list[Numbers] = []
    for number, source in enumerate(images.sources.tolist()):
        views = slice(*np.searchsorted(images.rows, [number, number + 1]).tolist())
        if views.start == views.stop or not len(entries):
            found.append(np.empty(0, np.int64))
            continue
        wanted = min(len(entries), most + SPARE)
        distances, columns = index.search(np.ascontiguousarray(images.bits[views]), wanted)
        order = np.argsort(distances, axis=None, kind="stable")
        nearest = columns.ravel()[order].astype(np.int64)
        is_copy = distances.ravel()[order] <= MAX_HAMMING_DISTANCE
        left_out = (entry_sources[nearest] == source) | np.isin(nearest, nearest[is_copy])
        found.append(_distinct(nearest[~left_out])[:most])
    return found


def find_near_duplicates(images: ViewedImages, entries: Bits) -> list[Numbers]:
    """Return the places of the entries that are near duplicates of a view of each image."""
    index = faiss.IndexBinaryFlat(HASH_BYTES * 8)
    index.add(np.ascontiguousarray(entries))
    rows, columns, _ = _find_pairs(index, images.bits, images.rows, MAX_HAMMING_DISTANCE + 1)
    limits = np.searchsorted(rows, np.arange(len(images) + 1)).tolist()
    return [columns[start:end] for start, end in pairwise(limits)]


def _distinct(places: Numbers) -> Numbers:
    """Return each place once, in the order of its first mention."""
    _, first = np.unique(places, return_index=True)
    return places[np.sort(first)]


def _find_pairs(
    index: faiss.IndexBinaryFlat, bits: Bits, rows: Numbers, radius: int
) -> tuple[Numbers, Numbers, Numbers]:
    """Return the pairs of an image (p,) and an entry (p,) that come nearer than `radius` bits,
    each once, and their distances (p,) by the nearest view.
    """
    if not len(bits):
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing
    # FAISS returns hashes nearer than the radius, without those exactly at it.
    limits, distances, columns = index.range_search(np.ascontiguousarray(bits), radius)
    counts: Numbers = limits[1:].astype(np.int64) - limits[:-1].astype(np.int64)
    found: Numbers = np.repeat(rows, counts)
    order = np.lexsort((distances, columns, found))
    found, columns = found[order], columns[order].astype(np.int64)
    is_first = np.ones(len(found), np.bool_)
    is_first[1:] = (found[1:] != found[:-1]) | (columns[1:] != columns[:-1])
    nearest: Numbers = distances[order][is_first].astype(np.int64)
    return found[is_first], columns[is_first], nearest


def fit_band(
    found: Distances, sources: Numbers, *, compared: int, corpus_size: int, seed: int = 0
) -> FalseMatches:
    """Fit the rates of false leads of n images, with the photographs that they were made of (n,).

    They were compared with `compared` entries of a corpus of `corpus_size`, which also has entries
    whose hash is not reliable. Raises ValueError without any image.
    """
    reached = [np.quantile(found.smallest, share, method="lower") for share in GROWTH_SHARES]
    limits = np.unique(np.array(reached, np.int64))
    limits = limits[limits < FURTHEST][::-1]  # distances fall as similarities rise
    growth = fit_growth(
        found.count_within(limits),
        1 - 2 * limits / (8 * HASH_BYTES),
        sources,
        corpus_size=compared,
        seed=seed,
    )
    return fit_distances(found.smallest, sources, corpus_size=corpus_size, growth=growth, seed=seed)
