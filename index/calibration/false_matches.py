"""The false-match rate of a similarity: the share of known-real images that come this near to a
known fake, with a 95 % interval.

The data are the largest cosine similarities of known-real images to any known fake. At similarities
that ten or more source images exceed, the estimate is the observed share. Above, it is a
generalised Pareto tail (Pickands 1975; Coles 2001, chapter 4) of y = -log(1 - similarity). On this
scale the distance to a nearest neighbour has an exponential tail in any dimension (Amsaleg et al.
2015), so the shape parameter is near 0. Above all observations the rule of three bounds the rate.
Intervals come from a bootstrap over source images: they hold for images like the measured ones.
Where these are of enough collections, the interval is widened to the one that predicts the rate in
a further collection (`across_collections`). The curve is stored on a grid, and a rate is
interpolated from it.

On simulated clustered corpora with 1,000 images, the 95 % interval at a rate of 1 % contained the
true rate in 97 % of the cases. It did so in 87 % when the tail was used wherever it is fitted, from
the closest 10 % on (`python -m tests.benchmarks.evidence_simulated`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from operator import neg
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.across_collections import (
    AcrossCollections,
    Groups,
    fit_across_collections,
)
from index.calibration.growth import Growth, fit_growth
from index.calibration.pareto import Tail, Tails, fit_tails
from index.calibration.resampling import LEVEL, RESAMPLES, draw_weights

__all__ = [
    "FalseMatches",
    "Growth",
    "Rate",
    "RateMethod",
    "Tail",
    "fit_false_matches",
    "fit_growth",
]

Floats = NDArray[np.float64]

# From this many images with exactly the same similarity on, they are an atom and not part of a
# continuous tail.
ATOM = 10
# The curve has at most this many points of the data, and points of the tail down to a rate that no
# data could confirm.
DATA_POINTS, TAIL_POINTS, LEAST_RATE = 200, 80, 1e-6
COARSE_POINTS = 60
# Similarities are rounded to this many decimals, finer than float32, so that two points of the
# curve are never too close to interpolate.
DECIMALS = 9
# Similarities that are kept to count images: beyond so many the count says no more than the rate.
MOST_KEPT = 400
_CURVES = ("similarities", "estimates", "lows", "highs")


class RateMethod(StrEnum):
    """What a false-match rate and its upper end are based on."""

    EMPIRICAL = "empirical"  # known-real images that came this close
    TAIL = "tail"  # the Pareto tail fitted to the closest of them
    # None came this close: the upper bound is 3 / number of sources, or more.
    RULE_OF_THREE = "rule_of_three"


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its 95 % interval, 0 <= low <= estimate <= high <= 1, from `n` images of
    `sources` photographs.

    `matches` of the n images came at least this near, in the corpus that was measured; None if the
    calibration does not keep the number. If `across_collections`, the interval predicts the rate
    in a collection that was not measured; otherwise it is that of images like the measured ones.
    """

    estimate: float
    low: float
    high: float
    n: int
    method: RateMethod
    matches: int | None = None
    sources: int | None = None
    across_collections: bool = False


@dataclass(frozen=True)
class FalseMatches:
    """Fitted false-match rates: a curve with rising similarities and falling rates.

    `largest` is the largest similarity observed. `tail` is None if there were too few images for
    one. `closest` are the largest similarities, falling; it is empty in calibrations of format 1.
    `across` has the intervals of a collection that was not measured; None if there were too few
    collections.
    """

    n: int
    n_sources: int
    corpus_size: int
    seed: int
    growth: Growth
    tail: Tail | None
    largest: float
    similarities: tuple[float, ...]
    estimates: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    closest: tuple[float, ...] = ()
    across: AcrossCollections | None = None

    def rate_at(self, similarity: float, corpus_size: int | None = None) -> Rate:
        """Return the false-match rate of a threshold at a cosine similarity, predicted for a corpus
        of another size if one is given.

        It falls with similarity and rises with corpus size. At another size the interval includes
        the uncertainty of the growth exponent.
        """
        at, curves = self._curves
        estimate, low, high = (float(np.interp(similarity, at, curve)) for curve in curves)
        if self.across is not None:
            of_others = self.across.interval_at(similarity)
            low, high = min(low, of_others[0]), max(high, of_others[1])
        method = self._method_at(similarity)
        if corpus_size is not None and corpus_size != self.corpus_size:
            # An empty corpus counts as one entry, to avoid a division by zero.
            factor = max(corpus_size, 1) / max(self.corpus_size, 1)
            estimate, low, high = _predict(estimate, low, high, self.growth, factor)
        return Rate(
            estimate,
            low,
            high,
            self.n,
            method,
            matches=self.matches_at(similarity),
            sources=self.n_sources,
            across_collections=self.across is not None,
        )

    def mean_interval_at(self, similarity: float) -> tuple[float, float]:
        """Return the 95 % interval of the mean rate in the corpus that was measured: over
        collections like the measured ones, or over images if there were too few collections.
        """
        if self.across is not None:
            return self.across.mean_at(similarity)
        rate = self.rate_at(similarity)
        return rate.low, rate.high

    def matches_at(self, similarity: float) -> int | None:
        """Return how many of the n images came at least this near, None if more than are kept."""
        if similarity > self.largest:
            return 0
        count = bisect_right(self.closest, -similarity, key=neg)
        return None if count == len(self.closest) < self.n else count

    def similarity_at(
        self, rate: float, corpus_size: int | None = None, *, most_high: float = 1.0
    ) -> float:
        """Return the smallest similarity whose estimated rate is at most `rate`, and the upper end
        of its interval at most `most_high`.

        Returns 1.0 if no similarity has so small a rate; `rate_at(1.0)` then shows it.
        """

        def is_enough(similarity: float) -> bool:
            there = self.rate_at(similarity, corpus_size)
            return there.estimate <= rate and there.high <= most_high

        below, above = -1.0, 1.0
        if is_enough(below):
            return below
        while below < (middle := (below + above) / 2) < above:
            below, above = (below, middle) if is_enough(middle) else (middle, above)
        return above

    def to_json(self) -> dict[str, Any]:
        stored = {each.name: getattr(self, each.name) for each in fields(self)}
        stored |= {
            "growth": self.growth.to_json(),
            "tail": None if self.tail is None else asdict(self.tail),
            "across": None if self.across is None else self.across.to_json(),
        }
        return stored | {name: list(stored[name]) for name in (*_CURVES, "closest")}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read = {name: tuple(stored.get(name, ())) for name in (*_CURVES, "closest")}
        across = stored.get("across")
        models = {
            "tail": None if stored["tail"] is None else Tail(**stored["tail"]),
            "growth": Growth.from_json(stored["growth"]),
            "across": None if across is None else AcrossCollections.from_json(across),
        }
        return cls(**{**stored, **read, **models})

    @cached_property
    def _curves(self) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        return np.array(self.similarities), (
            np.array(self.estimates),
            np.array(self.lows),
            np.array(self.highs),
        )

    def _method_at(self, similarity: float) -> RateMethod:
        if similarity > self.largest:
            return RateMethod.RULE_OF_THREE
        if self.tail is not None and similarity > self.tail.u:
            return RateMethod.TAIL
        return RateMethod.EMPIRICAL


def fit_false_matches(
    maxima: ArrayLike,
    sources: ArrayLike,
    *,
    corpus_size: int,
    growth: Growth,
    seed: int,
    groups: Groups | None = None,
    is_coarse: bool = False,
    least_shape: float | None = None,
) -> FalseMatches:
    """Fit the false-match rates of n known-real images, compared with a corpus of `corpus_size`
    entries.

    `maxima` (n,) are the largest cosine similarities, without the image itself and its near
    duplicates; `sources` (n,) the photograph that each image was made from; `groups` their
    collections. A coarse curve has no tail and fewer points: for a rate that stands beside another.
    The tail's shape is at least `least_shape`, if one is given.

    Raises:
        ValueError: no image, or a similarity that is not finite.

    """
    x, source = (
        np.clip(np.asarray(maxima, np.float64), -1.0, 1.0).round(DECIMALS),
        np.asarray(sources, np.int64),
    )
    if not len(x) or x.shape != source.shape or not np.isfinite(x).all():
        raise ValueError(
            "false matches are measured on at least one image, with a finite similarity and a "
            "source each"
        )
    across = None if groups is None else fit_across_collections(x, groups)
    order = np.lexsort((source, x))  # the same images in any order give the same bytes
    x, source = x[order], source[order]
    n_sources = len(np.unique(source))
    weights, unseen = _weights(source, seed)
    tails = None if is_coarse else fit_tails(x, weights, n_sources, least_shape)
    at = _grid(x, tails, COARSE_POINTS if is_coarse else DATA_POINTS)  # (g,)
    rates = _rates(x, weights, at, tails)  # (1 + r, g)
    estimate, low, high = _intervals(rates, unseen, at > x[-1], n_sources)
    return FalseMatches(
        n=len(x),
        n_sources=n_sources,
        corpus_size=corpus_size,
        seed=seed,
        growth=growth,
        tail=None if tails is None else tails.of_data(x),
        largest=float(x[-1]),
        similarities=tuple(at.tolist()),
        estimates=tuple(estimate.tolist()),
        lows=tuple(low.tolist()),
        highs=tuple(high.tolist()),
        closest=tuple(x[::-1][:MOST_KEPT].tolist()),
        across=across,
    )


def _weights(source: NDArray[np.int64], seed: int) -> tuple[Floats, Floats]:
    """Return the weights (1 + r, n) of the images, and those of one more source that was not
    observed (1 + r,), which is 0 for the data.
    """
    drawn = draw_weights(np.append(source, source.max() + 1), RESAMPLES, seed)
    sums = drawn[:, :-1].sum(axis=1)
    unseen = drawn[:, -1] / sums * (len(source) / len(np.unique(source)))
    unseen[0] = 0.0
    return drawn[:, :-1] / sums[:, None], unseen


def _grid(x: Floats, tails: Tails | None, data_points: int) -> Floats:
    """Return the rising similarities (g,) at which the curve is stored: `data_points` of the data,
    points of the tail, and a point just above the data.
    """
    distinct, counts = np.unique(x, return_counts=True)
    body = distinct if tails is None else distinct[distinct <= tails.u]
    if len(body) > data_points:
        last = len(body) - 1
        evenly, by_rate = (
            np.linspace(0, last, data_points // 2),
            last + 1 - np.geomspace(1, last + 1, data_points // 2),
        )
        body = body[np.unique(np.round(np.concatenate([evenly, by_rate])).astype(np.int64))]
    tail = np.empty(0) if tails is None else tails.similarities_at(TAIL_POINTS, LEAST_RATE)
    above = min(float(x[-1]) + 10.0**-DECIMALS, 1.0)
    points = np.concatenate([body, distinct[counts >= ATOM], tail, [x[-1], above, 1.0]])
    return np.unique(points.round(DECIMALS))


def _rates(x: Floats, weights: Floats, at: Floats, tails: Tails | None) -> Floats:
    """Return the rates (1 + r, g) of all resamples: shares of the data, the tail above u, and at an
    atom the share of the data again.
    """
    cumulated = np.pad(np.cumsum(weights, axis=1), ((0, 0), (1, 0)))  # (1 + r, n + 1)
    first, end = (np.searchsorted(x, at, side=side) for side in ("left", "right"))
    rates = 1 - cumulated[:, first]
    rates[:, first == len(x)] = 0.0
    if tails is not None:
        of_tail = (at > tails.u) & (end - first < ATOM)
        rates[:, of_tail] = tails.rates(at[of_tail])
    # Before an atom the tail may be below the atom's rate; the rate must not rise with similarity.
    return np.asarray(
        np.maximum.accumulate(np.clip(rates, 0.0, 1.0)[:, ::-1], axis=1)[:, ::-1], np.float64
    )


def _intervals(
    rates: Floats, unseen: Floats, unobserved: NDArray[np.bool_], n_sources: int
) -> tuple[Floats, Floats, Floats]:
    """Return estimate, low and high (g,) from the rates of the data and of the resamples (1 + r,
    g).

    For the upper end, one more source is assumed to be closer; for the lower end, one that is
    further. For independent images this gives the exact binomial interval (Clopper & Pearson 1934);
    several versions of one photograph do not make it narrower.
    """
    estimate, more = rates[0], unseen[1:, None]
    low = np.quantile(rates[1:] / (1 + more), (1 - LEVEL) / 2, axis=0)
    high = np.quantile(
        (rates[1:] + np.where(unobserved, rates[1:], 1.0) * more) / (1 + more),
        (1 + LEVEL) / 2,
        axis=0,
    )
    by_three = _rule_of_three(n_sources)
    if not estimate[unobserved].any():  # no tail: the estimate is half a match in one more image
        estimate = np.where(unobserved, 0.5 / (n_sources + 1), estimate)
    low = np.where(unobserved, 0.0, low)
    high = np.where(unobserved, np.maximum(high, by_three), high)
    high = np.maximum.accumulate(high[::-1])[::-1]
    estimate = np.minimum.accumulate(estimate)
    return estimate, np.minimum(low, estimate), np.maximum(high, estimate)


def _rule_of_three(n_sources: int) -> float:
    """Return the upper 95 % bound of the probability of an event that was never observed (Hanley &
    Lippman-Hand 1983).
    """
    return min(1.0, 3 / n_sources)


def _predict(
    estimate: float, low: float, high: float, growth: Growth, factor: float
) -> tuple[float, float, float]:
    """Return a rate and its interval for a corpus of `factor` times the size; each end uses the
    exponent that moves it furthest from the estimate.
    """
    slow, fast = (-1.0, 1.0) if factor > 1 else (1.0, -1.0)
    hazards = (
        growth.predict_hazard(_hazard(rate), factor, side)
        for rate, side in ((estimate, 0.0), (low, slow), (high, fast))
    )
    middle, below, above = (_rate(hazard) for hazard in hazards)
    return middle, min(below, middle), max(above, middle)


def _hazard(rate: float) -> float:
    return -math.log1p(-min(rate, 1 - 1e-12))


def _rate(hazard: float) -> float:
    return 1.0 if hazard > 27.0 else -math.expm1(-hazard)  # 1 - exp(-27) is 1 - 1e-12 of _hazard
