"""Verdicts on pictures that an installation has never seen, by what was ingested there: known fakes
alone, known fakes and the photographs that came with the model, and photographs of its own.

The verdicts are the product's: `calibrate`, `ProbeCalibration`, `choose_policy` and
`judge_similarities`. The installation that has known fakes alone has all of them; of the one with
photographs of its own, a half of the photographs and of the fakes are the probes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from api.calibrations.measuring import join_shipped
from api.calibrations.shipped import ShippedPhotographs
from api.settings import Settings
from embedder.pictures.delivery import Condition
from index.calibration.calibration import AS_IS, Calibration, Compared, Measured, calibrate
from index.calibration.for_probe import ProbeCalibration
from index.calibration.others import NOTHING, SamePictures, find_nearest
from index.calibration.population import Population
from index.evidence import ProbeFacts, judge_similarities
from index.policy import LogitCalibration, choose_policy
from tests.benchmarks.evidence_figures import (
    Split,
    apply_calibration,
    list_deliveries,
    make_choices,
    split,
    take_copies,
)
from tests.benchmarks.evidence_pictures import Copies, Pictures


@dataclass(frozen=True, slots=True)
class Judged:
    """What look-ups said of `n` probes, delivered in all ways: verdicts on similarity by reason."""

    installation: str
    probes: str
    n: int
    nearer_than_model: int
    similar: int
    not_similar: int
    reasons: Mapping[str, int]


def judge_installations(
    pictures: Pictures, copies: Copies, shipped: ShippedPhotographs | None, threshold: float | None
) -> Iterator[Judged]:
    """Judge probes in each installation; `threshold` is the one that the model states for the
    corpora it was measured on.
    """
    whole = Split(
        known_reals=np.empty(0, np.int64),
        known_fakes=np.flatnonzero(pictures.synthetic),
        reals=np.flatnonzero(~pictures.synthetic),
        fakes=np.empty(0, np.int64),
    )
    halved = split(pictures, "picture", seed=0)
    for name, rows, further in (
        ("known fakes alone, no calibration", whole, None),
        ("known fakes alone, the model's photographs", whole, shipped),
        ("known fakes and photographs", halved, shipped),
    ):
        is_calibrated = further is not None or len(rows.known_reals) > 0
        calibration, compared = _calibrate(pictures, copies, rows, further)
        for probes, some in (("photographs", rows.reals), ("fakes", rows.fakes)):
            if len(some):
                yield _judge(
                    (name, probes),
                    calibration if is_calibrated else None,
                    compared,
                    dict(_deliver(pictures, copies, some)),
                    threshold,
                )


def _calibrate(
    pictures: Pictures, copies: Copies, rows: Split, shipped: ShippedPhotographs | None
) -> tuple[Calibration | None, Compared]:
    of = pictures.population
    compared = Compared(
        of.taking(rows.known_fakes), of.taking(rows.known_reals), len(rows.known_fakes)
    )
    measured: Mapping[str, Measured] = {
        condition: Measured(*(_take(pictures, copies, condition, some) for some in both))
        for both in [(rows.known_reals, rows.known_fakes)]
        for condition in (AS_IS, *list_deliveries(copies))
    }
    if shipped is not None:
        measured = join_shipped(measured, shipped)
    if not len(measured[AS_IS].reals):
        return None, compared
    return calibrate(compared, measured, seed=0), compared


def _take(pictures: Pictures, copies: Copies, condition: str, rows: np.ndarray) -> Population:
    if condition == AS_IS:
        return pictures.population.taking(rows)
    some = copies.of(condition)
    return take_copies(pictures, some, np.isin(some.rows, rows))


def _deliver(
    pictures: Pictures, copies: Copies, rows: np.ndarray
) -> Iterator[tuple[str, Population]]:
    for condition in Condition:
        yield condition.value, _take(pictures, copies, condition.value, rows)


def _judge(
    names: tuple[str, str],
    calibration: Calibration | None,
    compared: Compared,
    probes: Mapping[str, Population],
    threshold: float | None,
) -> Judged:
    fakes, reals = SamePictures(compared.fakes), SamePictures(compared.reals)
    rate, choices = Settings().false_match_rate, make_choices(None)
    reasons, verdicts, nearer = Counter[str](), Counter[str](), 0
    for condition, some in probes.items():
        ruled = logits = None
        if calibration is not None:
            applied = apply_calibration(calibration)
            ruled = ProbeCalibration.of(applied, condition, compared.corpus_size, rate)
            logits = LogitCalibration.of(applied, condition)
        policy = choose_policy(ruled, logits, choices)
        near_fakes = find_nearest(some, compared.fakes, fakes).maxima
        near_reals = find_nearest(some, compared.reals, reals).maxima
        nearer += 0 if threshold is None else int((near_fakes >= threshold).sum())
        for fake, real, logit in zip(
            near_fakes.tolist(), near_reals.tolist(), some.logits.tolist(), strict=True
        ):
            verdict = judge_similarities(
                ProbeFacts(logit=logit, condition=condition),
                fake if fake > NOTHING else None,
                real if real > NOTHING else None,
                ruled,
                policy,
                logits,
            ).similarity
            verdicts[verdict.verdict.value] += 1
            reasons[verdict.reason.value] += 1
    return Judged(
        *names,
        n=verdicts.total(),
        nearer_than_model=nearer,
        similar=verdicts["similar_to_known_fakes"],
        not_similar=verdicts["not_similar"],
        reasons=dict(reasons.most_common()),
    )
