"""The classifier's probability: calibrated on one half of the sources, measured on the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from api.evaluation.classification import MIN_IMAGES, ClassifiedImages, measure_reliability
from api.evaluation.json import ReliabilityFigures
from api.evaluation.splits import split_kinds_in_halves
from index.calibration.classifier import fit_classifier

HalveKinds = Callable[[NDArray[np.bool_], NDArray[np.int64], int], NDArray[np.bool_]]


def measure_calibrated_reliability(
    judged: ClassifiedImages, seed: int, halve: HalveKinds = split_kinds_in_halves
) -> ReliabilityFigures | None:
    """Calibrate on the first half, and measure the probabilities of the other.

    None if a half has too few images of a kind. `halve` decides which images are in the first half.
    """
    first = halve(judged.synthetic, judged.sources, seed)
    fewest = min(
        int((kind & half).sum())
        for kind in (judged.synthetic, ~judged.synthetic)
        for half in (first, ~first)
    )
    if fewest < MIN_IMAGES:
        return None
    known, tested = judged.taking(first), judged.taking(~first)
    fitted = fit_classifier(known.logits, known.synthetic, known.sources, seed=seed)
    stated = np.array([fitted.probability(float(logit)) for logit in tested.logits], np.float64)
    return measure_reliability(stated, tested.synthetic, tested.sources, seed)
