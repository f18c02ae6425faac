"""Attribution to generators, each in turn left out: are its images told from those of known
generators?

Without the generator, attribution is fitted on one half of the other fakes; its sets are held to
the other half, and nearness has to tell that half from the images that were left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.evaluation.answers import AttributionEvaluation, LeftOutGenerator, Measure
from api.evaluation.classification import MIN_IMAGES, Judged, roc_auc, with_intervals
from api.evaluation.retrieving import chosen_rows
from api.evaluation.splits import enough_sources, halves
from index.calibration.attribution import COVERAGE, Attributed, Attribution, fit_attribution
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.calibration.population import Nearest, Others, Population, nearest

MOST_GENERATORS = 20  # that are left out, those with the most images: each takes a fit of its own
MOST_PROBES = 1_000  # known fakes that are looked up without each of them


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """Fakes whose generator is told and has another picture: names (n,), and what is kept together
    in halves (n,).
    """

    fakes: Population
    names: NDArray[np.str_]
    units: NDArray[np.int64]


def attribution(fakes: Population, sources: NDArray[np.int64], seed: int) -> AttributionEvaluation:
    """Leave out each generator of which there are enough images; `sources` (n,)."""
    listed = _listed(fakes, sources)
    counts = Counter(listed.names.tolist())
    enough = [
        name
        for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        if count >= MIN_IMAGES
    ]
    rows = [
        row
        for name in enough[:MOST_GENERATORS]
        if (row := _without(listed, name, seed)) is not None
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
            by_generator=[],
            reason=reason,
        )
    return AttributionEvaluation(
        target_coverage=COVERAGE,
        auroc=_mean([row.auroc.value for row in rows]),
        coverage=_mean([row.coverage for row in rows]),
        mean_set_size=_mean([row.mean_set_size for row in rows]),
        by_generator=rows,
    )


def _listed(fakes: Population, sources: NDArray[np.int64]) -> Listed:
    told = Counter(fakes.generators)
    usable = np.flatnonzero(
        [generator is not None and told[generator] > 1 for generator in fakes.generators]
    )
    names = np.array([fakes.generators[row] or "" for row in usable], np.str_)
    return Listed(fakes.taking(usable), names, _units(names, sources[usable]))


def _units(names: NDArray[np.str_], sources: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return sources (n,), but a number of its own for each image of a generator that is from few
    sources.

    Else whole generators would be on one side of every split, and nothing known would be asked
    about.
    """
    units = sources.copy()
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        if not enough_sources(sources[rows]):
            units[rows] = sources.max(initial=0) + 1 + rows
    return units


def _without(listed: Listed, name: str, seed: int) -> LeftOutGenerator | None:
    """Measure without a generator; None where too little is left to know."""
    known = np.flatnonzero(listed.names != name)
    if len(set(listed.names[known].tolist())) < 2 or len(known) <= ATTRIBUTION_NEIGHBOURS:
        return None
    members = listed.fakes.taking(known)
    among = Others(members)
    asked = known[chosen_rows(len(known), MOST_PROBES, seed)]
    first = _halved(listed, asked, seed)
    outside = np.flatnonzero(listed.names == name)
    inside, left_out = (
        _whole(listed.fakes, rows, members, among)
        for rows in (asked, outside[chosen_rows(len(outside), MOST_PROBES, seed)])
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
    )
    return _row(name, listed, fitted, inside.taking(test), left_out, seed)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Images by row (m,) with their neighbours, all of whom are there, and these' generators."""

    rows: NDArray[np.int64]
    found: Nearest
    generators: list[list[str | None]]

    def taking(self, places: NDArray[np.int64]) -> _Asked:
        found = Nearest(
            self.found.similarities[places], self.found.positions[places], self.found.counts[places]
        )
        return _Asked(self.rows[places], found, [self.generators[place] for place in places])


def _whole(
    fakes: Population, rows: NDArray[np.int64], members: Population, among: Others
) -> _Asked:
    found = nearest(fakes.taking(rows), members, among, k=ATTRIBUTION_NEIGHBOURS)
    generators = [[members.generators[place] for place in places] for places in found.positions]
    return _Asked(rows, found, generators).taking(
        np.flatnonzero((found.positions >= 0).all(axis=1))
    )


def _halved(listed: Listed, rows: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which rows (m,) are in the first half, every generator halved."""
    first = np.zeros(len(rows), np.bool_)
    names = listed.names[rows]
    for name in np.unique(names):
        some = np.flatnonzero(names == name)
        first[some] = halves(listed.units[rows[some]], seed)
    return first


def _row(
    name: str, listed: Listed, fitted: Attribution, known: _Asked, left_out: _Asked, seed: int
) -> LeftOutGenerator:
    said, of_left_out = _attributed(fitted, known), _attributed(fitted, left_out)
    sets = [_candidates(each, fitted.least) for each in said]
    truth = listed.names[known.rows].tolist()
    rows = np.concatenate([known.rows, left_out.rows])
    nearness = np.concatenate([known.found.maxima, left_out.found.maxima])
    judged = Judged(nearness, np.arange(len(rows)) < len(known.rows), listed.units[rows])
    found = with_intervals(judged, {"auroc": roc_auc}, seed)
    return LeftOutGenerator(
        name=name,
        n_left_out=len(left_out.rows),
        n_known=len(known.rows),
        auroc=found["auroc"],
        abstained=float(np.mean([each.unknown for each in of_left_out])),
        abstained_of_known=float(np.mean([each.unknown for each in said])),
        coverage=float(
            np.mean([each in candidates for each, candidates in zip(truth, sets, strict=True)])
        ),
        mean_set_size=float(np.mean([len(candidates) for candidates in sets])),
    )


def _attributed(fitted: Attribution, asked: _Asked) -> list[Attributed]:
    return [
        fitted.attribute(list(zip(similarities, generators, strict=True)))
        for similarities, generators in zip(
            asked.found.similarities.tolist(), asked.generators, strict=True
        )
    ]


def _candidates(said: Attributed, least: float) -> set[str]:
    """Return the conformal set as it is before abstention."""
    most = said.shares[0][1] if said.shares else 0.0
    return {name for name, share in said.shares if share >= least or share == most}


def _mean(values: Sequence[float | None]) -> Measure:
    known = [value for value in values if value is not None]
    return (
        Measure(value=float(np.mean(known)))
        if known
        else Measure.missing("it was measured without no generator")
    )
