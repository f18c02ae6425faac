"""False-match rates: predicted from one half of the real images, and counted in the other, for
growing corpora.

The first half is compared with a tenth of the known fakes. From that, rates are predicted for one,
two, five and ten times as many fakes, and counted in the second half with as many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from api.evaluation.json import FalseMatchRow, FalseMatchTable, Measure
from api.evaluation.retrieving import draw_rows
from api.evaluation.splits import split_in_halves
from index.calibration.calibration import fit_rates
from index.calibration.false_matches import FalseMatches
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import Population

RATES = (0.1, 0.01, 0.005)
TIMES = (1, 2, 5, 10)
MIN_FAKES = 100  # a tenth of them is ten
MIN_REALS = 40  # 20 in each half: the fewest with which `fit_false_matches` fits a tail
TOLERANCE = 1e-6  # when rates are compared: rounding of an interpolation
MOST_REALS = 5_000  # each is compared with every fake

Floats = NDArray[np.float64]
Halve = Callable[[NDArray[np.int64], int], NDArray[np.bool_]]


def measure_false_matches(
    reals: Population,
    fakes: Population,
    sources: NDArray[np.int64],
    split: str,
    seed: int,
    halve: Halve = split_in_halves,
) -> FalseMatchTable:
    """Calibrate on one half of the real images, and count in the other.

    `halve` decides from the sources (n,) and the seed which images are in the first half.
    """
    rows = draw_rows(len(reals), MOST_REALS, seed)
    reals, sources = reals.taking(rows), sources[rows]
    first = halve(sources, seed)
    reason = _explain_missing(reals, fakes, sources)
    measured = (
        list[FalseMatchRow]() if reason else _measure_rows(reals, fakes, sources, first, seed)
    )
    return FalseMatchTable(
        split=split,
        calibrated_on=int(first.sum()),
        tested_on=int((~first).sum()),
        calibrated_sources=len(np.unique(sources[first])),
        tested_sources=len(np.unique(sources[~first])),
        rows=measured,
        reason=reason,
    )


def _measure_rows(
    reals: Population,
    fakes: Population,
    sources: NDArray[np.int64],
    first: NDArray[np.bool_],
    seed: int,
) -> list[FalseMatchRow]:
    order = np.random.default_rng(seed).permutation(len(fakes))
    tenth = len(fakes) // TIMES[-1]
    corpora = {times: fakes.taking(np.sort(order[: tenth * times])) for times in TIMES}
    calibrated, tested = np.flatnonzero(first), np.flatnonzero(~first)
    reference, among = reals.taking(calibrated), SamePictures(corpora[1])
    fitted = fit_rates(
        reference,
        find_nearest(reference, corpora[1], among),
        sources[calibrated],
        corpora[1],
        among,
        corpus_size=len(corpora[1]),
        seed=seed,
    )
    rows = list[FalseMatchRow]()
    for times, corpus in corpora.items():
        found = find_nearest(reals.taking(tested), corpus, SamePictures(corpus))
        maxima = found.maxima.clip(-1.0, 1.0)
        rows += [_measure_row(fitted, rate, times, len(corpus), maxima) for rate in RATES]
    return rows


def _measure_row(
    fitted: FalseMatches, asked: float, times: int, size: int, maxima: Floats
) -> FalseMatchRow:
    similarity = fitted.similarity_at(asked, size)
    rate = fitted.rate_at(similarity, size)
    predicted = Measure(value=rate.estimate, low=rate.low, high=rate.high)
    if rate.estimate > asked * (1 + TOLERANCE):
        unreachable = Measure.missing("the calibration predicts no threshold with so small a rate")
        return _build_row(asked, times, size, similarity, predicted, unreachable, None)
    if len(maxima) * asked < 1:
        few = Measure.missing(
            f"{len(maxima)} real images; {round(1 / asked)} are needed to expect one"
        )
        return _build_row(asked, times, size, similarity, predicted, few, None)
    matches = int((maxima >= similarity).sum())
    low, high = binomtest(matches, len(maxima)).proportion_ci(0.95, "exact")
    realised = Measure(value=matches / len(maxima), low=float(low), high=float(high))
    return _build_row(asked, times, size, similarity, predicted, realised, matches)


def _build_row(
    asked: float,
    times: int,
    size: int,
    similarity: float,
    predicted: Measure,
    realised: Measure,
    matches: int | None,
) -> FalseMatchRow:
    inside = None
    if realised.value is not None and predicted.low is not None and predicted.high is not None:
        inside = predicted.low <= realised.value <= predicted.high
    return FalseMatchRow(
        asked=asked,
        times=times,
        corpus_size=size,
        cosine_similarity=similarity,
        predicted=predicted,
        realised=realised,
        matches=matches,
        inside=inside,
    )


def _explain_missing(
    reals: Population, fakes: Population, sources: NDArray[np.int64]
) -> str | None:
    if len(reals) < MIN_REALS or len(fakes) < MIN_FAKES:
        return (
            f"{len(reals)} real and {len(fakes)} synthetic images; {MIN_REALS} and {MIN_FAKES} "
            f"are needed for halves "
            "and a tenth"
        )
    if len(np.unique(sources)) < 2:
        return "all real images come from one source, which cannot be halved"
    return None
