"""Likelihood ratios: how much more often a similarity occurs between known fakes of one generator
(same source) than between a real image and known fakes (different source).

A model has a direction and a monotone curve. The direction weights the similarities: 1 for a single
one, the coefficients of a logistic regression for two. The curve leads from the weighted value to
log10 LR, by isotonic regression (PAV) or by logistic regression, whichever has the lower
cross-validated Cllr. Ratios are limited to the empirical lower and upper bounds (ELUB) of Vergeer
et al. 2016 ("Numerical likelihood ratios outputted by LR systems are often based on extrapolation:
when to stop extrapolating?"), so that no ratio is larger than the data support. Words for a ratio
are in `verbal.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.figures import LN10, cllr, cllr_min
from index.calibration.logistic import fit_logistic
from index.calibration.pooling import LOG10_LIMIT, MISLEADING, log10_of_odds, pool_at
from index.calibration.resampling import LEVEL, RESAMPLES, draw_weights, folds_by_source

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

GRID_POINTS = 129  # evenly spaced by rank: a step is less than one image in a hundred
BOUND_STEP = 0.01  # log10, the accuracy of the bounds
# A Cllr of 1 is the cost of stating nothing (always an LR of 1). A model that saves less than one
# twentieth of it where a collection was left out is not worth stating (chosen).
SUPPORTED_CLLR = 0.95
# The signs of the coefficients of (nearest known fake, nearest known real): a nearer known fake
# never lowers the ratio, a nearer known real never raises it.
ONE_SIDED, TWO_SIDED = (1,), (1, -1)


class LikelihoodVariant(StrEnum):
    """The method that fits the curve."""

    PAV = "pav"
    LOGISTIC = "logistic"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A log10 likelihood ratio and its 95 % interval, all within the model's bounds.

    `bounded`: the ratio is at a bound; the data do not support a more extreme one.
    """

    log10: float
    low: float
    high: float
    bounded: bool


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A fitted likelihood ratio: the curve, its bounds and its cross-validated cost.

    `direction` weights the similarities; `values` (g,) rise along it. `cllr` and `cllr_min` are
    those of the bounded ratios, cross-validated by source image; `cllr_of_variants` has the Cllr of
    both methods, of which the better one was taken. `cllr_left_out` is the Cllr when each
    collection is left out in turn, None if a side has only one, and in calibrations made before it
    was stored.
    """

    variant: LikelihoodVariant
    direction: tuple[float, ...]
    values: tuple[float, ...]
    log10s: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    log10_bounds: tuple[float, float]
    cllr: float
    cllr_min: float
    cllr_of_variants: Mapping[str, float]
    n_same: int
    n_different: int
    n_sources_same: int
    n_sources_different: int
    seed: int
    cllr_left_out: float | None = None

    @property
    def supported(self) -> bool:
        """Whether the data support a ratio: stating it costs clearly less than stating nothing."""
        costs = [self.cllr, self.cllr if self.cllr_left_out is None else self.cllr_left_out]
        return max(costs) < SUPPORTED_CLLR

    def ratio_at(self, similarity: float | Sequence[float]) -> Ratio:
        """Return the ratio for a similarity to the nearest known fake, or, in a two-sided model,
        for the pair (nearest known fake, nearest known real).

        The ratio never falls with the similarity to known fakes.

        Raises:
            ValueError: the number of similarities is not the one that the model was fitted to.

        """
        x = np.atleast_1d(np.asarray(similarity, np.float64))
        if x.shape != (len(self.direction),):
            raise ValueError(f"this ratio needs {len(self.direction)} similarities, not {x.size}")
        value = float(x @ np.array(self.direction))
        log10, low, high = (
            float(np.interp(value, self.values, y)) for y in (self.log10s, self.lows, self.highs)
        )
        return Ratio(log10, min(low, log10), max(high, log10), log10 in self.log10_bounds)

    def to_json(self) -> dict[str, Any]:
        stored = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in stored.items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        read = {
            name: tuple(value) if isinstance(value, list) else value for name, value in read.items()
        }
        return cls(**{**read, "variant": LikelihoodVariant(stored["variant"])})


def fit_likelihood(
    same: ArrayLike,
    different: ArrayLike,
    same_sources: ArrayLike,
    different_sources: ArrayLike,
    *,
    seed: int,
) -> Likelihood:
    """Fit from the similarities of known fakes to known fakes of their generator (n,), and of
    known-real images to known fakes (m,).

    Sources (n,), (m,) have the same numbers on both sides: all images made from one photograph are
    resampled together, and are in one fold of the cross-validation.

    Raises:
        ValueError: one side has no similarity, or a similarity is not finite.

    """
    pairs = _pairs(
        _columns(same, 1), _columns(different, 1), same_sources, different_sources, ONE_SIDED
    )
    return _fit(pairs, seed)


def fit_two_sided(
    same: ArrayLike,
    different: ArrayLike,
    same_sources: ArrayLike,
    different_sources: ArrayLike,
    *,
    seed: int,
) -> Likelihood:
    """Fit from pairs (nearest known fake, nearest known real): `same` (n, 2) of known fakes,
    `different` (m, 2) of known-real images.

    Raises as `fit_likelihood`.
    """
    pairs = _pairs(
        _columns(same, 2), _columns(different, 2), same_sources, different_sources, TWO_SIDED
    )
    return _fit(pairs, seed)


def fit_ratios_at(
    variant: LikelihoodVariant, same: Floats, different: Floats, at: Floats
) -> Floats:
    """Return the log10 ratios (g,) at points (g, d), without bounds, of a model of one variant that
    is fitted to similarities (n, d) and (m, d).
    """
    x = np.concatenate([same, different])  # (n + m, d)
    signs = ONE_SIDED if x.shape[1] == 1 else TWO_SIDED
    is_same = np.arange(len(x)) < len(same)
    pairs = _Pairs(x, is_same, np.arange(len(x), dtype=np.int64), signs)
    return np.asarray(_log10s(pairs, variant, np.ones((1, len(x) + MISLEADING)), at)[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Both sides in one canonical order: similarities (n, d), whether a pair is of the same source
    (n,), and source images (n,).
    """

    x: Floats
    same: Bools
    sources: NDArray[np.int64]
    signs: tuple[int, ...]


def _fit(pairs: _Pairs, seed: int) -> Likelihood:
    held_out = _out_of_sample(pairs, seed)
    bounds = {
        variant: elub(log10, pairs.same, pairs.sources) for variant, log10 in held_out.items()
    }
    bounded = {variant: np.clip(log10, *bounds[variant]) for variant, log10 in held_out.items()}
    costs = {
        variant: _required(cllr(y[pairs.same], y[~pairs.same])) for variant, y in bounded.items()
    }
    variant = min(LikelihoodVariant, key=lambda each: costs[each])
    direction, values, log10s, lows, highs = _curve(pairs, variant, bounds[variant], seed)
    chosen = bounded[variant]
    return Likelihood(
        variant=variant,
        direction=tuple(direction.tolist()),
        values=tuple(values.tolist()),
        log10s=tuple(log10s.tolist()),
        lows=tuple(lows.tolist()),
        highs=tuple(highs.tolist()),
        log10_bounds=bounds[variant],
        cllr=costs[variant],
        cllr_min=_required(cllr_min(chosen[pairs.same], chosen[~pairs.same])),
        cllr_of_variants={each.value: costs[each] for each in LikelihoodVariant},
        n_same=int(pairs.same.sum()),
        n_different=int((~pairs.same).sum()),
        n_sources_same=len(np.unique(pairs.sources[pairs.same])),
        n_sources_different=len(np.unique(pairs.sources[~pairs.same])),
        seed=seed,
    )


def elub(log10: Floats, same: Bools, sources: NDArray[np.int64]) -> tuple[float, float]:
    """Return the empirical lower and upper log10 bounds (ELUB): within them, decisions by the
    ratios cost less than decisions without.

    At a decision threshold t, decisions by the ratios cost FNR + t * FPR, and those by an LR of
    always 1 cost min(1, t). The bounds are the thresholds nearest to 1, on either side, beyond
    which the ratios do not cost less. One misleading source is added on each side. Sources are
    counted, not images: a photograph in ten versions is one observation.
    """
    most = [np.log10(len(np.unique(sources[side])) + 1) for side in (~same, same)]
    steps = np.arange(np.ceil(max(most) / BOUND_STEP) + 2) * BOUND_STEP
    upward = _costs(log10, same, sources, steps) > 1.0  # beyond the neutral cost of 1
    downward = _costs(log10, same, sources, -steps) > 10.0**-steps
    return -float(_last_before(steps, downward)), float(_last_before(steps, upward))


def _costs(log10: Floats, same: Bools, sources: NDArray[np.int64], thresholds: Floats) -> Floats:
    """Return FNR + t * FPR at log10 thresholds (t,), with one misleading source on each side."""
    missed = _share(log10[same], sources[same], thresholds, above=False)
    false = _share(log10[~same], sources[~same], thresholds, above=True)
    return np.asarray(missed + 10.0**thresholds * false, np.float64)


def _share(log10: Floats, sources: NDArray[np.int64], thresholds: Floats, *, above: bool) -> Floats:
    _, which, counts = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(log10, kind="stable")
    up_to = np.append(0.0, np.cumsum((1 / counts[which])[order]))  # sources by rising ratio
    at_most = up_to[np.searchsorted(log10[order], thresholds, side="right")]
    misleading = len(counts) - at_most if above else at_most
    return np.asarray((misleading + 1) / (len(counts) + 1), np.float64)


def _last_before(steps: Floats, crossed: Bools) -> float:
    """Return the step before the first one that crossed, 0 if the first one did."""
    first = int(np.argmax(crossed)) if crossed.any() else len(steps)
    return float(round(steps[max(first - 1, 0)], 2))


def _columns(similarities: ArrayLike, width: int) -> Floats:
    return np.asarray(similarities, np.float64).reshape(-1, width)


def _pairs(
    same: Floats,
    different: Floats,
    same_sources: ArrayLike,
    different_sources: ArrayLike,
    signs: tuple[int, ...],
) -> _Pairs:
    x = np.concatenate([same, different])
    is_same = np.arange(len(x)) < len(same)
    sources = np.concatenate(
        [np.asarray(same_sources, np.int64), np.asarray(different_sources, np.int64)]
    )
    if not len(same) or not len(different) or len(sources) != len(x) or not np.isfinite(x).all():
        raise ValueError(
            "a likelihood ratio is fitted to finite similarities on both sides, each with a source"
        )
    order = np.lexsort(
        (sources, is_same, *x.T[::-1])
    )  # the same pairs in any order give the same bytes
    return _Pairs(x[order], is_same[order], sources[order], signs)


def _out_of_sample(pairs: _Pairs, seed: int) -> dict[LikelihoodVariant, Floats]:
    """Return the log10 ratios (n,) of both variants, fitted to the other folds."""
    fold = folds_by_source(pairs.sources, seed)
    found = {variant: np.zeros(len(fold)) for variant in LikelihoodVariant}
    for held in np.unique(fold):
        out = fold == held
        weights = np.append(~out, [True] * MISLEADING).astype(np.float64)[None, :]  # (1, n + 2)
        for variant in LikelihoodVariant:
            found[variant][out] = _log10s(pairs, variant, weights, pairs.x[out])[0]
    return found


def _log10s(pairs: _Pairs, variant: LikelihoodVariant, weights: Floats, at: Floats) -> Floats:
    """Return log10 ratios (r, g) at points (g, d), one fit for each row of weights (r, n + 2), of
    which the last two belong to the misleading pairs.
    """
    fitted = fit_logistic(pairs.x, pairs.same, weights[:, :-MISLEADING], pairs.signs)  # (r, 1 + d)
    if variant is LikelihoodVariant.LOGISTIC:
        log_odds = (fitted[:, :1] + fitted[:, 1:] @ at.T) / LN10
        return np.asarray(np.clip(log_odds, -LOG10_LIMIT, LOG10_LIMIT), np.float64)
    directions = fitted[:, 1:] if len(pairs.signs) > 1 else np.ones((len(weights), 1))
    pooled = [
        pool_at(pairs.x @ w, pairs.same, row, at @ w)
        for w, row in zip(directions, weights, strict=True)
    ]
    return log10_of_odds(np.array(pooled, np.float64))


def _curve(
    pairs: _Pairs, variant: LikelihoodVariant, bounds: tuple[float, float], seed: int
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return the direction (d,), rising values (g,), and the log10 ratios with their bootstrap
    interval (g,), all within the bounds.
    """
    misleading = pairs.sources.max() + 1 + np.arange(MISLEADING)
    weights = draw_weights(np.append(pairs.sources, misleading), RESAMPLES, seed)  # (1 + r, n + 2)
    is_one_sided = len(pairs.signs) == 1
    direction = (
        np.ones(1)
        if is_one_sided
        else fit_logistic(pairs.x, pairs.same, weights[:1, :-MISLEADING], pairs.signs)[0, 1:]
    )
    along = pairs.x @ direction
    values = np.unique(np.quantile(along, np.linspace(0, 1, GRID_POINTS), method="nearest"))
    # The mean pair of similarities at each value: resamples, whose directions differ, are evaluated
    # there.
    spread = along.var()
    slope = (
        ((along - along.mean()) @ (pairs.x - pairs.x.mean(axis=0))) / (len(along) * spread)
        if spread
        else 0.0
    )
    at = pairs.x.mean(axis=0) + (values - along.mean())[:, None] * slope  # (g, d)
    log10s = np.clip(_log10s(pairs, variant, weights, at), *bounds)  # (1 + r, g)
    middle = np.maximum.accumulate(log10s[0])
    low, high = np.quantile(log10s[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return direction, values, middle, np.minimum(low, middle), np.maximum(high, middle)


def _required(figure: float | None) -> float:
    assert figure is not None  # both sides have pairs
    return figure
