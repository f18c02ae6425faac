"""What a likelihood ratio costs where it was not fitted: each collection is left out in turn.

A model is fitted again without some collections, and states its ratios for them. Cross-validation
by source image says what a ratio costs for images like those of the fit, and that is not what a
look-up meets: a Cllr of 0.78 by source was 1.05 on collections that nobody had used
(docs/decisions/0015-limits-from-the-calibration.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.figures import cost_of_ratios
from index.calibration.groups import fold_groups, weights_by_group
from index.calibration.likelihood import Likelihood, fit_ratios_at
from index.calibration.resampling import folds_by_source

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Each fold is a fit of some 10 ms. The largest groups have a fold of their own, the others share.
MOST_FOLDS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The pairs of one side of a ratio: similarities (n, d), source images (n,), groups (n,).

    `elsewhere` (n, d) are the similarities that they have if their own group is not there: the
    nearest known-real image of a photograph is then one of another collection.
    """

    similarities: Floats
    elsewhere: Floats
    sources: Ints
    groups: Ints

    @property
    def is_grouped(self) -> bool:
        """Whether there are several groups to leave out."""
        return len(np.unique(self.groups)) > 1

    def folds(self, seed: int) -> Ints:
        """Return the fold of each pair (n,): by group, or by source image if there is one group."""
        if self.is_grouped:
            return fold_groups(self.groups, MOST_FOLDS)
        return folds_by_source(self.sources, seed)

    def taking(self, rows: NDArray[np.bool_]) -> Self:
        """Return some of the pairs."""
        return type(self)(
            self.similarities[rows], self.elsewhere[rows], self.sources[rows], self.groups[rows]
        )


def measure_left_out(model: Likelihood, same: Side, different: Side, *, seed: int) -> float | None:
    """Return the Cllr of a fitted model with a group of each side left out at a time.

    An image counts by what it adds to its group (`weights_by_group`), because the next image is of
    another one. None if there is one group on each side, or a similarity is missing on one side.
    """
    if not (same.is_grouped or different.is_grouped):
        return None
    same, different = (
        side.taking(np.asarray(np.isfinite(side.elsewhere).all(axis=1), np.bool_))
        for side in (same, different)
    )
    if not len(same.sources) or not len(different.sources):
        return None
    folds = same.folds(seed), different.folds(seed)
    log10s = np.zeros(len(folds[0])), np.zeros(len(folds[1]))
    for fold in range(1 + max(int(each.max()) for each in folds)):
        out = folds[0] == fold, folds[1] == fold
        known = same.taking(~out[0]), different.taking(~out[1])
        if not len(known[0].sources) or not len(known[1].sources):
            return None
        left_out = same.elsewhere[out[0]], different.elsewhere[out[1]]
        ratios = fit_ratios_at(
            model.variant, known[0].similarities, known[1].similarities, np.concatenate(left_out)
        )
        bounded = np.clip(ratios, *model.log10_bounds)
        log10s[0][out[0]], log10s[1][out[1]] = np.split(bounded, [len(left_out[0])])
    weights = (
        weights_by_group(log10, side.groups)
        for log10, side in zip(log10s, (same, different), strict=True)
    )
    return cost_of_ratios(*log10s, *weights)
