"""How a look-up is repeated: what recall was measured, and which figures cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.lookups.answers.method_json import MethodAnswer, RecallAnswer, Timings
from index.cache.plans.recall import Tuning

TUNING = Tuning(
    nprobe=8,
    candidates=400,
    k=10,
    recall=0.987,
    probes=200,
    lookups=50,
    rows=100_000,
    measured_at="2026-01-02T03:04:05+00:00",
)
METHOD: dict[str, Any] = {
    "lineup_version": "1.2.3",
    "model": "tiles",
    "embedding_space": "1" * 64,
    "weights_sha256": "2" * 64,
    "device": "cpu",
    "precision": "float32",
    "generation": 7,
    "index_digest": "0" * 64,
    "exact": True,
    "k": 10,
}


def test_an_exact_search_has_no_recall() -> None:
    assert RecallAnswer.of(None) is None
    assert MethodAnswer(**METHOD).recall is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("k", 0),
        ("recall", -0.01),
        ("recall", 1.01),
        ("recall", float("nan")),
        ("probes", 0),
        ("lookups", -1),
        ("nprobe", 0),
        ("candidates", 0),
        ("rows", 0),
    ],
)
def test_a_figure_that_nothing_can_measure_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        RecallAnswer.of(replace(TUNING, **{field: value}))


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        RecallAnswer.of(replace(TUNING, measured_at="yesterday"))


def test_recall_is_what_the_index_measured() -> None:
    answer = RecallAnswer.of(TUNING)
    assert answer is not None
    assert answer.model_dump() == {
        "k": 10,
        "recall": 0.987,
        "probes": 200,
        "lookups": 50,
        "nprobe": 8,
        "candidates": 400,
        "rows": 100_000,
        "measured_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }


@pytest.mark.parametrize("recall", [0.0, 1.0])
def test_the_ends_of_recall_are_allowed(recall: float) -> None:
    answer = RecallAnswer.of(replace(TUNING, recall=recall, lookups=0))
    assert answer is not None
    assert (answer.recall, answer.lookups) == (recall, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embedding_space", "1" * 63),
        ("weights_sha256", "Z" * 64),
        ("index_digest", ""),
        ("generation", -1),
        ("k", 0),
        ("pending_changes", -1),
        ("temperature", 0.5),
    ],
)
def test_a_method_that_no_search_has_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        MethodAnswer.model_validate(METHOD | {field: value})


@pytest.mark.parametrize("field", METHOD)
def test_nothing_that_is_needed_to_repeat_a_lookup_may_be_missing(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        MethodAnswer.model_validate({name: METHOD[name] for name in METHOD if name != field})


def test_a_stored_method_without_pending_changes_had_none() -> None:
    """The field is younger than the first stored look-ups."""
    assert MethodAnswer.model_validate(METHOD).pending_changes == 0


def test_a_method_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MethodAnswer(**METHOD).generation = 8  # type: ignore[misc]


@given(
    k=st.integers(1, 1000),
    recall=st.floats(0, 1),
    rows=st.integers(1, 10**9),
    at=st.datetimes(timezones=st.just(UTC)),
)
def test_a_method_is_the_same_after_a_round_trip(
    k: int, recall: float, rows: int, at: datetime
) -> None:
    tuning = replace(TUNING, k=k, recall=recall, rows=rows, measured_at=at.isoformat())
    method = MethodAnswer(**METHOD | {"exact": False, "recall": RecallAnswer.of(tuning)})
    assert MethodAnswer.model_validate_json(method.model_dump_json()) == method
    assert method.recall is not None
    assert method.recall.measured_at == at


def test_times_are_numbers_of_milliseconds() -> None:
    timings = Timings(decode_ms=1.5, embed_ms=2, search_ms=0, total_ms=3.5)
    assert json.loads(timings.model_dump_json()) == {
        "decode_ms": 1.5,
        "embed_ms": 2.0,
        "describe_ms": None,
        "search_ms": 0.0,
        "verify_ms": None,
        "total_ms": 3.5,
    }
    with pytest.raises(ValidationError, match="total_ms"):
        Timings.model_validate({"decode_ms": 1, "embed_ms": 2, "search_ms": 3})
