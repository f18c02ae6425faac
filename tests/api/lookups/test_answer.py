from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api.lookups.answer import Assessed, dump_evidence, write_answer
from api.lookups.answers.json import LookupAnswer, NeighbourAnswer, ProbeAnswer, ThresholdAnswer
from api.lookups.answers.method_json import MethodAnswer, Timings
from api.lookups.answers.robustness_json import LeftOutAnswer
from api.lookups.probe import Probe
from api.lookups.request import LookupQuery
from embedder.pictures.delivery import Condition
from index.calibration.attribution import GeneratorCoverage
from index.calibration.calibration import AS_IS
from index.calibration.for_probe import ProbeCalibration
from index.calibration.standing import Applies
from index.calibration.verbal import ENFSI_2015
from index.evidence import ProbeFacts, ReEncodedProbe, assess
from index.neighbourhood import Neighbourhood
from index.policy import LogitCalibration
from index.truth.lookups import digest_evidence
from index.truth.perceptual import PerceptualHash
from index.verdict import (
    ClassifierPolicy,
    Policy,
    SimilarityReason,
    Threshold,
)
from tests.index.assessing import (
    REAL,
    applied,
    attribution,
    calibration,
    collection,
    entry,
    found,
    hits,
    likelihood,
    logit_rates,
    neighbour,
    stratum,
)

POLICY = Policy(Threshold(0.8, "test"), ClassifierPolicy(2.0, -2.0, "the data"))
CLEAR, FLAT = PerceptualHash(bytes(32), 80), PerceptualHash(bytes(32), 10)
METHOD = MethodAnswer(
    lineup_version="1",
    model="tiles",
    embedding_space="1" * 64,
    weights_sha256="2" * 64,
    device="cpu",
    precision="float32",
    generation=7,
    index_digest="0" * 64,
    exact=True,
    k=10,
)
TIMINGS = Timings(decode_ms=1, embed_ms=2, search_ms=3, total_ms=6)
NEAR = (neighbour(1, 0.9, generator="sdxl"), neighbour(2, 0.7, generator="flux"))
REALS = (neighbour(9, 0.4, REAL),)


def write(
    *,
    fakes: Any = NEAR,
    reals: Any = REALS,
    model: ProbeCalibration | None = None,
    policy: Policy = POLICY,
    method: MethodAnswer = METHOD,
    timings: Timings = TIMINGS,
    reencodings: Any = (),
    is_flat: bool = False,
    **more: Any,
) -> LookupAnswer:
    hashed = more.pop("hashed", CLEAR)
    logit = more.pop("logit", 3.0)
    probe = Probe(
        ProbeAnswer(sha256="3" * 64, width=640, height=480, embedding="computed"),
        np.zeros(2, np.float32),
        logit,
        hashed,
        condition=more.pop("condition", Condition.JPEG75),
        luminance_std=40.5,
    )
    facts = ProbeFacts(logit=logit, shortest_side=480, model_side=224, is_flat=is_flat)
    logits = None if model is None else LogitCalibration.of(model.applied, None)
    assessment = assess(facts, Neighbourhood(fakes, reals), model, policy, reencodings, logits)
    listed = found(*fakes, searched=50)
    query = LookupQuery(false_match_rate=0.01)
    assessed = Assessed(probe, query, listed, assessment, **more)
    answer, _ = write_answer(assessed, ENFSI_2015, method, timings)
    return answer


def test_both_opinions_stand_side_by_side_with_their_limits() -> None:
    answer = write()
    assert answer.classifier is not None
    assert (answer.classifier.verdict, answer.classifier.reason) == (
        "synthetic",
        "synthetic_limit_reached",
    )
    assert (answer.classifier.logit, answer.classifier.limits_source) == (3.0, "the data")
    assert (answer.classifier.synthetic_logit, answer.classifier.no_traces_logit) == (2.0, -2.0)
    assert (answer.similarity.verdict, answer.similarity.reason) == (
        "similar_to_known_fakes",
        "above_threshold",
    )
    assert answer.similarity.threshold == ThresholdAnswer(cosine_similarity=0.8, source="test")
    assert answer.similarity.nearest_similarity == 0.9
    assert (answer.similarity.searched, answer.similarity.filter) == (50, LookupQuery().filter)
    assert answer.similarity.rests_on is not None
    assert answer.similarity.rests_on.entry_ids == [1]
    assert (answer.method, answer.timings) == (METHOD, TIMINGS)


def test_without_a_logit_or_limits_the_classifier_says_nothing_or_little() -> None:
    assert write(logit=None).classifier is None
    without = write(policy=Policy(None)).classifier
    assert without is not None
    assert (without.reason, without.limits_source, without.synthetic_logit) == (
        "no_limits",
        None,
        None,
    )
    assert without.no_traces_logit is None


def test_a_probability_is_calibrated_only_by_a_calibration() -> None:
    plain = write().classifier
    assert plain is not None
    assert (plain.probability, plain.calibration) == (None, "uncalibrated")
    assert (plain.ece, plain.brier, plain.calibration_id) == (None, None, None)
    fitted = write(model=calibration()).classifier
    assert fitted is not None
    assert fitted.probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert fitted.calibration == "temperature by calibration 4, as_is"
    assert fitted.calibration_id == 4
    assert (fitted.ece, fitted.brier) == (0.04, 0.08)
    too_few = write(model=calibration(classifier=None)).classifier
    assert too_few is not None
    assert (too_few.calibration, too_few.probability) == ("uncalibrated", None)


def test_a_verdict_of_the_classifier_comes_with_how_many_images_get_it() -> None:
    rates = logit_rates()
    model = calibration(logit_rates=rates)
    some, none, between = (write(model=model, logit=at).classifier for at in (3.0, -3.0, 0.0))
    assert some is not None
    assert none is not None
    assert between is not None
    assert none.miss_rate is not None
    assert none.clear_rate is not None
    assert (none.miss_rate.matches, none.miss_rate.images) == (0, 200)
    assert none.clear_rate.estimate == rates.reals_at_or_below(-2.0).estimate
    assert (none.false_alarm_rate, none.detection_rate) == (None, None)
    assert some.false_alarm_rate is not None
    assert some.detection_rate is not None
    assert (some.false_alarm_rate.matches, some.false_alarm_rate.sources) == (0, 200)
    assert some.detection_rate.estimate == rates.fakes_at_or_above(2.0).estimate
    assert (some.miss_rate, some.clear_rate) == (None, None)
    assert (between.miss_rate, between.false_alarm_rate) == (None, None)
    assert "of the known fakes in the calibrated corpora, none of 200" in none.explanation
    assert "of the known-real images, none of 200" in some.explanation
    own = write(logit=-3.0).classifier
    assert own is not None
    assert own.miss_rate is None
    assert "not measured on these corpora" in own.explanation


def test_why_similarity_gives_no_verdict_is_written_with_what_to_do() -> None:
    barred = Policy(None, barrier=SimilarityReason.NOT_CALIBRATED)
    similarity = write(policy=barred).similarity
    assert (similarity.verdict, similarity.reason) == ("inconclusive", "not_calibrated")
    assert (similarity.barrier, similarity.threshold) == ("not_calibrated", None)
    assert similarity.next_step is not None
    assert "lineup calibrate" in similarity.next_step
    assert write(policy=barred).statements[-1].topic == "next step"
    assert [each.relation for each in similarity.neighbours] == [None, None]
    copy = (neighbour(1, 0.9, near_duplicate=True), *NEAR)
    found_copy = write(policy=barred, fakes=copy).similarity
    assert (found_copy.verdict, found_copy.barrier) == ("similar_to_known_fakes", "not_calibrated")
    assert found_copy.next_step is None  # the verdict needs nothing
    assert write().similarity.next_step is None


def test_a_warning_about_the_model_stands_at_the_top() -> None:
    assert write(caution="not for casework").caution == "not for casework"
    assert write().caution is None


def test_numbers_are_written_with_the_decimals_that_show_their_side() -> None:
    """At 4 decimals both similarities would be the threshold, and both logits a limit."""
    fakes = (neighbour(1, 0.79998), neighbour(2, 0.7))
    answer = write(fakes=fakes, logit=1.999)
    assert (answer.similarity.verdict, answer.similarity.digits) == ("not_similar", 5)
    assert answer.classifier is not None
    assert (answer.classifier.verdict, answer.classifier.digits) == ("inconclusive", 3)
    assert "as near as the threshold of 0.80000" in answer.similarity.explanation
    assert "synthetic from +2.000" in answer.classifier.explanation
    assert (write().similarity.digits, write().classifier.digits) == (4, 2)  # type: ignore[union-attr]
    near = ReEncodedProbe("half", 2.0, 0.8000001)
    assert write(reencodings=(near,)).similarity.digits == 7


def test_the_known_fake_that_the_verdict_rests_on_is_named() -> None:
    copy = neighbour(3, 0.2, near_duplicate=True)
    similarity = write(fakes=(copy, *NEAR), policy=Policy(None)).similarity
    assert similarity.nearest_known_fake is not None
    assert similarity.nearest_known_fake.entry.id == 3
    assert similarity.nearest_similarity == 0.9
    assert write(fakes=()).similarity.nearest_known_fake is None


def test_the_figures_of_a_calibration_are_written_beside_the_verdict() -> None:
    model = calibration(collections=(collection("a", 40, 0.95, 0.1), collection("b", 40, 0.2)))
    similarity = write(model=model).similarity
    rate, ratio, votes = (
        similarity.false_match_rate,
        similarity.likelihood_ratio,
        similarity.attribution,
    )
    assert rate is not None
    assert rate.estimate == pytest.approx(0.05)
    assert (rate.images, rate.sources) == (1000, 900)
    assert [(each.corpus, each.images, each.matches) for each in rate.collections] == [
        ("a", 40, 1),
        ("b", 40, 0),
    ]
    assert ratio is not None
    assert ratio.log10 == pytest.approx(1.0)
    assert (ratio.low, ratio.high) == pytest.approx((0.5, 1.5))
    assert (ratio.bounds, ratio.bounded, ratio.two_sided) == ((-8.0, 8.0), False, True)
    assert ratio.words == ENFSI_2015.words_for(ratio.log10)
    assert (ratio.same_source_images, ratio.different_source_images) == (20, 30)
    assert votes is not None
    assert [each.generator for each in votes.shares[:2]] == ["flux", "sdxl"]
    assert sum(each.share for each in votes.shares) == pytest.approx(1.0)
    topics = [each.topic for each in write(model=model).statements]
    assert topics == ["rate", "hits", "ratio", "generator", "known real", "rests on", "calibration"]


def test_the_hit_rate_and_what_it_is_worth_are_written() -> None:
    similarity = write(model=calibration(hits=hits(0.5, 0.4, sdxl=3))).similarity
    assert similarity.hit_rate is not None
    assert (similarity.hit_rate.images, similarity.hit_rate.across_collections) == (30, False)
    assert [(each.generator, each.images) for each in similarity.hit_rate.generators] == [
        ("sdxl", 3)
    ]
    assert similarity.discrimination is not None
    assert similarity.discrimination.tells
    assert similarity.discrimination.hit_rate.low > similarity.discrimination.false_match_rate.high
    barred = Policy(None, barrier=SimilarityReason.TELLS_NOTHING)
    alike = calibration(hits=hits(0.0, 0.0))
    copy = (neighbour(1, 0.9, near_duplicate=True), *NEAR)
    worthless, copied = (write(model=alike, policy=barred, fakes=some) for some in (NEAR, copy))
    assert worthless.similarity.discrimination is not None
    assert not worthless.similarity.discrimination.tells
    sentence = "similarity does not tell fakes from photographs"
    for answer in (worthless, copied):  # once, whatever the verdict rests on
        words = [answer.similarity.explanation, *(each.words for each in answer.statements)]
        assert sum(sentence in each for each in words) == 1
    assert sentence in worthless.similarity.explanation


def test_a_ratio_that_the_data_do_not_support_is_not_written() -> None:
    poor = replace(likelihood(1.0), cllr_left_out=1.05)
    answer = write(model=calibration(likelihood=poor, two_sided=None))
    assert answer.similarity.likelihood_ratio is None
    assert answer.similarity.ratio_support is not None
    assert answer.similarity.ratio_support.model_dump() == {
        "supported": False,
        "cllr": 0.2,
        "cllr_left_out": 1.05,
    }
    (words,) = (each.words for each in answer.statements if each.topic == "ratio")
    assert words.startswith("the data do not support a ratio")


def test_a_name_that_the_same_picture_declares_is_quoted() -> None:
    copies = (
        neighbour(3, 0.2, generator="dalle", near_duplicate=True),
        neighbour(4, 0.2, near_duplicate=True),
    )
    quoted = write(fakes=(*copies, *NEAR), model=calibration()).similarity.attribution
    assert quoted is not None
    assert (quoted.candidates, quoted.declared_by, quoted.coverage) == (["dalle"], [3], None)
    assert (quoted.shares, quoted.coverages) == ([], [])
    sdxl = GeneratorCoverage(40, 30, 0.9, 0.74, 0.97, least=0.2, is_named=True)
    others = replace(sdxl, least=0.9)
    classes = {"sdxl": sdxl, "flux": others, "dalle": others}
    model = replace(attribution(*classes), classes=classes)
    near = [neighbour(n, 0.9, generator="sdxl") for n in range(1, 11)]
    voted = write(model=calibration(attribution=model), fakes=near).similarity.attribution
    assert voted is not None
    assert (voted.candidates, voted.declared_by) == (["sdxl"], [])
    (coverage,) = voted.coverages
    assert (coverage.generator, coverage.images, coverage.coverage) == ("sdxl", 30, 0.9)


def test_figures_of_a_flat_picture_are_not_written() -> None:
    answer = write(model=calibration(), is_flat=True)
    assert answer.quality is not None
    assert (answer.quality.issue, answer.quality.pdq_quality) == ("flat", 80)
    assert (answer.quality.shortest_side, answer.quality.luminance_std) == (480, 40.5)
    similarity = answer.similarity
    assert (similarity.reason, similarity.false_match_rate) == ("poor_quality", None)
    assert (similarity.likelihood_ratio, similarity.attribution) == (None, None)
    assert "hardly any structure" in similarity.explanation


@pytest.mark.parametrize(
    ("applies", "searched", "since"),
    [(Applies.EXACT, 130, 30), (Applies.EXACT, 90, -10), (Applies.UPPER_BOUND, 130, None)],
)
def test_the_calibration_that_was_used_says_how_it_fits(
    applies: Applies, searched: int, since: int | None
) -> None:
    strata = {AS_IS: stratum(), "jpeg75": stratum(references=500, sources=400)}
    model = ProbeCalibration.of(applied(applies, strata=strata), "jpeg75", searched, 0.01)
    used = write(model=model).similarity.calibration
    assert used is not None
    assert (used.id, used.applies, used.entries_since) == (4, applies, since)
    assert (used.condition, used.probe_condition) == ("jpeg75", "jpeg75")
    assert (used.images, used.sources, used.corpus_size) == (500, 400, 100)
    assert (used.against, used.reference) == (["fakes"], ["photographs"])
    assert used.supports_threshold
    unsent = write(model=model, condition=None).similarity.calibration
    assert unsent is not None
    assert unsent.probe_condition is None


def test_why_no_calibration_applies_is_written() -> None:
    answer = write(uncalibrated_corpora=("new",))
    assert answer.similarity.uncalibrated_corpora == ["new"]
    assert "of this installation covers new" in answer.statements[-1].words


@pytest.mark.parametrize(
    ("parts", "threshold", "relation"),
    [
        ({"identical": True}, None, "identical"),
        ({"near_duplicate": True}, POLICY.threshold, "near_duplicate"),
        ({"near_duplicate": False}, Threshold(0.5, "t"), "similar"),
        ({}, Threshold(0.51, "t"), "below_threshold"),
        ({}, None, None),
    ],
)
def test_how_a_neighbour_relates_to_the_probe(
    parts: dict[str, Any], threshold: Threshold | None, relation: str | None
) -> None:
    answer = NeighbourAnswer.of(3, neighbour(5, 0.5, **parts), None, Policy(threshold), None)
    assert (answer.rank, answer.entry.id, answer.cosine_similarity) == (3, 5, 0.5)
    assert answer.relation == relation


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (CLEAR, CLEAR, "compared"),
        (CLEAR, FLAT, "low_quality"),
        (FLAT, CLEAR, "low_quality"),
        (None, CLEAR, "missing"),
        (FLAT, None, "missing"),
    ],
)
def test_whether_hashes_were_compared(
    one: PerceptualHash | None, other: PerceptualHash | None, expected: str
) -> None:
    held = entry(5, perceptual_hash=other)
    near = type(NEAR[0])(held, 0.5, identical=False)
    assert NeighbourAnswer.of(1, near, one, Policy(None), None).perceptual_hash == expected


def test_neighbours_are_ranked_from_one_and_the_nearest_real_stands_beside_them() -> None:
    similarity = write().similarity
    assert [(each.rank, each.entry.id) for each in similarity.neighbours] == [(1, 1), (2, 2)]
    assert similarity.nearest_known_real is not None
    assert similarity.nearest_known_real.entry.id == 9
    assert write(reals=()).similarity.nearest_known_real is None


def test_stability_is_written_only_where_it_was_asked_for() -> None:
    own = Threshold(0.85, "jpeg75")
    reencodings = (
        ReEncodedProbe("jpeg75", 1.0, 0.82, "sdxl", own),
        ReEncodedProbe("half", 2.5, 0.95, None),
    )
    assert write(reencodings=reencodings).stability is None
    left_out = (LeftOutAnswer(name="crop", reason="too_small"),)
    stability = write(reencodings=reencodings, left_out=left_out).stability
    assert stability is not None
    first, second = stability.reencodings
    assert (first.name, first.threshold, first.flips) == (
        "jpeg75",
        0.85,
        ["logit", "similarity"],
    )
    assert (second.threshold, second.flips, second.generator) == (None, [], None)
    assert (stability.logit_low, stability.logit_high) == (1.0, 2.5)
    assert (stability.similarity_low, stability.similarity_high) == (0.82, 0.95)
    assert (stability.generators, stability.left_out) == (["sdxl"], list(left_out))
    nothing = write(left_out=left_out).stability
    assert nothing is not None
    assert (nothing.logit_low, nothing.similarity_high, nothing.generators) == (None, None, [])
    unsearched = write(fakes=(), reencodings=(ReEncodedProbe("half", 2.5),), left_out=()).stability
    assert unsearched is not None
    assert (unsearched.logit_low, unsearched.similarity_low) == (2.5, None)


def test_the_digest_is_of_the_evidence_and_of_nothing_else() -> None:
    one = write(model=calibration())
    assert one.evidence_sha256 == digest_evidence(dump_evidence(one))
    waiting = METHOD.model_copy(update={"pending_changes": 3})
    again = write(
        model=calibration(),
        method=waiting,
        timings=Timings(decode_ms=9, embed_ms=9, search_ms=9, total_ms=27),
    )
    assert again.id != one.id
    assert again.evidence_sha256 == one.evidence_sha256
    for other in (
        write(),
        write(model=calibration(), logit=3.01),
        write(model=calibration(), fakes=NEAR[:1]),
        write(model=calibration(), method=METHOD.model_copy(update={"generation": 8})),
    ):
        assert other.evidence_sha256 != one.evidence_sha256
