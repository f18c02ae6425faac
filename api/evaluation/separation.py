"""How well values separate two classes: the ROC and its area; the Brier score.

Larger values speak for `positive`. A figure that needs both classes is None where one is missing.
Every resample needs a ROC: it is computed here, because scikit-learn's function takes four times as
long, and compared with that function by a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import brier_score_loss

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
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))

    def true_positive_rate_at(self, false_positive_rate: float) -> float:
        """The true positive rate at the lowest threshold with at most this false positive rate."""
        allowed = self.false_positive_rate <= false_positive_rate
        return float(self.true_positive_rate[allowed].max())


def roc_of(values: Floats, positive: Bools) -> Roc | None:
    """Return all operating points of values (n,) with labels (n,), None without both classes.

    Raises:
        ValueError: a value is NaN.

    """
    if np.isnan(values).any():
        raise ValueError("a ROC needs numbers, not NaN")
    if positive.all() or not positive.any():
        return None
    falling = np.argsort(-values, kind="stable")
    # The last of equal values: a threshold takes all of them or none.
    last = np.flatnonzero(np.append(np.diff(values[falling]) < 0, [True]))
    true = np.cumsum(positive[falling])[last]
    false = last + 1 - true
    return Roc(np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1]))


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
