"""The classifier's probability, calibrated on one half of the sources and held to the other."""

from __future__ import annotations

import numpy as np

from api.evaluation.classification import MIN_IMAGES, ClassifiedImages, measure_reliability
from api.evaluation.json import ReliabilityFigures
from api.evaluation.splits import split_kinds_in_halves
from index.calibration.classifier import fit_classifier


def measure_calibrated_reliability(
    judged: ClassifiedImages, seed: int
) -> ReliabilityFigures | None:
    """Fit on the first half, state probabilities of the other;

    None where a half has too few images of a kind.
    """
    first = split_kinds_in_halves(judged.synthetic, judged.sources, seed)
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
