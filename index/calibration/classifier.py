"""Calibrating the classifier: from its logit to a probability, by a temperature with a bias or by
isotonic regression.

Sources: Platt 1999; Guo et al. 2017, "On Calibration of Modern Neural Networks"; Zadrozny & Elkan
2002. Both classes have the same total weight, so the probability is at a prior of one half, which
`prior` states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.figures import brier, ece, even_odds, log_loss, sigmoid
from index.calibration.logistic import fit_logistic
from index.calibration.pooling import MISLEADING, pool_at
from index.calibration.resampling import folds_by_source

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PRIOR = 0.5
KNOTS = 129  # of the isotonic curve, evenly spaced by rank of the logits


class CalibrationVariant(StrEnum):
    """How a logit becomes a probability."""

    TEMPERATURE = "temperature"
    ISOTONIC = "isotonic"


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """ECE (15 bins of equal width), Brier score and log loss (nats), with equal class weights."""

    ece: float
    brier: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class ClassifierCalibration:
    """A fitted calibration. Its figures are cross-validated by source image.

    The variant `temperature` is sigmoid(scale * logit + bias), with a temperature of 1 / scale.
    The variant `isotonic` interpolates between `logits` (g,) and `probabilities` (g,). A
    probability is never beyond `limits`, which the number of sources supports. `uncalibrated` are
    the figures of the plain sigmoid on the same images.
    """

    variant: CalibrationVariant
    scale: float
    bias: float
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    limits: tuple[float, float]
    prior: float
    ece: float
    brier: float
    log_loss: float
    log_loss_of_variants: Mapping[str, float]
    uncalibrated: CalibrationFigures
    n: int
    n_synthetic: int
    n_sources: int
    seed: int

    def probability(self, logit: float) -> float:
        """Return P(synthetic) at even prior odds; never falls with the logit."""
        if self.variant is CalibrationVariant.ISOTONIC:
            probability = float(np.interp(logit, self.logits, self.probabilities))
        else:
            probability = float(sigmoid(self.scale * logit + self.bias))
        return min(max(probability, self.limits[0]), self.limits[1])

    def to_json(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read = {each.name: stored[each.name] for each in fields(cls)}
        read = {
            name: tuple(value) if isinstance(value, list) else value for name, value in read.items()
        }
        read |= {"variant": CalibrationVariant(stored["variant"])}
        return cls(**read | {"uncalibrated": CalibrationFigures(**stored["uncalibrated"])})


def fit_classifier(
    logits: ArrayLike, synthetic: ArrayLike, sources: ArrayLike, *, seed: int
) -> ClassifierCalibration:
    """Fit on logits (n,), whether each image is synthetic (n,), and the photograph or prompt that
    it was made from, `sources` (n,).

    The variant with the lower cross-validated log loss is taken.

    Raises:
        ValueError: no image, or a logit that is not finite.

    """
    x, positive, source = _sort(logits, synthetic, sources)
    held_out = _out_of_sample(x, positive, source, seed)
    figures = {variant: _figures(stated, positive) for variant, stated in held_out.items()}
    variant = min(CalibrationVariant, key=lambda each: figures[each].log_loss)
    (bias, scale) = fit_logistic(x[:, None], positive, np.ones((1, len(x))), (1,))[0]
    knots = np.unique(np.quantile(x, np.linspace(0, 1, KNOTS), method="nearest"))
    curve = np.maximum.accumulate(pool_at(x, positive, np.ones(len(x) + MISLEADING), knots))
    return ClassifierCalibration(
        variant=variant,
        scale=float(scale),
        bias=float(bias),
        logits=tuple(knots.tolist()),
        probabilities=tuple(curve.tolist()),
        limits=_limits(positive, source),
        prior=PRIOR,
        ece=figures[variant].ece,
        brier=figures[variant].brier,
        log_loss=figures[variant].log_loss,
        log_loss_of_variants={each.value: figures[each].log_loss for each in CalibrationVariant},
        uncalibrated=_figures(sigmoid(x), positive),
        n=len(x),
        n_synthetic=int(positive.sum()),
        n_sources=len(np.unique(source)),
        seed=seed,
    )


def _sort(
    logits: ArrayLike, synthetic: ArrayLike, sources: ArrayLike
) -> tuple[Floats, Bools, NDArray[np.int64]]:
    x, positive = np.asarray(logits, np.float64), np.asarray(synthetic, np.bool_)
    source = np.asarray(sources, np.int64)
    if not len(x) or not x.shape == positive.shape == source.shape or not np.isfinite(x).all():
        raise ValueError(
            "a calibration is fitted to at least one finite logit, each with a label and a source"
        )
    order = np.lexsort((source, positive, x))  # the same images in any order give the same bytes
    return x[order], positive[order], source[order]


def _limits(positive: Bools, source: NDArray[np.int64]) -> tuple[float, float]:
    """Return the least and the largest probability, by the rule of succession: of n sources and two
    more, one is taken to be of the other class.
    """
    least, most = (1 / (len(np.unique(source[side])) + 2) for side in (positive, ~positive))
    return min(least, 0.5), max(1 - most, 0.5)


def _out_of_sample(
    x: Floats, positive: Bools, source: NDArray[np.int64], seed: int
) -> dict[CalibrationVariant, Floats]:
    """Return the probabilities (n,) of both variants, fitted to the other folds."""
    fold = folds_by_source(source, seed)
    stated = {variant: np.full(len(x), PRIOR) for variant in CalibrationVariant}
    for held in np.unique(fold):
        out = fold == held
        weights = (~out).astype(np.float64)
        bias, scale = fit_logistic(x[:, None], positive, weights[None, :], (1,))[0]
        low, high = _limits(positive[~out], source[~out])
        stated[CalibrationVariant.TEMPERATURE][out] = np.clip(
            sigmoid(scale * x[out] + bias), low, high
        )
        pooled = pool_at(x, positive, np.append(weights, np.ones(MISLEADING)), x[out])
        stated[CalibrationVariant.ISOTONIC][out] = np.clip(pooled, low, high)
    return stated


def _figures(stated: Floats, positive: Bools) -> CalibrationFigures:
    weights = even_odds(positive)
    found = [figure(stated, positive, weights) for figure in (ece, brier, log_loss)]
    return CalibrationFigures(*(each for each in found if each is not None))
