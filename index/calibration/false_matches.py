"""How often a known-real image comes this close to the corpora: the false-match rate of a similarity, with an interval.

What is measured is the largest cosine similarity of each known-real image to any known fake. Up to a threshold u the
rate is the share observed; above it a generalised Pareto tail (Pickands 1975; Coles 2001, chapter 4) of
y = -log(1 - similarity), the scale on which the distance to a nearest neighbour has an exponential tail whatever the
dimension (Amsaleg et al. 2015), so that the shape is near 0. Where nothing was observed the rule of three bounds it.
Intervals are 95 %, by resampling source images. A curve on a grid is stored: a statement is an interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from index.calibration.growth import Growth, fit_growth
from index.calibration.resampling import LEVEL, RESAMPLES, resampled_weights

__all__ = ["FalseMatches", "Growth", "Rate", "RateMethod", "Tail", "fit_false_matches", "fit_growth"]

Floats = NDArray[np.float64]

# The tail begins at the share min(0.2, 3 / sqrt(n)) of the sources: Vehtari et al. 2024, "Pareto smoothed importance
# sampling", section 2.4, there for the same estimate of the same distribution.
MOST_TAIL, TAIL_ROOT = 0.2, 3.0
MIN_EXCEEDANCES = 10
# Images with the very same similarity are an atom, no tail, from so many on.
ATOM = 10
# The shape is drawn to 0, what theory has, as if ten more exceedances had said so (as PSIS does), and kept where the
# estimate by moments has a variance (Hosking & Wallis 1987).
SHAPE_PRIOR, SHAPE_LIMIT = 10, 0.5
# The curve: at most this many points of the data, and points of the tail down to the rate where nobody can check it.
DATA_POINTS, TAIL_POINTS, LEAST_RATE = 200, 80, 1e-6
# 1 - similarity below this is rounding of float32 vectors: 1e-6 for a few hundred dimensions.
LEAST_DISTANCE = 1e-6
# Similarities are told apart to this decimal, finer than float32, so that an interpolation never divides by nothing.
DECIMALS = 9
# With fewer sources a bootstrap is too narrow (it knows only those few), and the exact binomial is asked as well.
FEW_SOURCES = 30


_CURVES = ("similarities", "estimates", "lows", "highs")


class RateMethod(StrEnum):
    """What a rate and its upper bound rest on."""

    EMPIRICAL = "empirical"  # known-real images that came this close
    TAIL = "tail"  # the tail fitted to the closest of them
    RULE_OF_THREE = "rule_of_three"  # none came this close: the upper bound is 3 / number of sources


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of known-real images with its 95 % interval, 0 <= low <= estimate <= high <= 1, measured on `n`."""

    estimate: float
    low: float
    high: float
    n: int
    method: RateMethod


@dataclass(frozen=True, slots=True)
class Tail:
    """P(maximum > s) = share * (1 + shape * (y - y_u) / scale)^(-1/shape) for s above u, y = -log(1 - s)."""

    u: float  # cosine similarity
    exceedances: int  # images above u
    share: float  # of all images
    shape: float
    scale: float


@dataclass(frozen=True)
class FalseMatches:
    """A fitted rate: facts, and the curve (similarities rising, rates falling) that statements are read from.

    `largest` is the largest maximum observed; the tail is None where there were too few images for one.
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

    def rate_at(self, similarity: float, corpus_size: int | None = None) -> Rate:
        """Return the false-match rate of a threshold at this cosine similarity, for a corpus of another size if asked.

        Falls with similarity, rises with corpus size. At another size the interval holds what growth is not sure of.
        """
        at, curves = self._curves
        estimate, low, high = (float(np.interp(similarity, at, curve)) for curve in curves)
        method = self._method_at(similarity, high)
        if corpus_size is not None and corpus_size != self.corpus_size:
            estimate, low, high = _grown(estimate, low, high, self.growth, corpus_size / self.corpus_size)
        return Rate(estimate, low, high, self.n, method)

    def similarity_at(self, rate: float, corpus_size: int | None = None) -> float:
        """Return the smallest similarity whose estimated rate is at most this one: the threshold of `similar`.

        1.0 where no similarity has so small a rate, which the rate at 1.0 then says.
        """
        below, above = -1.0, 1.0
        if self.rate_at(below, corpus_size).estimate <= rate:
            return below
        while below < (middle := (below + above) / 2) < above:
            if self.rate_at(middle, corpus_size).estimate <= rate:
                above = middle
            else:
                below = middle
        return above

    def to_json(self) -> dict[str, Any]:
        stored = {each.name: getattr(self, each.name) for each in fields(self)}
        stored |= {"growth": self.growth.to_json(), "tail": None if self.tail is None else asdict(self.tail)}
        return stored | {name: list(stored[name]) for name in _CURVES}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read = {name: tuple(stored[name]) for name in _CURVES}
        tail = None if stored["tail"] is None else Tail(**stored["tail"])
        return cls(**{**stored, **read, "tail": tail, "growth": Growth.from_json(stored["growth"])})

    @cached_property
    def _curves(self) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        return np.array(self.similarities), (np.array(self.estimates), np.array(self.lows), np.array(self.highs))

    def _method_at(self, similarity: float, high: float) -> RateMethod:
        if similarity > self.largest and (self.tail is None or high <= _rule_of_three(self.n_sources)):
            return RateMethod.RULE_OF_THREE
        if self.tail is not None and similarity > self.tail.u:
            return RateMethod.TAIL
        return RateMethod.EMPIRICAL


def fit_false_matches(
    maxima: ArrayLike, sources: ArrayLike, *, corpus_size: int, growth: Growth, seed: int
) -> FalseMatches:
    """Fit the rate from the largest similarity of each of n known-real images to a corpus of `corpus_size` entries.

    `maxima` (n,) cosine similarities, the image itself and its near duplicates left out; `sources` (n,) which
    photograph each image was made of.

    Raises:
        ValueError: no image, or a similarity that is not a number.

    """
    x, source = np.clip(np.asarray(maxima, np.float64), -1.0, 1.0).round(DECIMALS), np.asarray(sources, np.int64)
    if not len(x) or x.shape != source.shape or not np.isfinite(x).all():
        raise ValueError("false matches are measured on at least one image, with a finite similarity and a source each")
    order = np.lexsort((source, x))  # the same images in any order give the same bytes
    x, source = x[order], source[order]
    n_sources = len(np.unique(source))
    start = _tail_start(x, n_sources)
    weights = resampled_weights(source, RESAMPLES, seed)  # (1 + r, n)
    tails = None if start is None else _tails(x, weights, start)
    at = _grid(x, tails)  # (g,)
    rates = _rates(x, weights, at, tails)  # (1 + r, g)
    estimate, low, high = _intervals(rates, at > x[-1], n_sources)
    return FalseMatches(
        n=len(x),
        n_sources=n_sources,
        corpus_size=corpus_size,
        seed=seed,
        growth=growth,
        tail=None if tails is None else tails.of_the_data(int((x > tails.u).sum())),
        largest=float(x[-1]),
        similarities=tuple(at.tolist()),
        estimates=tuple(estimate.tolist()),
        lows=tuple(low.tolist()),
        highs=tuple(high.tolist()),
    )


@dataclass(frozen=True, slots=True)
class _Tails:
    """The tail above u in each resample: shares, shapes and scales (1 + r,)."""

    u: float
    shares: Floats
    shapes: Floats
    scales: Floats

    def rates(self, at: Floats) -> Floats:
        """Return the rates (1 + r, g) at similarities (g,) above u."""
        z = (_y(at) - _y(self.u)) / self.scales[:, None]
        shape = np.where(np.abs(self.shapes) < 1e-9, 1e-9, self.shapes)[:, None]
        return np.asarray(self.shares[:, None] * np.maximum(1 + shape * z, 0.0) ** (-1 / shape), np.float64)

    def similarities_at(self, points: int) -> Floats:
        """Return the similarities where the rate of the data falls evenly on a log scale to LEAST_RATE."""
        share, shape, scale = (float(values[0]) for values in (self.shares, self.shapes, self.scales))
        shape = shape if abs(shape) > 1e-9 else 1e-9
        beyond = np.geomspace(share, min(LEAST_RATE, share / 2), points + 1)[1:] / share
        y = _y(self.u) + scale / shape * (beyond**-shape - 1)
        return np.asarray(1 - np.exp(-np.minimum(y, -math.log(LEAST_DISTANCE))), np.float64)

    def of_the_data(self, exceedances: int) -> Tail:
        share, shape, scale = (float(values[0]) for values in (self.shares, self.shapes, self.scales))
        return Tail(self.u, exceedances, share, shape, scale)


def _y(similarity: ArrayLike) -> Floats:
    return np.asarray(-np.log(np.maximum(1 - np.asarray(similarity, np.float64), LEAST_DISTANCE)), np.float64)


def _tail_start(x: Floats, n_sources: int) -> float | None:
    """Return the largest value of sorted x that enough others exceed, None where there is no room for a tail."""
    share = min(MOST_TAIL, TAIL_ROOT / math.sqrt(n_sources))
    wanted = max(MIN_EXCEEDANCES, math.ceil(share * len(x)))
    if n_sources < 2 * MIN_EXCEEDANCES:
        return None
    exceeded_by = len(x) - np.searchsorted(x, x, side="right")  # (n,) falling
    candidates = np.flatnonzero(exceeded_by >= wanted)
    return float(x[candidates[-1]]) if len(candidates) and _y(x[-1]) > _y(x[candidates[-1]]) else None


def _tails(x: Floats, weights: Floats, u: float) -> _Tails:
    """Fit all resamples at once by probability-weighted moments (Hosking & Wallis 1987), the shape drawn to 0."""
    above = x > u
    z, w = _y(x[above]) - _y(u), weights[:, above]  # (e,), (1 + r, e)
    shares = w.sum(axis=1)
    w = w / shares[:, None]
    survival = 1 - (np.cumsum(w, axis=1) - w / 2)
    mean, moment = w @ z, (w * survival) @ z
    shapes = 2 - mean / np.maximum(mean - 2 * moment, 1e-12)
    exceedances = len(z)
    shapes = np.clip(shapes * exceedances / (exceedances + SHAPE_PRIOR), -SHAPE_LIMIT, SHAPE_LIMIT)
    return _Tails(u, shares, shapes, np.maximum(mean * (1 - shapes), 1e-12))


def _grid(x: Floats, tails: _Tails | None) -> Floats:
    """Return rising similarities (g,) where the curve is stored: of the data, of the tail, and just above the data."""
    distinct, counts = np.unique(x, return_counts=True)
    body = distinct if tails is None else distinct[distinct <= tails.u]
    if len(body) > DATA_POINTS:
        last = len(body) - 1
        evenly, by_rate = np.linspace(0, last, DATA_POINTS // 2), last + 1 - np.geomspace(1, last + 1, DATA_POINTS // 2)
        body = body[np.unique(np.round(np.concatenate([evenly, by_rate])).astype(np.int64))]
    tail = np.empty(0) if tails is None else tails.similarities_at(TAIL_POINTS)
    above = min(float(x[-1]) + 10.0**-DECIMALS, 1.0)
    points = np.concatenate([body, distinct[counts >= ATOM], tail, [x[-1], above, 1.0]])
    return np.unique(points.round(DECIMALS))


def _rates(x: Floats, weights: Floats, at: Floats, tails: _Tails | None) -> Floats:
    """Return the rates (1 + r, g) of all resamples: shares of the data, above u the tail, at an atom the data again."""
    cumulated = np.pad(np.cumsum(weights, axis=1), ((0, 0), (1, 0)))  # (1 + r, n + 1)
    first, end = (np.searchsorted(x, at, side=side) for side in ("left", "right"))
    rates = 1 - cumulated[:, first]
    rates[:, first == len(x)] = 0.0
    if tails is not None:
        of_tail = (at > tails.u) & (end - first < ATOM)
        rates[:, of_tail] = tails.rates(at[of_tail])
    # A rate that rises with similarity where an atom follows is that of the atom.
    return np.asarray(np.maximum.accumulate(np.clip(rates, 0.0, 1.0)[:, ::-1], axis=1)[:, ::-1], np.float64)


def _intervals(rates: Floats, unobserved: NDArray[np.bool_], n_sources: int) -> tuple[Floats, Floats, Floats]:
    """Return estimate, low and high (g,) from the rates of the data and of the resamples (1 + r, g)."""
    estimate = rates[0]
    low, high = np.quantile(rates[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    if n_sources < FEW_SOURCES:
        exact_low, exact_high = clopper_pearson(estimate * n_sources, n_sources)
        low, high = np.minimum(low, exact_low), np.maximum(high, exact_high)
    by_three = _rule_of_three(n_sources)
    if not estimate[unobserved].any():  # there is no tail: as if one more image had been half a match
        estimate = np.where(unobserved, 0.5 / (n_sources + 1), estimate)
    low = np.where(unobserved & (high <= by_three), 0.0, np.minimum(low, 1 - by_three))
    high = np.where(unobserved, np.maximum(high, by_three), high)
    high = np.maximum.accumulate(high[::-1])[::-1]
    estimate = np.minimum.accumulate(estimate)
    return estimate, np.minimum(low, estimate), np.maximum(high, estimate)


def clopper_pearson(k: Floats, n: int) -> tuple[Floats, Floats]:
    """Return the exact 95 % interval of a share of which k (g,) of n were observed; k may be a fraction."""
    low = np.where(k > 0, betaincinv(np.maximum(k, 1e-9), n - k + 1, (1 - LEVEL) / 2), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1e-9), (1 + LEVEL) / 2), 1.0)
    return low, high


def _rule_of_three(n_sources: int) -> float:
    """Return the upper 95 % bound of a share that was never observed (Hanley & Lippman-Hand 1983)."""
    return min(1.0, 3 / n_sources)


def _grown(estimate: float, low: float, high: float, growth: Growth, factor: float) -> tuple[float, float, float]:
    """Return a rate and its interval for a corpus `factor` times the size.

    The two uncertainties, of the rate and of the exponent, are independent and add as squares on the log scale of
    -log(1 - rate).
    """
    x = math.log(factor)
    down, up = growth.beta - growth.low, growth.high - growth.beta
    if x < 0:
        down, up = up, down
    middle = _hazard(estimate)
    if not middle:
        return 0.0, 0.0, _share(_hazard(high) * factor**growth.beta)  # the limit of what follows
    grown = middle * factor**growth.beta
    below = math.hypot(math.log(middle / _hazard(low)), down * x) if low else math.inf
    above = math.hypot(math.log(_hazard(high) / middle), up * x)
    return _share(grown), _share(grown * math.exp(-below)), _share(grown * math.exp(above))


def _hazard(rate: float) -> float:
    return -math.log1p(-min(rate, 1 - 1e-12))


def _share(hazard: float) -> float:
    return 1.0 if hazard > 27.0 else -math.expm1(-hazard)  # 1 - exp(-27) is the 1 - 1e-12 of _hazard
