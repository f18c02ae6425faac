"""How the false-match rate moves as a corpus grows, learned from how often each reference image is
exceeded.

A rate is the tail of a maximum over entries that lie in clusters (one generator, one prompt, one
subject), so that 1 - (1 - p)^(m/N) is wrong: the tenth image of a cluster adds hardly a new match.
What is modelled is the hazard h = -log(1 - FMR(t; m)): log h rises with log m at the slope beta in
]0, 1], and the larger the hazard already is, the slower: beta + bend * log(h / h_1), h_1 being that
of a rate of 1 %. Of the whole mixture of clusters the dense ones are exhausted first. It foretells
a corpus that grows by more of the same population, not by a new one.

On simulated corpora in ten wide clusters (`python -m tests.benchmarks.evidence_simulated`) one beta
for all rates foretold the hazard at ten times the size 1.6 times too high at a rate of 10 % and 0.7
times at 0.3 %; with the bend 1.1 and 1.2 times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from index.calibration.resampling import resampled_weights

Floats = NDArray[np.float64]

# Rarefaction is exact below the corpus' own size; these shares span the decade behind it to
# foretell the one ahead.
SHARES = (0.1, 0.2, 0.5, 1.0)
RESAMPLES = 400
# A slope from fewer exceeding images than this is noise (the 10 of
# `false_matches.MIN_EXCEEDANCES`).
MIN_EXCEEDING = 10
MIN_BETA = 0.01
# All reference images meet the same corpus, and its growth may fill other clusters: no resampling
# of images knows that. On the simulated corpora the hazard foretold for ten times the size was off
# by 0.07 to 0.47 (one deviation of its log; median 0.17, an exponent of 0.07); twice that.
CORPUS_ERROR = 0.15
LEAST_SEEN = 3  # images that are expected to exceed at a size, for its slope to count
ANCHOR = -math.log1p(-0.01)  # the hazard of a rate of 1 %, the default of `similar`
STEPS = 32  # of Euler's method over a decade and less of size: within 1 % of the exact flow


@dataclass(frozen=True, slots=True)
class Growth:
    """The exponent at a rate of 1 % and its 95 % interval, 0 < low <= beta <= high <= 1, and its
    bend, at most 0.
    """

    beta: float
    low: float
    high: float
    bend: float = 0.0  # change of the exponent when the hazard grows by a factor e

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.beta <= self.high <= 1 and self.bend <= 0):
            raise ValueError(
                f"a growth exponent is 0 < low <= beta <= high <= 1 and bends down, not {self}"
            )

    def grown(self, hazard: float, factor: float, side: float = 0.0) -> float:
        """Return the hazard -log(1 - rate) at `factor` times the size; `side` -1 takes the low
        exponent, 1 the high.

        Rises with the hazard, with the factor and, for a factor above 1, with the side.
        """
        if not hazard:
            return 0.0
        beta = self.beta + (
            side * (self.high - self.beta) if side > 0 else side * (self.beta - self.low)
        )
        log_hazard, step = math.log(hazard), math.log(factor) / STEPS
        for _ in range(STEPS):
            log_hazard += step * min(
                max(beta + self.bend * (log_hazard - math.log(ANCHOR)), MIN_BETA), 1.0
            )
        return math.exp(log_hazard)

    def to_json(self) -> dict[str, Any]:
        return {"beta": self.beta, "low": self.low, "high": self.high, "bend": self.bend}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(stored["beta"], stored["low"], stored["high"], stored["bend"])


# What is said where nothing could be measured: each entry brings as much as the one before, the
# most that can be.
UNKNOWN_GROWTH = Growth(1.0, MIN_BETA, 1.0)


def fit_growth(
    counts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    sources: NDArray[np.int64],
    *,
    corpus_size: int,
    seed: int,
) -> Growth:
    """Fit how the rate grows from exceedance counts.

    `counts` (n, t): how many of the `corpus_size` entries are at or above threshold j for reference
    image i, rising thresholds (t,) in the tail. `sources` (n,): the source image of each reference
    image, resampled as a whole.
    """
    exceeded = np.asarray(counts, np.int64).reshape(len(sources), len(thresholds))
    source = np.asarray(sources, np.int64)
    order = np.lexsort((source, *exceeded.T))  # the same images in any order give the same bytes
    exceeded, source = exceeded[order], source[order]
    usable = (exceeded > 0).sum(axis=0) >= MIN_EXCEEDING  # (t,)
    sizes = np.unique(np.maximum(1, np.round(np.array(SHARES) * corpus_size)))  # (m,)
    if not usable.any() or len(sizes) < 2:
        return UNKNOWN_GROWTH
    matched = matched_by_subset(exceeded[:, usable], corpus_size, sizes)  # (n, t, m)
    weights = resampled_weights(
        source, RESAMPLES, seed
    )  # (1 + r, n); the first row is of the data as they are
    betas, bends = _lines(
        np.tensordot(weights, matched, axes=1), np.log(sizes), len(sources)
    )  # (1 + r,)
    beta = float(betas[0])
    down, up = np.maximum(0.0, (np.quantile(betas[1:], [0.025, 0.975]) - beta) * [-1, 1])
    low, high = beta - math.hypot(down, CORPUS_ERROR), beta + math.hypot(up, CORPUS_ERROR)
    return Growth(beta, max(low, MIN_BETA), min(high, 1.0), float(bends[0]))


def matched_by_subset(counts: NDArray[np.int64], corpus_size: int, sizes: Floats) -> Floats:
    """Return the chance that a random subset of m of N entries holds any of the k: 1 - C(N-k, m) /
    C(N, m).

    `counts` (...), `sizes` (m,) from 1 to N; returns (..., m).
    """
    k = np.minimum(counts, corpus_size)[..., None].astype(np.float64)
    room = (
        corpus_size - k - sizes
    )  # entries that are in neither; below 0 there is no subset without a match
    with np.errstate(invalid="ignore"):
        log_none = (
            gammaln(corpus_size - k + 1)
            - gammaln(np.maximum(room, 0) + 1)
            - gammaln(corpus_size + 1.0)
            + gammaln(corpus_size - sizes + 1)
        )
    return np.asarray(np.where(room < 0, 1.0, -np.expm1(np.minimum(log_none, 0.0))), np.float64)


def _lines(rates: Floats, log_sizes: Floats, n: int) -> tuple[Floats, Floats]:
    """Return exponents at ANCHOR and bends (r,), by weighted least squares, of rates (r, t, m).

    The points are the slopes of log hazard between neighbouring sizes, weighed by the images that
    exceed there.
    """
    log_hazards = np.log(-np.log1p(-np.clip(rates, 1e-12, 1 - 1e-12)))
    slopes = np.diff(log_hazards, axis=2) / np.diff(log_sizes)  # (r, t, m - 1)
    x = (log_hazards[:, :, 1:] + log_hazards[:, :, :-1]) / 2 - math.log(ANCHOR)
    seen = rates[0, :, :-1] * n >= LEAST_SEEN  # (t, m - 1)
    between = np.sqrt(rates[0, :, 1:] * rates[0, :, :-1]) * np.diff(log_sizes)
    weight = np.where(seen, between, 0.0) if seen.any() else between
    mean_x, mean_y = (
        np.average(each, axis=(1, 2), weights=_like(weight, each)) for each in (x, slopes)
    )
    dx = x - mean_x[:, None, None]
    spread = (weight * dx**2).sum(axis=(1, 2))
    bends = (weight * dx * slopes).sum(axis=(1, 2)) / np.maximum(spread, 1e-12)
    bends = np.clip(bends, -1.0, 0.0)
    return np.clip(mean_y - bends * mean_x, MIN_BETA, 1.0), bends


def _like(weight: Floats, each: Floats) -> Floats:
    return np.broadcast_to(weight, each.shape)
