"""Numbers for people: percentages, ratios, and values beside the limit that they are compared with.

A printed number never contradicts the sentence that it stands in: what is not zero is not printed
as zero, an upper bound is rounded up, and a value that is below a limit is printed as a smaller
number than the limit. The page, the terminal and the demonstration print with these digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

SIMILARITY_DIGITS = 4
LOGIT_DIGITS = 2
# Two different doubles differ in 17 significant digits (IEEE 754).
MOST_DIGITS = 17
# A share nearer to 0 or 1 is not printed as a number: no calibration has so many images.
LEAST_SHARE = 1e-5


def percent(share: float) -> str:
    """A share with two significant digits. 0 % and 100 % are said of exactly none and all: what is
    nearly all has as many decimals as show what is missing.
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if share < LEAST_SHARE:
        return f"under {100 * LEAST_SHARE:.2g} %"
    if 1 - share < LEAST_SHARE:
        return f"over {100 * (1 - LEAST_SHARE):.3f} %"
    decimals = _decimals(100 * share, 2)
    if float(f"{100 * share:.{decimals}f}") >= 100:
        decimals = _decimals(100 * (1 - share), 1)
    return f"{_strip(f'{100 * share:.{decimals}f}')} %"


def percent_at_most(share: float) -> str:
    """An upper bound of a share, rounded up to two significant digits, likewise."""
    if not LEAST_SHARE <= share <= 1 - LEAST_SHARE:
        return percent(1.0 if share > 0.5 else share)
    raised = _round_up(100 * share, _decimals(100 * share, 2))
    if float(raised) >= 100:
        raised = _round_up(100 * share, _decimals(100 * (1 - share), 1))
    return f"{_strip(raised)} %"


def times(ratio: float) -> str:
    """A ratio with two significant digits: 1.5, 25, 1,200."""
    rounded = float(f"{ratio:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def count_digits(pairs: Iterable[tuple[float, float]], least: int) -> int:
    """Return how many decimals show every (value, limit) on the side on which it is."""
    compared = list(pairs)
    for digits in range(least, MOST_DIGITS):
        if all(_reads_right(value, limit, digits) for value, limit in compared):
            return digits
    return MOST_DIGITS


def _reads_right(value: float, limit: float, digits: int) -> bool:
    shown, shown_limit = float(f"{value:.{digits}f}"), float(f"{limit:.{digits}f}")
    return (shown > shown_limit, shown < shown_limit) == (value > limit, value < limit)


def _decimals(value: float, digits: int) -> int:
    """Return the decimals that show a number above 0 with some significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(value)))


def _round_up(value: float, decimals: int) -> str:
    # What floating point adds to a number that is round already is not rounded up.
    scale = 10.0**decimals
    return f"{math.ceil(value * scale - 1e-9) / scale:.{decimals}f}"


def _strip(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
