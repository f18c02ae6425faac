"""How well values separate two classes, by scikit-learn: the ROC and its area; the Brier score.

Larger values speak for `positive`. A figure that needs both classes is None where one is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, brier_score_loss
from sklearn.metrics import roc_curve as sklearn_roc_curve

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """Operating points from the strictest threshold down, each (p,): from (0, 0) to (1, 1)."""

    false_positive_rate: Floats
    true_positive_rate: Floats

    @property
    def area(self) -> float:
        """The chance that a positive has a larger value than a negative; a tie counts one half."""
        return float(auc(self.false_positive_rate, self.true_positive_rate))

    def true_positive_rate_at(self, false_positive_rate: float) -> float:
        """The true positive rate at the lowest threshold with at most this false positive rate."""
        allowed = self.false_positive_rate <= false_positive_rate
        return float(self.true_positive_rate[allowed].max())


def roc_of(values: Floats, positive: Bools) -> Roc | None:
    """Return all operating points of values (n,) with labels (n,), None without both classes."""
    if positive.all() or not positive.any():
        return None
    false_positive_rate, true_positive_rate, _ = sklearn_roc_curve(
        positive, values, drop_intermediate=False
    )
    return Roc(false_positive_rate, true_positive_rate)


def balanced_accuracy(values: Floats, positive: Bools, threshold: float) -> float | None:
    """Return the mean over classes of the share called right; `value >= threshold` is positive.

    By hand: scikit-learn's function takes thirty times as long, and every resample needs one.
    """
    if positive.all() or not positive.any():
        return None
    called = values >= threshold
    return float((called[positive].mean() + (~called[~positive]).mean()) / 2)


def brier(probabilities: Floats, positive: Bools, weights: ArrayLike | None = None) -> float:
    """Return the (weighted) mean squared error in [0, 1] of probabilities (n,), n at least 1."""
    return float(brier_score_loss(positive, probabilities, sample_weight=weights, pos_label=True))
