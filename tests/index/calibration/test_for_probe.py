from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.calibration import AS_IS
from index.calibration.for_probe import SUPPORTED_FACTOR, ProbeCalibration, count_by_collection
from index.calibration.standing import Applies
from tests.index.assessing import applied, collection, false_matches, stratum

seeded = settings(settings.get_profile("index"))
rates = st.floats(0.01, 0.5)
sizes = st.integers(0, 100_000)
DELIVERED = {
    AS_IS: stratum(),
    "jpeg75": stratum(references=500, sources=400),
    "half": stratum(false_matches=false_matches(sources=20, high=1.0)),
}


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


def test_a_threshold_that_too_few_images_support_is_none() -> None:
    """The upper bound may be five times the rate: at 0.98 it is 0.01 + 0.99 x `high`."""

    def threshold(high: float) -> Any:
        strata = {AS_IS: stratum(false_matches=false_matches(high=high))}
        return ProbeCalibration.of(applied(strata=strata), None, 100, 0.01).threshold

    largest = (SUPPORTED_FACTOR * 0.01 - 0.01) / 0.99
    assert threshold(largest - 1e-6) is not None
    assert threshold(largest + 1e-6) is None
    assert of("half").threshold is None


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


def test_images_are_counted_by_collection() -> None:
    some = stratum(collections=(collection("a", 3, 0.9, 0.5, 0.1), collection("b", 30, 0.7, 0.6)))
    counts = count_by_collection(some, 0.65)
    assert [(each.collection.corpus, each.images, each.matches) for each in counts] == [
        ("a", 3, 1),
        ("b", 30, 1),
    ]
    assert count_by_collection(some, 0.05) == ()  # more of b came this near than were kept
    assert count_by_collection(stratum(), 0.5) == ()
