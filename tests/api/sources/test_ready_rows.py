"""Rows of ready embeddings from the columns of a table: names, facts, and what is declared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.columns import Columns
from api.sources.item import UnreadableItem
from api.sources.json_values import JSON
from api.sources.ready_rows import (
    FACT_COLUMNS,
    NOTHING,
    NUMBER_COLUMNS,
    ReadyRows,
    build_ready_rows,
)

DAMAGE = UnreadableItem("corrupt_table", "damaged")


def rows(
    values: Mapping[str, Sequence[JSON]],
    first: int = 0,
    unreadable: Mapping[int, UnreadableItem] | None = None,
    unfit: Mapping[int, UnreadableItem] | None = None,
) -> ReadyRows:
    count = len(next(iter(values.values()), []))
    columns = Columns(count, values, unreadable or {})
    return build_ready_rows(
        "set.npy", first, columns, np.zeros((count, 4), np.float32), unfit=unfit
    )


@pytest.mark.parametrize("value", [None, True, False, "", "x", "1,5", [1], {"a": 1}, 10**400])
def test_what_is_no_number_is_a_missing_logit(value: JSON) -> None:
    assert math.isnan(rows({"logit": [value]}).logits[0])


@pytest.mark.parametrize(
    ("value", "logit"),
    [(0, 0.0), (-2, -2.0), (1.5, 1.5), ("1.5", 1.5), (" -3e2 ", -300.0), ("inf", math.inf)],
)
def test_a_number_or_its_text_is_a_logit(value: JSON, logit: float) -> None:
    found = rows({"logit": [value]}).logits
    assert found.dtype == np.float64
    assert found.tolist() == [logit]


@pytest.mark.parametrize("value", [None, 7, True, ["a"], {"a": 1}])
def test_what_is_no_text_is_a_missing_sha256(value: JSON) -> None:
    assert rows({"sha256": [value]}).sha256s == [None]


def test_without_the_columns_each_logit_and_each_sha256_is_missing() -> None:
    found = rows({"label": ["real", "fake"]})
    assert np.isnan(found.logits).all()
    assert found.logits.shape == (2,)
    assert found.sha256s == [None, None]


def test_given_logits_and_hashes_stand_before_those_of_the_table() -> None:
    columns = Columns(2, {"logit": [1.0, 2.0], "sha256": ["a", "b"], "label": ["x", "y"]}, {})
    found = build_ready_rows(
        "set.safetensors",
        0,
        columns,
        np.zeros((2, 4), np.float32),
        logits=np.array([5.0, 6.0]),
        sha256s=["c", "d"],
    )
    assert found.logits.tolist() == [5.0, 6.0]
    assert found.sha256s == ["c", "d"]
    assert found.declared == [{"label": "x"}, {"label": "y"}]


def test_a_row_that_does_not_fit_is_unreadable_and_a_damaged_one_says_that_it_is_damaged() -> None:
    unfit = UnreadableItem("malformed_row", "its vector is short")
    found = rows({"logit": [1, 2, 3]}, unreadable={1: DAMAGE}, unfit={0: unfit, 1: unfit})
    assert found.unreadable == {0: unfit, 1: DAMAGE}


def test_rows_without_a_path_are_named_by_their_number_from_zero() -> None:
    assert rows({"logit": [0, 0]}, first=17).names == ["set.npy, row 17", "set.npy, row 18"]


def test_a_path_names_its_row_and_an_empty_one_does_not() -> None:
    found = rows({"path": ["a.png", "", None, 7, "b\x00.png"]}, first=3)
    assert found.names == [
        "a.png",
        "set.npy, row 4",
        "set.npy, row 5",
        "set.npy, row 6",
        "b\\x00.png",
    ]


def test_a_path_is_declared_as_it_is() -> None:
    assert rows({"path": ["a.png"]}).declared == [{"path": "a.png"}]


@pytest.mark.parametrize("column", ["vector", "embedding", "logit", "sha256"])
def test_what_has_a_place_of_its_own_is_not_declared(column: str) -> None:
    found = rows({column: ["1"], "licence": ["CC0"]})
    assert found.declared == [{"licence": "CC0"}]
    assert found.facts == [{}]


@pytest.mark.parametrize("column", FACT_COLUMNS)
def test_a_fact_is_no_declaration(column: str) -> None:
    found = rows({column: ["64"]})
    assert found.facts == [{column: 64 if column in NUMBER_COLUMNS else "64"}]
    assert found.declared == [{}]


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("0", 0),
        ("007", 7),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, "9" * 19),  # beyond what a database holds
        ("-1", "-1"),
        ("1.0", "1.0"),
        ("²", "²"),
        ("٣", "٣"),
        ("", ""),
        (1.5, 1.5),
        (12, 12),
        (True, True),
    ],
)
def test_only_the_text_of_a_whole_number_becomes_one(value: JSON, fact: JSON) -> None:
    (found,) = rows({"width": [value]}).facts
    assert found == {"width": fact}
    assert type(found["width"]) is type(fact)


@pytest.mark.parametrize("value", ["{", "[1]", "7", "text", "", 7, None, {"a": 1}])
def test_a_provenance_that_is_no_text_of_an_object_is_kept(value: JSON) -> None:
    expected = {} if value is None else {"provenance": value}
    assert rows({"provenance": [value]}).declared == [expected]


def test_the_text_of_an_object_is_read() -> None:
    (found,) = rows({"provenance": ['{"camera": {"maker": "x"}, "iso": 100}']}).declared
    assert found == {"provenance": {"camera": {"maker": "x"}, "iso": 100}}


def test_values_that_are_missing_are_left_out_of_their_rows() -> None:
    found = rows({"label": ["real", None, None], "source": [None, "web", None], "x": [None] * 3})
    assert found.declared == [{"label": "real"}, {"source": "web"}, {}]


def test_rows_without_any_value_share_one_empty_object() -> None:
    found = rows({"label": [None] * 3})
    assert all(each is NOTHING for each in [*found.facts, *found.declared])


def test_no_row_is_no_row() -> None:
    found = build_ready_rows("a.npy", 0, Columns(0, {}, {}), np.empty((0, 4), np.float32))
    assert (found.names, list(found.facts), list(found.declared)) == ([], [], [])
    assert found.logits.shape == (0,)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(st.dictionaries(st.text(max_size=4), st.lists(VALUES, min_size=3, max_size=3), max_size=5))
def test_whatever_a_table_declares_each_row_has_its_own_values(
    values: dict[str, list[JSON]],
) -> None:
    columns = {f"x_{name}": some for name, some in values.items()}  # none of the known names
    built = build_ready_rows("a.npy", 0, Columns(3, columns, {}), np.zeros((3, 1), np.float32))
    assert len(built.names) == len(built.facts) == len(built.declared) == 3
    for row, declared in enumerate(built.declared):
        expected = {name: some[row] for name, some in columns.items() if some[row] is not None}
        assert dict(declared) == expected
