"""The measurements of `tests.benchmarks.evidence` for likelihood ratios, the calibrated probability
and attribution. `evidence_ratios_tables` makes the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.calibration import figures
from index.calibration.attribution import Attributed, Attribution
from index.calibration.calibration import (
    AS_IS,
    ATTRIBUTION_NEIGHBOURS,
    Compared,
    Measured,
    calibrate,
)
from index.calibration.likelihood import Likelihood
from index.calibration.others import NOTHING, SamePictures, find_nearest
from index.calibration.population import Population
from tests.benchmarks.evidence_figures import Calibrated
from tests.benchmarks.evidence_pictures import Pictures

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Costs of the likelihood ratios of probes, and the costs that the calibration stated: by
    cross-validation, and with a collection left out. `supported`: it states the ratio.
    """

    cllr: float
    cllr_min: float
    stated_cllr: float
    left_out_cllr: float | None
    supported: bool
    misleading_fakes: float
    misleading_reals: float
    bounds: tuple[float, float]
    n: int


def measure_ratios(pictures: Pictures, own: Calibrated) -> dict[str, Ratios]:
    """Measure one-sided and two-sided ratios, for fakes of known generators and photographs."""
    known_generators = set(own.compared.fakes.generators) - {None}
    of = pictures.population
    same = of.taking(
        np.array(
            [row for row in own.halved.fakes if of.generators[row] in known_generators], np.int64
        )
    )
    different = of.taking(own.halved.reals)
    found = {}
    for name, model in (("one-sided", own.as_is.likelihood), ("two-sided", own.as_is.two_sided)):
        if model is not None:
            found[name] = _costs(model, *(_log10s(model, own, side) for side in (same, different)))
    return found


def _log10s(model: Likelihood, own: Calibrated, probes: Population) -> Floats:
    sides = [own.nearest_fake(probes), own.nearest_real(probes)][: len(model.direction)]
    there = np.logical_and.reduce([side > NOTHING for side in sides])
    return np.array(
        [model.ratio_at(pair).log10 for pair in np.column_stack(sides)[there].tolist()], np.float64
    )


def _costs(model: Likelihood, same: Floats, different: Floats) -> Ratios:
    cost, least = figures.cllr(same, different), figures.cllr_min(same, different)
    assert cost is not None
    assert least is not None
    misled = float((same < 0).mean()), float((different > 0).mean())
    return Ratios(
        cost,
        least,
        model.cllr,
        model.cllr_left_out,
        model.supported,
        *misled,
        model.log10_bounds,
        len(same) + len(different),
    )


def measure_classifier_errors(
    pictures: Pictures, own: Calibrated
) -> tuple[float, float, float] | None:
    """Return the ECE of the calibrated probability of probes, of the plain one, and the stated
    one.
    """
    model = own.as_is.classifier
    if model is None:
        return None
    rows = np.concatenate([own.halved.reals, own.halved.fakes])
    logits, positive = pictures.population.logits[rows], pictures.synthetic[rows]
    probabilities = np.array([model.probability(logit) for logit in logits.tolist()])
    errors = [
        figures.ece(each, positive, figures.even_odds(positive))
        for each in (probabilities, figures.sigmoid(logits))
    ]
    assert errors[0] is not None
    assert errors[1] is not None
    return errors[0], errors[1], model.ece


@dataclass(frozen=True, slots=True)
class Attributions:
    """How fakes of some generators come out that the attribution has not seen.

    `coverage` is the share whose set, before abstention, contains the right generator; None where
    the generators have too few entries for one. `unknown` is the share without a name,
    `right_of_named` the share of the others with the right one.
    """

    n: int
    generators: int
    coverage: float | None
    unknown: float
    right_of_named: float | None


# Generators by the number of their entries in the corpora.
ENTRIES = ((0, 1), (1, 5), (5, 10), (10, 20), (20, 50), (50, 1000))


def measure_attributions(
    pictures: Pictures, every: list[Calibrated]
) -> Iterator[tuple[tuple[int, int], Attributions]]:
    """Attribute every held-out fake of some splits, and yield the figures by the number of entries
    of its generator.
    """
    found: dict[tuple[int, int], list[tuple[str, Attributed, bool | None]]] = {}
    for own in every:
        model = own.as_is.attribution
        if model is None:
            continue
        entries = Counter(own.compared.fakes.generators)
        rows = [row for row in own.halved.fakes if pictures.population.generators[row] is not None]
        probes = pictures.population.taking(np.array(rows, np.int64))
        for truth, attributed in attribute(model, own.compared.fakes, own.among_fakes, probes):
            count = entries[truth]
            size = next(each for each in ENTRIES if each[0] <= count < each[1])
            found.setdefault(size, []).append(
                (truth, attributed, _covers(model, attributed, truth))
            )
    for size in ENTRIES:
        if size in found:
            yield size, _summarise(found[size])


def attribute(
    model: Attribution, members: Population, among: SamePictures, probes: Population
) -> Iterator[tuple[str, Attributed]]:
    """Yield the generator of each probe with its attribution."""
    found = find_nearest(probes, members, among, k=ATTRIBUTION_NEIGHBOURS)
    for truth, similarities, places in zip(
        probes.generators, found.similarities.tolist(), found.positions.tolist(), strict=True
    ):
        names = [members.generators[place] for place in places if place >= 0]
        assert truth is not None
        yield truth, model.attribute(list(zip(similarities, names, strict=False)))


def leave_out_generators(pictures: Pictures) -> Iterator[tuple[str, Attributions]]:
    """Leave each generator of at least five fakes out of the corpora and of the calibration."""
    reals, fakes = np.flatnonzero(~pictures.synthetic), np.flatnonzero(pictures.synthetic)
    names = np.array([pictures.population.generators[row] or "" for row in fakes], np.str_)
    counts = Counter(names[names != ""].tolist())
    for name in sorted((each for each in counts if counts[each] >= 5), key=lambda e: -counts[e]):
        known = pictures.population.taking(fakes[names != name])
        photographs = pictures.population.taking(reals)
        compared = Compared(known, photographs, len(known))
        calibration = calibrate(compared, {AS_IS: Measured(photographs, known)}, seed=0)
        model = calibration.strata[AS_IS].attribution
        assert model is not None
        probes = pictures.population.taking(fakes[names == name])
        found = list(attribute(model, known, SamePictures(known), probes))
        yield name, _summarise([(truth, each, None) for truth, each in found])


def _covers(model: Attribution, attributed: Attributed, truth: str) -> bool | None:
    """Return whether the set before abstention contains a generator that has enough entries."""
    least = model.least_shares
    if truth not in least:
        return None
    return dict(attributed.shares).get(truth, 0.0) >= least[truth]


def _summarise(found: list[tuple[str, Attributed, bool | None]]) -> Attributions:
    covered = [each for _, _, each in found if each is not None]
    named = [truth in each.candidates for truth, each, _ in found if not each.unknown]
    return Attributions(
        n=len(found),
        generators=len({truth for truth, _, _ in found}),
        coverage=float(np.mean(covered)) if covered else None,
        unknown=float(np.mean([each.unknown for _, each, _ in found])),
        right_of_named=float(np.mean(named)) if named else None,
    )
