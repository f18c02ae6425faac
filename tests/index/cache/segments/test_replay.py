"""Replaying the change log onto a view, and reading all members, against a model of sets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from index.cache.segments.replay import Members, catch_up
from index.cache.segments.sealed import SealedSegment
from index.cache.segments.view import View
from index.errors import TruthDamaged
from index.truth.changes import digest_at, last_number
from index.truth.databases.database import Database
from index.truth.digest import EMPTY
from index.truth.entries import remove_entry
from index.truth.spaces import find_space_id
from tests.index.cache.samples import GENERATORS

NAMES = [f"image-{i}" for i in range(12)]


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_searching` has both databases


def empty_view(dimension: int) -> View:
    return View.of_sealed(SealedSegment.empty(dimension), None, 0, EMPTY, dimension)


def replay(database: Database, space: Any, view: View, limit: int | None = None) -> View:
    with database.read() as conn:
        return catch_up(conn, view, find_space_id(conn, space), last_number(conn), limit)


@settings(settings.get_profile("index"), max_examples=15)
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 11), st.integers(0, 3)), min_size=1, max_size=12
    ),
    stops=st.integers(1, 5),
)
def test_replaying_in_pieces_gives_the_members_of_the_log(
    new_sqlite_url: Callable[[], str],
    material: Any,
    steps: list[tuple[bool, int, int]],
    stops: int,
) -> None:
    with Database.open(new_sqlite_url()) as database:
        view, live = empty_view(8), dict[int, int]()
        for number, (adds, image, generator) in enumerate(steps):
            if adds and image not in live:
                ids = material.fill(
                    database, "fakes", [NAMES[image]], generator=GENERATORS[generator]
                )
                live[image] = ids[0]
            elif image in live:
                with database.write() as conn:
                    remove_entry(conn, live.pop(image))
            if number % stops == 0:
                view = replay(database, material.space, view)
        view = replay(database, material.space, view)
        with database.read() as conn:
            members = Members(conn, find_space_id(conn, material.space), 8)
            rows = np.concatenate([np.empty((0, 8), np.float32), *members.chunks()])
    assert view.member_ids().tolist() == sorted(live.values())
    assert view.digest == view.compute_digest() == members.digest
    assert (view.generation, members.facts["id"].tolist()) == (
        members.generation,
        sorted(live.values()),
    )
    by_id = dict(zip(members.facts["id"].tolist(), rows.tolist(), strict=True))
    for image, entry_id in live.items():
        assert by_id[entry_id] == material.vector(NAMES[image]).tolist()


def test_a_limit_stops_after_so_many_changes(database: Database, material: Any) -> None:
    material.fill(database, "fakes", NAMES)
    view = empty_view(8)
    generations = []
    while view.generation < len(NAMES):
        view = replay(database, material.space, view, limit=5)
        generations.append(view.generation)
    assert generations == [5, 10, 12]


def test_changes_of_another_space_move_the_generation_and_add_nothing(
    database: Database, material: Any
) -> None:
    material.fill(database, "fakes", NAMES[:3])
    other = empty_view(4)
    with database.read() as conn:
        other = catch_up(conn, other, None, last_number(conn))
    assert (other.generation, other.count, other.digest) == (3, 0, EMPTY)


def test_a_gap_in_the_log_is_where_replaying_stops(database: Database, material: Any) -> None:
    material.fill(database, "fakes", NAMES[:6])
    with database.write() as conn:
        conn.execute(text("DELETE FROM changes WHERE number = 4"))
    view = replay(database, material.space, empty_view(8))
    assert (view.generation, view.count) == (3, 3)
    with database.read() as conn:
        members = Members(conn, find_space_id(conn, material.space), 8)
        list(members.chunks())
        assert members.generation == 3
        assert members.digest == digest_at(conn, find_space_id(conn, material.space), 3)


def test_a_database_that_is_older_than_the_view_is_refused(
    database: Database, material: Any
) -> None:
    material.fill(database, "fakes", NAMES[:2])
    with pytest.raises(TruthDamaged, match="older than this index"):
        replay(database, material.space, empty_view(8).at_generation(5))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM embeddings WHERE id = 2", "embedding is missing"),
        (
            "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) "
            "WHERE id = 2",
            "the log states",
        ),
    ],
)
def test_a_log_that_contradicts_its_rows_is_refused(
    database: Database, material: Any, damage: str, message: str
) -> None:
    material.fill(database, "fakes", NAMES[:3])
    with database.write() as conn:
        conn.execute(text(damage))
    with pytest.raises(TruthDamaged, match=message):
        replay(database, material.space, empty_view(8))


def test_reading_all_members_ends_with_an_error_if_the_log_states_others(
    database: Database, material: Any
) -> None:
    material.fill(database, "fakes", NAMES[:3])
    with database.write() as conn:
        conn.execute(
            text(
                "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) "
                "WHERE id = 2"
            )
        )
    with database.read() as conn:
        members = Members(conn, find_space_id(conn, material.space), 8)
        chunks = members.chunks()
        assert next(chunks).shape == (3, 8)  # rows pass before the end is known
        with pytest.raises(TruthDamaged, match="the log states"):
            next(chunks)
