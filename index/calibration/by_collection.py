"""False matches counted separately for each collection of known-real images.

The false-match rate over all images is that of the mixture of their collections. If one collection
comes nearer to the known fakes than the others, that rate does not apply to an image from
elsewhere. In one example (docs/evidence.md) the threshold at a rate of 1 % was reached by 23 % of
one collection and by one image of all the others. Counts are stored as they are: nothing is fitted,
and nothing is predicted for a larger corpus.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import neg
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.population import CollectionName

# A share of fewer images is too uncertain: if none of 20 came near, the true share may still be
# 15 % (rule of three).
MIN_IMAGES = 20
# Of each collection this many similarities are stored, or a quarter of them, which is beyond any
# useful rate; and at most this many collections. A calibration measures up to 20,000 images, of
# which some 100 kB are stored.
LEAST_KEPT, KEPT_SHARE, MOST_COLLECTIONS = 200, 0.25, 20
DECIMALS = 9  # as `false_matches`


@dataclass(frozen=True, slots=True)
class CollectionMatches:
    """A collection of `n` known-real images, and the largest similarities of its images to any
    known fake, falling.
    """

    collection: CollectionName
    n: int
    closest: tuple[float, ...]

    def matches_at(self, similarity: float) -> int | None:
        """Return how many images reach a similarity to a known fake, None if they are more than are
        stored.
        """
        count = bisect_right(self.closest, -similarity, key=neg)
        return None if count == len(self.closest) < self.n else count

    def to_json(self) -> dict[str, Any]:
        corpus, source = self.collection
        return {"corpus": corpus, "source": source, "n": self.n, "closest": list(self.closest)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            CollectionName(stored["corpus"], stored["source"]),
            stored["n"],
            tuple(stored["closest"]),
        )


def by_collection(
    maxima: NDArray[np.float64], collections: Sequence[CollectionName]
) -> tuple[CollectionMatches, ...]:
    """Count n images by collection, and return the largest collections with at least `MIN_IMAGES`,
    sorted by name.

    `maxima` (n,) is the largest similarity of each image to any known fake. The result is empty if
    fewer than two collections are large enough.
    """
    rows: dict[CollectionName, list[int]] = {}
    for row, collection in enumerate(collections):
        rows.setdefault(collection, []).append(row)
    large = sorted(
        (each for each in rows if len(rows[each]) >= MIN_IMAGES),
        key=lambda each: (-len(rows[each]), each.key),
    )
    if len(large) < 2:
        return ()
    found = sorted(large[:MOST_COLLECTIONS], key=lambda each: each.key)
    return tuple(
        CollectionMatches(each, len(rows[each]), _closest(maxima[rows[each]])) for each in found
    )


def _closest(maxima: NDArray[np.float64]) -> tuple[float, ...]:
    kept = max(LEAST_KEPT, int(KEPT_SHARE * len(maxima)))
    return tuple(np.sort(maxima.round(DECIMALS))[::-1][:kept].tolist())
