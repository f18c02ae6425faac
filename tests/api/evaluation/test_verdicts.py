"""The shares of verdicts, by kind of image, generator and delivery."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.evaluation.json import Measure, VerdictEvaluation, VerdictGroup
from api.evaluation.judging import FOLDS
from api.evaluation.verdicts import measure_share, measure_verdicts
from tests.api.evaluation.evaluated import LIMITS, embed_without_a_model, rules

SIZES = {"sdxl": 40, "flux": 60, "rare": 2}


@pytest.fixture(scope="module")
def measured() -> VerdictEvaluation:
    return measure_verdicts(embed_without_a_model(SIZES, 100, sources=20, deliver=True), rules(), 0)


def value(measure: Measure) -> float:
    assert measure.value is not None
    return measure.value


def every_group(found: VerdictEvaluation) -> list[VerdictGroup]:
    by_condition = [group for each in found.by_condition for group in (each.real, each.synthetic)]
    return [*found.groups, *found.by_generator, *by_condition, *found.uncalibrated]


def test_too_few_images_have_a_reason_and_no_figures() -> None:
    found = measure_verdicts(embed_without_a_model({"sdxl": 60}, 5), rules(), 0)
    assert found.reason == "the images of 3 in 4 folds must hold 10 of each kind"
    assert every_group(found) == []
    assert found.limits == []


def test_the_shares_of_each_group_sum_to_one(measured: VerdictEvaluation) -> None:
    for group in every_group(measured):
        one, other = group.classifier, group.similarity
        assert sum(map(value, (one.synthetic, one.no_traces, one.inconclusive))) == pytest.approx(1)
        assert sum(map(value, (other.similar, other.not_similar, other.inconclusive))) == (
            pytest.approx(1)
        )
        assert sum(one.reasons.values()) == sum(other.reasons.values()) == group.n


def test_images_are_counted_by_kind_generator_and_delivery(measured: VerdictEvaluation) -> None:
    assert [(each.name, each.n) for each in measured.groups] == [("real", 100), ("synthetic", 102)]
    assert [(each.name, each.n) for each in measured.by_generator] == [
        ("flux", 60),
        ("sdxl", 40),
        ("rare", 2),
    ]
    assert [each.name for each in measured.by_condition] == ["as_is", "jpeg50"]
    assert {each.real.n for each in measured.by_condition} == {50}


def test_a_look_up_is_wrong_as_often_as_its_limits_ask(measured: VerdictEvaluation) -> None:
    """The rules allow one in ten on either side; the folds hold images like the others."""
    real, synthetic = measured.groups
    assert value(synthetic.classifier.no_traces) <= 0.16
    assert value(real.classifier.synthetic) <= 0.16
    assert value(real.classifier.no_traces) > value(synthetic.classifier.no_traces)
    assert (measured.no_traces_miss_rate, measured.synthetic_false_alarm_rate) == (0.1, 0.1)


def test_each_fold_has_its_limits_and_says_where_they_come_from(
    measured: VerdictEvaluation,
) -> None:
    assert len(measured.limits) == measured.folds == FOLDS
    assert {each.no_traces_from for each in measured.limits} == {"calibration"}
    strict = measure_verdicts(
        embed_without_a_model(SIZES, 100), rules(miss_rate=0.001, false_alarm_rate=0.001), 0
    )
    assert {each.synthetic_from for each in strict.limits} == {"model"}
    assert {each.synthetic_logit for each in strict.limits} == {LIMITS.synthetic_logit}


def test_a_model_without_limits_has_none_where_nothing_was_calibrated() -> None:
    found = measure_verdicts(
        embed_without_a_model(SIZES, 100), rules(None, miss_rate=0.001, false_alarm_rate=0.001), 0
    )
    (limits,) = {(each.no_traces_logit, each.no_traces_from) for each in found.limits}
    assert limits == (None, None)
    assert [value(each.classifier.inconclusive) for each in found.uncalibrated] == [1.0, 1.0]
    assert set(found.uncalibrated[0].classifier.reasons) == {"no_limits"}


def test_without_a_calibration_the_model_speaks_and_similarity_does_not(
    measured: VerdictEvaluation,
) -> None:
    for group in measured.uncalibrated:
        assert group.similarity.reasons == {"not_calibrated": group.n}
    assert value(measured.uncalibrated[1].classifier.synthetic) > 0.5


def test_a_group_without_images_has_no_shares() -> None:
    missing = measure_share(np.empty(0, np.bool_), np.empty(0, np.int64), 0)
    assert (missing.value, missing.reason) == (None, "there is no such image")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40))
def test_a_share_lies_in_its_interval(images: Any) -> None:
    is_one, sources = (np.array(each) for each in zip(*images, strict=True))
    found = measure_share(is_one, sources, 0)
    assert found.value == pytest.approx(is_one.mean())
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= value(found) <= found.high <= 1


def test_sources_that_agree_make_the_interval_wider() -> None:
    is_one = np.repeat([True, False], 50)
    alike, apart = (
        measure_share(is_one, sources, 0) for sources in (np.arange(100) // 10, np.arange(100))
    )
    lengths = [(each.high or 0) - (each.low or 0) for each in (alike, apart)]
    assert lengths[0] > 2 * lengths[1]


@pytest.mark.parametrize(("sources", "units"), [(np.arange(20), 20), (np.arange(20) // 2, 10)])
def test_none_of_some_images_does_not_mean_never(sources: np.ndarray, units: int) -> None:
    none, every = (measure_share(np.full(20, each), sources, 0) for each in (False, True))
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / units))
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(0.025 ** (1 / units))
