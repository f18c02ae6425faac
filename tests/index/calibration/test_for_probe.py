from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.calibration import AS_IS, SUPPORTED_FACTOR, Calibration
from index.calibration.checking import StratumCheck
from index.calibration.false_matches import fit_false_matches
from index.calibration.for_probe import ProbeCalibration, count_by_collection
from index.calibration.growth import UNKNOWN_GROWTH
from index.calibration.hits import HitRates
from index.calibration.ratios import MIN_SOURCES
from index.calibration.standing import Applied, Applies
from tests.index.assessing import NOON, applied, collection, false_matches, stratum

seeded = settings(settings.get_profile("index"))
rates = st.floats(0.01, 0.5)
sizes = st.integers(0, 100_000)
DELIVERED = {
    AS_IS: stratum(),
    "jpeg75": stratum(references=500, sources=400),
    "half": stratum(false_matches=false_matches(sources=20, high=1.0)),
}

MEASURED, EXACT = Calibration(100, {}, DELIVERED, seed=0), Applies.EXACT


def of(condition: str | None, **parts: Any) -> ProbeCalibration:
    usual: dict[str, Any] = {"searched": 100, "false_match_rate": 0.01}
    return ProbeCalibration.of(applied(strata=DELIVERED), condition, **usual | parts)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("jpeg75", "jpeg75"), ("webp80", AS_IS), (None, AS_IS), ("", AS_IS)],
)
def test_the_delivery_of_the_probe_chooses_the_stratum(
    condition: str | None, expected: str
) -> None:
    found = of(condition)
    assert (found.condition, found.stratum) == (expected, DELIVERED[expected])


@pytest.mark.parametrize(
    ("applies", "searched", "expected"),
    [
        (Applies.EXACT, 250, 250),  # what is there now
        (Applies.EXACT, 40, 40),
        (Applies.EXACT, 0, 100),  # nothing was searched: nothing to predict for
        (Applies.UPPER_BOUND, 40, 100),  # a part is stated for the whole
        (Applies.UPPER_BOUND, 250, 250),  # which it has outgrown
    ],
)
def test_the_size_that_rates_are_predicted_for(
    applies: Applies, searched: int, expected: int
) -> None:
    found = ProbeCalibration.of(applied(applies), None, searched, 0.01)
    assert found.corpus_size == expected


def test_the_threshold_is_the_similarity_at_the_rate_and_names_its_source() -> None:
    threshold = of("jpeg75", false_match_rate=0.05).threshold
    assert threshold is not None
    assert threshold.value == pytest.approx(0.9)  # whose rate is (1 - 0.9) / 2
    assert threshold.source == (
        "similarity at a false-match rate of 5.00% by calibration 4, jpeg75: "
        "500 known-real images of 400 photographs"
    )


def threshold_of(high: float, **parts: Any) -> Any:
    """The threshold at 1 %, where the upper bound is (1 - s) / 2 + (1 + s) / 2 x `high`."""
    strata = {AS_IS: stratum(false_matches=false_matches(high=high), **parts)}
    return ProbeCalibration.of(applied(strata=strata), None, 100, 0.01).threshold


def test_a_threshold_that_too_few_images_support_is_none() -> None:
    """The upper bound is five times the rate or less: at the last similarity it is `high`."""
    assert threshold_of(SUPPORTED_FACTOR * 0.01 + 1e-6) is None
    assert threshold_of(SUPPORTED_FACTOR * 0.01) is not None
    assert of("half").threshold is None


def test_a_threshold_is_higher_where_the_interval_of_its_rate_is_too_wide() -> None:
    """At 0.98, whose rate is 1 %, the upper bound is 0.01 + 0.99 x `high`."""
    largest = (SUPPORTED_FACTOR * 0.01 - 0.01) / 0.99
    narrow, wide = threshold_of(largest - 1e-6), threshold_of(0.045)
    assert narrow.value == pytest.approx(0.98)
    assert narrow.source.startswith("similarity at a false-match rate of 1.00% by calibration 4")
    rate = false_matches(high=0.045).rate_at(wide.value)
    assert rate.high == pytest.approx(SUPPORTED_FACTOR * 0.01)
    assert rate.estimate < 0.01
    assert wide.source.startswith(
        "similarity at a false-match rate of at most 1.00%, whose interval ends at 5.00%, by"
    )


def test_a_stratum_that_does_not_hold_has_no_threshold() -> None:
    assert threshold_of(0.01, check=StratumCheck(True, 8, 24, 23)) is not None
    assert threshold_of(0.01, check=StratumCheck(False, 8, 24, 20)) is None


def test_no_verdict_rests_on_photographs_that_came_with_the_model() -> None:
    few, enough = (
        ProbeCalibration.of(
            Applied(4, NOON, 7, ("fakes",), (), replace(MEASURED, own_photographs=own), EXACT),
            None,
            100,
            0.01,
        )
        for own in (MIN_SOURCES - 1, MIN_SOURCES)
    )
    assert few.is_provisional
    assert few.threshold is None
    assert few.find_thresholds([AS_IS, "jpeg75"]) == [None, None]
    assert not enough.is_provisional
    assert enough.threshold is not None


@seeded
@given(rate=rates, other=rates, searched=sizes)
def test_a_smaller_rate_never_has_a_lower_threshold(
    rate: float, other: float, searched: int
) -> None:
    smaller, larger = sorted((rate, other))
    strict, lenient = (
        of(None, searched=searched, false_match_rate=each).threshold for each in (smaller, larger)
    )
    if strict is not None and lenient is not None:
        assert strict.value >= lenient.value


@seeded
@given(rate=rates, searched=sizes, more=sizes)
def test_a_larger_corpus_never_has_a_lower_threshold(rate: float, searched: int, more: int) -> None:
    """Each entry is one more chance of a false match."""
    small, large = (
        of(None, searched=1 + each, false_match_rate=rate).threshold
        for each in sorted((searched, more))
    )
    if small is not None and large is not None:
        assert large.value >= small.value - 1e-12


def test_re_encodings_get_the_thresholds_of_their_deliveries() -> None:
    probe = of("jpeg75")
    as_is, jpeg75, unmeasured, half = probe.find_thresholds([AS_IS, "jpeg75", "webp80", "half"])
    assert jpeg75 is probe.threshold
    assert as_is == unmeasured == of(None).threshold
    assert as_is is not None
    assert "as_is" in as_is.source
    assert half is None
    assert probe.find_thresholds([]) == []


def test_without_a_threshold_of_the_probe_no_re_encoding_has_one() -> None:
    assert of("half").find_thresholds([AS_IS, "jpeg75"]) == [None, None]


@pytest.mark.parametrize(("near", "tells"), [(0.99, True), (0.5, False)])
def test_similarity_discriminates_where_hits_are_clearly_more_frequent(
    near: float, tells: bool
) -> None:
    """All of forty known fakes have another one at `near`, one photograph in a hundred at 0.98."""
    nearness = fit_false_matches(
        np.full(40, near), np.arange(40), corpus_size=100, growth=UNKNOWN_GROWTH, seed=0
    )
    some = stratum(hits=HitRates(nearness, None, ()))
    found = ProbeCalibration.of(applied(strata={AS_IS: some}), None, 100, 0.01)
    assert found.discrimination is not None
    assert found.discrimination.similarity == pytest.approx(0.98)
    assert found.discrimination.tells is tells
    assert found.hit_rate == some.hits.rate_at(found.discrimination.similarity)  # type: ignore[union-attr]
    assert found.hit_rate.matches == (40 if tells else 0)
    assert found.discrimination.false_match.estimate == pytest.approx(0.01)
    grown = ProbeCalibration.of(applied(strata={AS_IS: some}), None, 1000, 0.01).discrimination
    assert grown is not None
    assert grown.similarity > 0.99  # in the larger corpus
    assert grown.false_match.estimate < 0.005  # in the corpus that was measured
    unmeasured = applied(strata={AS_IS: stratum(hits=None)})
    assert ProbeCalibration.of(unmeasured, None, 100, 0.01).discrimination is None


def test_images_are_counted_by_collection() -> None:
    some = stratum(collections=(collection("a", 3, 0.9, 0.5, 0.1), collection("b", 30, 0.7, 0.6)))
    counts = count_by_collection(some, 0.65)
    assert [(each.collection.corpus, each.images, each.matches) for each in counts] == [
        ("a", 3, 1),
        ("b", 30, 1),
    ]
    assert count_by_collection(some, 0.05) == ()  # more of b came this near than were kept
    assert count_by_collection(stratum(), 0.5) == ()
