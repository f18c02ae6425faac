"""Verdicts on unseen pictures and on delivered copies: part of `tests.benchmarks.evidence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedder.pictures.delivery import Condition, coarser_of
from embedder.pictures.reencodings import condition_of_reencoding
from index.calibration.calibration import AS_IS
from index.calibration.for_probe import ProbeCalibration
from index.calibration.others import NOTHING
from index.evidence import ProbeFacts, judge_similarities
from index.policy import (
    LogitCalibration,
    ReEncodingLimits,
    choose_policy,
    choose_reencoding_limits,
)
from index.verdict import ClassifierPolicy, Policy, ReEncodingEvidence, Verdict
from tests.benchmarks.evidence_figures import (
    Calibrated,
    apply_calibration,
    list_deliveries,
    make_choices,
    take_copies,
)
from tests.benchmarks.evidence_pictures import Copies, Pictures


@dataclass(frozen=True, slots=True)
class Pair:
    """The verdicts on a picture and on a delivered copy, each without and with the stability
    rule.
    """

    condition: str
    synthetic: bool
    original: tuple[Verdict, Verdict]
    copy: tuple[Verdict, Verdict]


def judge_pairs(
    pictures: Pictures,
    own: Calibrated,
    copies: Copies,
    looked: Copies,
    rate: float,
    limits: ClassifierPolicy | None,
) -> Iterator[Pair]:
    """Judge held-out pictures and their delivered copies as look-ups would.

    `looked` contains the re-encodings.
    """
    as_is = _take_as_is(pictures, own, looked)
    rows = as_is.rows
    rules = _find_rules(own, rate, limits)
    originals = _judge_copies(pictures, own, as_is, looked, rules)
    for condition in list_deliveries(copies):
        some = copies.of(condition)
        held_out = some.taking(np.flatnonzero(np.isin(some.rows, rows)))
        for row, verdicts in _judge_copies(pictures, own, held_out, looked, rules).items():
            yield Pair(condition, bool(pictures.synthetic[row]), originals[row], verdicts)


def check_reencodings(
    pictures: Pictures, own: Calibrated, looked: Copies, rate: float
) -> Iterator[tuple[str, bool]]:
    """Yield each re-encoding of fakes above their threshold, and whether it is above its own
    threshold.

    These are the calibration's thresholds, also where similarity tells nothing and a look-up gives
    no verdict.
    """
    some = _take_as_is(pictures, own, looked)
    near = own.nearest_fake(take_copies(pictures, some, np.ones(len(some.rows), np.bool_)))
    rules = _find_rules(own, rate, None)
    seen = _look_at_reencodings(pictures, own, looked, some)
    for row, condition, similarity in zip(
        some.rows.tolist(), some.conditions.tolist(), near, strict=True
    ):
        calibration = rules[condition].calibration
        threshold = calibration.threshold
        if threshold is None or similarity < threshold.value or not pictures.synthetic[row]:
            continue
        thresholds = calibration.find_thresholds([each.condition for each in seen[row]])
        for each, at in zip(seen[row], thresholds, strict=True):
            yield each.name, each.nearest_fake >= (at or threshold).value


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a look-up judges probes of one condition by, and their re-encodings by condition."""

    calibration: ProbeCalibration
    policy: Policy
    logits: LogitCalibration
    reencodings: Mapping[str, ReEncodingLimits]


@dataclass(frozen=True, slots=True)
class _ReEncoded:
    """A re-encoding of a copy: the condition that it is judged as, its nearest known fake and its
    logit.
    """

    name: str
    condition: str
    nearest_fake: float
    logit: float


def _find_rules(own: Calibrated, rate: float, limits: ClassifierPolicy | None) -> dict[str, _Rules]:
    """Return the rules of a look-up by the condition of the probe."""
    applied, choices = apply_calibration(own.calibration), make_choices(limits)
    conditions = [each.value for each in Condition]
    found = {}
    for condition in conditions:
        calibration = ProbeCalibration.of(applied, condition, own.calibration.corpus_size, rate)
        logits = LogitCalibration.of(applied, condition)
        policy = choose_policy(calibration, logits, choices)
        of_reencodings = choose_reencoding_limits(applied, calibration, policy, choices, conditions)
        found[condition] = _Rules(
            calibration, policy, logits, dict(zip(conditions, of_reencodings, strict=True))
        )
    return found


def _take_as_is(pictures: Pictures, own: Calibrated, looked: Copies) -> Copies:
    """Return the held-out pictures whose re-encodings were all embedded."""
    probes = np.concatenate([own.halved.reals, own.halved.fakes])
    embedded = set(looked.rows.tolist())
    rows = np.array([row for row in probes.tolist() if row in embedded], np.int64)
    return Copies(
        rows,
        np.full(len(rows), AS_IS),
        np.full(len(rows), ""),
        pictures.conditions[rows],
        pictures.population.vectors[rows],
        pictures.population.logits[rows],
    )


def _judge_copies(
    pictures: Pictures,
    own: Calibrated,
    some: Copies,
    looked: Copies,
    rules: Mapping[str, _Rules],
) -> dict[int, tuple[Verdict, Verdict]]:
    """Judge copies of one delivery: verdicts by picture, without and with the stability rule."""
    probes = take_copies(pictures, some, np.ones(len(some.rows), np.bool_))
    fakes, reals = own.nearest_fake(probes).tolist(), own.nearest_real(probes).tolist()
    seen = _look_at_reencodings(pictures, own, looked, some)
    found = {}
    for place, (row, fake, real) in enumerate(zip(some.rows.tolist(), fakes, reals, strict=True)):
        condition = str(some.conditions[place])
        ruled = rules[condition]
        facts = ProbeFacts(logit=float(some.logits[place]), condition=condition)
        bare, stable = (
            judge_similarities(
                facts,
                fake if fake > NOTHING else None,
                real if real > NOTHING else None,
                ruled.calibration,
                ruled.policy,
                ruled.logits,
                reencodings,
            )
            for reencodings in ((), _limit(seen.get(row, []), ruled))
        )
        found[row] = bare, stable
    return found


def _limit(seen: Sequence[_ReEncoded], ruled: _Rules) -> list[ReEncodingEvidence]:
    """Return re-encodings with the limits of the way they were delivered."""
    limits = [ruled.reencodings[each.condition] for each in seen]
    return [
        ReEncodingEvidence(each.nearest_fake, each.logit, own.threshold, own.classifier)
        for each, own in zip(seen, limits, strict=True)
    ]


def _look_at_reencodings(
    pictures: Pictures, own: Calibrated, looked: Copies, some: Copies
) -> dict[int, list[_ReEncoded]]:
    """Return the re-encodings of copies of one delivery, by picture."""
    if not len(some.rows):
        return {}
    chosen = (looked.deliveries == some.deliveries[0]) & np.isin(looked.rows, some.rows)
    probes = take_copies(pictures, looked, chosen)
    delivered_as = dict(zip(some.rows.tolist(), some.conditions.tolist(), strict=True))
    found = dict[int, list[_ReEncoded]]()
    for place, similarity, logit in zip(
        np.flatnonzero(chosen), own.nearest_fake(probes), probes.logits, strict=True
    ):
        row, name = int(looked.rows[place]), str(looked.reencodings[place])
        condition = coarser_of(Condition(delivered_as[row]), condition_of_reencoding(name))
        found.setdefault(row, []).append(
            _ReEncoded(name, condition.value, float(similarity), float(logit))
        )
    return found
