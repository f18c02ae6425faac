"""Whether the stated rates of a stratum hold: each collection is left out and counted in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.across_collections import Groups, predict_rates
from index.calibration.resampling import LEVEL
from index.calibration.special import betaincinv

Floats = NDArray[np.float64]

# The rates whose intervals are checked: the default of `similar` (1 %) and the larger ones that
# `lineup calibrations show` lists.
CHECKED_RATES = (0.1, 0.05, 0.01)
# A stratum holds if at most this share of its intervals did not. 95 % intervals miss one in twenty,
# and the three rates of one collection miss together.
MOST_OUTSIDE = 0.1
# Of fewer collections, two intervals of one of them would decide.
MIN_COLLECTIONS = 6
# Of more collections, the largest are left out.
MOST_LEFT_OUT = 60


@dataclass(frozen=True, slots=True)
class StratumCheck:
    """How often the stated intervals of a stratum contained what was counted in a collection that
    was left out.

    `rates` intervals of `collections` collections were checked; `inside` of them held.
    """

    holds: bool
    collections: int
    rates: int
    inside: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)


def check_rates(maxima: Floats, groups: Groups) -> StratumCheck | None:
    """Leave out each collection in turn, state the interval of each of `CHECKED_RATES` from the
    others, and count in it. None if there are too few collections.

    `maxima` (n,) are the largest similarities of the images. A count is itself uncertain, so an
    interval holds if it overlaps the exact binomial interval of the count.
    """
    owners = np.unique(groups.owners)
    if len(owners) < MIN_COLLECTIONS:
        return None
    photographs = np.bincount(groups.owners, groups.sizes * groups.weights)
    largest = np.argsort(-photographs[owners], kind="stable")[:MOST_LEFT_OUT]
    inside = rates = 0
    for owner in owners[np.sort(largest)].tolist():
        is_left_out = groups.owners == owner  # (g,)
        out = is_left_out[groups.numbers] & (groups.numbers >= 0)
        others = maxima[~out & (groups.numbers >= 0)]
        at = np.quantile(others, [1 - rate for rate in CHECKED_RATES], method="higher")
        matches = groups.count(maxima, at)  # (t, g)
        stated = predict_rates(
            matches[:, ~is_left_out], groups.sizes[~is_left_out], groups.weights[~is_left_out]
        )
        low, high = count_interval(matches[:, is_left_out], groups.sizes[is_left_out])
        holds = (low <= stated.highs[:, None]) & (high >= stated.lows[:, None])
        inside += int(holds.sum())
        rates += holds.size
    return StratumCheck(rates - inside <= MOST_OUTSIDE * rates, len(largest), rates, inside)


def count_interval(matches: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Return the exact 95 % interval of a share (Clopper & Pearson 1934), from matches in sizes.

    Matches need not be whole: a photograph in several versions counts by the share that matches.
    """
    tail = (1 - LEVEL) / 2
    missed = np.maximum(sizes - matches, 0.0)
    low = betaincinv(np.maximum(matches, 1e-9), missed + 1, tail)
    high = betaincinv(matches + 1, np.maximum(missed, 1e-9), 1 - tail)
    return np.where(matches > 0, low, 0.0), np.where(missed > 0, high, 1.0)
