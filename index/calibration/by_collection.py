"""How near the images of each reference collection come to known fakes: whether one rate speaks for
all of them.

Where one collection comes near and the others do not, the rate over all is that of their mixture,
and says little of an image from elsewhere (docs/evidence.md: 23 % of one collection where 1 % was
asked, one image of all the others). What was counted is kept as it is; nothing is fitted, and
nothing is foretold for a corpus that has grown.
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

# Of fewer images a share tells next to nothing: where none of 20 came near, 15 % still may (rule of
# three).
MIN_IMAGES = 20
# What is kept: of each collection so many or a quarter, beyond which nobody asks for a rate, and so
# many collections. Of the 20,000 images that a calibration measures at most, these are some 100 kB.
LEAST_KEPT, KEPT_SHARE, MOST_COLLECTIONS = 200, 0.25, 20
DECIMALS = 9  # as `false_matches`


@dataclass(frozen=True, slots=True)
class CollectionMatches:
    """`n` known-real images of one collection, and how near the closest of them come: similarities,
    falling.
    """

    collection: CollectionName
    n: int
    closest: tuple[float, ...]

    def matches_at(self, similarity: float) -> int | None:
        """Return how many images come at least this near;

        None where they are more than are kept.
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
    """Return what the collections of n images came to, by name: the largest of those with
    `MIN_IMAGES` or more.

    `maxima` (n,) is each image's largest similarity. Nothing where there are fewer than two such
    collections.
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
