"""The active model: at most one, with the space that it has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from index.errors import ForeignSpace
from index.truth.active import (
    activate_copy_space,
    activate_model,
    deactivate_copy_space,
    find_active_copy_space,
    find_active_model,
    read_active_copy_names,
)
from index.truth.databases.database import Database
from index.truth.schema import active_model
from index.truth.spaces import list_spaces


def test_a_new_database_has_no_active_model(database: Database) -> None:
    with database.read() as conn:
        assert find_active_model(conn) is None


def test_an_activated_model_is_found_by_its_name_and_space(
    database: Database, material: Any
) -> None:
    before = datetime.now(UTC)
    with database.write() as conn:
        activate_model(conn, "/models/a folder", material.space)
    with database.read() as conn:
        active = find_active_model(conn)
        assert list_spaces(conn) == (material.space,)
    assert active is not None
    # The name under which it was activated is not the name inside of the space.
    assert (active.model, active.space) == ("/models/a folder", material.space)
    assert before <= active.activated_at <= datetime.now(UTC) + timedelta(seconds=1)


def test_the_last_activation_replaces_the_one_before(database: Database, material: Any) -> None:
    with database.write() as conn:
        activate_model(conn, "one", material.space)
    with database.write() as conn:
        activate_model(conn, "other", material.other_space)
        active = find_active_model(conn)
        assert active is not None
        assert (active.model, active.space) == ("other", material.other_space)
        assert conn.execute(select(func.count()).select_from(active_model)).scalar_one() == 1
        activate_model(conn, "one", material.space)
        again = find_active_model(conn)
        assert again is not None
        assert (again.model, again.space) == ("one", material.space)


def test_a_model_with_other_weights_in_a_known_space_is_refused(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        activate_model(conn, "one", material.space)
        with pytest.raises(ForeignSpace):
            activate_model(conn, "one", replace(material.space, weights_sha256="0" * 64))
        active = find_active_model(conn)
    assert active is not None
    assert active.space == material.space


def test_an_activation_that_is_rolled_back_has_no_effect(database: Database, material: Any) -> None:
    with database.write() as conn:
        activate_model(conn, "one", material.space)

    def activate_and_fail() -> None:
        with database.write() as conn:
            activate_model(conn, "other", material.other_space)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        activate_and_fail()
    with database.read() as conn:
        active = find_active_model(conn)
        assert list_spaces(conn) == (material.space,)
    assert active is not None
    assert active.model == "one"


def test_the_names_of_the_active_copy_space_are_those_that_stand_now(
    database: Database, material: Any
) -> None:
    for descriptor in ("one", "another"):
        with database.write() as conn:
            activate_copy_space(conn, descriptor, material.space)
        with database.read() as conn:
            active = find_active_copy_space(conn)
        assert active is not None
        names = (active.descriptor, active.space.fingerprint)
        assert read_active_copy_names(database) == names == (descriptor, material.space.fingerprint)
    with database.write() as conn:
        deactivate_copy_space(conn)
    assert read_active_copy_names(database) is None
