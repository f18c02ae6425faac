"""How the false-match rate moves as a corpus grows, learned from how often each reference image is exceeded.

A rate is the tail of a maximum over entries that lie in clusters (one generator, one prompt, one subject), so that
1 - (1 - p)^(m/N) is wrong: the tenth image of a cluster adds hardly a new match. What is modelled is
-log(1 - FMR(t; m)) = (m/N)^beta * -log(1 - FMR(t; N)) with beta in ]0, 1]; beta is the share of new information in a
new entry. It foretells a corpus that grows by more of the same population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from index.calibration.resampling import resampled_weights

Floats = NDArray[np.float64]

# Rarefaction is exact below the corpus' own size; these shares span the decade behind it to foretell the one ahead.
SHARES = (0.1, 0.2, 0.5, 1.0)
RESAMPLES = 400
# A slope from fewer exceeding images than this is noise (the 10 of `false_matches.MIN_EXCEEDANCES`).
MIN_EXCEEDING = 10
MIN_BETA = 0.01


@dataclass(frozen=True, slots=True)
class Growth:
    """The exponent and its 95 % interval, 0 < low <= beta <= high <= 1."""

    beta: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.beta <= self.high <= 1:
            raise ValueError(f"a growth exponent is 0 < low <= beta <= high <= 1, not {self}")

    def to_json(self) -> dict[str, Any]:
        return {"beta": self.beta, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(stored["beta"], stored["low"], stored["high"])


# What is said where nothing could be measured: each entry brings as much as the one before, the most that can be.
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

    `counts` (n, t): how many of the `corpus_size` entries are at or above threshold j for reference image i, rising
    thresholds (t,) in the tail. `sources` (n,): the source image of each reference image, resampled as a whole.
    """
    exceeded = np.asarray(counts, np.int64).reshape(len(sources), len(thresholds))
    usable = (exceeded > 0).sum(axis=0) >= MIN_EXCEEDING  # (t,)
    sizes = np.unique(np.maximum(1, np.round(np.array(SHARES) * corpus_size)))  # (m,)
    if not usable.any() or len(sizes) < 2:
        return UNKNOWN_GROWTH
    matched = matched_by_subset(exceeded[:, usable], corpus_size, sizes)  # (n, t, m)
    weights = resampled_weights(sources, RESAMPLES, seed)  # (r, n); the first row is of the data as they are
    rates = np.tensordot(weights, matched, axes=1)  # (r, t, m)
    slopes = _slopes(rates, np.log(sizes))  # (r,)
    low, high = np.quantile(slopes[1:], [0.025, 0.975])
    return Growth(float(slopes[0]), float(min(low, slopes[0])), float(max(high, slopes[0])))


def matched_by_subset(counts: NDArray[np.int64], corpus_size: int, sizes: Floats) -> Floats:
    """Return the chance that a random subset of m of N entries holds any of the k: 1 - C(N-k, m) / C(N, m).

    `counts` (...), `sizes` (m,) from 1 to N; returns (..., m).
    """
    k = np.minimum(counts, corpus_size)[..., None].astype(np.float64)
    room = corpus_size - k - sizes  # entries that are in neither; below 0 there is no subset without a match
    with np.errstate(invalid="ignore"):
        log_none = (
            gammaln(corpus_size - k + 1)
            - gammaln(np.maximum(room, 0) + 1)
            - gammaln(corpus_size + 1.0)
            + gammaln(corpus_size - sizes + 1)
        )
    return np.asarray(np.where(room < 0, 1.0, -np.expm1(np.minimum(log_none, 0.0))), np.float64)


def _slopes(rates: Floats, log_sizes: Floats) -> Floats:
    """Return slopes (r,) of log(-log(1 - rate)) over log m, the mean over thresholds, of rates (r, t, m)."""
    y = np.log(-np.log1p(-np.clip(rates, 1e-12, 1 - 1e-12)))
    x = log_sizes - log_sizes.mean()
    return np.asarray(np.clip((y @ x / (x @ x)).mean(axis=1), MIN_BETA, 1.0), np.float64)
