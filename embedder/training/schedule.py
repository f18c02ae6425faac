"""The learning rate over a budget of time or steps."""

import math


def warm_up_then_cosine(spent: float, warm_up: float) -> float:
    """Return the share of the peak learning rate once the share `spent`, in [0, 1], of the budget
    is used.

    It rises linearly while `spent` is under `warm_up` and falls to zero along half a cosine.
    """
    if spent < warm_up:
        return spent / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (spent - warm_up) / (1.0 - warm_up)))
