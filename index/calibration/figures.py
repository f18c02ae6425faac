"""Figures of merit of detectors and likelihood ratios: pure functions of arrays.

Owns how well stated numbers are calibrated, and how well nearness separates known generators from
others. Not: ranked lists of neighbours (`retrieval.py`), the fits that make those numbers, and the
ROC of an evaluation, which is scikit-learn's (`api.evaluation.separation`). A figure is None if it
needs both classes, or any item, and there is none; an evaluation then prints "not measured". Larger
values always support `positive`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.pooling import log10_of_odds, pav
from index.calibration.special import expit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Guo et al. 2017, "On Calibration of Modern Neural Networks", use 15 bins of equal width.
ECE_BINS = 15
LN10 = float(np.log(10.0))


@dataclass(frozen=True, slots=True)
class Bin:
    """The items whose stated probability is in [low, high[ (the last bin includes 1): the mean
    stated probability and the share that is positive.
    """

    low: float
    high: float
    n: int
    mean_probability: float
    share_positive: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram: its non-empty bins, the expected calibration error (ECE) and the
    maximum calibration error (MCE), in [0, 1].
    """

    bins: tuple[Bin, ...]
    ece: float
    mce: float
    n: int


@dataclass(frozen=True, slots=True)
class Tippett:
    """Tippett curves: the shares of same-source and of different-source pairs whose log10 LR is
    above each point, and the rates of misleading evidence.
    """

    log10: Floats  # (p,) ascending
    same: Floats  # (p,)
    different: Floats  # (p,)
    misleading_same: float  # share of same-source pairs with LR < 1
    misleading_different: float  # share of different-source pairs with LR > 1


def open_set_auroc(nearness: ArrayLike, known: ArrayLike) -> float | None:
    """Return how well nearness (n,) separates known generators from those that were left out.

    The area under the ROC (Mann-Whitney): the chance that a probe of a known generator is nearer,
    where a tie counts one half.
    """
    x, is_known = _labelled(nearness, known)
    total = int(is_known.sum())
    if total in {0, len(x)}:
        return None
    ranks = _ranks(x)[is_known].sum()
    return float((ranks - total * (total + 1) / 2) / (total * (len(x) - total)))


def even_odds(positive: ArrayLike) -> Floats:
    """Return weights (n,) that sum to n and give each class one half of the total: for
    probabilities stated at even prior odds.

    If there is only one class, all weights are equal.
    """
    is_positive = np.asarray(positive, np.bool_)
    total = int(is_positive.sum())
    if total in {0, len(is_positive)}:
        return np.ones(len(is_positive))
    share = np.where(is_positive, total, len(is_positive) - total)
    return np.asarray(len(is_positive) / (2 * share), np.float64)


def brier(
    probabilities: ArrayLike, positive: ArrayLike, weights: Floats | None = None
) -> float | None:
    """Return the Brier score (1950): the (weighted) mean squared error of probabilities, in
    [0, 1].
    """
    p, is_positive = _labelled(probabilities, positive)
    return float(np.average((p - is_positive) ** 2, weights=weights)) if len(p) else None


def log_loss(
    probabilities: ArrayLike, positive: ArrayLike, weights: Floats | None = None
) -> float | None:
    """Return the (weighted) mean of -log of the probability given to the true class, in nats.

    Probabilities are clipped at 1e-15.
    """
    p, is_positive = _labelled(probabilities, positive)
    if not len(p):
        return None
    of_truth = np.clip(np.where(is_positive, p, 1 - p), 1e-15, 1.0)
    return float(np.average(-np.log(of_truth), weights=weights))


def reliability(
    probabilities: ArrayLike,
    positive: ArrayLike,
    weights: Floats | None = None,
    *,
    bins: int = ECE_BINS,
) -> Reliability | None:
    """Return the reliability diagram of P(positive) in bins of equal width (Guo et al. 2017), None
    without any item.

    The gap of a bin is |share positive - mean probability|. ECE is the (weighted) mean gap over
    items, MCE the largest gap.
    """
    p, is_positive = _labelled(probabilities, positive)
    if not len(p):
        return None
    own = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    which = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, bins - 1)  # (n,)
    counts = np.bincount(which, minlength=bins)  # (bins,)
    weight, stated, found = (
        np.asarray(np.bincount(which, each, minlength=bins), np.float64)
        for each in (own, own * p, own * is_positive)
    )
    filled = np.flatnonzero(weight)
    stated, found = stated[filled] / weight[filled], found[filled] / weight[filled]
    shown = [
        Bin(float(edges[i]), float(edges[i + 1]), int(counts[i]), float(mean), float(share))
        for i, mean, share in zip(filled, stated, found, strict=True)
    ]
    gaps = np.abs(stated - found)
    return Reliability(
        tuple(shown), float(np.average(gaps, weights=weight[filled])), float(gaps.max()), len(p)
    )


def ece(
    probabilities: ArrayLike,
    positive: ArrayLike,
    weights: Floats | None = None,
    *,
    bins: int = ECE_BINS,
) -> float | None:
    """Return the expected calibration error; see `reliability`."""
    diagram = reliability(probabilities, positive, weights, bins=bins)
    return None if diagram is None else diagram.ece


def cllr(log10_same: ArrayLike, log10_different: ArrayLike) -> float | None:
    """Return Cllr, the log-likelihood-ratio cost in bits (Brümmer & du Preez 2006).

    0 is perfect; 1 is the cost of always stating an LR of 1.
    """
    same, different = _finite(log10_same), _finite(log10_different)
    if not len(same) or not len(different):
        return None
    return cost_of_ratios(same, different)


def cost_of_ratios(
    log10_same: Floats,
    log10_different: Floats,
    same_weights: Floats | None = None,
    different_weights: Floats | None = None,
) -> float:
    """Return the Cllr of log10 LRs that there are some of on both sides, with weights of each."""
    of_same = np.average(np.logaddexp(0, -log10_same * LN10), weights=same_weights)
    of_different = np.average(np.logaddexp(0, log10_different * LN10), weights=different_weights)
    return float((of_same + of_different) / (2 * np.log(2)))


def cllr_min(same: ArrayLike, different: ArrayLike) -> float | None:
    """Return the Cllr after the best monotone recalibration of these values: discrimination alone.

    Takes log10 LRs, or any value that grows with the support for same source. It is at most the
    `cllr` of the same LRs.
    """
    s, d = _finite(same), _finite(different)
    if not len(s) or not len(d):
        return None
    x = np.concatenate([s, d])
    log10 = log10_of_odds(pav(x, np.arange(len(x)) < len(s)))
    return cllr(log10[: len(s)], log10[len(s) :])


def tippett(
    log10_same: ArrayLike, log10_different: ArrayLike, *, points: int = 201
) -> Tippett | None:
    """Return Tippett curves at `points` evenly spaced log10 LRs (Drygajlo et al. 2015), None unless
    both classes have pairs.
    """
    same, different = np.sort(_finite(log10_same)), np.sort(_finite(log10_different))
    if not len(same) or not len(different):
        return None
    at = np.linspace(min(same[0], different[0]), max(same[-1], different[-1]), points)
    return Tippett(
        at,
        1 - np.searchsorted(same, at) / len(same),
        1 - np.searchsorted(different, at) / len(different),
        float((same < 0).mean()),
        float((different > 0).mean()),
    )


def sigmoid(logits: ArrayLike) -> Floats:
    """Return 1 / (1 + exp(-logit)), without overflow."""
    return np.asarray(expit(np.asarray(logits, np.float64)), np.float64)


def _labelled(values: ArrayLike, positive: ArrayLike) -> tuple[Floats, Bools]:
    x, is_positive = _finite(values), np.asarray(positive, np.bool_)
    if x.shape != is_positive.shape:
        raise ValueError(f"{x.shape} values cannot have {is_positive.shape} labels")
    return x, is_positive


def _finite(values: ArrayLike) -> Floats:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError("values must be one row of finite numbers")
    return x


def _ranks(x: Floats) -> Floats:
    """Return the rank of each value (n,) from 1, equal values sharing the mean of theirs.

    Not by scipy.stats, which takes a second to load.
    """
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    middles: Floats = np.cumsum(counts) - (counts - 1) / 2
    return middles[inverse]
