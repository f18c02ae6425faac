"""Verdicts on unseen pictures and on delivered copies: part of `tests.benchmarks.evidence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from embedder.pictures.delivery import Condition, coarser_of
from embedder.pictures.reencodings import condition_of_reencoding
from index.calibration.calibration import AS_IS, Calibration, Stratum
from index.verdict import (
    ClassifierPolicy,
    Evidence,
    Policy,
    QualityIssue,
    RatioInterval,
    ReEncodingEvidence,
    Threshold,
    Verdict,
    judge,
)
from tests.benchmarks.evidence_figures import Calibrated, list_deliveries, take_copies
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
    originals = _judge_copies(pictures, own, as_is, looked, rate, limits)
    for condition in list_deliveries(copies):
        some = copies.of(condition)
        judged = _judge_copies(
            pictures,
            own,
            some.taking(np.flatnonzero(np.isin(some.rows, rows))),
            looked,
            rate,
            limits,
        )
        for row, verdicts in judged.items():
            yield Pair(condition, bool(pictures.synthetic[row]), originals[row], verdicts)


def check_reencodings(
    pictures: Pictures, own: Calibrated, looked: Copies, rate: float
) -> Iterator[tuple[str, bool]]:
    """Yield each re-encoding of fakes above their threshold, and whether it is above its own
    threshold.
    """
    some = _take_as_is(pictures, own, looked)
    near = own.nearest_fake(take_copies(pictures, some, np.ones(len(some.rows), np.bool_)))
    chosen = np.flatnonzero((looked.deliveries == AS_IS) & np.isin(looked.rows, some.rows))
    names: dict[int, list[str]] = {}
    for place in chosen:
        names.setdefault(int(looked.rows[place]), []).append(str(looked.reencodings[place]))
    seen = _judge_reencodings(pictures, own, looked, some, rate)
    for row, condition, similarity in zip(
        some.rows.tolist(), some.conditions.tolist(), near, strict=True
    ):
        threshold = _policy(own.calibration, condition, rate, None)[0].threshold
        if threshold is None or similarity < threshold.value or not pictures.synthetic[row]:
            continue
        for name, reencoding in zip(names[row], seen[row], strict=True):
            assert reencoding.nearest_fake is not None
            yield name, reencoding.nearest_fake >= (reencoding.threshold or threshold).value


def _take_as_is(pictures: Pictures, own: Calibrated, looked: Copies) -> Copies:
    """Return the held-out pictures whose re-encodings were all embedded."""
    probes = np.concatenate([own.halved.reals, own.halved.fakes])
    rows = np.array([row for row in probes.tolist() if row in set(looked.rows.tolist())], np.int64)
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
    rate: float,
    limits: ClassifierPolicy | None,
) -> dict[int, tuple[Verdict, Verdict]]:
    """Judge copies of one delivery: verdicts by picture, without and with the stability rule."""
    probes = take_copies(pictures, some, np.ones(len(some.rows), np.bool_))
    fake, real = own.nearest_fake(probes), own.nearest_real(probes)
    seen = _judge_reencodings(pictures, own, looked, some, rate)
    policies: Mapping[str, tuple[Policy, Stratum]] = {
        condition: _policy(own.calibration, condition, rate, limits)
        for condition in set(some.conditions.tolist())
    }
    found = {}
    for place, row in enumerate(some.rows.tolist()):
        policy, stratum = policies[some.conditions[place]]
        bare = _evidence(float(fake[place]), float(real[place]), float(some.logits[place]), stratum)
        found[row] = (
            judge(bare, policy),
            judge(replace(bare, reencodings=seen.get(row, [])), policy),
        )
    return found


def _judge_reencodings(
    pictures: Pictures, own: Calibrated, looked: Copies, some: Copies, rate: float
) -> dict[int, list[ReEncodingEvidence]]:
    """Return what each re-encoding of these copies shows, by picture.

    Its threshold is that of how it was delivered.
    """
    if not len(some.rows):
        return {}
    chosen = (looked.deliveries == some.deliveries[0]) & np.isin(looked.rows, some.rows)
    probes = take_copies(pictures, looked, chosen)
    thresholds = {
        condition: _policy(own.calibration, condition, rate, None)[0].threshold
        for condition in map(str, Condition)
    }
    delivered_as = dict(zip(some.rows.tolist(), some.conditions.tolist(), strict=True))
    found = dict[int, list[ReEncodingEvidence]]()
    places = np.flatnonzero(chosen)
    for place, similarity, logit in zip(
        places, own.nearest_fake(probes), probes.logits, strict=True
    ):
        row = int(looked.rows[place])
        condition = coarser_of(
            Condition(delivered_as[row]), condition_of_reencoding(str(looked.reencodings[place]))
        )
        found.setdefault(row, []).append(
            ReEncodingEvidence(float(similarity), float(logit), thresholds[condition])
        )
    return found


def _policy(
    calibration: Calibration, condition: str, rate: float, limits: ClassifierPolicy | None
) -> tuple[Policy, Stratum]:
    """Return the threshold that a look-up uses for a probe of this condition.

    It is None where too few images support it.
    """
    chosen = calibration.stratum_for(condition)
    name, stratum = chosen.name, chosen.stratum
    at = stratum.threshold_at(rate)
    return Policy(None if at is None else Threshold(at, name), limits), stratum


def _evidence(fake: float, real: float, logit: float, stratum: Stratum) -> Evidence:
    """Build the evidence as `index.evidence.assess` does, with the part of the quality gate that
    needs no picture.
    """
    ratio = None
    if stratum.two_sided is not None:
        ratio = stratum.two_sided.ratio_at((fake, real))
    elif stratum.likelihood is not None:
        ratio = stratum.likelihood.ratio_at(fake)
    unfamiliar = stratum.familiar_from is not None and max(fake, real) < stratum.familiar_from
    return Evidence(
        nearest_fake=fake,
        nearest_real=real,
        ratio=None if ratio is None else RatioInterval(ratio.log10, ratio.low, ratio.high),
        logit=logit,
        quality_issue=QualityIssue.UNFAMILIAR if unfamiliar else None,
    )
