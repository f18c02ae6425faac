import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.classifier import CalibrationVariant, ClassifierCalibration, fit_classifier
from index.calibration.figures import ece, even_odds, log_loss, sigmoid

seeded = settings(settings.get_profile("index"), max_examples=12)
logits = st.lists(
    st.sampled_from([-40.0, 0.0, 1.0, 1e6]) | st.floats(-30, 30), min_size=1, max_size=30
)
labelled = logits.flatmap(
    lambda x: st.tuples(st.just(x), st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
)


def fit(x: Any, synthetic: Any, sources: Any = None) -> ClassifierCalibration:
    return fit_classifier(x, synthetic, np.arange(len(x)) if sources is None else sources, seed=2)


def overconfident(rng: np.random.Generator, n: int) -> tuple[Any, Any]:
    """Logits three times too large and off by one, of classes that differ in number."""
    synthetic = rng.random(n) < 0.2
    true = rng.normal(
        np.where(synthetic, 1.0, -1.0), np.sqrt(2)
    )  # log odds of two normals: the value itself
    return 3 * true + 1, synthetic


def test_no_image_or_a_logit_that_is_not_a_number_is_refused() -> None:
    for x, synthetic in (([], []), ([float("inf")], [True]), ([1.0], [True, False])):
        with pytest.raises(ValueError, match="at least one finite logit"):
            fit(x, synthetic, np.zeros(len(x), np.int64))


def test_one_class_alone_teaches_nothing() -> None:
    model = fit([1.0, 2.0, 3.0], [True, True, True])
    assert model.probability(5.0) == 0.5


def test_logits_the_wrong_way_round_are_worth_nothing() -> None:
    x, synthetic = overconfident(np.random.default_rng(1), 600)
    model = fit(-x, synthetic)
    assert model.probability(5.0) == pytest.approx(0.5, abs=0.05)
    assert model.probability(-5.0) == pytest.approx(0.5, abs=0.05)


def test_an_overconfident_classifier_is_brought_back_to_the_truth() -> None:
    rng = np.random.default_rng(3)
    model = fit(*overconfident(rng, 2000))
    assert model.variant is CalibrationVariant.TEMPERATURE
    assert 1 / model.scale == pytest.approx(3, rel=0.15)
    assert model.prior == 0.5
    x, synthetic = overconfident(rng, 8000)
    said, even = [model.probability(logit) for logit in x], even_odds(synthetic)
    assert ece(said, synthetic, even) == pytest.approx(model.ece, abs=0.03)
    assert log_loss(said, synthetic, even) == pytest.approx(model.log_loss, abs=0.03)
    assert model.ece < 0.04
    assert model.uncalibrated.ece > 0.1
    assert model.log_loss < model.uncalibrated.log_loss


def test_a_curve_that_no_temperature_has_is_isotonic() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(-3, 3, 3000)
    synthetic = rng.random(3000) < np.where(x > 1, 0.9, np.where(x > -2, 0.5, 0.02))
    model = fit(x, synthetic)
    assert model.variant is CalibrationVariant.ISOTONIC
    assert model.probability(0.5) == pytest.approx(model.probability(-1.0), abs=0.1)


def test_nothing_is_more_certain_than_the_number_of_sources_allows() -> None:
    x = np.repeat([-9.0, 9.0], 100)
    model = fit(x, x > 0, np.tile(np.arange(10), 20))
    assert model.probability(1e9) == pytest.approx(1 - 1 / 12)
    assert model.probability(-1e9) == pytest.approx(1 / 12)


@seeded
@given(labelled)
def test_any_logits_give_a_probability_that_never_falls(data: Any) -> None:
    model = fit(*data)
    said = [
        model.probability(float(x)) for x in np.sort(np.append(np.linspace(-50, 50, 41), data[0]))
    ]
    assert all(0 < p < 1 for p in said)
    assert (np.diff(said) >= 0).all()
    assert model.log_loss == min(model.log_loss_of_variants.values())
    assert 0 <= model.ece <= 1
    assert np.isfinite(model.uncalibrated.log_loss)


@seeded
@given(labelled, st.randoms(use_true_random=False))
def test_the_order_does_not_matter_and_what_was_stored_says_the_same(
    data: Any, random: Any
) -> None:
    model = fit(*data)
    order = list(range(len(data[0])))
    random.shuffle(order)
    x, synthetic = np.array(data[0]), np.array(data[1])
    assert fit(x[order], synthetic[order], np.array(order)) == model
    again = ClassifierCalibration.from_json(
        json.loads(json.dumps(model.to_json(), allow_nan=False))
    )
    assert again == model
    assert again.probability(0.7) == model.probability(0.7)


def test_the_plain_sigmoid_does_not_overflow() -> None:
    assert sigmoid([-1e9, 0.0, 1e9]).tolist() == [0.0, 0.5, 1.0]
