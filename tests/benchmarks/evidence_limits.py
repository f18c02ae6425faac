"""The measurements of `tests.benchmarks.evidence` for the classifier's words.

Limits are chosen with `fit_logit_shares`, as `calibrate` does it, on the pictures that are known,
and counted in pictures that were left out: whole generators and whole sources of known fakes, whole
collections of photographs. `evidence_limits_tables` makes the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from index.calibration.calibration import AS_IS
from index.calibration.false_matches import Rate
from index.calibration.groups import number_groups
from index.calibration.logit_rates import LogitShares, fit_logit_shares
from index.calibration.population import Population
from index.verdict import ClassifierPolicy
from tests.benchmarks.evidence_figures import list_deliveries, take_copies
from tests.benchmarks.evidence_pictures import Copies, Pictures

MISS_RATE, FALSE_ALARM_RATE = 0.02, 0.01  # the defaults of the settings

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that are compared: the model's, the plain quantile of the known images, and the
    product's. None: there is none.
    """

    model: float | None
    quantile: float | None
    own: float | None
    stated: Rate | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A group of one kind that was left out, after one delivery: how many of its n images lie
    beyond each limit, and how many of the other kind do.
    """

    name: str
    condition: str
    n: int
    model: int
    quantile: int
    own: int
    others: float
    stated: Rate | None

    @property
    def holds(self) -> bool:
        """Whether the exact binomial interval of the count overlaps the stated one."""
        if self.stated is None:
            return True
        counted = binomtest(self.own, self.n).proportion_ci(0.95, "exact")
        return bool(counted.low <= self.stated.high and counted.high >= self.stated.low)


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Images of one kind after one delivery, with what they are left out by (n,), and the logits
    of the other kind.

    `sign` is 1 for known fakes, whose small logits are wrong, and -1 for photographs.
    """

    images: Population
    names: NDArray[np.str_]
    unseen: Bools
    others: Floats
    sign: int

    @property
    def rate(self) -> float:
        """The rate that is asked for."""
        return MISS_RATE if self.sign > 0 else FALSE_ALARM_RATE


def list_kinds(pictures: Pictures, copies: Copies, by: str) -> Iterator[tuple[str, Kind]]:
    """Yield known fakes by "generator" or by "source", or photographs by "collection", as they are
    and after each delivery.
    """
    of_fakes = by != "collection"
    rows = np.flatnonzero(pictures.synthetic == of_fakes)
    others = np.flatnonzero(pictures.synthetic != of_fakes)
    yield (
        AS_IS,
        _kind(
            pictures, rows, pictures.population.taking(rows), pictures.population.logits[others], by
        ),
    )
    for condition in list_deliveries(copies):
        some = copies.of(condition)
        own = np.isin(some.rows, rows)
        images = take_copies(pictures, some, own)
        yield condition, _kind(pictures, some.rows[own], images, some.logits[~own], by)


def _kind(
    pictures: Pictures, rows: NDArray[np.int64], images: Population, others: Floats, by: str
) -> Kind:
    if by == "source":
        names = np.array(
            [str(pictures.population.collections[row].source) for row in rows], np.str_
        )
    else:
        names = pictures.collections[rows]
    return Kind(images, names, pictures.unseen[rows], others, -1 if by == "collection" else 1)


def leave_out_groups(
    condition: str, kind: Kind, model: ClassifierPolicy | None
) -> Iterator[LeftOut]:
    """Leave out each group in turn."""
    for name in np.unique(kind.names).tolist():
        yield count(name, condition, kind, kind.names == name, model)


def halve_groups(condition: str, kind: Kind, model: ClassifierPolicy | None, seed: int) -> LeftOut:
    """Leave out one half of the groups."""
    names = np.unique(kind.names)
    half = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    return count("half", condition, kind, np.isin(kind.names, half), model)


def count(
    name: str, condition: str, kind: Kind, out: Bools, model: ClassifierPolicy | None
) -> LeftOut:
    """Choose the limits without some of the images, and count in these."""
    limits = choose_limits(kind, ~out, model)
    logits = kind.images.logits[out]
    counts = [
        0 if limit is None else int(_is_beyond(logits, limit, kind.sign).sum())
        for limit in (limits.model, limits.quantile, limits.own)
    ]
    others = (
        0.0 if limits.own is None else float(_is_beyond(kind.others, limits.own, kind.sign).mean())
    )
    return LeftOut(name, condition, len(logits), *counts, others, limits.stated)


def choose_limits(kind: Kind, known: Bools, model: ClassifierPolicy | None) -> Limits:
    images = kind.images.taking(np.flatnonzero(known))
    shares = fit_logit_shares(images.logits, images.sources, number_groups(images))
    own = _find(shares, kind)
    of_model = None
    if model is not None:
        of_model = model.no_traces_logit if kind.sign > 0 else model.synthetic_logit
    beyond = np.sort(kind.sign * images.logits)
    place = int(kind.rate * len(beyond)) - 1
    return Limits(
        model=of_model,
        quantile=kind.sign * float(beyond[place]) if place >= 0 else None,
        own=own,
        stated=None if own is None else _state(shares, own, kind),
    )


def _find(shares: LogitShares, kind: Kind) -> float | None:
    return shares.find_lower(kind.rate) if kind.sign > 0 else shares.find_upper(kind.rate)


def _state(shares: LogitShares, limit: float, kind: Kind) -> Rate:
    return shares.at_or_below(limit) if kind.sign > 0 else shares.at_or_above(limit)


def _is_beyond(logits: Floats, limit: float, sign: int) -> Bools:
    return np.asarray(logits <= limit if sign > 0 else logits >= limit, np.bool_)
