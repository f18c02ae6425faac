"""The exact 95 % interval of a share (Clopper & Pearson 1934).

Not by scipy.stats, which takes a second to load.
"""

from __future__ import annotations

from index.calibration.resampling import LEVEL
from index.calibration.special import betaincinv


def exact_interval(count: float, n: int) -> tuple[float, float]:
    """Return the interval of `count` of `n`, at least one; a count need not be whole."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if count <= 0 else float(betaincinv(count, n - count + 1, tail))
    high = 1.0 if count >= n else float(betaincinv(count + 1, n - count, 1 - tail))
    return low, high
