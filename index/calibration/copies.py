"""What the findings of the copy stages are worth: how often a look-up of an unrelated picture finds
as much.

Three findings have a curve: the smallest Hamming distance of any view of the probe to a known fake
(beyond that of near duplicates), the largest number of inliers of a candidate that was verified,
and the largest similarity of a copy descriptor. Each curve is measured on known-real images that
are compared with known fakes of other pictures, as `false_matches` does for the forensic model, and
by the same model: its tail is a generalised Pareto tail of a logarithm. For distances that is the
logarithm of the distance (Amsaleg et al. 2015: the number of neighbours within d grows as a power
of d). For inliers it is the logarithm of their number, so the probability falls as a power of it:
slower than by chance alone, because pictures of one building share more than chance.

Distances and inliers are whole numbers. The fit spreads equal ones evenly over the gap to their
neighbours, and a rate is read at the edge of the gap, where the observed share is exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.binomial import exact_interval
from index.calibration.false_matches import (
    FalseMatches,
    Rate,
    RateMethod,
    fit_false_matches,
)
from index.calibration.growth import UNKNOWN_GROWTH, Growth
from index.truth.perceptual import HASH_BYTES, MAX_HAMMING_DISTANCE

Floats = NDArray[np.float64]

# Half of the 256 bits of a PDQ hash are ones, so two hashes differ in an even number of bits.
BITS_APART = 2
# The largest distance of a lead. Of 687 photographs, none has an unrelated picture within it among
# 1,587; within 80 bits, 2 % have one (`docs/copy-rates.md`, 2026-11-30).
WIDEST_BAND = 60
# Leads are listed up to the distance that this share of unrelated pictures reaches.
LEAD_RATE = 0.01
# Fewer photographs than this cannot show a rate of 1 %: the figures that came with the package are
# used instead.
MIN_SOURCES = 100
# `python -m tests.benchmarks.copy_rates` writes this file.
_SHIPPED = Path(__file__).with_name("copy_rates.json")
# Rates fall ever more slowly towards small distances, because some pictures are composed alike. The
# pairs of 1,587 pictures of different repositories have a shape of 0.11 from 92 to 68 bits
# (`python -m tests.benchmarks.copy_rates`, 2026-11). With the usual limits, a tail that was fitted
# to few images can end at a distance below which nothing would ever come.
LEAST_SHAPE_OF_BITS = 0.1
LEAST_SHAPE_OF_INLIERS = 0.0
_HALF_BITS = HASH_BYTES * 8 / 2


@dataclass(frozen=True, slots=True)
class CopyCurve:
    """The false-match rates of one finding.

    `population` says in words which images were compared with what. `is_shipped`: they were
    measured elsewhere, and came with the package.
    """

    rates: FalseMatches
    population: str
    is_shipped: bool = False

    @property
    def is_supported(self) -> bool:
        """Whether enough photographs were measured for a rate of 1 %."""
        return self.rates.n_sources >= MIN_SOURCES

    def to_json(self) -> dict[str, Any]:
        return {
            "rates": self.rates.to_json(),
            "population": self.population,
            "is_shipped": self.is_shipped,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            FalseMatches.from_json(stored["rates"]), stored["population"], stored["is_shipped"]
        )


@dataclass(frozen=True, slots=True)
class CopyRates:
    """The curves of all findings; None if one was not measured.

    `descriptors` has a curve for each copy descriptor, by its fingerprint. Of the images of `band`,
    `near_duplicates` have a view that is a near duplicate of a known fake: by the rule of near
    duplicates the same picture, so these pairs are left out of the curve.

    `inliers` is the curve of the largest number of inliers, whether the pictures looked alike or
    not. An entry counts as found only if they do: `counted` are the largest numbers of inliers of
    the images that have such an entry, falling. At most `candidates` entries were verified for each
    image.
    """

    band: CopyCurve | None = None
    near_duplicates: int = 0
    inliers: CopyCurve | None = None
    counted: tuple[int, ...] = ()
    candidates: int = 0
    descriptors: Mapping[str, CopyCurve] | None = None

    def band_rate(self, bits: int, corpus_size: int | None = None) -> Rate | None:
        """Return how often an unrelated picture has a view within `bits` of a known fake, and
        further than a near duplicate, in a corpus of this size.

        None if it was not measured.
        """
        return None if self.band is None else rate_of_bits(self.band.rates, bits, corpus_size)

    def band_limit(self, corpus_size: int | None = None, rate: float = LEAD_RATE) -> int:
        """Return the largest distance at which a candidate is still worth a look: whose estimated
        rate is at most `rate`. It falls as the corpus grows.

        Returns the limit of near duplicates if no distance beyond is, or none was measured.
        """
        for bits in range(WIDEST_BAND, MAX_HAMMING_DISTANCE, -1):
            there = self.band_rate(bits, corpus_size)
            if there is not None and there.estimate <= rate:
                return bits
        return MAX_HAMMING_DISTANCE

    def inlier_rate(
        self,
        inliers: int,
        corpus_size: int | None = None,  # noqa: ARG002 -- asked like the other rates
    ) -> Rate | None:
        """Return how often a look-up of an unrelated picture finds an entry with at least this
        number of inliers among the candidates that it verifies. None if it was not measured.

        What was seen comes first. Beyond it, the estimate is the model's for inliers of pictures
        that need not look alike, which is too high. The upper end of the interval is the exact one,
        at least 3 divided by the number of photographs: an answer calls it the probability of a
        false match. It is not predicted for another `corpus_size`: the number of candidates is the
        same, and how much more alike they are in a larger corpus is not known.
        """
        if self.inliers is None:
            return None
        rates, matches = self.inliers.rates, sum(each >= inliers for each in self.counted)
        of_any = rate_of_inliers(rates, inliers)
        n = rates.n_sources
        seen = min(matches / rates.n * n, n)  # images of one photograph count as one
        low, high = exact_interval(seen, n)
        if matches:
            return replace(
                of_any,
                estimate=seen / n,
                low=low,
                high=high,
                matches=matches,
                method=RateMethod.EMPIRICAL,
            )
        return replace(
            of_any,
            estimate=min(of_any.estimate, 0.5 / (n + 1)),
            low=0.0,
            high=max(high, min(1.0, 3 / n)),
            matches=0,
            method=RateMethod.RULE_OF_THREE,
        )

    def descriptor_threshold(
        self, fingerprint: str, rate: float = LEAD_RATE, corpus_size: int | None = None
    ) -> float | None:
        """Return the smallest cosine similarity of a copy descriptor that at most this share of
        unrelated pictures reaches. None if it was not measured.
        """
        curve = self._of_descriptor(fingerprint)
        return None if curve is None else curve.rates.similarity_at(rate, corpus_size)

    def or_else(self, shipped: CopyRates) -> CopyRates:
        """Return these rates, and those of `shipped` where a finding was not measured or on fewer
        than `MIN_SOURCES` photographs.
        """
        band, inliers = (
            own if own is not None and own.is_supported else None
            for own in (self.band, self.inliers)
        )
        return CopyRates(
            band or shipped.band,
            shipped.near_duplicates if band is None else self.near_duplicates,
            inliers or shipped.inliers,
            shipped.counted if inliers is None else self.counted,
            shipped.candidates if inliers is None else self.candidates,
            {
                **(shipped.descriptors or {}),
                **{
                    name: curve
                    for name, curve in (self.descriptors or {}).items()
                    if curve.is_supported
                },
            },
        )

    def as_shipped(self) -> CopyRates:
        """Return the same, named as measured elsewhere."""

        def mark(curve: CopyCurve | None) -> CopyCurve | None:
            return None if curve is None else replace(curve, is_shipped=True)

        return replace(
            self,
            band=mark(self.band),
            inliers=mark(self.inliers),
            descriptors={
                name: replace(curve, is_shipped=True)
                for name, curve in (self.descriptors or {}).items()
            },
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "band": None if self.band is None else self.band.to_json(),
            "near_duplicates": self.near_duplicates,
            "inliers": None if self.inliers is None else self.inliers.to_json(),
            "counted": list(self.counted),
            "candidates": self.candidates,
            "descriptors": {
                name: curve.to_json() for name, curve in (self.descriptors or {}).items()
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        def read(name: str) -> CopyCurve | None:
            return None if stored.get(name) is None else CopyCurve.from_json(stored[name])

        return cls(
            read("band"),
            stored.get("near_duplicates", 0),
            read("inliers"),
            tuple(stored.get("counted", ())),
            stored.get("candidates", 0),
            {
                name: CopyCurve.from_json(curve)
                for name, curve in stored.get("descriptors", {}).items()
            },
        )

    def _of_descriptor(self, fingerprint: str) -> CopyCurve | None:
        return (self.descriptors or {}).get(fingerprint)


@lru_cache(maxsize=1)
def shipped_copy_rates() -> CopyRates:
    """Return the rates that came with the package, for an installation that has not measured its
    own. A finding that nobody measured has none.
    """
    if not _SHIPPED.is_file():
        return CopyRates()
    return CopyRates.from_json(json.loads(_SHIPPED.read_text("utf-8"))).as_shipped()


def fit_distances(
    distances: ArrayLike,
    sources: ArrayLike,
    *,
    corpus_size: int,
    growth: Growth = UNKNOWN_GROWTH,
    seed: int = 0,
) -> FalseMatches:
    """Fit the rates of the smallest Hamming distances (n,), in bits, of n images to `corpus_size`
    entries. Raises ValueError without any image.
    """
    even = np.ceil(np.asarray(distances, np.float64) / BITS_APART) * BITS_APART
    spread = _spread(even, np.asarray(sources, np.int64), BITS_APART)
    return fit_false_matches(
        _similarity_of_bits(spread),
        sources,
        corpus_size=corpus_size,
        growth=growth,
        seed=seed,
        least_shape=LEAST_SHAPE_OF_BITS,
    )


def fit_inliers(
    inliers: ArrayLike,
    sources: ArrayLike,
    *,
    corpus_size: int,
    growth: Growth = UNKNOWN_GROWTH,
    seed: int = 0,
) -> FalseMatches:
    """Fit the rates of the largest number of inliers (n,) over the candidates of a look-up. Raises
    ValueError without any image.
    """
    spread = _spread(np.asarray(inliers, np.float64), np.asarray(sources, np.int64), 1)
    return fit_false_matches(
        _similarity_of_inliers(spread),
        sources,
        corpus_size=corpus_size,
        growth=growth,
        seed=seed,
        least_shape=LEAST_SHAPE_OF_INLIERS,
    )


def rate_of_bits(rates: FalseMatches, bits: int, corpus_size: int | None = None) -> Rate:
    """Return the rate at a distance or below."""
    edge = bits - bits % BITS_APART + BITS_APART / 2
    return rates.rate_at(float(_similarity_of_bits(np.array(edge))), corpus_size)


def rate_of_inliers(rates: FalseMatches, inliers: int, corpus_size: int | None = None) -> Rate:
    """Return the rate at a number of inliers or above."""
    return rates.rate_at(float(_similarity_of_inliers(np.array(inliers - 0.5))), corpus_size)


def _similarity_of_bits(bits: Floats) -> Floats:
    """Return the cosine similarity of hashes as vectors of +1 and -1: 1 at 0 bits, -1 at 256."""
    return np.asarray(1 - bits / _HALF_BITS, np.float64)


def _similarity_of_inliers(inliers: Floats) -> Floats:
    """Return a number that rises with the inliers from 0 towards 1, whose -log(1 - x) is the
    logarithm of the inliers, for the tail of `false_matches`.
    """
    return np.asarray(1 - 1 / (1 + np.maximum(inliers, 0.0)), np.float64)


def _spread(values: Floats, sources: NDArray[np.int64], gap: float) -> Floats:
    """Return equal values spread evenly over the gap around them, in the order of their sources."""
    order = np.lexsort((sources, values))
    distinct, first, counts = np.unique(values[order], return_index=True, return_counts=True)
    place = np.arange(len(values)) - np.repeat(first, counts)
    offsets = (place + 0.5) / np.repeat(counts, counts) - 0.5
    spread = np.empty(len(values))
    spread[order] = np.repeat(distinct, counts) + gap * offsets
    return spread
