"""Images judged by a calibration on the images of the other folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from api.evaluation.embedding import Embeddings
from api.evaluation.judging import FOLDS, MIN_KNOWN, JudgedImages, judge_images
from embedder.pictures.delivery import Condition
from index.verdict import (
    ClassifierOutcome,
    ClassifierReason,
    LimitOrigin,
    QualityIssue,
    SimilarityOutcome,
    SimilarityReason,
)
from tests.api.evaluation.evaluated import LIMITS, embed_without_a_model, rules

SIZES = {"sdxl": 60, "flux": 40}
REALS = 100


@pytest.fixture(scope="module")
def embedded() -> Embeddings:
    return embed_without_a_model(SIZES, REALS, sources=20, deliver=True)


@pytest.fixture(scope="module")
def judged(embedded: Embeddings) -> JudgedImages:
    found = judge_images(embedded, rules(), 0)
    assert found is not None
    return found


def test_too_few_images_of_a_kind_are_not_judged() -> None:
    fewest = MIN_KNOWN * FOLDS // (FOLDS - 1)
    assert judge_images(embed_without_a_model({"sdxl": 60}, fewest - 1), rules(), 0) is None
    assert judge_images(embed_without_a_model({"sdxl": fewest - 1}, 60), rules(), 0) is None


def test_every_image_is_judged_once(judged: JudgedImages, embedded: Embeddings) -> None:
    n = len(embedded.images)
    assert judged.as_is.rows.tolist() == list(range(n))
    assert len(judged.as_is.verdicts) == len(judged.as_is.without) == n
    delivered = judged.delivered[Condition.JPEG50]
    assert delivered.rows.tolist() == embedded.delivered[Condition.JPEG50].rows.tolist()


def test_limits_come_from_the_calibration_and_without_one_from_the_model(
    judged: JudgedImages,
) -> None:
    assert len(judged.limits) == FOLDS
    for limits in judged.limits:
        assert limits is not None
        assert limits.no_traces_from is limits.synthetic_from is LimitOrigin.CALIBRATION
    without = {each.classifier.policy for each in judged.as_is.without if each.classifier}
    assert without == {LIMITS}


def test_few_images_leave_the_limits_to_the_model(embedded: Embeddings) -> None:
    strict = rules(miss_rate=0.001, false_alarm_rate=0.001)
    found = judge_images(replace(embedded, delivered={}), strict, 0)
    assert found is not None
    assert set(found.limits) == {LIMITS}


def test_an_image_is_not_judged_by_limits_that_it_was_measured_for(embedded: Embeddings) -> None:
    """One synthetic image lies lower than all others: where it is left out, the limit does not know
    it. Where it is known, the limit lies at it or below, or is none: no real image lies there.
    """
    logits = embedded.population.logits.copy()
    lowest = int(np.flatnonzero(embedded.synthetic)[0])
    logits[embedded.synthetic] = np.maximum(logits[embedded.synthetic], 0.0)
    logits[lowest] = -9.0
    facts = tuple(
        replace(each, logit=float(logit))
        for each, logit in zip(embedded.facts, logits, strict=True)
    )
    moved = replace(
        embedded, population=replace(embedded.population, logits=logits), facts=facts, delivered={}
    )
    found = judge_images(moved, rules(miss_rate=0.02), 0)
    assert found is not None
    own = found.as_is.verdicts[lowest].classifier
    assert own is not None
    assert own.verdict is ClassifierOutcome.NO_TRACES
    assert own.policy is not None
    assert (own.policy.no_traces_logit or 0) > -9.0
    others = [each for each in found.limits if each != own.policy]
    assert len(others) == FOLDS - 1
    limits = [each.no_traces_logit for each in others if each]
    assert all(limit is None or limit < -8.9 for limit in limits)


def test_a_picture_that_shows_too_little_gets_no_verdict(embedded: Embeddings) -> None:
    small = replace(embedded.facts[0], shortest_side=10)
    flat = replace(embedded.facts[1], is_flat=True)
    changed = replace(embedded, facts=(small, flat, *embedded.facts[2:]), delivered={})
    found = judge_images(changed, rules(), 0)
    assert found is not None
    for verdict in found.as_is.verdicts[:2] + found.as_is.without[:2]:
        assert verdict.classifier is not None
        assert verdict.classifier.reason is ClassifierReason.POOR_QUALITY
        assert verdict.similarity.verdict is SimilarityOutcome.INCONCLUSIVE
    assert QualityIssue.FLAT.value == "flat"


def test_without_a_calibration_similarity_gives_no_verdict(judged: JudgedImages) -> None:
    reasons = {each.similarity.reason for each in judged.as_is.without}
    assert reasons == {SimilarityReason.NOT_CALIBRATED}


def test_similarity_tells_clusters_from_images_that_lie_anywhere(
    judged: JudgedImages, embedded: Embeddings
) -> None:
    similar = np.array(
        [
            each.similarity.verdict is SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES
            for each in judged.as_is.verdicts
        ]
    )
    assert similar[embedded.synthetic].mean() > 0.8
    assert similar[~embedded.synthetic].mean() < 0.25


def test_sources_stay_together_where_there_are_enough_of_them(judged: JudgedImages) -> None:
    assert judged.keeps_sources == (True, True)
    few = judge_images(embed_without_a_model(SIZES, REALS, sources=3), rules(), 0)
    assert few is not None
    assert few.keeps_sources == (False, False)
    assert few.known == (REALS * 3 // 4, 75)


def test_a_delivered_image_is_judged_by_what_was_measured_after_its_delivery(
    judged: JudgedImages, embedded: Embeddings
) -> None:
    """The delivery turns the logits: limits of images as they are would call half of the real ones
    synthetic.
    """
    after = judged.delivered[Condition.JPEG50]
    called = np.array(
        [
            each.classifier is not None and each.classifier.verdict is ClassifierOutcome.SYNTHETIC
            for each in after.verdicts
        ]
    )
    real = ~embedded.synthetic[after.rows]
    assert called[real].mean() <= 0.2
    assert {each.classifier.policy for each in after.verdicts if each.classifier}.isdisjoint(
        set(judged.limits)
    )


def test_the_seed_repeats_the_folds(embedded: Embeddings, judged: JudgedImages) -> None:
    bare = replace(embedded, delivered={})
    again, other = (judge_images(bare, rules(), seed) for seed in (0, 1))
    assert again is not None
    assert other is not None
    assert judged.limits == again.limits != other.limits
    assert [each.classifier for each in judged.as_is.verdicts] == [
        each.classifier for each in again.as_is.verdicts
    ]
