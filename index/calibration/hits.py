"""Hit rates: how often a known fake comes as near to another known fake as a probe does.

A false-match rate alone does not say that similarity is worth anything: where known fakes come no
nearer to each other than photographs do, a threshold at 1 % finds 1 % of the fakes too. A hit is
counted like a false match: the known fake as it looks after the delivery, compared with the known
fakes as they are stored, without itself, its near duplicates and what was made of the same
photograph.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import neg
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.false_matches import DECIMALS, FalseMatches, Rate, fit_false_matches
from index.calibration.growth import UNKNOWN_GROWTH

# Of each generator at most this many similarities are stored, and at most this many generators.
MOST_KEPT, MOST_GENERATORS = 200, 200


class GeneratorHits(NamedTuple):
    """How many of a generator's `images` come this near to another known fake; None if more than
    are kept.
    """

    generator: str
    images: int
    matches: int | None


@dataclass(frozen=True, slots=True)
class NearestOfGenerator:
    """The largest similarities of a generator's images to another known fake, falling."""

    generator: str
    n: int
    closest: tuple[float, ...]

    def hits_at(self, similarity: float) -> GeneratorHits:
        """Count the images that come at least this near."""
        count = bisect_right(self.closest, -similarity, key=neg)
        is_known = count < len(self.closest) or count == self.n
        return GeneratorHits(self.generator, self.n, count if is_known else None)

    def to_json(self) -> dict[str, Any]:
        return {"generator": self.generator, "n": self.n, "closest": list(self.closest)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(stored["generator"], stored["n"], tuple(stored["closest"]))


@dataclass(frozen=True, slots=True)
class HitRates:
    """Fitted hit rates of known fakes, in the corpus that was measured.

    If `across_collections`, only known fakes of other collections were counted; otherwise other
    pictures of the same collection too.
    """

    nearness: FalseMatches
    generators: tuple[NearestOfGenerator, ...]
    across_collections: bool

    @property
    def images(self) -> int:
        """The number of known fakes that were measured."""
        return self.nearness.n

    @property
    def sources(self) -> int:
        """The number of photographs or prompts that they were made from."""
        return self.nearness.n_sources

    def rate_at(self, similarity: float) -> Rate:
        """Return the share of known fakes that have another one at least this near."""
        return self.nearness.rate_at(similarity)

    def by_generator(self, similarity: float) -> tuple[GeneratorHits, ...]:
        """Count the hits of each generator, sorted by name."""
        return tuple(each.hits_at(similarity) for each in self.generators)

    def to_json(self) -> dict[str, Any]:
        return {
            "nearness": self.nearness.to_json(),
            "generators": [each.to_json() for each in self.generators],
            "across_collections": self.across_collections,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            FalseMatches.from_json(stored["nearness"]),
            tuple(map(NearestOfGenerator.from_json, stored["generators"])),
            stored["across_collections"],
        )


@dataclass(frozen=True, slots=True)
class Discrimination:
    """Whether similarity tells known fakes from known-real images, at one similarity.

    `tells`: the lower end of the hit rate is above the upper end of the false-match rate.
    """

    similarity: float
    hit: Rate
    false_match: Rate
    tells: bool


def fit_hits(
    maxima: NDArray[np.float64],
    generators: Sequence[str | None],
    sources: NDArray[np.int64],
    *,
    corpus_size: int,
    seed: int,
) -> HitRates:
    """Fit the hit rates of n known fakes: the largest similarity of each to another one (n,)."""
    nearness = fit_false_matches(
        maxima, sources, corpus_size=corpus_size, growth=UNKNOWN_GROWTH, seed=seed
    )
    rows: dict[str, list[int]] = {}
    for row, generator in enumerate(generators):
        if generator is not None:
            rows.setdefault(generator, []).append(row)
    largest = sorted(rows, key=lambda each: (-len(rows[each]), each))[:MOST_GENERATORS]
    by_generator = tuple(
        NearestOfGenerator(each, len(rows[each]), _closest(maxima[rows[each]]))
        for each in sorted(largest)
    )
    return HitRates(nearness, by_generator, across_collections=False)


def _closest(maxima: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.sort(maxima.round(DECIMALS))[::-1][:MOST_KEPT].tolist())
