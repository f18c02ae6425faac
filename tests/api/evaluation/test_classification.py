"""The classifier's figures: null with a reason where images are few, and right on cases that are
known.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.evaluation.classification import (
    ClassifiedImages,
    Limits,
    compute_balanced_accuracy,
    compute_roc_curve,
    compute_share_inconclusive,
    count_images,
    count_logits,
    measure_by_condition,
    measure_by_generator,
    measure_classifier,
    measure_reliability,
    measure_with_intervals,
    roc_auc,
    to_measure,
    tpr_at_fpr,
)
from api.evaluation.json import Measure
from tests.api.evaluation.made import numbered

LIMITS = Limits(1.0, -1.0)


def judged(real: list[float], synthetic: list[float], groups: int = 10) -> ClassifiedImages:
    logits = np.array([*real, *synthetic], np.float64)
    labels = np.arange(len(logits)) >= len(real)
    sources = np.concatenate(
        [numbered(len(real), groups), groups + numbered(len(synthetic), groups)]
    )
    return ClassifiedImages(logits, labels, sources)


def normal(n: int, mean: float, seed: int) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 1.0, n).tolist()


def test_with_nine_images_of_a_kind_no_figure_is_made_up() -> None:
    figures = measure_classifier(judged(normal(9, 0, 0), normal(50, 1, 1)), LIMITS, 0)
    assert (
        figures.roc_auc.value is figures.balanced_accuracy.value is figures.tpr_at_fpr.value is None
    )
    assert figures.roc_auc.reason == "50 synthetic and 9 real images; 10 of each are needed"


def test_one_in_a_hundred_needs_a_hundred_real_images() -> None:
    figures = measure_classifier(judged(normal(99, 0, 0), normal(50, 1, 1)), LIMITS, 0)
    assert figures.tpr_at_fpr.value is None
    assert figures.tpr_at_fpr.reason == "99 real images; 100 are needed to measure 1 %"
    assert figures.roc_auc.value is not None


def test_a_model_without_limits_has_no_figure_at_them() -> None:
    figures = measure_classifier(judged(normal(20, 0, 0), normal(20, 1, 1)), None, 0)
    assert figures.balanced_accuracy_at_limits.value is figures.inconclusive.value is None
    assert "no measured limits" in (figures.inconclusive.reason or "")


def test_what_is_between_the_limits_is_not_right() -> None:
    images = judged([-2.0, 0.0], [2.0, 1.0, 0.0, -2.0])
    assert compute_balanced_accuracy(images, LIMITS) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert compute_share_inconclusive(images, LIMITS) == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_the_figures_are_those_of_a_known_case_and_inside_their_intervals() -> None:
    figures = measure_classifier(judged(normal(400, 0, 0), normal(400, 1, 1)), LIMITS, 0)
    assert figures.roc_auc.value == pytest.approx(
        0.760, abs=0.03
    )  # P(N(1,1) > N(0,1)) = Phi(1 / sqrt 2)
    for measure in (
        figures.roc_auc,
        figures.balanced_accuracy,
        figures.tpr_at_fpr,
        figures.inconclusive,
    ):
        assert measure.value is not None
        assert measure.low is not None
        assert measure.high is not None
        assert 0 <= measure.low <= measure.value <= measure.high <= 1
        assert measure.low < measure.high
    assert figures.n.model_dump() == {
        "real": 400,
        "synthetic": 400,
        "real_sources": 10,
        "synthetic_sources": 10,
    }


def test_images_of_one_photograph_widen_the_interval() -> None:
    """A hundred photographs in ten copies each know no more than a hundred photographs."""
    real, synthetic = np.repeat(normal(100, 0, 0), 10), np.repeat(normal(100, 1, 1), 10)
    copies = ClassifiedImages(
        np.concatenate([real, synthetic]), np.arange(2000) >= 1000, np.repeat(np.arange(200), 10)
    )
    alone = ClassifiedImages(copies.logits, copies.synthetic, np.arange(2000))
    wide, narrow = (measure_classifier(images, None, 0).roc_auc for images in (copies, alone))
    assert wide.value == narrow.value
    assert width(wide) > 2 * width(narrow)


def width(measure: object) -> float:
    return measure.high - measure.low  # type: ignore[attr-defined,no-any-return]


def test_each_generator_is_measured_against_all_real_images_the_most_frequent_first() -> None:
    images = judged(normal(50, 0, 0), [*normal(20, -1, 1), *normal(30, 3, 2)])
    names = [None] * 50 + ["weak"] * 20 + ["strong"] * 30
    groups = measure_by_generator(images, names, LIMITS, 0)
    assert [(group.name, group.figures.n.synthetic, group.figures.n.real) for group in groups] == [
        ("strong", 30, 50),
        ("weak", 20, 50),
    ]
    strong, weak = (group.figures.roc_auc.value or 0 for group in groups)
    assert strong > 0.9
    assert weak < 0.5


def test_a_condition_is_measured_on_its_own_images_and_logits() -> None:
    images = judged(normal(50, 0, 0), normal(50, 3, 1))
    rows = np.arange(10, 90)
    flat = measure_by_condition(images, {"jpeg50": (rows, np.zeros(80))}, LIMITS, 0)
    assert flat[0].name == "jpeg50"
    assert flat[0].figures.roc_auc.value == 0.5
    assert flat[0].figures.n.real == 40


def test_the_histogram_counts_every_image() -> None:
    counted = count_logits(judged(normal(30, 0, 0), normal(40, 3, 1)))
    assert (sum(counted.real), sum(counted.synthetic)) == (30, 40)
    assert len(counted.edges) == len(counted.real) + 1


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = compute_roc_curve(judged(normal(3000, 0, 0), normal(3000, 1, 1)))
    assert curve is not None
    assert len(curve.x) <= 400
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)


def test_probabilities_of_few_images_are_held_to_nothing() -> None:
    figures = measure_reliability(np.full(99, 0.5), np.arange(99) < 40, np.arange(99), 0)
    assert figures.bins == []
    assert figures.ece.reason == "99 images; 100 are needed"


def test_either_kind_weighs_one_half_in_a_reliability_diagram() -> None:
    synthetic = np.arange(400) < 40
    figures = measure_reliability(np.full(400, 0.5), synthetic, np.arange(400), 0)
    assert figures.ece.value == pytest.approx(0.0)
    assert figures.bins[0].share_synthetic == pytest.approx(0.5)


NOTHING = ClassifiedImages(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64))


def test_no_image_has_no_figure_no_curve_and_an_empty_histogram() -> None:
    figures = measure_classifier(NOTHING, LIMITS, 0)
    assert figures.roc_auc.reason == "0 synthetic and 0 real images; 10 of each are needed"
    assert figures.n.model_dump() == {
        "real": 0,
        "synthetic": 0,
        "real_sources": 0,
        "synthetic_sources": 0,
    }
    assert compute_roc_curve(NOTHING) is None
    counted = count_logits(NOTHING)
    assert sum(counted.real) == sum(counted.synthetic) == 0
    assert roc_auc(NOTHING) is tpr_at_fpr(NOTHING) is None


@pytest.mark.parametrize("synthetic", [True, False])
def test_images_of_one_kind_have_a_reason_for_every_figure(synthetic: bool) -> None:
    images = ClassifiedImages(np.zeros(200), np.full(200, synthetic), np.arange(200))
    figures = measure_classifier(images, LIMITS, 0)
    for name in ("roc_auc", "balanced_accuracy", "balanced_accuracy_at_limits", "inconclusive"):
        measure = getattr(figures, name)
        assert measure.value is None
        assert "10 of each are needed" in measure.reason
    assert compute_roc_curve(images) is None


def test_a_logit_that_is_not_a_number_is_refused() -> None:
    images = judged([0.0] * 12, [1.0] * 12)
    images.logits[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        measure_classifier(images, LIMITS, 0)
    with pytest.raises(ValueError, match="finite"):
        count_logits(images)


def test_a_probability_that_is_not_a_number_is_refused() -> None:
    stated = np.full(120, 0.5)
    stated[7] = np.nan
    with pytest.raises(ValueError, match="finite"):
        measure_reliability(stated, np.arange(120) < 60, np.arange(120), 0)


@pytest.mark.parametrize(("of_each", "is_measured"), [(9, False), (10, True)])
def test_ten_images_of_each_kind_are_enough(of_each: int, is_measured: bool) -> None:
    figures = measure_classifier(judged([0.0] * of_each, [1.0] * of_each), None, 0)
    assert (figures.roc_auc.value is not None) is is_measured
    assert (figures.roc_auc.reason is None) is is_measured


def test_with_a_hundred_real_images_one_false_positive_is_allowed() -> None:
    """The highest real logit is passed by half of the synthetic images, the next by all."""
    real = [*np.linspace(0, 1, 99), 5.0]
    figures = measure_classifier(judged(real, [3.0] * 10 + [6.0] * 10), None, 0)
    assert figures.tpr_at_fpr.value == 1.0
    stricter = measure_classifier(judged([*real, 5.5], [3.0] * 10 + [6.0] * 10), None, 0)
    assert stricter.tpr_at_fpr.value == 0.5


@pytest.mark.parametrize(
    ("real", "synthetic", "area", "balanced"),
    [(-2.0, 2.0, 1.0, 1.0), (2.0, -2.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5), (1.0, 1.0, 0.5, 0.5)],
)
def test_perfect_reversed_and_equal_logits_have_figures_without_width(
    real: float, synthetic: float, area: float, balanced: float
) -> None:
    figures = measure_classifier(judged([real] * 20, [synthetic] * 20), LIMITS, 0)
    assert figures.roc_auc == Measure(value=area, low=area, high=area)
    assert figures.balanced_accuracy == Measure(value=balanced, low=balanced, high=balanced)


def test_a_random_classifier_has_one_half_inside_its_interval() -> None:
    figures = measure_classifier(judged(normal(300, 0, 0), normal(300, 0, 1)), LIMITS, 0)
    for figure in (figures.roc_auc, figures.balanced_accuracy):
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= 0.5 <= figure.high


def test_a_logit_at_a_limit_has_the_verdict_of_that_limit() -> None:
    at_limits = judged([-1.0], [1.0])
    assert compute_balanced_accuracy(at_limits, LIMITS) == 1.0
    assert compute_share_inconclusive(at_limits, LIMITS) == 0.0
    inside = judged([-0.999], [0.999])
    assert compute_balanced_accuracy(inside, LIMITS) == 0.0
    assert compute_share_inconclusive(inside, LIMITS) == 1.0


def test_a_logit_of_zero_is_called_synthetic() -> None:
    figures = measure_classifier(judged([-1.0] * 10, [0.0] * 10), None, 0)
    assert figures.balanced_accuracy.value == 1.0
    figures = measure_classifier(judged([0.0] * 10, [1.0] * 10), None, 0)
    assert figures.balanced_accuracy.value == 0.5


@given(
    st.lists(st.integers(-3, 3).map(float), min_size=10, max_size=25),
    st.lists(st.integers(-3, 3).map(float), min_size=10, max_size=25),
)
@settings(max_examples=8, deadline=None)
def test_the_area_is_counted_over_pairs_and_its_interval_holds_it(
    real: list[float], synthetic: list[float]
) -> None:
    figure = measure_classifier(judged(real, synthetic), None, 0).roc_auc
    pairs = [(s > r) + (s == r) / 2 for s, r in product(synthetic, real)]
    assert figure.value == pytest.approx(sum(pairs) / len(pairs))
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_intervals_are_repeated_by_their_seed() -> None:
    images = judged(normal(40, 0, 0), normal(40, 1, 1))
    one, again, other = (
        measure_with_intervals(images, {"area": roc_auc}, seed)["area"] for seed in (3, 3, 4)
    )
    assert one == again
    assert one.value == other.value
    assert (one.low, one.high) != (other.low, other.high)


def test_without_a_figure_nothing_is_resampled() -> None:
    assert measure_with_intervals(NOTHING, {}, 0) == {}


def test_a_figure_that_some_resamples_lack_has_the_interval_of_the_others() -> None:
    images = judged(normal(10, 0, 0), normal(10, 1, 1))
    drawn: list[float | None] = []

    def mean_if_the_first_is_there(some: ClassifiedImages) -> float | None:
        value = float(some.logits.mean()) if images.logits[0] in some.logits else None
        drawn.append(value)
        return value

    found = measure_with_intervals(images, {"mean": mean_if_the_first_is_there}, 0)["mean"]
    own, *resamples = drawn
    usable = [value for value in resamples if value is not None]
    assert 0 < len(usable) < len(resamples)
    assert found.value == own
    assert [found.low, found.high] == pytest.approx(np.quantile(usable, [0.025, 0.975]))


def test_a_value_without_resamples_has_no_interval_and_none_has_a_reason() -> None:
    assert to_measure(0.5, []) == Measure(value=0.5)
    assert to_measure(None, [0.5]).reason == "images of one kind are missing"


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_an_interval_always_holds_its_value(value: float, drawn: list[float]) -> None:
    figure = to_measure(value, drawn)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= value <= figure.high
    assert min([*drawn, value]) <= figure.low
    assert figure.high <= max([*drawn, value])


@pytest.mark.parametrize(
    ("real_groups", "fake_groups", "words"),
    [
        (5, 5, "sources of real, sources of synthetic images"),
        (4, 5, "images of real, sources of synthetic images"),
        (5, 4, "sources of real, images of synthetic images"),
    ],
)
def test_the_answer_says_what_was_resampled_of_each_kind(
    real_groups: int, fake_groups: int, words: str
) -> None:
    sources = np.concatenate([numbered(20, real_groups), 50 + numbered(20, fake_groups)])
    images = ClassifiedImages(np.zeros(40), np.arange(40) >= 20, sources)
    figures = measure_classifier(images, None, 0)
    assert figures.resampled == words
    assert (figures.n.real_sources, figures.n.synthetic_sources) == (real_groups, fake_groups)


def test_a_source_of_both_kinds_counts_for_each() -> None:
    counts = count_images(np.array([True, False, False]), np.array([7, 7, 7]))
    assert counts.model_dump() == {
        "real": 2,
        "synthetic": 1,
        "real_sources": 1,
        "synthetic_sources": 1,
    }


def test_generators_with_as_many_images_come_by_name_and_undeclared_ones_are_left_out() -> None:
    images = judged([0.0] * 3, [1.0] * 5)
    names = ["camera", None, None, "b", "a", "b", "a", None]
    groups = measure_by_generator(images, names, None, 0)
    assert [(group.name, group.figures.n.synthetic) for group in groups] == [("a", 2), ("b", 2)]
    assert all(group.figures.n.real == 3 for group in groups)


def test_without_declared_generators_there_are_no_groups() -> None:
    assert measure_by_generator(judged([0.0], [1.0]), [None, None], None, 0) == []
    assert measure_by_condition(judged([0.0], [1.0]), {}, None, 0) == []


def test_some_of_the_images_are_taken_by_rows_or_by_a_mask() -> None:
    images = judged([1.0, 2.0], [3.0, 4.0])
    by_rows, by_mask = (
        images.taking(chosen) for chosen in (np.array([3, 0]), np.array([True, False, False, True]))
    )
    assert (len(images), len(by_rows)) == (4, 2)
    assert by_rows.logits.tolist() == [4.0, 1.0]
    assert by_rows.synthetic.tolist() == [True, False]
    assert by_mask.logits.tolist() == [1.0, 4.0]


def test_equal_logits_stand_in_one_bin() -> None:
    counted = count_logits(judged([2.0] * 3, [2.0] * 4))
    assert (max(counted.real), max(counted.synthetic)) == (3, 4)
    assert counted.real.index(3) == counted.synthetic.index(4)


@example([0.0], [5e-324])
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
)
def test_the_histogram_has_each_image_once_in_rising_bins(
    real: list[float], synthetic: list[float]
) -> None:
    counted = count_logits(judged(real, synthetic))
    assert (sum(counted.real), sum(counted.synthetic)) == (len(real), len(synthetic))
    assert counted.edges == sorted(counted.edges)
    assert counted.edges[0] <= min(real + synthetic)
    assert counted.edges[-1] >= max(real + synthetic)


def test_a_short_curve_keeps_every_point() -> None:
    curve = compute_roc_curve(judged([1.0, 3.0], [2.0, 4.0]))
    assert curve is not None
    assert (curve.x, curve.y) == ([0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1])


@pytest.mark.parametrize(("n", "is_measured"), [(99, False), (100, True)])
def test_a_hundred_images_are_enough_for_a_reliability_diagram(n: int, is_measured: bool) -> None:
    figures = measure_reliability(np.full(n, 0.3), np.arange(n) % 2 == 0, np.arange(n), 0)
    assert figures.n == n
    assert (figures.ece.value is not None) is is_measured
    assert bool(figures.bins) is is_measured


def test_probabilities_that_are_right_cost_nothing_and_those_that_are_wrong_everything() -> None:
    synthetic = np.arange(120) < 60
    right, wrong = (
        measure_reliability(stated.astype(float), synthetic, np.arange(120), 0)
        for stated in (synthetic, ~synthetic)
    )
    assert (right.ece.value, right.brier.value) == pytest.approx((0.0, 0.0))
    assert (wrong.ece.value, wrong.brier.value) == pytest.approx((1.0, 1.0))


def test_the_bins_hold_every_image_and_their_own_probabilities() -> None:
    stated = np.random.default_rng(0).uniform(0, 1, 300)
    figures = measure_reliability(stated, np.arange(300) % 3 == 0, np.arange(300), 0)
    assert sum(each.n for each in figures.bins) == 300
    for each in figures.bins:
        inside = (stated >= each.low) & (stated < each.high)
        assert each.n == inside.sum()
        assert each.low <= each.mean_probability < each.high
        assert 0 <= each.share_synthetic <= 1
    for figure in (figures.ece, figures.brier):
        assert figure.low is not None
        assert figure.value is not None
        assert figure.low <= figure.value <= (figure.high or 0)
