"""Canonical JSON: one text for one value, and a text that gives the value back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.jsontext import CanonicalText, canonical_json

# Half of a surrogate pair has no UTF-8, so no text that is stored can have one.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: unlike Python, true is not 1, and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


def shuffled(value: Any, order: Any) -> Any:
    """The same value, with the keys of every object in another order of insertion."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(each, order) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_express_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"deep": [number]})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), 1j, {"a": {3}}])
def test_a_value_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        ("Fälle/π", '"Fälle/π"'),
        ('a"\\\n\x00', '"a\\"\\\\\\n\\u0000"'),
        ([], "[]"),
        ({}, "{}"),
        ((1, 2), "[1,2]"),
        ({"b": 1, "a": [True, None], "B": {}}, '{"B":{},"a":[true,null],"b":1}'),
    ],
)
def test_a_value_has_exactly_this_text(value: Any, text: str) -> None:
    assert canonical_json(value) == text


@given(value=values)
def test_a_value_comes_back_from_its_text(value: Any) -> None:
    assert same(json.loads(canonical_json(value)), value)


@given(value=values, order=st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_text(value: Any, order: Any) -> None:
    assert canonical_json(shuffled(value, order)) == canonical_json(value)


@given(value=values)
def test_the_text_of_a_parsed_text_is_the_same_text(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


@given(one=values, other=values)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == same(one, other)


@given(value=values)
def test_a_text_is_one_line_of_valid_utf_8(value: Any) -> None:
    text = canonical_json(value)
    assert "\n" not in text
    assert text.encode().decode() == text


@given(value=values)
def test_a_canonical_text_is_written_as_it_is(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(CanonicalText(text)) == text


def test_a_canonical_text_is_not_parsed_again() -> None:
    assert canonical_json(CanonicalText("anything")) == "anything"
