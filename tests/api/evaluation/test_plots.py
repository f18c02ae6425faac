"""Plots as SVG: well-formed, the same each time, with the figures of the answer and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from api.evaluation import plots
from api.evaluation.json import (
    Curve,
    EvaluationAnswer,
    FalseMatchRow,
    FalseMatchTable,
    GroupFigures,
    Measure,
    ReliabilityFigures,
    TippettCurves,
)
from tests.api.evaluation.evaluated import answer_of, embed_without_a_model

SIZES = {"sdxl": 45, "flux": 35, "gan": 25}


@pytest.fixture(scope="module")
def answer() -> EvaluationAnswer:
    return answer_of(embed_without_a_model(SIZES, 110))


@pytest.fixture(scope="module")
def scarce() -> EvaluationAnswer:
    return answer_of(embed_without_a_model({"sdxl": 3, "flux": 2}, 4), None)


def test_hostile_names_are_labels_and_no_formulas(answer: EvaluationAnswer) -> None:
    groups = [
        group.model_copy(update={"name": name})
        for group, name in zip(
            answer.classifier.by_generator,
            ("$\\frac{1}{0}$", "\u202ea--><b>\x1b", "$"),
            strict=True,
        )
    ]
    words = " ".join(texts(plots.plot_areas(groups, None)))
    assert r"$\frac{1}{0}$" in words
    assert r"\u202ea" in words


def texts(svg: str | None) -> list[str]:
    """The words of a plot: text is drawn as paths, with a comment that holds it."""
    assert svg is not None
    ET.fromstring(svg)
    return [text.strip() for text in re.findall(r"<!--(.*?)-->", svg, re.DOTALL)]


def test_the_logits_of_both_kinds_are_named_with_their_numbers(answer: EvaluationAnswer) -> None:
    words = texts(plots.plot_logits(answer.classifier, (-2.0, 2.0)))
    assert "real (110)" in words
    assert "synthetic (105)" in words
    assert any("higher: synthetic" in word for word in words)


def test_the_limits_of_the_verdicts_are_drawn_where_there_are_any(
    answer: EvaluationAnswer,
) -> None:
    with_limits = plots.plot_logits(answer.classifier, (-2.0, 2.0))
    without = plots.plot_logits(answer.classifier, None)
    assert (
        with_limits.count("stroke-dasharray: 4,3") == 2 + without.count("stroke-dasharray: 4,3")
        or with_limits.count("<path") == without.count("<path") + 2
    )


def test_each_generator_has_a_row_with_its_number_of_images(answer: EvaluationAnswer) -> None:
    words = texts(plots.plot_areas(answer.classifier.by_generator, 0.9))
    for name, size in SIZES.items():
        assert any(re.fullmatch(rf"{name} +\({size}\)", word) for word in words), words


def test_a_long_name_is_shortened() -> None:
    embedded = embed_without_a_model({"x" * 60: 20, "flux": 20}, 20)
    words = texts(plots.plot_areas(answer_of(embedded).classifier.by_generator, None))
    assert any(word.startswith("x" * 33 + "…") for word in words), words


def test_false_matches_name_each_size_of_the_corpus(answer: EvaluationAnswer) -> None:
    (table,) = answer.similarity.false_matches
    words = texts(plots.plot_false_matches(table))
    for row in table.rows:
        assert f"{row.times} x ({row.corpus_size:,} fakes)" in words


@pytest.mark.parametrize(
    "draw",
    [
        lambda answer: plots.plot_logits(answer.classifier, (-2.0, 2.0)),
        lambda answer: plots.plot_roc(answer.classifier),
        lambda answer: plots.plot_areas(answer.classifier.by_generator, 0.9),
        lambda answer: plots.plot_false_matches(answer.similarity.false_matches[0]),
        lambda answer: plots.plot_tippett(answer.similarity.likelihood[0].tippett),
        lambda answer: plots.plot_reliability(
            answer.classifier.uncalibrated, answer.classifier.calibrated
        ),
    ],
    ids=["logits", "roc", "areas", "false matches", "tippett", "reliability"],
)
def test_the_same_answer_draws_the_same_plot_and_runs_nothing(
    answer: EvaluationAnswer, draw: Callable[[EvaluationAnswer], str | None]
) -> None:
    svg = draw(answer)
    assert texts(svg)
    assert svg == draw(answer)
    assert not re.search(r"<(script|image|a|foreignObject)\b", svg or "")
    assert re.findall(r'href="(?!#)', svg or "") == []


def test_what_was_not_measured_is_not_drawn(scarce: EvaluationAnswer) -> None:
    classifier, similarity = scarce.classifier, scarce.similarity
    assert plots.plot_areas(classifier.by_generator, None) is None
    assert plots.plot_reliability(classifier.uncalibrated, classifier.calibrated) is None
    assert plots.plot_tippett(similarity.likelihood[0].tippett) is None
    assert plots.plot_false_matches(similarity.false_matches[0]) is None
    assert plots.plot_roc(classifier.model_copy(update={"roc": None})) is None


def test_an_uncalibrated_model_has_one_curve_of_reliability(answer: EvaluationAnswer) -> None:
    both = texts(
        plots.plot_reliability(answer.classifier.uncalibrated, answer.classifier.calibrated)
    )
    one = texts(plots.plot_reliability(answer.classifier.uncalibrated, None))
    assert "sigmoid of the logit, uncalibrated" in both
    assert "probability, calibrated on the other half" in both
    assert "probability, calibrated on the other half" not in one
    empty = ReliabilityFigures(
        n=0,
        ece=answer.classifier.uncalibrated.ece,
        brier=answer.classifier.uncalibrated.brier,
        bins=[],
    )
    assert texts(plots.plot_reliability(answer.classifier.uncalibrated, empty)) == one


def groups_of(answer: EvaluationAnswer, count: int) -> list[GroupFigures]:
    """As many groups as wanted, with names of their own."""
    (first, *_) = answer.classifier.by_generator
    return [first.model_copy(update={"name": f"group {number:02}"}) for number in range(count)]


def row(times: int, counted: float | None, predicted: float = 0.01) -> FalseMatchRow:
    realised = Measure.missing("few") if counted is None else Measure(value=counted)
    return FalseMatchRow(
        asked=0.01,
        times=times,
        corpus_size=10 * times,
        cosine_similarity=0.9,
        predicted=Measure(value=predicted),
        realised=realised,
        matches=None,
        inside=None,
    )


def table_of(*rows: FalseMatchRow) -> FalseMatchTable:
    return FalseMatchTable(
        split="images",
        calibrated_on=9,
        tested_on=9,
        calibrated_sources=9,
        tested_sources=9,
        rows=list(rows),
    )


def test_a_histogram_without_images_of_a_kind_is_drawn_without_dividing_by_zero(
    answer: EvaluationAnswer,
) -> None:
    histogram = answer.classifier.histogram
    empty = histogram.model_copy(update={"real": [0] * len(histogram.real)})
    words = texts(
        plots.plot_logits(answer.classifier.model_copy(update={"histogram": empty}), None)
    )
    assert "real (0)" in words
    assert "synthetic (105)" in words


def test_large_numbers_of_images_have_thousands_separated(answer: EvaluationAnswer) -> None:
    histogram = answer.classifier.histogram
    many = histogram.model_copy(update={"real": [100 * count for count in histogram.real]})
    words = texts(plots.plot_logits(answer.classifier.model_copy(update={"histogram": many}), None))
    assert "real (11,000)" in words


@pytest.mark.parametrize("count", [plots.MOST_ROWS, plots.MOST_ROWS + 1])
def test_no_more_groups_are_drawn_than_a_page_can_show(
    answer: EvaluationAnswer, count: int
) -> None:
    words = texts(plots.plot_areas(groups_of(answer, count), None))
    named = [word for word in words if word.startswith("group ")]
    assert len(named) == plots.MOST_ROWS
    assert named[0].startswith("group 00")


def test_a_group_that_was_not_measured_has_no_row(answer: EvaluationAnswer) -> None:
    measured, unmeasured = groups_of(answer, 2)
    without = unmeasured.figures.model_copy(update={"roc_auc": Measure.missing("few")})
    groups = [measured, unmeasured.model_copy(update={"figures": without})]
    words = texts(plots.plot_areas(groups, None))
    assert [word for word in words if word.startswith("group ")] == [words_of(measured)]
    assert plots.plot_areas(groups[1:], None) is None


def words_of(group: GroupFigures) -> str:
    return f"{group.name}  ({group.figures.n.synthetic:,})"


@pytest.mark.parametrize(("length", "shown"), [(34, "x" * 34), (35, "x" * 33 + "…")])
def test_a_name_of_up_to_thirty_four_characters_is_kept(
    answer: EvaluationAnswer, length: int, shown: str
) -> None:
    (group,) = groups_of(answer, 1)
    named = group.model_copy(update={"name": "x" * length})
    words = texts(plots.plot_areas([named], None))
    assert f"{shown}  ({group.figures.n.synthetic})" in words


def test_the_pooled_area_is_a_line_where_it_is_known(answer: EvaluationAnswer) -> None:
    groups = answer.classifier.by_generator
    with_line, without = plots.plot_areas(groups, 0.75), plots.plot_areas(groups, None)
    assert with_line is not None
    assert without is not None
    assert with_line.count(plots.SYNTHETIC) == without.count(plots.SYNTHETIC) + 1


def test_the_curve_marks_one_per_cent_only_where_it_was_measured(answer: EvaluationAnswer) -> None:
    classifier = answer.classifier
    assert classifier.pooled.tpr_at_fpr.value is not None
    unmeasured = classifier.pooled.model_copy(update={"tpr_at_fpr": Measure.missing("few")})
    with_point, without = (
        plots.plot_roc(each) or ""
        for each in (classifier, classifier.model_copy(update={"pooled": unmeasured}))
    )
    assert with_point.count("<use ") == without.count("<use ") + 1


def test_a_curve_of_two_points_is_drawn(answer: EvaluationAnswer) -> None:
    two = answer.classifier.model_copy(update={"roc": Curve(x=[0, 1], y=[0, 1])})
    assert "share of synthetic images found" in texts(plots.plot_roc(two))


def test_rates_that_were_not_counted_are_left_out() -> None:
    words = texts(plots.plot_false_matches(table_of(row(1, 0.5), row(2, None), row(10, 0.2))))
    assert "1 x (10 fakes)" in words
    assert "10 x (100 fakes)" in words
    assert not any(word.startswith("2 x") for word in words)
    assert plots.plot_false_matches(table_of(row(1, None))) is None
    assert plots.plot_false_matches(table_of()) is None


def test_each_size_of_the_corpus_has_a_colour_of_its_own() -> None:
    drawn = plots.plot_false_matches(table_of(*(row(times, 0.1) for times in (1, 2, 5, 10)))) or ""
    assert all(colour in drawn for colour in plots.SIZES)
    fewer = plots.plot_false_matches(table_of(row(1, 0.1))) or ""
    assert plots.SIZES[0] in fewer
    assert plots.SIZES[1] not in fewer


def test_both_curves_of_the_ratios_are_named() -> None:
    words = texts(plots.plot_tippett(TippettCurves(log10=[-1, 1], same=[1, 0], different=[1, 0])))
    assert any(word.startswith("known fakes") for word in words)
    assert any(word.startswith("real images") for word in words)
    assert plots.plot_tippett(None) is None


def test_a_name_is_text_and_not_markup_in_a_plot(answer: EvaluationAnswer) -> None:
    (group,) = groups_of(answer, 1)
    hostile = group.model_copy(update={"name": "</svg><script>a--b"})
    svg = plots.plot_areas([hostile], None) or ""
    ET.fromstring(svg)
    assert "<script" not in re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
