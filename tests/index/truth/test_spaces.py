"""Embedding spaces: registered once, and never mixed."""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from typing import Any

import pytest
from sqlalchemy import func, select

from index.errors import ForeignSpace
from index.truth.databases.database import Database
from index.truth.schema import embedding_spaces
from index.truth.spaces import (
    SPACE_COLUMNS,
    Space,
    SpaceKind,
    ensure_space_id,
    find_space_id,
    list_spaces,
    space_from_row,
)


def test_a_space_is_unknown_until_it_is_registered(database: Database, material: Any) -> None:
    with database.write() as conn:
        assert find_space_id(conn, material.space) is None
        space_id = ensure_space_id(conn, material.space)
        assert find_space_id(conn, material.space) == space_id
        assert find_space_id(conn, material.other_space) is None


def test_a_space_is_registered_once(database: Database, material: Any) -> None:
    with database.write() as conn:
        ids = {ensure_space_id(conn, material.space) for _ in range(3)}
        assert len(ids) == 1
        assert ensure_space_id(conn, material.other_space) not in ids
        assert conn.execute(select(func.count()).select_from(embedding_spaces)).scalar_one() == 2


def test_spaces_are_listed_from_the_oldest_and_come_back_whole(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        assert list_spaces(conn) == ()
        for space in (material.other_space, material.space):
            ensure_space_id(conn, space)
    with database.read() as conn:
        assert list_spaces(conn) == (material.other_space, material.space)


def test_a_row_has_every_field_of_its_space_in_the_right_place(
    database: Database, material: Any
) -> None:
    texts = (material.sha256(each.name) for each in fields(Space)[:4])
    space = Space(*texts, dimension=12, kind=SpaceKind.COPY)
    with database.write() as conn:
        ensure_space_id(conn, space)
        assert space_from_row(conn.execute(select(*SPACE_COLUMNS)).one()) == space


@pytest.mark.parametrize(
    "other",
    [
        {"weights_sha256": "0" * 64},
        {"preprocessing_fingerprint": "0" * 64},
        {"dimension": 9},
        {"kind": SpaceKind.COPY},
    ],
)
def test_a_fingerprint_with_other_facts_is_foreign(
    database: Database, material: Any, other: dict[str, Any]
) -> None:
    with database.write() as conn:
        ensure_space_id(conn, material.space)
        for look_up in (find_space_id, ensure_space_id):
            with pytest.raises(ForeignSpace):
                look_up(conn, replace(material.space, **other))
        assert list_spaces(conn) == (material.space,)


def test_a_model_may_change_its_name(database: Database, material: Any) -> None:
    renamed = replace(material.space, model="renamed")
    with database.write() as conn:
        space_id = ensure_space_id(conn, material.space)
        assert find_space_id(conn, renamed) == space_id
        assert ensure_space_id(conn, renamed) == space_id
        assert list_spaces(conn) == (material.space,)


def test_an_embedding_of_another_space_is_refused(material: Any) -> None:
    material.space.require(material.space.fingerprint)
    with pytest.raises(ForeignSpace) as caught:
        material.space.require(material.other_space.fingerprint)
    assert caught.value.expected == material.space.fingerprint
    assert caught.value.given == material.other_space.fingerprint
    assert material.other_space.fingerprint[:16] in str(caught.value)


def test_writers_at_the_same_time_register_one_space(database: Database, material: Any) -> None:
    ids: list[int] = []

    def register() -> None:
        with database.write() as conn:
            ids.append(ensure_space_id(conn, material.space))

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1
