"""Attribution to generators, with each generator left out in turn: are its images recognised as
unknown?

Without the generator, attribution is fitted on one half of the other fakes. The other half measures
its candidates, and how well nearness separates it from the images that were left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.evaluation.classification import (
    MIN_IMAGES,
    ClassifiedImages,
    measure_with_intervals,
    roc_auc,
)
from api.evaluation.json import AttributionEvaluation, LeftOutGenerator, Measure
from api.evaluation.retrieving import draw_rows
from api.evaluation.splits import has_enough_sources, split_in_halves
from index.calibration.attribution import COVERAGE, Attributed, Attribution
from index.calibration.attribution_fit import fit_attribution
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.calibration.others import Nearest, SamePictures, find_nearest
from index.calibration.population import Population

MOST_GENERATORS = 20  # left out in turn, those with the most images; each needs a fit of its own
MOST_PROBES = 1_000  # known fakes looked up for each generator that is left out


@dataclass(frozen=True, slots=True, eq=False)
class KnownFakes:
    """Fakes with a declared generator that made another image too: its names (n,), and what stays
    together in halves (n,).
    """

    fakes: Population
    names: NDArray[np.str_]
    units: NDArray[np.int64]


def measure_attribution(
    fakes: Population, sources: NDArray[np.int64], seed: int
) -> AttributionEvaluation:
    """Leave out each generator that has enough images, in turn; `sources` (n,)."""
    listed = _select_fakes(fakes, sources)
    counts = Counter(listed.names.tolist())
    enough = [
        name
        for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        if count >= MIN_IMAGES
    ]
    rows = [
        row
        for name in enough[:MOST_GENERATORS]
        if (row := _measure_without(listed, name, seed)) is not None
    ]
    if not rows:
        reason = (
            f"{len(enough)} generators have {MIN_IMAGES} images; two others are needed "
            f"beside the one left out"
        )
        missing = Measure.missing(reason)
        return AttributionEvaluation(
            target_coverage=COVERAGE,
            auroc=missing,
            coverage=missing,
            mean_set_size=missing,
            right_of_named=missing,
            by_generator=[],
            reason=reason,
        )
    return AttributionEvaluation(
        target_coverage=COVERAGE,
        auroc=_average([row.auroc.value for row in rows]),
        coverage=_average([row.coverage for row in rows]),
        mean_set_size=_average([row.mean_set_size for row in rows]),
        right_of_named=_average([row.right_of_named for row in rows]),
        by_generator=rows,
    )


def _select_fakes(fakes: Population, sources: NDArray[np.int64]) -> KnownFakes:
    counts = Counter(fakes.generators)
    usable = np.flatnonzero(
        [generator is not None and counts[generator] > 1 for generator in fakes.generators]
    )
    names = np.array([fakes.generators[row] or "" for row in usable], np.str_)
    return KnownFakes(fakes.taking(usable), names, _assign_units(names, sources[usable]))


def _assign_units(names: NDArray[np.str_], sources: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return sources (n,). Each image of a generator with few sources gets a number of its own.

    Otherwise a whole generator would be on one side of every split, and never be tested.
    """
    units = sources.copy()
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        if not has_enough_sources(sources[rows]):
            units[rows] = sources.max(initial=0) + 1 + rows
    return units


def _measure_without(listed: KnownFakes, name: str, seed: int) -> LeftOutGenerator | None:
    """Measure attribution without a generator; None if too few other images are left."""
    known = np.flatnonzero(listed.names != name)
    if len(set(listed.names[known].tolist())) < 2 or len(known) <= ATTRIBUTION_NEIGHBOURS:
        return None
    members = listed.fakes.taking(known)
    among = SamePictures(members)
    asked = known[draw_rows(len(known), MOST_PROBES, seed)]
    first = _split_probes(listed, asked, seed)
    outside = np.flatnonzero(listed.names == name)
    inside, left_out = (
        _find_neighbours(listed.fakes, rows, members, among)
        for rows in (asked, outside[draw_rows(len(outside), MOST_PROBES, seed)])
    )
    fit, test = (np.flatnonzero(np.isin(inside.rows, asked[half])) for half in (first, ~first))
    if min(len(fit), len(test), len(left_out.rows)) < MIN_IMAGES:
        return None
    fitted = fit_attribution(
        inside.found.similarities[fit],
        [inside.generators[place] for place in fit],
        listed.names[inside.rows[fit]].tolist(),
        listed.units[inside.rows[fit]],
        seed=seed,
        entries=Counter(listed.names[known].tolist()),
    )
    return _measure_left_out(name, listed, fitted, inside.taking(test), left_out, seed)


@dataclass(frozen=True, slots=True, eq=False)
class _Probes:
    """Images by row (m,) with their neighbours, k each, and the neighbours' generators."""

    rows: NDArray[np.int64]
    found: Nearest
    generators: list[list[str | None]]

    def taking(self, places: NDArray[np.int64]) -> _Probes:
        found = Nearest(
            self.found.similarities[places], self.found.positions[places], self.found.counts[places]
        )
        return _Probes(self.rows[places], found, [self.generators[place] for place in places])


def _find_neighbours(
    fakes: Population, rows: NDArray[np.int64], members: Population, among: SamePictures
) -> _Probes:
    found = find_nearest(fakes.taking(rows), members, among, k=ATTRIBUTION_NEIGHBOURS)
    generators = [[members.generators[place] for place in places] for places in found.positions]
    return _Probes(rows, found, generators).taking(
        np.flatnonzero((found.positions >= 0).all(axis=1))
    )


def _split_probes(listed: KnownFakes, rows: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which rows (m,) are in the first half. Each generator is halved separately."""
    first = np.zeros(len(rows), np.bool_)
    names = listed.names[rows]
    for name in np.unique(names):
        some = np.flatnonzero(names == name)
        first[some] = split_in_halves(listed.units[rows[some]], seed)
    return first


def _measure_left_out(
    name: str, listed: KnownFakes, fitted: Attribution, known: _Probes, left_out: _Probes, seed: int
) -> LeftOutGenerator:
    attributed, of_left_out = _attribute(fitted, known), _attribute(fitted, left_out)
    pairs = [
        (truth, each)
        for truth, each in zip(listed.names[known.rows].tolist(), attributed, strict=True)
        if truth in fitted.least_shares
    ]
    sets = [(truth, build_conformal_set(each, fitted.least_shares)) for truth, each in pairs]
    named = [truth in each.candidates for truth, each in pairs if not each.unknown]
    rows = np.concatenate([known.rows, left_out.rows])
    nearness = np.concatenate([known.found.maxima, left_out.found.maxima])
    judged = ClassifiedImages(nearness, np.arange(len(rows)) < len(known.rows), listed.units[rows])
    found = measure_with_intervals(judged, {"auroc": roc_auc}, seed)
    return LeftOutGenerator(
        name=name,
        n_left_out=len(left_out.rows),
        n_known=len(known.rows),
        auroc=found["auroc"],
        abstained=float(np.mean([each.unknown for each in of_left_out])),
        abstained_of_known=float(np.mean([each.unknown for each in attributed])),
        coverage=_mean([truth in candidates for truth, candidates in sets]),
        mean_set_size=_mean([len(candidates) for _, candidates in sets]),
        right_of_named=_mean(named),
    )


def _attribute(fitted: Attribution, asked: _Probes) -> list[Attributed]:
    return [
        fitted.attribute(list(zip(similarities, generators, strict=True)))
        for similarities, generators in zip(
            asked.found.similarities.tolist(), asked.generators, strict=True
        )
    ]


def build_conformal_set(attributed: Attributed, least: Mapping[str, float]) -> set[str]:
    """Return the conformal set before abstention: the generators with at least their least share.

    It is empty for an image none of whose neighbours declares a generator.
    """
    return {name for name, share in attributed.shares if share >= least.get(name, np.inf)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _average(values: Sequence[float | None]) -> Measure:
    known = [value for value in values if value is not None]
    return (
        Measure(value=float(np.mean(known)))
        if known
        else Measure.missing("it could not be measured for any generator")
    )
