"""What SQL says of a look-up beside its neighbours: the calibration that applies, what follows from
it for every probe of the kind, and what computed the embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from api.lookups.copies import RatesThatApply, find_rates
from api.lookups.questions import Found, restricts_only_corpora
from api.lookups.request import LookupQuery
from embedder.pictures.delivery import Condition
from index.calibration.for_probe import ProbeCalibration
from index.calibration.ratios import MIN_SOURCES
from index.calibration.reading import get_named_corpora
from index.calibration.standing import Applied, Calibrations, Standing
from index.policy import Choices, LogitCalibration, choose_policy
from index.truth.changes import Head
from index.truth.computations import Computation, find_computations
from index.truth.corpora import CorpusKind
from index.truth.coverage import has_embedded
from index.truth.databases.database import Database
from index.truth.remembered import Remembered
from index.truth.spaces import Space
from index.verdict import Policy


class OpenedProduct(Protocol):
    """What the facts are read with. `api.lineup.Lineup` is one."""

    @property
    def database(self) -> Database: ...

    @property
    def space(self) -> Space: ...

    @property
    def calibrations(self) -> Calibrations: ...

    @property
    def remembered(self) -> Remembered: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What SQL says of a look-up beside its neighbours.

    `calibration` is the one that applies, None if none does. `uncalibrated` are the corpora that
    the newest calibration does not cover, if none applies or only a provisional one.
    `has_known_reals`: there are enough known-real images for a calibration with verdicts; it is
    only looked at where corpora are uncalibrated. `of_logit` is the calibration of the logit, and
    `logits` what it says of the probe's delivery. `rates` are those of the copy stages. `policy` is
    what probes are judged by. `computed` is what computed the embeddings of the corpora.
    """

    calibration: ProbeCalibration | None
    uncalibrated: tuple[str, ...]
    has_known_reals: bool
    of_logit: Applied | None
    logits: LogitCalibration | None
    rates: RatesThatApply
    policy: Policy
    computed: tuple[Computation | None, ...]


def read_facts(
    product: OpenedProduct,
    choices: Choices,
    head: Head,
    query: LookupQuery,
    condition: Condition | None,
    found: Found,
    descriptor: str | None,
) -> Facts:
    """Return the facts of a search for a probe delivered in the way `condition`.

    `query` names its false-match rate, `descriptor` is the fingerprint of the copy descriptor that
    ran; None without one. `choices` are those of the opened product. `head` is that of the change
    log when it was searched: what was read at the same head is remembered. So a commit that changes
    a fact moves the head.
    """
    names = query.filter.corpora
    key = (
        None if names is None else frozenset(names),
        restricts_only_corpora(query.filter),
        query.false_match_rate,
        condition,
        found.searched_fakes,
        found.listed.generation,
        descriptor,
    )

    def read() -> Facts:
        with product.database.read() as conn:
            return _read_facts(conn, product, choices, head, query, condition, found, descriptor)

    return product.remembered.get(head, key, read)


def _read_facts(
    conn: Connection,
    product: OpenedProduct,
    choices: Choices,
    head: Head,
    query: LookupQuery,
    condition: Condition | None,
    found: Found,
    descriptor: str | None,
) -> Facts:
    space, names, remembered = product.space, query.filter.corpora, product.remembered
    standing = remembered.get(head, Standing, lambda: Standing.read(conn, space))
    calibration, uncalibrated = _apply_calibration(
        conn, product.calibrations, standing, query, condition, found.searched_fakes
    )
    has_known_reals = not uncalibrated or remembered.get(
        head, _has_known_reals, lambda: _has_known_reals(conn, space)
    )
    of_logit = _find_calibration_of_logit(conn, product.calibrations, standing, calibration)
    logits = None if of_logit is None else LogitCalibration.of(of_logit, condition)
    rates = find_rates(calibration, found.searched_fakes)
    return Facts(
        calibration,
        uncalibrated,
        has_known_reals,
        of_logit,
        logits,
        rates,
        choose_policy(calibration, logits, choices, rates.choose_limits(descriptor)),
        find_computations(conn, space, found.listed.generation, names),
    )


def _apply_calibration(
    conn: Connection,
    calibrations: Calibrations,
    standing: Standing,
    query: LookupQuery,
    condition: Condition | None,
    searched_fakes: int | None,
) -> tuple[ProbeCalibration | None, tuple[str, ...]]:
    """Return the calibration that applies, and the uncalibrated corpora; see `Facts`. Without a
    search among known fakes nothing applies.
    """
    assert query.false_match_rate is not None
    if searched_fakes is None:
        return None, ()
    names = query.filter.corpora
    applied = calibrations.find(conn, standing, names, whole=restricts_only_corpora(query.filter))
    is_missing = applied is None or applied.calibration.is_provisional
    uncalibrated = standing.find_unseen(names) if is_missing else ()
    if applied is None:
        return None, uncalibrated
    rate = query.false_match_rate
    return ProbeCalibration.of(applied, condition, searched_fakes, rate), uncalibrated


def _find_calibration_of_logit(
    conn: Connection,
    calibrations: Calibrations,
    standing: Standing,
    calibration: ProbeCalibration | None,
) -> Applied | None:
    """Return the calibration of the logit: the one that applies to the search, unless it is
    provisional; otherwise the newest one.

    A provisional one has hardly any images of a delivery. Known fakes in a new corpus must not put
    it in the place of one that the installation measured.
    """
    if calibration is not None and not calibration.is_provisional:
        return calibration.applied
    return calibrations.find_newest(conn, standing)


def _has_known_reals(conn: Connection, space: Space) -> bool:
    reals = get_named_corpora(conn, None, CorpusKind.KNOWN_REAL)
    return has_embedded(conn, space, reals.ids, MIN_SOURCES)
