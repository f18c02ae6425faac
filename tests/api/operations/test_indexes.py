"""Indexes explained, written and compacted over a real database, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.errors import ServiceError
from api.operations.indexes import build_indexes, compact_indexes, plan_index, plan_indexes
from api.settings import Settings
from index.errors import NoData
from index.truth.entries import remove_entry
from tests.api.small_lineup import fill, open_small


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder with twelve entries, of which one was removed."""
    with open_small(tmp_path) as lineup:
        fill(lineup)
        with lineup.database.write() as conn:
            remove_entry(conn, 3)
    return Settings(data_dir=tmp_path)


def test_a_plan_changes_nothing(settings: Settings) -> None:
    (first,) = plan_indexes(settings).indexes
    (second,) = plan_indexes(settings).indexes

    assert first == second
    assert (first.model, first.plan, first.entries) == ("tiles", "flat", 11)
    assert first.snapshot_generation is None
    assert not list(settings.index_dir.glob("*/*"))


def test_a_built_index_is_on_disk(settings: Settings) -> None:
    (built,) = build_indexes(settings).indexes
    (planned,) = plan_indexes(settings).indexes

    assert built.snapshot_generation == built.generation == 13
    assert planned.snapshot_generation == 13
    assert list(settings.index_dir.glob("*/*"))


def test_a_compacted_index_has_no_position_of_a_removed_entry(settings: Settings) -> None:
    build_indexes(settings)
    (compacted,) = compact_indexes(settings).indexes

    assert (compacted.rows, compacted.dead, compacted.entries) == (11, 0, 11)


def test_an_open_index_is_explained_as_the_stored_one(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        lineup.index.refresh()
        answer = plan_index(lineup.index)
    assert (answer.entries, answer.generation, answer.plan) == (12, 12, "flat")


def test_the_settings_say_when_codes_are_due(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
    (planned,) = plan_indexes(Settings(data_dir=tmp_path, index_flat_limit=4)).indexes
    (flat,) = plan_indexes(Settings(data_dir=tmp_path)).indexes

    assert "codes are not trained yet" in planned.reason
    assert "20,000" in flat.reason


def test_a_database_without_embeddings_has_no_index(tmp_path: Path) -> None:
    with open_small(tmp_path):
        pass
    assert plan_indexes(Settings(data_dir=tmp_path)).indexes == []


def test_without_data_nothing_is_planned(tmp_path: Path) -> None:
    with pytest.raises(NoData) as refused:
        plan_indexes(Settings(data_dir=tmp_path / "none"))
    assert not isinstance(refused.value, ServiceError)
