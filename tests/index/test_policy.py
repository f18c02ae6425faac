"""Which limits a probe is judged by. One that was measured elsewhere says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.calibration import AS_IS
from index.calibration.copies import CopyCurve, CopyRates
from index.calibration.for_probe import ProbeCalibration
from index.calibration.logit_rates import LogitRates, fit_logit_shares
from index.copies import NO_LEADS, LeadLimits
from index.policy import (
    Choices,
    LogitCalibration,
    ReEncodingLimits,
    choose_classifier_policy,
    choose_lead_limits,
    choose_policy,
    choose_reencoding_limits,
    find_barrier,
)
from index.verdict import (
    ClassifierPolicy,
    Evidence,
    LimitOrigin,
    Policy,
    SimilarityOutcome,
    SimilarityReason,
    Threshold,
    judge,
)
from tests.index.assessing import (
    applied,
    calibration,
    false_matches,
    hits,
    logit_rates,
    stratum,
)

seeded = settings(settings.get_profile("index"))
OWN = ClassifierPolicy(2.0, -2.0, "the model's data")
CHOICES = Choices(None, OWN, miss_rate=0.02, false_alarm_rate=0.01)
CHOSEN = replace(CHOICES, threshold=Threshold(0.7, "the operator's"))
MEASURED = LogitCalibration(4, AS_IS, logit_rates(), None)
ALIKE = hits(0.0, 0.0)  # the known fakes come no nearer than the known-real images


# Similarity.


@pytest.mark.parametrize(
    ("found", "chosen", "expected"),
    [
        (None, False, SimilarityReason.NOT_CALIBRATED),
        (None, True, None),
        (calibration(), False, None),
        (calibration(), True, None),
        (calibration(hits=None), False, SimilarityReason.NOT_CALIBRATED),
        (calibration(hits=None), True, None),
        (calibration(hits=ALIKE), False, SimilarityReason.TELLS_NOTHING),
        (calibration(hits=ALIKE), True, SimilarityReason.TELLS_NOTHING),
        (calibration(own_photographs=9), False, SimilarityReason.NOT_CALIBRATED),
        (calibration(own_photographs=9), True, None),
        (calibration(own_photographs=10), False, None),
        (calibration(own_photographs=9, hits=ALIKE), True, SimilarityReason.TELLS_NOTHING),
    ],
)
def test_similarity_gives_a_verdict_only_where_it_was_measured_to_tell_something(
    found: ProbeCalibration | None, chosen: bool, expected: SimilarityReason | None
) -> None:
    choices = CHOSEN if chosen else CHOICES
    policy = choose_policy(found, None, choices)
    assert find_barrier(found, choices.threshold) is policy.barrier is expected
    assert (policy.threshold is None) == (expected is not None)
    if expected is None:
        own = found.threshold if found else None
        assert policy.threshold == (choices.threshold or own)


def test_too_few_images_for_a_threshold_give_none() -> None:
    found = replace(calibration(hits=ALIKE), threshold=None)
    assert find_barrier(found, None) is SimilarityReason.NO_THRESHOLD
    assert find_barrier(found, CHOSEN.threshold) is None
    assert choose_policy(found, None, CHOICES) == Policy(
        None, OWN, barrier=SimilarityReason.NO_THRESHOLD
    )


@seeded
@given(
    similarity=st.floats(-1, 1),
    found=st.sampled_from(
        [None, *(calibration(own_photographs=n, hits=h) for n in (0, 9) for h in (None, hits()))]
    ),
)
def test_without_a_calibration_of_ones_own_no_similarity_gives_a_verdict(
    similarity: float, found: Any
) -> None:
    """Whatever threshold a model states about itself: it is not even asked."""
    policy = choose_policy(found, None, CHOICES)
    judged = judge(Evidence(similarity), policy).similarity
    assert judged.verdict is SimilarityOutcome.INCONCLUSIVE
    assert judged.reason is SimilarityReason.NOT_CALIBRATED


# The classifier.


def test_limits_come_from_the_calibration_and_say_so() -> None:
    policy = choose_classifier_policy(MEASURED, CHOICES)
    assert policy is not None
    measured = logit_rates().limits_at(0.02, 0.01)
    assert measured is not None
    assert (policy.no_traces_logit, policy.synthetic_logit) == (
        measured.no_traces_logit,
        measured.synthetic_logit,
    )
    assert {policy.no_traces_from, policy.synthetic_from} == {LimitOrigin.CALIBRATION}
    assert "calibration 4, as_is" in policy.source
    assert "2.00% of 200 known fakes" in policy.source
    assert "1.00% of 200 known-real images" in policy.source
    assert "model" not in policy.source


@pytest.mark.parametrize(
    "unmeasured", [None, LogitCalibration(4, AS_IS, None, None)], ids=["none", "no rates"]
)
def test_without_a_calibration_the_limits_are_the_models_and_say_so(unmeasured: Any) -> None:
    policy = choose_classifier_policy(unmeasured, CHOICES)
    assert policy == OWN
    assert policy.no_traces_from is policy.synthetic_from is LimitOrigin.MODEL
    assert choose_classifier_policy(unmeasured, replace(CHOICES, classifier=None)) is None


def test_a_limit_that_too_few_images_support_is_the_models() -> None:
    rates = logit_rates()
    ten = fit_logit_shares(range(-10, 0), range(10), [0] * 10)
    few_reals = LogitCalibration(4, AS_IS, LogitRates(rates.fakes, ten), None)
    policy = choose_classifier_policy(few_reals, CHOICES)
    assert policy is not None
    assert (policy.synthetic_logit, policy.synthetic_from) == (2.0, LimitOrigin.MODEL)
    assert policy.no_traces_from is LimitOrigin.CALIBRATION
    assert "one limit is the model's: the model's data" in policy.source
    alone = choose_classifier_policy(few_reals, replace(CHOICES, classifier=None))
    assert alone is not None
    assert (alone.synthetic_logit, alone.no_traces_logit) == (None, policy.no_traces_logit)


def test_a_limit_of_the_model_that_crosses_a_measured_one_takes_the_stricter_side() -> None:
    """All fakes lie over 20, and the model says synthetic from 2 on."""
    high = fit_logit_shares(range(20, 220), range(200), [0] * 200)
    ten = fit_logit_shares(range(-10, 0), range(10), [0] * 10)
    policy = choose_classifier_policy(
        LogitCalibration(4, AS_IS, LogitRates(high, ten), None), CHOICES
    )
    assert policy is not None
    assert (policy.no_traces_logit, policy.no_traces_from) == (2.0, LimitOrigin.MODEL)
    assert policy.synthetic_from is LimitOrigin.CALIBRATION
    assert policy.synthetic_logit is not None
    assert policy.synthetic_logit >= 20


def test_a_limit_that_the_wrong_kind_reaches_as_often_gives_no_verdict() -> None:
    """Of 14 known fakes 9 are under the model's limit, and of 300 known-real images 150."""
    fakes = fit_logit_shares([-3.0] * 9 + [0.0] * 5, range(14), [0] * 14)
    reals = fit_logit_shares([-3.0] * 150 + [0.0] * 150, range(300), [0] * 300)
    policy = choose_classifier_policy(
        LogitCalibration(4, AS_IS, LogitRates(fakes, reals), None), CHOICES
    )
    assert policy is not None
    assert policy.no_traces_logit is None
    swapped = choose_classifier_policy(
        LogitCalibration(4, AS_IS, LogitRates(reals, fakes), None),
        replace(CHOICES, miss_rate=0.0001),
    )
    assert swapped is not None
    assert (swapped.no_traces_logit, swapped.no_traces_from) == (-2.0, LimitOrigin.MODEL)


@seeded
@given(
    low=st.lists(st.integers(-9, 9), min_size=1, max_size=60),
    high=st.lists(st.integers(-9, 9), min_size=1, max_size=60),
)
def test_every_verdict_is_given_more_often_to_the_images_it_is_meant_for(
    low: list[int], high: list[int]
) -> None:
    rates = LogitRates(
        fit_logit_shares(low, range(len(low)), [0] * len(low)),
        fit_logit_shares(high, range(len(high)), [0] * len(high)),
    )
    policy = choose_classifier_policy(LogitCalibration(4, AS_IS, rates, None), CHOICES)
    if policy is not None and policy.no_traces_logit is not None:
        at = policy.no_traces_logit
        missed = rates.fakes_at_or_below(at)
        assert not missed.matches or missed.estimate < rates.reals_at_or_below(at).estimate
    if policy is not None and policy.synthetic_logit is not None:
        at = policy.synthetic_logit
        alarms = rates.reals_at_or_above(at)
        assert not alarms.matches or alarms.estimate < rates.fakes_at_or_above(at).estimate


@pytest.mark.parametrize("own", [OWN, ClassifierPolicy(9.0, -9.0, "wide"), None])
def test_a_delivery_without_known_fakes_has_the_stricter_limits_of_unchanged_images(
    own: ClassifierPolicy | None,
) -> None:
    """As in a first calibration: the model's own limits alone would be stated without any rate."""
    strata = {AS_IS: stratum(logit_rates=logit_rates()), "jpeg75": stratum(logit_rates=None)}
    logits = LogitCalibration.of(applied(strata=strata), "jpeg75")
    assert (logits.condition, logits.fell_back_from) == (AS_IS, "jpeg75")
    assert logits.probability is None  # that of unchanged images is not one of this delivery
    policy = choose_classifier_policy(logits, replace(CHOICES, classifier=own))
    measured = logit_rates().limits_at(0.02, 0.01)
    assert policy is not None
    assert measured is not None
    assert measured.no_traces_logit is not None
    assert measured.synthetic_logit is not None
    low, high = [measured.no_traces_logit], [measured.synthetic_logit]
    if own is not None and own.no_traces_logit is not None and own.synthetic_logit is not None:
        low.append(own.no_traces_logit)
        high.append(own.synthetic_logit)
    assert (policy.no_traces_logit, policy.synthetic_logit) == (min(low), max(high))


def test_a_delivery_that_was_measured_keeps_its_own_limits() -> None:
    strata = {AS_IS: stratum(logit_rates=logit_rates()), "jpeg75": stratum(logit_rates=None)}
    assert LogitCalibration.of(applied(strata=strata), AS_IS).fell_back_from is None
    unmeasured = LogitCalibration.of(applied(strata={AS_IS: stratum(logit_rates=None)}), AS_IS)
    assert (unmeasured.rates, unmeasured.fell_back_from) == (None, None)


# Re-encodings.


def test_re_encodings_have_the_limits_of_their_delivery() -> None:
    shifted = logit_rates()
    strata = {
        AS_IS: stratum(logit_rates=logit_rates()),
        "jpeg75": stratum(logit_rates=LogitRates(shifted.reals, shifted.fakes)),
    }
    measured = applied(strata=strata)
    found = ProbeCalibration.of(measured, None, 100, 0.01)
    logits = LogitCalibration.of(measured, None)
    policy = choose_policy(found, logits, CHOICES)
    conditions = [AS_IS, "jpeg75"]
    as_is, jpeg75 = choose_reencoding_limits(measured, found, policy, CHOICES, conditions)
    assert as_is == ReEncodingLimits(found.threshold, policy.classifier)
    assert jpeg75.classifier == choose_classifier_policy(
        LogitCalibration.of(measured, "jpeg75"), CHOICES
    )
    assert jpeg75.classifier != policy.classifier
    assert [as_is.threshold, jpeg75.threshold] == found.find_thresholds(conditions)

    chosen = choose_policy(found, logits, CHOSEN)
    limits = choose_reencoding_limits(measured, found, chosen, CHOSEN, conditions)
    assert [each.threshold for each in limits] == [None, None]  # the operator's is for all
    bare = choose_policy(None, None, CHOICES)
    assert choose_reencoding_limits(None, None, bare, CHOICES, conditions) == [
        ReEncodingLimits(),
        ReEncodingLimits(),
    ]


# Leads.


DESCRIPTOR = "d" * 64
# The rate of an unrelated picture: 1 % at a similarity of 0.7, which is 38.4 bits of a hash.
BENT = replace(false_matches(), similarities=(-1.0, 0.7, 1.0), estimates=(1.0, 0.01, 0.0))
BENT = replace(BENT, lows=BENT.estimates, highs=BENT.estimates)
CURVE = CopyCurve(BENT, "photographs against known fakes")


def test_without_any_rates_nothing_is_a_lead() -> None:
    assert choose_lead_limits(CopyRates(), 100, None, None) == NO_LEADS
    assert choose_lead_limits(CopyRates(), 100, DESCRIPTOR, 4) == NO_LEADS
    assert choose_policy(None, None, CHOICES).leads == NO_LEADS


def test_leads_are_what_few_unrelated_pictures_reach() -> None:
    by_hash = choose_lead_limits(CopyRates(band=CURVE), 100, DESCRIPTOR, 4)
    assert by_hash == LeadLimits(37, source="at a false-match rate of 1% by calibration 4")
    rates = CopyRates(band=CURVE, descriptors={DESCRIPTOR: CURVE})
    both = choose_lead_limits(rates, 100, DESCRIPTOR, 4)
    assert both.least_similarity == pytest.approx(0.7)
    assert both.least_refuted_similarity == pytest.approx(0.97)
    assert choose_lead_limits(rates, 100, None, 4) == by_hash
    assert choose_lead_limits(rates, 100, "e" * 64, 4) == by_hash


def test_limits_of_leads_say_where_they_were_measured() -> None:
    shipped = replace(CURVE, is_shipped=True)
    package = "at a false-match rate of 1% by the rates that came with the package"
    assert choose_lead_limits(CopyRates(band=shipped), 100, None, 4).source == package
    assert choose_lead_limits(CopyRates(band=CURVE), 100, None, None).source == package
    mixed = CopyRates(band=shipped, descriptors={DESCRIPTOR: CURVE})
    assert choose_lead_limits(mixed, 100, DESCRIPTOR, 4).source == f"{package} and calibration 4"


def test_a_larger_corpus_never_has_more_leads() -> None:
    rates = CopyRates(band=CURVE, descriptors={DESCRIPTOR: CURVE})
    limits = [choose_lead_limits(rates, size, DESCRIPTOR, 4) for size in (0, 1, 100, 1000, 10**6)]
    bits = [each.most_bits for each in limits]
    assert bits == sorted(bits, reverse=True)
    least = [each.least_similarity for each in limits]
    assert least == sorted(least, key=lambda each: 1.1 if each is None else each)
