"""The measurements of `tests.benchmarks.evidence` for false-match rates and hit rates.

Every function calibrates with the product's `calibrate` and counts in images that were left out:
halves of the photographs, whole collections of photographs, whole collections of known fakes.
`evidence_rates_tables` makes the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from api.calibrations.shipped import ShippedPhotographs
from embedder.pictures.delivery import Condition
from index.calibration.calibration import (
    ANY_DELIVERY,
    AS_IS,
    Calibration,
    Compared,
    Measured,
    calibrate,
    number_collections,
)
from index.calibration.false_matches import Rate, fit_false_matches
from index.calibration.figures import open_set_auroc
from index.calibration.growth import UNKNOWN_GROWTH
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import CollectionName, Population
from tests.benchmarks.evidence_figures import list_deliveries, split, take_copies
from tests.benchmarks.evidence_pictures import Copies, Pictures

RATES = (0.1, 0.01, 0.005)
FACTORS = (1, 2, 5, 10)
TOLERANCE = 1e-6  # float arithmetic of an interpolation
STRATUM_RATES = (0.1, 0.05, 0.01)
# Collections of fewer known fakes say too little of a hit rate.
MIN_FAKES = 20

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RateCheck:
    """A requested rate at a factor of growth, the interval that was stated, and the count in `n`
    photographs.
    """

    rate: float
    factor: int
    low: float
    high: float
    matches: int
    n: int
    reachable: bool

    @property
    def realised(self) -> float:
        return self.matches / self.n

    @property
    def inside(self) -> bool:
        return self.low <= self.realised <= self.high

    @property
    def compatible(self) -> bool:
        """Whether the exact binomial interval of the count overlaps the stated one."""
        counted = binomtest(self.matches, self.n).proportion_ci(0.95, "exact")
        return bool(counted.low <= self.high and counted.high >= self.low)


def check_rates(pictures: Pictures, by: str, seed: int) -> Iterator[RateCheck]:
    """Calibrate with a part of all fakes, predict the rate among all of them, and count in other
    photographs.
    """
    halved = split(pictures, by, seed)
    fakes = pictures.population.taking(np.flatnonzero(pictures.synthetic))
    nothing = fakes.taking(np.empty(0, np.int64))
    known = pictures.population.taking(halved.known_reals)
    others = find_nearest(
        pictures.population.taking(halved.reals), fakes, SamePictures(fakes)
    ).maxima
    order = np.random.default_rng(seed).permutation(len(fakes))
    for factor in FACTORS:
        part = fakes.taking(np.sort(order[: len(fakes) // factor]))
        measured = {AS_IS: Measured(known, nothing)}
        matches = (
            calibrate(Compared(part, nothing, len(part)), measured, seed)
            .strata[AS_IS]
            .false_matches
        )
        for rate in RATES:
            at = matches.similarity_at(rate, len(fakes))
            stated = matches.rate_at(at, len(fakes))
            reachable = stated.estimate <= rate * (1 + TOLERANCE)
            count = int((others >= at).sum())
            yield RateCheck(rate, factor, stated.low, stated.high, count, len(others), reachable)


def check_ideal_rates(n: int, repeats: int) -> Iterator[RateCheck]:
    """Do the same at the calibrated size, with `n` independent photographs on either side of every
    split.

    The count is made on as few photographs as the calibration. So an interval that contains the
    true rate in 95 % of splits contains the counted rate in fewer.
    """
    random = np.random.default_rng(0)
    for seed in range(repeats):
        # The tail of theory.
        known, others = 1 - np.exp(-1 - 0.15 * random.exponential(size=(2, n)))
        matches = fit_false_matches(
            known, np.arange(n), corpus_size=n, growth=UNKNOWN_GROWTH, seed=seed
        )
        for rate in RATES:
            at = matches.similarity_at(rate)
            stated = matches.rate_at(at)
            yield RateCheck(
                rate, 1, stated.low, stated.high, int((others >= at).sum()), n, reachable=True
            )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A rate that was stated without a collection, and the count in that collection.

    `stratum` is the one whose figures are stated for the delivery `condition`.
    """

    collection: str
    condition: str
    stratum: str
    rate: float
    stated: Rate
    matches: int
    n: int

    @property
    def realised(self) -> float:
        return self.matches / self.n

    @property
    def inside(self) -> bool:
        return self.stated.low <= self.realised <= self.stated.high

    @property
    def compatible(self) -> bool:
        """Whether the exact binomial interval of the count overlaps the stated one."""
        counted = binomtest(self.matches, self.n).proportion_ci(0.95, "exact")
        return bool(counted.low <= self.stated.high and counted.high >= self.stated.low)


def calibrate_on(
    pictures: Pictures,
    copies: Copies,
    reals: Rows,
    fakes: Rows,
    measured_fakes: Rows | None = None,
) -> tuple[Calibration, Compared]:
    """Calibrate with some photographs and known fakes, as they are and after each delivery. All of
    the known fakes are compared with; `measured_fakes` are all unless they are given.
    """
    of, some_fakes = pictures.population, fakes if measured_fakes is None else measured_fakes
    compared = Compared(of.taking(fakes), of.taking(reals), len(fakes))
    measured = {AS_IS: Measured(compared.reals, of.taking(some_fakes))}
    for condition in list_deliveries(copies):
        some = copies.of(condition)
        measured[condition] = Measured(
            *(take_copies(pictures, some, np.isin(some.rows, rows)) for rows in (reals, some_fakes))
        )
    return calibrate(compared, measured, seed=0), compared


def leave_out_photographs(pictures: Pictures, copies: Copies) -> Iterator[tuple[LeftOut, LeftOut]]:
    """Calibrate without the photographs of each collection, and count in them, as they are and
    after each delivery: at the rates of the stratum of the delivery, and at those of the stratum
    that a look-up takes. No known fake is measured: only the rates are wanted.
    """
    reals, fakes = np.flatnonzero(~pictures.synthetic), np.flatnonzero(pictures.synthetic)
    among = SamePictures(pictures.population.taking(fakes))
    nothing = np.empty(0, np.int64)
    for name in np.unique(pictures.collections[reals]).tolist():
        left_out = reals[pictures.collections[reals] == name]
        known = np.setdiff1d(reals, left_out)
        calibration, compared = calibrate_on(pictures, copies, known, fakes, measured_fakes=nothing)
        every = []
        for condition, probes in _deliver(pictures, copies, left_out):
            maxima = find_nearest(probes, compared.fakes, among).maxima
            every.append(maxima)
            used = calibration.stratum_for(condition).name
            own, taken = (
                _count(name, condition, stratum, calibration, maxima)
                for stratum in (condition, used)
            )
            yield from zip(own, taken, strict=True)
        pooled = list(_count(name, ANY_DELIVERY, ANY_DELIVERY, calibration, np.concatenate(every)))
        yield from zip(pooled, pooled, strict=True)


def count_shipped(
    pictures: Pictures, copies: Copies, shipped: ShippedPhotographs
) -> Iterator[LeftOut]:
    """Calibrate with all photographs of the study, and count in those that came with the model and
    show other pictures.
    """
    reals, fakes = np.flatnonzero(~pictures.synthetic), np.flatnonzero(pictures.synthetic)
    nothing = np.empty(0, np.int64)
    calibration, compared = calibrate_on(pictures, copies, reals, fakes, measured_fakes=nothing)
    among, known = SamePictures(compared.fakes), SamePictures(compared.reals)
    for condition in Condition:
        delivered = shipped.after(condition)
        if delivered is None:
            continue
        same = known.near_duplicates(delivered, slice(0, len(delivered))).rows
        probes = delivered.taking(np.setdiff1d(np.arange(len(delivered)), same))
        maxima = find_nearest(probes, compared.fakes, among).maxima
        used = calibration.stratum_for(condition.value).name
        for name in sorted(set(probes.collections), key=lambda each: each.key):
            own = np.array([each == name for each in probes.collections])
            yield from _count(
                name.source or name.corpus, condition.value, used, calibration, maxima[own]
            )


def _count(
    collection: str,
    condition: str,
    stratum: str,
    calibration: Calibration,
    maxima: NDArray[np.float64],
) -> Iterator[LeftOut]:
    matches = calibration.strata[stratum].false_matches
    for rate in STRATUM_RATES:
        at = matches.similarity_at(rate)
        count = int((maxima >= at).sum())
        yield LeftOut(collection, condition, stratum, rate, matches.rate_at(at), count, len(maxima))


def _deliver(pictures: Pictures, copies: Copies, rows: Rows) -> Iterator[tuple[str, Population]]:
    """Yield these pictures as they are, and after each delivery."""
    yield AS_IS, pictures.population.taking(rows)
    for condition in list_deliveries(copies):
        some = copies.of(condition)
        delivered = take_copies(pictures, some, np.isin(some.rows, rows))
        if len(delivered):
            yield condition, delivered


def name_fakes(pictures: Pictures, by: str) -> Pictures:
    """Return the same with the known fakes' collections by "folder" or by declared "source"."""
    if by == "source":
        return pictures
    named = tuple(
        CollectionName("fakes", folder) if is_fake else name
        for name, folder, is_fake in zip(
            pictures.population.collections,
            pictures.collections.tolist(),
            pictures.synthetic.tolist(),
            strict=True,
        )
    )
    return replace(pictures, population=replace(pictures.population, collections=named))


def separate_kinds(pictures: Pictures) -> float | None:
    """Return the AUC of the similarity to the nearest known fake of another collection: of known
    fakes against photographs.
    """
    reals, fakes = (
        pictures.population.taking(np.flatnonzero(pictures.synthetic == kind))
        for kind in (False, True)
    )
    same = SamePictures(fakes)
    kinds = number_collections(fakes, fakes)
    elsewhere = find_nearest(fakes, fakes, same, kinds=kinds).elsewhere
    assert elsewhere is not None
    near = np.concatenate([elsewhere, find_nearest(reals, fakes, same).maxima]).clip(-1.0, 1.0)
    return open_set_auroc(near, np.arange(len(near)) < len(fakes))


def leave_out_fakes(pictures: Pictures, copies: Copies) -> Iterator[LeftOut]:
    """Calibrate without the known fakes of each collection, in the corpora and in the measurement,
    and count its hits among the others: `stated` is a hit rate, at the similarity of a false-match
    rate.
    """
    reals, fakes = np.flatnonzero(~pictures.synthetic), np.flatnonzero(pictures.synthetic)
    names = [pictures.population.collections[row] for row in fakes.tolist()]
    for name in sorted(set(names), key=lambda each: each.key):
        is_left_out = np.array([each == name for each in names])
        if is_left_out.sum() < MIN_FAKES:
            continue
        calibration, compared = calibrate_on(pictures, copies, reals, fakes[~is_left_out])
        among = SamePictures(compared.fakes)
        for condition, probes in _deliver(pictures, copies, fakes[is_left_out]):
            stratum = calibration.strata[condition]
            maxima = find_nearest(probes, compared.fakes, among).maxima
            for rate in STRATUM_RATES:
                at = stratum.false_matches.similarity_at(rate)
                assert stratum.hits is not None
                yield LeftOut(
                    name.source or name.corpus,
                    condition,
                    condition,
                    rate,
                    stratum.hits.rate_at(at),
                    int((maxima >= at).sum()),
                    len(probes),
                )


CONDITIONS = (*(each.value for each in Condition), ANY_DELIVERY)
