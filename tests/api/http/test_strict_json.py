"""JSON is read as `json` reads it, or refused where two programs could read it differently."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.fields import MAX_LEVELS
from api.http.strict_json import MAX_NAMES, MAX_VALUES, read_json

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_json_that_can_be_stored_is_read_as_it_was_written(value: object) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{} {}",
        b"\xff",
        '{"a": 1, "a": 1}',
        '[{"a": {"b": 1, "b": 2}}]',
        "NaN",
        "[-Infinity]",
        "1e999",
        "9" * 5000,
        str(2**63),
        str(-(2**63) - 1),
        '"\\u0000"',
        '{"\\u0000": 1}',
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 100_000 + "]" * 100_000,
        f"[{'1,' * MAX_VALUES}1]",
        f"[{'1,' * MAX_VALUES}1]".encode(),
        json.dumps(dict.fromkeys(map(str, range(MAX_NAMES + 1)))),
        "[" * (MAX_LEVELS + 1) + "]" * (MAX_LEVELS + 1),
    ],
)
def test_what_could_be_read_in_two_ways_or_not_be_stored_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_json(text)


def test_as_many_values_and_names_as_mean_something_are_read() -> None:
    assert len(read_json(f"[{'1,' * (MAX_VALUES - 1)}1]")) == MAX_VALUES
    assert len(read_json(json.dumps(dict.fromkeys(map(str, range(MAX_NAMES)))))) == MAX_NAMES
