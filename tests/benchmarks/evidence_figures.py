"""The measurements of `tests.benchmarks.evidence`: calibrations by `calibrate`, tested on unseen
pictures.

A split puts one half of the photographs and of the known fakes into the corpora and into the
calibration; the others are probes. Every function returns numbers; `evidence` makes the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from api.evaluation.splits import split_in_halves
from api.settings import Settings
from embedder.pictures.delivery import Condition
from index.calibration.calibration import (
    AS_IS,
    Calibration,
    Compared,
    Measured,
    Stratum,
    calibrate,
)
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import Population
from index.calibration.standing import Applied, Applies
from index.policy import Choices
from index.verdict import ClassifierPolicy
from tests.benchmarks.evidence_pictures import Copies, Pictures

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of `Pictures`: those that are known and calibrated with, and those that are probes."""

    known_reals: Rows
    known_fakes: Rows
    reals: Rows
    fakes: Rows


def split(pictures: Pictures, by: str, seed: int) -> Split:
    """Halve the fakes by unit, and the photographs by unit or by whole collection; or split by
    training.
    """
    reals, fakes = np.flatnonzero(~pictures.synthetic), np.flatnonzero(pictures.synthetic)
    known_reals, known_fakes = (
        split_in_halves(pictures.units[reals], seed),
        split_in_halves(pictures.units[fakes], seed),
    )
    if by == "collection":
        known_reals = _by_collection(pictures.collections[reals], seed)
    if by == "training":
        known_reals = ~pictures.unseen[reals]
        if not pictures.unseen[fakes].all():  # a model may have been trained on photographs alone
            known_fakes = ~pictures.unseen[fakes]
    return Split(reals[known_reals], fakes[known_fakes], reals[~known_reals], fakes[~known_fakes])


def _by_collection(collections: NDArray[np.str_], seed: int) -> Bools:
    """Choose whole collections in a random order.

    Their number is the one that comes nearest to one half of the photographs.
    """
    names, counts = np.unique(collections, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    first = int(np.argmin(np.abs(np.cumsum(counts[order]) - len(collections) / 2))) + 1
    return np.isin(collections, names[order[:first]])


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A split with its calibration, and what probes are compared with."""

    halved: Split
    compared: Compared
    among_fakes: SamePictures
    among_reals: SamePictures
    calibration: Calibration

    @property
    def as_is(self) -> Stratum:
        return self.calibration.strata[AS_IS]

    def nearest_fake(self, probes: Population) -> Floats:
        return find_nearest(probes, self.compared.fakes, self.among_fakes).maxima

    def nearest_real(self, probes: Population) -> Floats:
        return find_nearest(probes, self.compared.reals, self.among_reals).maxima


def calibrate_half(
    pictures: Pictures, by: str, seed: int, copies: Copies | None = None
) -> Calibrated:
    """Calibrate on the known half of a split, with a stratum for each delivery of `copies`."""
    halved = split(pictures, by, seed)
    reals, fakes = (
        pictures.population.taking(rows) for rows in (halved.known_reals, halved.known_fakes)
    )
    compared = Compared(fakes, reals, len(fakes))
    measured = {AS_IS: Measured(reals, fakes)}
    for condition in () if copies is None else list_deliveries(copies):
        some = copies.of(condition) if copies is not None else None
        assert some is not None
        measured[condition] = Measured(
            *(
                take_copies(pictures, some, np.isin(some.rows, rows))
                for rows in (halved.known_reals, halved.known_fakes)
            )
        )
    return Calibrated(
        halved,
        compared,
        SamePictures(fakes),
        SamePictures(reals),
        calibrate(compared, measured, seed),
    )


def apply_calibration(calibration: Calibration) -> Applied:
    """Return a calibration as it applies to a search of exactly its corpora."""
    return Applied(
        1, datetime.now(UTC), 1, ("fakes",), ("photographs",), calibration, Applies.EXACT
    )


def make_choices(limits: ClassifierPolicy | None) -> Choices:
    """Return the default settings beside a model's limits of the logit."""
    settings = Settings()
    return Choices(None, limits, settings.no_traces_miss_rate, settings.synthetic_false_alarm_rate)


def list_deliveries(copies: Copies) -> list[str]:
    there = set(copies.deliveries.tolist())
    return [condition.value for condition in Condition if condition.value in there]


def take_copies(pictures: Pictures, copies: Copies, chosen: Bools) -> Population:
    """Return some of the copies as a population."""
    some = pictures.population.taking(copies.rows[chosen])
    return replace(some, vectors=copies.vectors[chosen], logits=copies.logits[chosen])


@dataclass(frozen=True, slots=True)
class Delivered:
    """Copies of one delivery: n, and for each rate the shares above the thresholds of as_is and of
    the stratum.

    `inside` says that the latter share is within the stratum's stated interval.
    """

    n: int
    rate: float
    reals_as_is: float
    reals_own: float
    fakes_as_is: float
    fakes_own: float
    inside: bool


def measure_deliveries(
    pictures: Pictures, own: Calibrated, copies: Copies, rates: Iterable[float]
) -> Iterator[tuple[str, Delivered]]:
    """Test both thresholds on delivered copies of held-out pictures."""
    for condition in list_deliveries(copies):
        some = copies.of(condition)
        sides = [
            own.nearest_fake(take_copies(pictures, some, np.isin(some.rows, rows)))
            for rows in (own.halved.reals, own.halved.fakes)
        ]
        matches = own.calibration.strata[condition].false_matches
        for rate in rates:
            as_is, stratum = (
                own.as_is.false_matches.similarity_at(rate),
                matches.similarity_at(rate),
            )
            shares = [float((maxima >= at).mean()) for maxima in sides for at in (as_is, stratum)]
            stated = matches.rate_at(stratum)
            inside = stated.low <= shares[1] <= stated.high
            yield condition, Delivered(len(sides[0]), rate, *shares, inside)
