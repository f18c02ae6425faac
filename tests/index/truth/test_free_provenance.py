"""Filters on free provenance: the same meaning on SQLite and PostgreSQL as in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.cache.live import LiveIndex
from index.errors import InvalidFilter
from index.truth.adding import add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.filters import Filter, select_ids
from index.truth.free_provenance import ProvenanceIs
from index.truth.spaces import find_space_id

KEYS = [
    "a",
    "b",
    "0",
    "1",
    "-1",
    "01",
    "",
    "a.b",
    "a/b",
    "~",
    '"',
    "'",
    "$",
    "[0]",
    "é",
    "x y",
    "\\",
    "%s",
    ":v",
    "?",
]
NUMBERS = [0, 1, -1, 1.0, 0.5, 1e300, 2**53]
SCALARS: list[Any] = [None, True, False, *NUMBERS, "", "1", "true", "null", "x", 'q"', "'; --", "é"]
scalars = st.sampled_from(SCALARS)
documents = st.dictionaries(
    st.sampled_from(KEYS),
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
places = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3)
ABSENT = object()


def pointer(keys: list[str]) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def value_at(document: Any, keys: list[str]) -> Any:
    for key in keys:
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif (
            isinstance(document, list) and key.isascii() and key.isdigit() and str(int(key)) == key
        ):
            if int(key) >= len(document):
                return ABSENT
            document = document[int(key)]
        else:
            return ABSENT
    return document


def is_same(one: Any, other: Any) -> bool:
    """Equal as JSON scalars: Python holds True and 1 to be equal."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    return (
        type(one) in (int, float, str)
        and isinstance(one, str) == isinstance(other, str)
        and one == other
    )


def chosen_names(
    database: Database, material: Any, documents: list[Any], chosen: Filter
) -> set[int]:
    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        new = [
            material.entry(f"{number}", extra=document) for number, document in enumerate(documents)
        ]
        ids = [result.entry_id for result in add_entries(conn, "fakes", material.space, new)]
        selected = set(select_ids(conn, find_space_id(conn, material.space) or 0, chosen).tolist())
        conn.rollback()
    return {number for number, entry_id in enumerate(ids) if entry_id in selected}


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    stored=st.lists(documents, min_size=1, max_size=6),
    asked=st.lists(
        st.tuples(places, st.lists(scalars, min_size=1, max_size=3)), min_size=1, max_size=2
    ),
)
def test_a_filter_selects_what_plain_python_would(
    database: Database, material: Any, stored: Any, asked: Any
) -> None:
    chosen = Filter(
        provenance=frozenset(ProvenanceIs.at(pointer(keys), values) for keys, values in asked)
    )
    expected = {
        number
        for number, document in enumerate(stored)
        if all(
            any(is_same(value_at(document, keys), value) for value in values)
            for keys, values in asked
        )
    }
    assert chosen_names(database, material, stored, chosen) == expected


@pytest.mark.parametrize("key", ["camera", "a.b", "a b", "$"])
def test_a_plain_key_is_that_key(database: Database, material: Any, key: str) -> None:
    chosen = Filter(provenance=frozenset([ProvenanceIs.at(key, ["x"])]))
    assert chosen_names(
        database, material, [{key: "x"}, {key: "y"}, {"other": "x"}, {}], chosen
    ) == {0}


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("", ["x"]),
        ("/a~2b", ["x"]),
        ("/a" * 17, ["x"]),
        ("a\x00", ["x"]),
        ("a", [[1]]),
        ("a", [{}]),
        ("a", [2**60]),
        ("a", [float("nan")]),
        ("a", [float("inf")]),
        ("a", ["\ud800"]),
    ],
)
def test_a_place_or_value_that_means_nothing_is_refused(place: str, values: list[Any]) -> None:
    with pytest.raises(InvalidFilter):
        ProvenanceIs.at(place, values)


def test_no_value_selects_nothing(database: Database, material: Any) -> None:
    chosen = Filter(provenance=frozenset([ProvenanceIs.at("a", [])]))
    assert chosen_names(database, material, [{"a": 1}, {}], chosen) == set()


def test_a_search_answers_from_what_the_provenance_selects(
    database: Database, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        new = [
            material.entry(f"{i}", generator=f"g{i % 2}", extra={"batch": {"number": i % 5}})
            for i in range(40)
        ]
        ids = [result.entry_id for result in add_entries(conn, "fakes", material.space, new)]
    live = open_live()
    chosen = Filter(
        generators=frozenset(["g1"]),
        provenance=frozenset([ProvenanceIs.at("/batch/number", [1, 2])]),
    )
    expected = {ids[i] for i in range(40) if i % 2 == 1 and i % 5 in (1, 2)}
    for _ in range(2):
        found = live.search(np.eye(8)[0], 40, chosen)
        assert {neighbour.entry.id for neighbour in found.neighbours} == expected
        assert found.searched == len(expected)
        live.snapshot()
