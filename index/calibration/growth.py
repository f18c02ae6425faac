"""Growth: how the false-match rate rises with the size of a corpus.

The rate is the tail probability of a maximum over entries, and entries form clusters (one
generator, one prompt, one subject). So 1 - (1 - p)^(m/N) is wrong: the tenth image of a cluster
hardly adds a match. The model is for the hazard h = -log(1 - FMR(t; m)). Log h rises with log m at
the slope beta, in ]0, 1], and the slope falls as the hazard grows, because the dense clusters are
exhausted first: beta + bend * log(h / h_1), where h_1 is the hazard of a rate of 1 %. It is fitted
by rarefaction: how often known-real images would match in random subsets of the corpus. It predicts
growth by more of the same population, not by a new one.

On simulated corpora in ten wide clusters (`python -m tests.benchmarks.evidence_simulated`), with
one beta for all rates, the hazard predicted at ten times the size was 1.6 times the true one at a
rate of 10 %, and 0.7 times at 0.3 %. With the bend it was 1.1 and 1.2 times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.resampling import draw_weights
from index.calibration.special import gammaln

Floats = NDArray[np.float64]

# Rarefaction is exact up to the corpus's own size. These shares of it span one decade, to predict
# the next one.
SHARES = (0.1, 0.2, 0.5, 1.0)
RESAMPLES = 400
# A slope from fewer exceeding images is noise (as `pareto.MIN_EXCEEDANCES`).
MIN_EXCEEDING = 10
MIN_BETA = 0.01
# All reference images are compared with the same corpus, whose growth may fill other clusters. A
# bootstrap over images does not see this error. On the simulated corpora the standard deviation of
# log(predicted / true hazard) at ten times the size was 0.07 to 0.47, 0.17 in the median, which is
# 0.07 in the exponent. This is twice that.
CORPUS_ERROR = 0.15
LEAST_SEEN = 3  # a slope counts if this many images are expected to exceed at its size
ANCHOR = -math.log1p(-0.01)  # the hazard of a rate of 1 %, the default of `similar`
STEPS = 32  # of Euler's method over a decade and less of size: within 1 % of the exact flow


@dataclass(frozen=True, slots=True)
class Growth:
    """The growth exponent at a rate of 1 %, with its 95 % interval, 0 < low <= beta <= high <= 1.

    `bend`, at most 0, is the change of the exponent when the hazard grows by a factor of e.
    """

    beta: float
    low: float
    high: float
    bend: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.beta <= self.high <= 1 and self.bend <= 0):
            raise ValueError(
                f"a growth exponent has 0 < low <= beta <= high <= 1 and bend <= 0, unlike {self}"
            )

    def predict_hazard(self, hazard: float, factor: float, side: float = 0.0) -> float:
        """Return the hazard -log(1 - rate) at `factor` times the size.

        `side` selects the exponent: -1 the lower end of its interval, 0 the estimate, 1 the upper
        end. The result rises with the hazard, with the factor and, for a factor above 1, with
        `side`.
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


# Used if nothing could be measured: every new entry adds as much hazard as the ones before, which
# is the upper limit.
UNKNOWN_GROWTH = Growth(1.0, MIN_BETA, 1.0)


def fit_growth(
    counts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    sources: NDArray[np.int64],
    *,
    corpus_size: int,
    seed: int,
) -> Growth:
    """Fit the growth exponent from exceedance counts.

    `counts` (n, t) is the number of the `corpus_size` entries whose similarity to reference image i
    is at least threshold j. `thresholds` (t,) rise and lie in the tail. `sources` (n,) is the
    source image of each reference image; the bootstrap resamples sources.
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
    weights = draw_weights(source, RESAMPLES, seed)  # (1 + r, n); the first row is the data
    betas, bends = _lines(
        np.tensordot(weights, matched, axes=1), np.log(sizes), len(sources)
    )  # (1 + r,)
    beta = float(betas[0])
    down, up = np.maximum(0.0, (np.quantile(betas[1:], [0.025, 0.975]) - beta) * [-1, 1])
    low, high = beta - math.hypot(down, CORPUS_ERROR), beta + math.hypot(up, CORPUS_ERROR)
    return Growth(beta, max(low, MIN_BETA), min(high, 1.0), float(bends[0]))


def matched_by_subset(counts: NDArray[np.int64], corpus_size: int, sizes: Floats) -> Floats:
    """Return the probability that a random subset of m of N entries contains any of k given ones:
    1 - C(N - k, m) / C(N, m).

    `counts` (...) are the k, `sizes` (m,) from 1 to N; returns (..., m).
    """
    k = np.minimum(counts, corpus_size)[..., None].astype(np.float64)
    room = corpus_size - k - sizes  # below 0, every subset contains a match
    with np.errstate(invalid="ignore"):
        log_none = (
            gammaln(corpus_size - k + 1)
            - gammaln(np.maximum(room, 0) + 1)
            - gammaln(corpus_size + 1.0)
            + gammaln(corpus_size - sizes + 1)
        )
    return np.asarray(np.where(room < 0, 1.0, -np.expm1(np.minimum(log_none, 0.0))), np.float64)


def _lines(rates: Floats, log_sizes: Floats, n: int) -> tuple[Floats, Floats]:
    """Return the exponents at ANCHOR and the bends (r,) of rates (r, t, m), by weighted least
    squares.

    The points are the slopes of log hazard between neighbouring sizes, weighted by the number of
    images that exceed there.
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
