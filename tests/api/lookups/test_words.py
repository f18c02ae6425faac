"""Each reason has a sentence of its own, and no sentence says more than its figures."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from api.corpora.json import EntryAnswer
from api.lookups.evidence_json import (
    AttributionAnswer,
    CalibrationUsed,
    CollectionRate,
    QualityAnswer,
    RateAnswer,
    RatioAnswer,
    ShareAnswer,
)
from api.lookups.json import NeighbourAnswer, SimilarityAnswer
from api.lookups.request import SearchFilter
from api.lookups.robustness_json import (
    LeftOutAnswer,
    ReEncodingAnswer,
    RestsOnAnswer,
    StabilityAnswer,
    WithoutStrongest,
)
from api.lookups.words import (
    describe_attribution,
    describe_calibration,
    describe_quality,
    describe_rate,
    describe_ratio,
    describe_rests_on,
    describe_stability,
    describe_uncalibrated,
    explain_classifier,
    explain_similarity,
    percent,
    write_statements,
)
from embedder.pictures.delivery import Condition
from index.calibration.attribution import AttributionReason
from index.calibration.false_matches import RateMethod
from index.truth.corpora import CorpusKind
from index.verdict import (
    ClassifierOutcome,
    ClassifierPolicy,
    ClassifierReason,
    ClassifierVerdict,
    QualityIssue,
    SimilarityOutcome,
    SimilarityReason,
    SimilarityVerdict,
    Threshold,
)

THRESHOLD = Threshold(0.98765, "measured")
POLICY = ClassifierPolicy(2.5, -1.25, "measured")
CAMERA = CollectionRate(corpus="reals", source="camera", images=200, matches=0)
FACES = CollectionRate(corpus="faces", source=None, images=56, matches=13)
# What a sentence must say, and what would be said of another reason.
SIMILARITY = {
    SimilarityReason.IDENTICAL_IMAGE: ("identical", "perceptual"),
    SimilarityReason.NEAR_DUPLICATE_IMAGE: ("the same picture as a known fake", "known-real"),
    SimilarityReason.ALSO_KNOWN_REAL: ("a known fake and as a known-real image", "threshold"),
    SimilarityReason.ABOVE_THRESHOLD: ("at least as near as the threshold of 0.9877", "no known"),
    SimilarityReason.BELOW_THRESHOLD: ("no known fake in the searched corpora", "at least"),
    SimilarityReason.BETWEEN: ("supports a generator", "known-real"),
    SimilarityReason.RATIO_DISAGREES: ("supports a known-real image", "supports a generator"),
    SimilarityReason.POOR_QUALITY: ("hardly any structure", "threshold"),
    SimilarityReason.UNSTABLE: ("on the other side of the threshold", "ratio"),
    SimilarityReason.NO_THRESHOLD: ("no similarity threshold is known", "0.9877"),
    SimilarityReason.NOTHING_COMPARED: ("no known fake to compare", "threshold"),
    SimilarityReason.FAKES_NOT_REACHED: ("known-real images are nearer", "threshold"),
}
CLASSIFIER = {
    ClassifierReason.SYNTHETIC_LIMIT_REACHED: ("at or above the limit for synthetic", "below"),
    ClassifierReason.NO_TRACES_LIMIT_REACHED: ("the limit for no synthetic traces", "above"),
    ClassifierReason.BETWEEN_LIMITS: ("between the limits", "at or"),
    ClassifierReason.NO_LIMITS: ("no limits were measured", "+2.50"),
    ClassifierReason.POOR_QUALITY: ("hardly any structure", "limit"),
    ClassifierReason.UNSTABLE: ("moves the logit over a limit", "between"),
}


def quality(issue: QualityIssue | None = QualityIssue.FLAT) -> QualityAnswer:
    return QualityAnswer(issue=issue, shortest_side=96, pdq_quality=3, luminance_std=0.5)


def similarity_sentence(reason: SimilarityReason) -> str:
    verdict = SimilarityVerdict(SimilarityOutcome.INCONCLUSIVE, reason, THRESHOLD)
    return explain_similarity(verdict, quality())


def classifier_sentence(reason: ClassifierReason) -> str:
    policy = None if reason is ClassifierReason.NO_LIMITS else POLICY
    verdict = ClassifierVerdict(ClassifierOutcome.INCONCLUSIVE, reason, policy)
    return explain_classifier(verdict, quality())


def rate(**figures: Any) -> RateAnswer:
    facts = {"estimate": 0.0102, "low": 0.003, "high": 0.024, "method": RateMethod.EMPIRICAL}
    return RateAnswer(**facts | {"images": 679, "sources": 679} | figures)


def ratio(**figures: Any) -> RatioAnswer:
    facts: dict[str, Any] = {"log10": 1.24, "low": 0.9, "high": 1.4, "bounds": (-1.5, 1.5)}
    words = {"bounded": False, "words": "moderate support", "scale": "ENFSI", "two_sided": True}
    counts = {"cllr": 0.2, "cllr_min": 0.1, "same_source_images": 9, "different_source_images": 9}
    return RatioAnswer(**facts | words | counts | figures)


def calibration(**facts: Any) -> CalibrationUsed:
    usual: dict[str, Any] = {
        "id": 3,
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "generation": 9,
        "applies": "exact",
        "against": ["fakes"],
        "reference": ["photographs"],
        "corpus_size": 40,
        "entries_since": 0,
        "probe_condition": "jpeg75",
        "condition": "jpeg75",
        "images": 28,
        "sources": 28,
        "supports_threshold": True,
    }
    return CalibrationUsed(**usual | facts)


def stability(**figures: Any) -> StabilityAnswer:
    one = ReEncodingAnswer(name="jpeg75", logit=1.0, nearest_similarity=0.9, generator="sdxl")
    usual: dict[str, Any] = {
        "reencodings": [one, one],
        "left_out": [LeftOutAnswer(name="half", reason="too_small")],
        "logit_low": -1.004,
        "logit_high": 2.0,
        "similarity_low": 0.81234,
        "similarity_high": 0.9,
        "generators": ["flux", "sdxl"],
    }
    return StabilityAnswer(**usual | figures)


def attribution(**facts: Any) -> AttributionAnswer:
    shares = [("sdxl", 0.6), ("flux", 0.25), ("dalle", 0.1), ("imagen", 0.05)]
    usual: dict[str, Any] = {
        "unknown": False,
        "reason": AttributionReason.NEAREST_KNOWN_FAKES,
        "candidates": ["sdxl"],
        "coverage": 0.9,
        "shares": [ShareAnswer(generator=name, share=share) for name, share in shares],
    }
    return AttributionAnswer(**usual | facts)


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
        assert not re.search(r"probab|likely|known|%", classifier_sentence(classified))


def test_a_sentence_names_the_limits_that_decided() -> None:
    assert classifier_sentence(ClassifierReason.BETWEEN_LIMITS) == (
        "the logit is between the limits (no traces up to -1.25, synthetic from +2.50)"
    )
    assert "0.9877" in similarity_sentence(SimilarityReason.UNSTABLE)


@pytest.mark.parametrize(
    ("issue", "expected"),
    [
        (None, "no issue"),
        (QualityIssue.TOO_SMALL, "96 pixels"),
        (QualityIssue.FLAT, "structure"),
        (QualityIssue.UNFAMILIAR, "further from everything"),
    ],
)
def test_each_quality_issue_has_its_words(issue: QualityIssue | None, expected: str) -> None:
    others = {
        describe_quality(quality(each)) for each in (None, *QualityIssue) if each is not issue
    }
    assert expected in describe_quality(quality(issue))
    assert describe_quality(quality(issue)) not in others
    assert len(others) == len(QualityIssue)


@pytest.mark.parametrize(
    "unobserved",
    [{"estimate": 0.0}, {"estimate": 0.004, "method": RateMethod.RULE_OF_THREE}],
    ids=["no rate", "rule of three"],
)
def test_a_rate_that_no_image_reached_states_the_end_of_its_interval(
    unobserved: dict[str, Any],
) -> None:
    assert describe_rate(rate(**unobserved, low=0.0, high=0.01, collections=[CAMERA])) == (
        "no measured known-real image comes this near (95 % interval up to 1 %; 679 images from "
        "679 photographs)"
    )


def test_a_rate_over_unlike_collections_says_whose_the_largest_share_is() -> None:
    words = (
        "1 % of known-real images come this near (95 % interval 0.3 % to 2.4 %; 679 images from "
        "679 photographs)"
    )
    assert describe_rate(rate()) == words
    assert (
        describe_rate(rate(collections=[CAMERA, FACES]))
        == f"{words}; by collection 0 % to 23 % (13 of 56 of faces)"
    )
    most = CAMERA.model_copy(update={"matches": 100})
    assert describe_rate(rate(collections=[most, FACES])).endswith(
        "by collection 23 % to 50 % (100 of 200 of reals, camera)"
    )


def test_a_ratio_names_both_propositions_and_its_bound() -> None:
    assert describe_ratio(ratio()) == (
        "10^1.2 (10^0.9 to 10^1.4): moderate support (first proposition: a generator in the "
        "corpora made it; alternative: it is a real image like those of the reference)"
    )
    assert "limited to what the data can support" in describe_ratio(ratio(bounded=True))


def test_candidates_are_named_with_their_shares_and_the_rest_counted() -> None:
    assert describe_attribution(attribution()) == (
        "sdxl (60 % of the vote): such a set contains the right generator in 90 % of cases, if the "
        "corpora hold it"
    )
    everyone = describe_attribution(attribution(candidates=["sdxl", "flux", "dalle", "imagen"]))
    assert "sdxl (60 % of the vote) or flux (25 % of the vote) or dalle (10 % " in everyone
    assert "or one of 1 more:" in everyone
    assert "imagen" not in everyone


def test_each_reason_to_name_no_generator_has_its_words() -> None:
    named = {AttributionReason.NEAREST_KNOWN_FAKES, AttributionReason.SAME_PICTURE}
    unknown = [each for each in AttributionReason if each not in named]
    words = {
        describe_attribution(attribution(unknown=True, candidates=[], reason=each))
        for each in unknown
    }
    assert len(words) == len(unknown)
    assert all(each.startswith("unknown: ") and "sdxl" not in each for each in words)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "number 3, figures for images after JPEG 75"),
        (
            {"condition": "as_is"},
            "number 3, figures for unchanged images (the probe looks like an image after JPEG 75, "
            "which was not measured)",
        ),
        (
            {"condition": "as_is", "probe_condition": "screenshot"},
            "number 3, figures for unchanged images (the probe looks like a screenshot or a "
            "resized image, which was not measured)",
        ),
        (
            {"probe_condition": None, "condition": "as_is"},
            "number 3, figures for unchanged images",
        ),
        (
            {"entries_since": 1200},
            "number 3, figures for images after JPEG 75; 1,200 entries added since it was measured",
        ),
        (
            {"entries_since": -2},
            "number 3, figures for images after JPEG 75; 2 entries removed since it was measured",
        ),
        (
            {"applies": "upper_bound", "entries_since": None},
            "number 3, figures for images after JPEG 75; only part of its corpora was searched, so "
            "the true rate is at most this one",
        ),
        (
            {"supports_threshold": False},
            "number 3, figures for images after JPEG 75; too few known-real images for a threshold",
        ),
    ],
)
def test_a_calibration_says_how_it_fits(facts: dict[str, Any], expected: str) -> None:
    assert describe_calibration(calibration(**facts)) == expected


@pytest.mark.parametrize("condition", Condition)
def test_each_kind_of_delivery_has_its_words(condition: Condition) -> None:
    words = describe_calibration(calibration(condition=condition, probe_condition=condition))
    assert words.startswith("number 3, figures for ")
    assert "_" not in words


def test_corpora_that_are_not_calibrated_are_named_and_the_rest_counted() -> None:
    assert "does not cover a, b, c;" in describe_uncalibrated(["a", "b", "c"])
    assert "does not cover a, b, c and 2 more;" in describe_uncalibrated(["a", "b", "c", "d", "e"])


def test_supporting_entries_are_listed_with_the_verdict_without_the_strongest() -> None:
    without = WithoutStrongest(
        entry_id=7,
        verdict=SimilarityOutcome.NOT_SIMILAR,
        reason=SimilarityReason.BELOW_THRESHOLD,
        nearest_similarity=0.5,
    )

    def words(ids: list[int], *, stands: bool = False) -> str:
        answer = RestsOnAnswer(entry_ids=ids, without_strongest=without, stands=stands)
        return describe_rests_on(answer, without)

    assert words([7]) == "entry 7; without entry 7 the verdict is not_similar"
    assert words([7], stands=True) == "entry 7; without entry 7 the verdict stays not_similar"
    assert words([7, 8, 9, 10, 11]).startswith("entries 7, 8, 9, 10, 11; ")
    assert words([7, 8, 9, 10, 11, 12]).startswith("entries 7, 8, 9, 10, 11, ...; ")


def test_stability_states_ranges_and_generators() -> None:
    assert describe_stability(stability()) == (
        "2 re-encodings: logit -1.00 to +2.00, similarity 0.8123 to 0.9000, nearest known fakes by "
        "flux or sdxl"
    )
    unsearched = stability(similarity_low=None, similarity_high=None, generators=[])
    assert describe_stability(unsearched) == "2 re-encodings: logit -1.00 to +2.00"
    assert (
        describe_stability(stability(logit_low=None)) == "no re-encoding of the probe can be used"
    )


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"),
        (9e-6, "under 0.001 %"),
        (1e-5, "0.001 %"),
        (0.0777, "7.8 %"),
        (0.994, "99 %"),
        (0.996, "100 %"),
        (1.0, "100 %"),
    ],
)
def test_a_percentage_has_two_digits_that_mean_something(share: float, words: str) -> None:
    assert percent(share) == words


def similarity_answer(**parts: Any) -> SimilarityAnswer:
    bare: dict[str, Any] = {
        "verdict": SimilarityOutcome.INCONCLUSIVE,
        "reason": SimilarityReason.NO_THRESHOLD,
        "explanation": "",
        "threshold": None,
        "neighbours": [],
        "searched": 0,
        "filter": SearchFilter(),
    }
    return SimilarityAnswer(**bare | parts)


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
    }
    assert list(write_statements(similarity_answer(), None)) == []
    for topic, (part, words) in parts.items():
        ((said, sentence),) = write_statements(similarity_answer(**part), None)
        assert said == topic
        assert words in sentence
    everything = {name: value for part, _ in parts.values() for name, value in part.items()}
    topics = [topic for topic, _ in write_statements(similarity_answer(**everything), stability())]
    assert topics == [*list(parts)[:-1], "stability", "calibration"]
    nothing_rests = RestsOnAnswer(entry_ids=[], without_strongest=None, stands=True)
    assert list(write_statements(similarity_answer(rests_on=nothing_rests), None)) == []
    uncalibrated = similarity_answer(uncalibrated_corpora=["new"])
    assert [topic for topic, _ in write_statements(uncalibrated, None)] == ["calibration"]
