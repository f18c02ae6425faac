"""The JSON of an evaluation: figures or reasons, nothing unknown, equal after a round trip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.evaluation import json as evaluation_json
from api.evaluation.json import (
    FORMAT,
    EvaluationAnswer,
    FalseMatchRow,
    ImageCounts,
    Measure,
    RunFacts,
)
from tests.api.evaluation.evaluated import answer_of, embed_without_a_model

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def models() -> Iterator[type[BaseModel]]:
    """Every document and every part of one."""
    for value in vars(evaluation_json).values():
        if isinstance(value, type) and issubclass(value, BaseModel):
            yield value


@pytest.fixture(scope="module")
def answer() -> EvaluationAnswer:
    return answer_of(embed_without_a_model({"sdxl": 12, "flux": 11}, 13, deliver=True))


def test_a_missing_figure_has_its_reason_and_nothing_else() -> None:
    assert Measure.missing("too few").model_dump() == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "too few",
    }


def test_a_figure_must_be_stated_even_if_it_is_null() -> None:
    with pytest.raises(ValidationError, match="value"):
        Measure.model_validate({"reason": "too few"})


@pytest.mark.parametrize("field", ["real", "synthetic", "real_sources", "synthetic_sources"])
def test_no_number_of_images_is_below_zero(field: str) -> None:
    counts = {"real": 1, "synthetic": 1, "real_sources": 1, "synthetic_sources": 1}
    assert ImageCounts.model_validate(counts).model_dump() == counts
    with pytest.raises(ValidationError, match=field):
        ImageCounts.model_validate(counts | {field: -1})


@pytest.mark.parametrize("digest", ["", "1" * 63, "1" * 65, "G" * 64, "A" * 64])
def test_a_fingerprint_has_sixty_four_hex_digits(answer: EvaluationAnswer, digest: str) -> None:
    facts = answer.made.model_dump()
    for field in ("weights_sha256", "embedding_space"):
        with pytest.raises(ValidationError, match=field):
            RunFacts.model_validate(facts | {field: digest})


def test_a_time_is_given_in_utc(answer: EvaluationAnswer) -> None:
    facts = answer.made.model_dump()
    elsewhere = datetime(2026, 1, 2, 5, 0, tzinfo=timezone(timedelta(hours=2)))
    assert RunFacts.model_validate(facts | {"created_at": elsewhere}).created_at == datetime(
        2026, 1, 2, 3, 0, tzinfo=UTC
    )
    naive = RunFacts.model_validate(facts | {"created_at": "2026-01-02T03:00:00"})
    assert naive.created_at.tzinfo is UTC


def test_a_field_that_is_not_known_is_refused(answer: EvaluationAnswer) -> None:
    document = answer.model_dump(mode="json")
    with pytest.raises(ValidationError, match="accuracy"):
        EvaluationAnswer.model_validate(document | {"accuracy": 1.0})


def test_a_figure_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Measure(value=0.5).value = 0.9  # type: ignore[misc]


def test_a_number_that_json_lacks_is_null() -> None:
    assert json.loads(Measure(value=float("nan")).model_dump_json())["value"] is None
    assert json.loads(Measure(value=float("inf")).model_dump_json())["value"] is None


@given(FINITE, st.none() | FINITE, st.none() | FINITE)
def test_a_figure_is_the_same_after_a_round_trip(
    value: float, low: float | None, high: float | None
) -> None:
    figure = Measure(value=value, low=low, high=high)
    assert Measure.model_validate_json(figure.model_dump_json()) == figure


def test_an_evaluation_is_the_same_after_a_round_trip(answer: EvaluationAnswer) -> None:
    text = answer.model_dump_json()
    assert EvaluationAnswer.model_validate_json(text) == answer
    assert EvaluationAnswer.model_validate_json(text).model_dump_json() == text


def test_the_document_states_its_format_and_holds_no_nan(answer: EvaluationAnswer) -> None:
    document = json.loads(answer.model_dump_json(), parse_constant=pytest.fail)
    assert document["format"] == FORMAT == 1
    assert list(document) == [
        "format",
        "made",
        "request",
        "measured",
        "classifier",
        "verdicts",
        "retrieval",
        "attribution",
        "similarity",
        "wrong",
        "failures",
    ]


def test_every_figure_has_a_value_or_a_reason(answer: EvaluationAnswer) -> None:
    figures = list(measures(answer.model_dump()))
    assert len(figures) > 20
    for figure in figures:
        assert (figure["value"] is None) is bool(figure["reason"])
        assert (figure["low"] is None) is (figure["high"] is None)


def measures(part: Any) -> Iterator[dict[str, Any]]:
    """Every figure at any depth of a document."""
    if isinstance(part, dict):
        if part.keys() == Measure.model_fields.keys():
            yield part
        for each in part.values():
            yield from measures(each)
    elif isinstance(part, list):
        for each in part:
            yield from measures(each)


def test_the_numbers_of_neighbours_are_keys_of_text_and_numbers_again(
    answer: EvaluationAnswer,
) -> None:
    assert answer.retrieval.mean is not None
    text = answer.retrieval.mean.model_dump_json()
    assert set(json.loads(text)["recall_at_k"]) == {"1", "5", "10"}
    read = type(answer.retrieval.mean).model_validate_json(text)
    assert set(read.recall_at_k) == {1, 5, 10}


def test_a_rate_that_was_not_counted_is_neither_inside_nor_outside() -> None:
    row = FalseMatchRow(
        asked=0.01,
        times=1,
        corpus_size=10,
        cosine_similarity=0.9,
        predicted=Measure(value=0.01, low=0.0, high=0.02),
        realised=Measure.missing("few"),
        matches=None,
        inside=None,
    )
    assert json.loads(row.model_dump_json())["inside"] is None


def test_every_field_is_described_in_a_sentence() -> None:
    fields = [
        (model.__name__, name, field.description)
        for model in models()
        for name, field in model.model_fields.items()
    ]
    assert len(fields) > 100
    undescribed = [each for each in fields if not (each[2] or "").endswith(".")]
    assert undescribed == []
