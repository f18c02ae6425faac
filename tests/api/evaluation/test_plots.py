"""Plots as SVG: well-formed, the same each time, with the figures of the answer and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from api.evaluation import plots
from api.evaluation.json import EvaluationAnswer, ReliabilityFigures
from tests.api.evaluation.evaluated import answer_of, embed_without_a_model

SIZES = {"sdxl": 45, "flux": 35, "gan": 25}


@pytest.fixture(scope="module")
def answer() -> EvaluationAnswer:
    return answer_of(embed_without_a_model(SIZES, 110))


@pytest.fixture(scope="module")
def scarce() -> EvaluationAnswer:
    return answer_of(embed_without_a_model({"sdxl": 3, "flux": 2}, 4), None)


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
    assert "sigmoid of the logit" in both
    assert "calibrated on the other half" in both
    assert "calibrated on the other half" not in one
    empty = ReliabilityFigures(
        n=0,
        ece=answer.classifier.uncalibrated.ece,
        brier=answer.classifier.uncalibrated.brier,
        bins=[],
    )
    assert texts(plots.plot_reliability(answer.classifier.uncalibrated, empty)) == one
