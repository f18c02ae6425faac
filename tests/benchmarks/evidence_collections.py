"""Does the interval of a further collection hold? `python -m tests.benchmarks.evidence_collections
[--repeats 300]`.

Draws references of a few collections of 10 to 300 photographs whose rates are known: their logits
are normal around a median, with a spread. Prints how often the rate of a further collection, and
the mean rate, lay inside the interval, and the median upper end beside the true 97.5 % point.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from index.calibration.across_collections import predict_rates

SIZES = (10, 25, 40, 60, 200, 300)
COUNTS = (2, 3, 5, 10, 20)
SPREADS = (0.0, 0.5, 1.0, 1.5, 2.5)
MEDIANS = (0.1, 0.01)
FURTHER = 4000  # collections that the shares inside are counted on


@dataclass(frozen=True, slots=True)
class Held:
    """Shares of rates inside the interval, the median upper end, and what it should be."""

    inside: float
    mean_inside: float
    high: float
    true_high: float


def check_collections(
    count: int, spread: float, median: float, *, repeats: int, seed: int = 0
) -> Held:
    """Predict from `count` collections, `repeats` times."""
    random = np.random.default_rng(seed)
    rates = expit(logit(median) + spread * random.normal(size=FURTHER))
    inside, mean_inside, highs = [], [], []
    for _ in range(repeats):
        sizes = random.choice(SIZES, count)
        matches = random.binomial(sizes, random.choice(rates, count))
        found = predict_rates(
            matches[None, :].astype(np.float64), sizes.astype(np.float64), np.ones(count)
        )
        inside.append(((found.lows <= rates) & (rates <= found.highs)).mean())
        mean_inside.append(bool(found.mean_lows[0] <= rates.mean() <= found.mean_highs[0]))
        highs.append(found.highs[0])
    return Held(
        float(np.mean(inside)),
        float(np.mean(mean_inside)),
        float(np.median(highs)),
        float(np.quantile(rates, 0.975)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="references of each kind")
    options = parser.parse_args()
    print("collections  spread  median  inside  mean inside  upper end (true 97.5 % point)")
    for count in COUNTS:
        for spread in SPREADS:
            for median in MEDIANS:
                held = check_collections(count, spread, median, repeats=options.repeats)
                print(
                    f"{count:11d}  {spread:6.1f}  {median:6.2f}  {held.inside:6.3f}  "
                    f"{held.mean_inside:11.3f}  {held.high:.3f} ({held.true_high:.3f})"
                )


if __name__ == "__main__":
    main()
