"""The state of a database: equal for equal rows, different after any change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from index.backups.space_states import SpaceState, find_difference, space_states
from index.truth.changes import digest_at, last_number
from index.truth.databases.database import Database
from index.truth.digest import EMPTY, digest_hex
from index.truth.entries import remove_entry
from index.truth.spaces import ensure_space_id, find_space_id


def state_of(database: Database) -> tuple[int, tuple[SpaceState, ...]]:
    with database.read() as conn:
        return last_number(conn), space_states(conn)


def difference(database: Database, generation: int, states: Any) -> str | None:
    with database.read() as conn:
        return find_difference(conn, generation, states)


def test_a_new_database_has_no_spaces(database: Database) -> None:
    assert state_of(database) == (0, ())
    assert difference(database, 0, ()) is None


def test_a_space_without_entries_has_the_digest_of_the_empty_set(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        ensure_space_id(conn, material.space)
    (state,) = state_of(database)[1]
    assert state == SpaceState(material.space.fingerprint, "test-model", 8, digest_hex(EMPTY))


def test_spaces_come_oldest_first_with_the_digest_of_the_log(stock: Any, material: Any) -> None:
    generation, states = state_of(stock.database)
    assert [state.fingerprint for state in states] == [
        material.space.fingerprint,
        material.other_space.fingerprint,
        material.copy_space.fingerprint,
    ]
    assert [state.kind for state in states] == ["forensic", "forensic", "copy"]
    with stock.database.read() as conn:
        spaces = (material.space, material.other_space, material.copy_space)
        for state, space in zip(states, spaces, strict=True):
            stored = digest_at(conn, find_space_id(conn, space), generation)
            assert (state.model, state.dimension) == (space.model, space.dimension)
            assert state.digest == digest_hex(stored) != digest_hex(EMPTY)


def test_a_database_does_not_differ_from_its_own_state(stock: Any) -> None:
    generation, states = state_of(stock.database)
    assert difference(stock.database, generation, states) is None
    assert difference(stock.database, generation, tuple(reversed(states))) is None


def test_another_generation_is_a_difference(stock: Any) -> None:
    generation, states = state_of(stock.database)
    assert difference(stock.database, generation + 1, states) == (
        f"its last change has the number {generation} instead of {generation + 1}"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "0" * 64},
        {"model": "renamed"},
        {"dimension": 9},
        {"digest": "0" * 64},
    ],
)
def test_another_space_or_digest_is_a_difference(stock: Any, change: dict[str, Any]) -> None:
    generation, (first, *others) = state_of(stock.database)
    for states in ([replace(first, **change), *others], others, [first, *others, first][:-2]):
        found = difference(stock.database, generation, states)
        assert found == "its embedding spaces or their digests differ"


def test_a_change_after_the_state_is_a_difference(database: Database, material: Any) -> None:
    ids = material.fill(database, "fakes", "abc")
    generation, states = state_of(database)
    with database.write() as conn:
        remove_entry(conn, ids[0])
    assert difference(database, generation, states) is not None
    assert difference(database, *state_of(database)) is None
    assert state_of(database)[1] != states


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE embeddings SET vector = (SELECT max(vector) FROM embeddings)",
        "UPDATE entries SET removed_at = created_at WHERE id = 1",
        "DELETE FROM embeddings WHERE id = 2",
    ],
)
def test_rows_that_the_log_does_not_know_are_a_difference(
    new_sqlite_url: Any, material: Any, damage: str
) -> None:
    """SQLite only: PostgreSQL has no max of bytes, and its keys are checked at the same time."""
    with Database.open(new_sqlite_url()) as database:
        material.fill(database, "fakes", "abc")
        generation, states = state_of(database)
        with database.write() as conn:
            conn.execute(text(damage))
        assert state_of(database) == (generation, states)  # the log still says the same
        found = difference(database, generation, states)
        assert found is not None
        assert material.space.fingerprint[:16] in found
        assert f"instead of {states[0].digest[:16]}" in found
