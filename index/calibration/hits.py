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
from dataclasses import dataclass, replace
from operator import neg
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.across_collections import Groups, group_images
from index.calibration.false_matches import DECIMALS, FalseMatches, Rate, fit_false_matches
from index.calibration.growth import UNKNOWN_GROWTH
from index.calibration.others import NOTHING, Nearest
from index.calibration.population import Population

# Of fewer collections, the others are too small a part of the corpora: a hit among them is hardly
# one in the corpora.
MIN_COLLECTIONS = 5
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

    If `across_collections`, only known fakes of other collections were counted, and the interval is
    that of a collection that was not measured. Otherwise other pictures of the same collection were
    counted too, and the interval is that of fakes like these, or of a further generator if there
    are enough. `nearness_within` then has what other pictures of the same collection add; it is
    None if they were counted anyway.
    """

    nearness: FalseMatches
    nearness_within: FalseMatches | None
    generators: tuple[NearestOfGenerator, ...]

    @property
    def across_collections(self) -> bool:
        """Whether only known fakes of other collections were counted."""
        return self.nearness_within is not None

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
        return self._rate(self.nearness, similarity)

    def within_at(self, similarity: float) -> Rate | None:
        """Return the same if other pictures of the same collection count too; None if they counted
        anyway.
        """
        within = self.nearness_within
        return None if within is None else self._rate(within, similarity)

    def mean_interval_at(self, similarity: float) -> tuple[float, float]:
        """Return the 95 % interval of the mean hit rate, over collections like the measured ones
        (generators, if there are too few collections; images, if there are too few of both).
        """
        return self.nearness.mean_interval_at(similarity)

    def by_generator(self, similarity: float) -> tuple[GeneratorHits, ...]:
        """Count the hits of each generator, sorted by name."""
        return tuple(each.hits_at(similarity) for each in self.generators)

    def to_json(self) -> dict[str, Any]:
        within = self.nearness_within
        return {
            "nearness": self.nearness.to_json(),
            "nearness_within": None if within is None else within.to_json(),
            "generators": [each.to_json() for each in self.generators],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        within = stored["nearness_within"]
        return cls(
            FalseMatches.from_json(stored["nearness"]),
            None if within is None else FalseMatches.from_json(within),
            tuple(map(NearestOfGenerator.from_json, stored["generators"])),
        )

    def _rate(self, nearness: FalseMatches, similarity: float) -> Rate:
        rate = nearness.rate_at(similarity)
        is_across = self.across_collections and nearness is self.nearness
        return replace(rate, across_collections=is_across)


@dataclass(frozen=True, slots=True)
class Discrimination:
    """Whether similarity tells known fakes from known-real images, at one similarity.

    `tells`: the hit rate is clearly above the false-match rate, as means over collections: the
    lower end of the 95 % interval of the one is above the upper end of that of the other. The
    intervals of `hit` and `false_match` are wider: they are those of one further collection.
    """

    similarity: float
    hit: Rate
    false_match: Rate
    tells: bool


def fit_hits(fakes: Population, found: Nearest, *, corpus_size: int, seed: int) -> HitRates | None:
    """Fit the hit rates of n known fakes, from the nearest other known fake of each; None if none
    has another one to compare with.

    Where the fakes are of enough collections, a hit is a known fake of another collection, of any
    generator: what a collection shares (subjects, size, compression) is no trace of a generator,
    and a probe comes from none of them. So of a generator that one collection alone has, this is
    what a probe of an unknown generator would find.
    """
    maxima = found.maxima.clip(-1.0, 1.0)
    if not (found.maxima > NOTHING).any():
        return None
    collections = group_images(fakes.collections, fakes.sources)
    is_across = found.elsewhere is not None and collections.collections >= MIN_COLLECTIONS

    def fit(nearest: NDArray[np.float64], groups: Groups) -> FalseMatches:
        return fit_false_matches(
            nearest,
            fakes.sources,
            corpus_size=corpus_size,
            growth=UNKNOWN_GROWTH,
            seed=seed,
            groups=groups,
            is_coarse=True,
        )

    within = fit(maxima, group_images(fakes.generators, fakes.sources))
    if not is_across or found.elsewhere is None:
        return HitRates(within, None, _count_generators(maxima, fakes.generators))
    elsewhere = found.elsewhere.clip(-1.0, 1.0)
    return HitRates(
        fit(elsewhere, collections), within, _count_generators(elsewhere, fakes.generators)
    )


def _count_generators(
    maxima: NDArray[np.float64], generators: Sequence[str | None]
) -> tuple[NearestOfGenerator, ...]:
    rows: dict[str, list[int]] = {}
    for row, generator in enumerate(generators):
        if generator is not None:
            rows.setdefault(generator, []).append(row)
    largest = sorted(rows, key=lambda each: (-len(rows[each]), each))[:MOST_GENERATORS]
    return tuple(
        NearestOfGenerator(each, len(rows[each]), _closest(maxima[rows[each]]))
        for each in sorted(largest)
    )


def _closest(maxima: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.sort(maxima.round(DECIMALS))[::-1][:MOST_KEPT].tolist())
