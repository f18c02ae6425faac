"""Each reason has a sentence of its own, and no sentence says more than its figures."""

from __future__ import annotations

import re
from typing import Any

import pytest

from api.corpora.json import EntryAnswer
from api.lookups.answers.evidence_json import RatioSupport
from api.lookups.answers.json import NeighbourAnswer
from api.lookups.answers.robustness_json import RestsOnAnswer, WithoutStrongest
from api.lookups.answers.words import (
    describe_limits,
    explain_classifier,
    explain_similarity,
    write_statements,
)
from index.truth.corpora import CorpusKind
from index.verdict import (
    ClassifierOutcome,
    ClassifierPolicy,
    ClassifierReason,
    ClassifierVerdict,
    LimitOrigin,
    QualityIssue,
    SimilarityOutcome,
    SimilarityReason,
    SimilarityVerdict,
    Threshold,
)
from tests.api.lookups.worded import (
    attribution,
    calibration,
    discrimination,
    hits,
    logit_share,
    quality,
    rate,
    ratio,
    similarity_answer,
    stability,
)

THRESHOLD = Threshold(0.98765, "measured")
POLICY = ClassifierPolicy(2.5, -1.25, "measured")
MEASURED = ClassifierPolicy(
    2.5, -1.25, "measured", LimitOrigin.CALIBRATION, LimitOrigin.CALIBRATION
)
# What a sentence must say, and what would be said of another reason.
SIMILARITY = {
    SimilarityReason.IDENTICAL_IMAGE: ("identical", "perceptual"),
    SimilarityReason.NEAR_DUPLICATE_IMAGE: ("the same picture as a known fake", "known-real"),
    SimilarityReason.EDITED_COPY: ("an edited version of the same picture", "perceptual"),
    SimilarityReason.POSSIBLE_COPY: ("a lead and was not verified", "0.9877"),
    SimilarityReason.ALSO_KNOWN_REAL: ("a known fake and as a known-real image", "threshold"),
    SimilarityReason.ABOVE_THRESHOLD: ("at least as near as the threshold of 0.9877", "no known"),
    SimilarityReason.BELOW_THRESHOLD: ("no known fake in the searched corpora", "at least"),
    SimilarityReason.BETWEEN: ("supports a generator", "known-real"),
    SimilarityReason.RATIO_DISAGREES: ("supports a known-real image", "supports a generator"),
    SimilarityReason.POOR_QUALITY: ("hardly any structure", "threshold"),
    SimilarityReason.UNSTABLE: ("on the other side of the threshold", "ratio"),
    SimilarityReason.NOT_CALIBRATED: ("not calibrated: it was not measured how near", "0.9877"),
    SimilarityReason.TELLS_NOTHING: ("does not tell fakes from photographs", "0.9877"),
    SimilarityReason.NO_THRESHOLD: ("too few known-real images for a threshold", "0.9877"),
    SimilarityReason.NOTHING_COMPARED: ("no known fake to compare", "threshold"),
    SimilarityReason.FAKES_NOT_REACHED: ("known-real images are nearer", "threshold"),
}
CLASSIFIER = {
    ClassifierReason.SYNTHETIC_LIMIT_REACHED: ("at or above the limit for synthetic", "below"),
    ClassifierReason.NO_TRACES_LIMIT_REACHED: ("the limit for no synthetic traces", "above"),
    ClassifierReason.BETWEEN_LIMITS: ("between the limits", "at or"),
    ClassifierReason.NO_LIMITS: ("no limit of this model's logit is known that tells", "+2.50"),
    ClassifierReason.POOR_QUALITY: ("hardly any structure", "limit"),
    ClassifierReason.UNSTABLE: ("moves the logit over a limit", "between"),
    ClassifierReason.PROBABILITY_DISAGREES: ("other side of one half", "re-encoding"),
}


def similarity_sentence(reason: SimilarityReason, **more: Any) -> str:
    verdict = SimilarityVerdict(SimilarityOutcome.INCONCLUSIVE, reason, THRESHOLD)
    return explain_similarity(verdict, quality(), **more)


def classifier_sentence(
    reason: ClassifierReason,
    policy: ClassifierPolicy = POLICY,
    issue: QualityIssue | None = QualityIssue.FLAT,
    **more: Any,
) -> str:
    own = None if reason is ClassifierReason.NO_LIMITS else policy
    verdict = ClassifierVerdict(ClassifierOutcome.INCONCLUSIVE, reason, own)
    return explain_classifier(verdict, quality(issue), **more)


@pytest.mark.parametrize("reason", SimilarityReason)
def test_each_similarity_reason_has_its_sentence(reason: SimilarityReason) -> None:
    expected, of_another = SIMILARITY[reason]
    sentence = similarity_sentence(reason)
    assert expected in sentence
    assert of_another not in sentence


@pytest.mark.parametrize("reason", ClassifierReason)
def test_each_classifier_reason_has_its_sentence(reason: ClassifierReason) -> None:
    expected, of_another = CLASSIFIER[reason]
    sentence = classifier_sentence(reason)
    assert expected in sentence
    assert of_another not in sentence


def test_no_two_reasons_share_a_sentence() -> None:
    similarity = [similarity_sentence(reason) for reason in SimilarityReason]
    classifier = [classifier_sentence(reason) for reason in ClassifierReason]
    assert len(set(similarity)) == len(SimilarityReason)
    assert len(set(classifier)) == len(ClassifierReason)


def test_no_verdict_is_put_as_a_probability_or_joined_with_the_other() -> None:
    for reason in SimilarityReason:
        assert not re.search(r"probab|likely|logit|%", similarity_sentence(reason))
    for classified in ClassifierReason:
        sentence = classifier_sentence(classified)
        assert not re.search(r"likely|known fake is|%", sentence)
        disagrees = classified is ClassifierReason.PROBABILITY_DISAGREES
        assert ("probab" in sentence) == disagrees


@pytest.mark.parametrize(
    ("used", "reason", "expected"),
    [
        (
            calibration(provisional=True),
            SimilarityReason.NOT_CALIBRATED,
            "not calibrated on known-real images of this installation: the figures below rest on "
            "those that came with the model, and give no verdict",
        ),
        (
            calibration(has_hit_rates=False),
            SimilarityReason.NOT_CALIBRATED,
            "not calibrated: the calibration was measured before hit rates were, so it does not "
            "say what a similarity is worth",
        ),
        (
            calibration(holds=False),
            SimilarityReason.NO_THRESHOLD,
            "there is no threshold: the rates of the calibration do not hold for collections that "
            "were left out",
        ),
        (
            calibration(supports_threshold=False),
            SimilarityReason.NO_THRESHOLD,
            "the calibration has too few known-real images for a threshold at this false-match "
            "rate",
        ),
    ],
)
def test_a_calibration_that_gives_no_verdict_says_why(
    used: Any, reason: SimilarityReason, expected: str
) -> None:
    assert similarity_sentence(reason, used=used) == expected


def test_that_similarity_tells_nothing_is_said_with_both_rates() -> None:
    words = similarity_sentence(SimilarityReason.TELLS_NOTHING, discrimination=discrimination())
    assert "1 % (0.3 % to 2.4 %) of known-real images have a known fake" in words


def test_a_sentence_names_the_limits_that_decided() -> None:
    assert classifier_sentence(ClassifierReason.BETWEEN_LIMITS) == (
        "the logit is between the limits (no traces up to -1.25, synthetic from +2.50: the model's "
        "own limits, measured elsewhere)"
    )
    assert "0.9877" in similarity_sentence(SimilarityReason.UNSTABLE)
    assert "0.98765" in similarity_sentence(SimilarityReason.UNSTABLE, digits=5)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, "none"),
        (
            MEASURED,
            "no traces up to -1.25, synthetic from +2.50: the limits of the calibration",
        ),
        (
            ClassifierPolicy(2.5, -1.25, "", synthetic_from=LimitOrigin.CALIBRATION),
            "no traces up to -1.25 by the model's own limit, measured elsewhere, synthetic from "
            "+2.50 by the limit of the calibration",
        ),
        (
            ClassifierPolicy(None, -1.25, "", no_traces_from=LimitOrigin.CALIBRATION),
            "no traces up to -1.25: the limit of the calibration",
        ),
        (
            ClassifierPolicy(2.5, None, ""),
            "synthetic from +2.50: the model's own limit, measured elsewhere",
        ),
    ],
)
def test_limits_say_where_they_were_measured(policy: Any, expected: str) -> None:
    assert describe_limits(policy) == expected


def test_no_traces_always_comes_with_how_many_fakes_it_misses() -> None:
    reached = ClassifierReason.NO_TRACES_LIMIT_REACHED
    fakes = logit_share(estimate=0.02, low=0.005, high=0.07, images=820)
    reals = logit_share(estimate=0.2, low=0.17, high=0.24)
    assert classifier_sentence(reached, MEASURED, None, of_fakes=fakes, of_reals=reals) == (
        "the logit is at or below the limit for no synthetic traces (no traces up to -1.25, "
        "synthetic from +2.50: the limits of the calibration); of the known fakes in the "
        "calibrated corpora, 2 % (0.5 % to 7 %; 820 images) come out like this; of the known-real "
        "images, 20 % (17 % to 24 %; 679 images)"
    )
    elsewhere = classifier_sentence(
        reached, MEASURED, None, of_fakes=fakes, of_reals=reals, fell_back_from="jpeg75"
    )
    assert elsewhere.endswith(
        "679 images) (measured on unchanged images; known fakes were not measured as images after "
        "JPEG 75)"
    )
    assert classifier_sentence(reached, issue=None).endswith(
        "measured elsewhere); how many fakes come out like this is not measured on these corpora"
    )


def test_synthetic_comes_with_its_false_alarms_and_a_remark_on_an_unfamiliar_picture() -> None:
    reached = ClassifierReason.SYNTHETIC_LIMIT_REACHED
    shares = {"of_fakes": logit_share(estimate=0.3), "of_reals": logit_share()}
    plain = classifier_sentence(reached, MEASURED, None, **shares)
    assert plain.endswith("of the known-real images, 1 % (0.3 % to 2.4 %; 679 images)")
    unlike = classifier_sentence(reached, MEASURED, QualityIssue.UNFAMILIAR, **shares)
    assert unlike.startswith(plain)
    assert "these figures may not hold for the picture: it is further from everything" in unlike
    assert classifier_sentence(reached, issue=None).endswith(
        "how many photographs come out like this is not measured on these corpora"
    )


def test_a_rate_says_where_no_hit_rate_stands_beside_it() -> None:
    """As after a delivery that a first calibration measured no known fakes after."""
    answer = similarity_answer(false_match_rate=rate(), calibration=calibration())
    assert dict(write_statements(answer, None))["hits"] == (
        "how often a known fake comes this near to another one was not measured for images after "
        "JPEG 75, so it is open what this rate is worth"
    )


def test_each_statement_stands_only_where_its_evidence_is_there() -> None:
    without = WithoutStrongest(
        entry_id=7,
        verdict=SimilarityOutcome.NOT_SIMILAR,
        reason=SimilarityReason.BELOW_THRESHOLD,
        nearest_similarity=None,
    )
    real = NeighbourAnswer(
        rank=1,
        cosine_similarity=0.5,
        relation=None,
        entry=EntryAnswer.model_construct(id=12, corpus="photographs", kind=CorpusKind.KNOWN_REAL),
    )
    parts: dict[str, tuple[dict[str, Any], str]] = {
        "rate": ({"false_match_rate": rate()}, "come this near"),
        "hits": ({"hit_rate": hits()}, "to another one"),
        "ratio": ({"likelihood_ratio": ratio()}, "proposition"),
        "generator": ({"attribution": attribution()}, "sdxl"),
        "known real": (
            {"nearest_known_real": real},
            "cosine similarity 0.5000, entry 12 of photographs",
        ),
        "rests on": (
            {"rests_on": RestsOnAnswer(entry_ids=[7], without_strongest=without, stands=False)},
            "entry 7",
        ),
        "calibration": ({"calibration": calibration()}, "number 3, "),
        "next step": ({"next_step": "run something"}, "run something"),
    }
    assert list(write_statements(similarity_answer(), None)) == []
    for topic, (part, words) in parts.items():
        ((said, sentence),) = write_statements(similarity_answer(**part), None)
        assert said == topic
        assert words in sentence
    everything = {name: value for part, _ in parts.values() for name, value in part.items()}
    topics = [topic for topic, _ in write_statements(similarity_answer(**everything), stability())]
    assert topics == [*list(parts)[:-2], "stability", "calibration", "next step"]
    nothing_rests = RestsOnAnswer(entry_ids=[], without_strongest=None, stands=True)
    assert list(write_statements(similarity_answer(rests_on=nothing_rests), None)) == []
    uncalibrated = similarity_answer(uncalibrated_corpora=["new"])
    assert [topic for topic, _ in write_statements(uncalibrated, None)] == ["calibration"]


@pytest.mark.parametrize(("supported", "topics"), [(True, []), (False, ["ratio"])])
def test_a_ratio_that_is_not_stated_is_explained(supported: bool, topics: list[str]) -> None:
    support = RatioSupport(supported=supported, cllr=0.9, cllr_left_out=1.0)
    answer = similarity_answer(ratio_support=support)
    assert [topic for topic, _ in write_statements(answer, None)] == topics
