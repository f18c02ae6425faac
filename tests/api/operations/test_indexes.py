"""Indexes explained, written and compacted over a real database, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.errors import ServiceError
from api.operations.doctor import describe_index
from api.operations.indexes import (
    build_indexes,
    compact_indexes,
    describe_comparison,
    plan_index,
    plan_indexes,
)
from api.settings import Settings
from index.errors import NoData
from index.truth.corpora import CorpusKind
from index.truth.entries import remove_entry
from tests.api.small_lineup import add, encoded, fill, open_small, picture


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
    assert "4,096" in flat.reason


def test_few_entries_are_no_training_sample(settings: Settings) -> None:
    (built,) = build_indexes(Settings(data_dir=settings.data_dir, index_flat_limit=4)).indexes

    assert (built.plan, built.comparison, built.entries) == ("flat", None, 11)


def test_every_plan_is_compared_where_codes_are_due(settings: Settings) -> None:
    with open_small(settings.data_dir) as lineup:
        for seed in range(200, 210):
            add(lineup, "fakes", CorpusKind.KNOWN_FAKE, encoded(picture(seed)))
    coded = Settings(data_dir=settings.data_dir, index_flat_limit=4)
    (built,) = build_indexes(coded).indexes
    (planned,) = plan_indexes(coded).indexes

    assert built.comparison == planned.comparison
    assert built.comparison is not None
    flat, codes, _lists = built.comparison.plans
    assert (flat.plan, flat.recall, codes.plan) == ("flat", 1.0, "codes")
    words = describe_comparison(built.comparison)
    assert words.startswith(f"flat {flat.milliseconds:.3g} ms, exact; codes ")
    with open_small(settings.data_dir) as lineup:
        assert words in describe_index(lineup.index)


def test_a_database_without_embeddings_has_no_index(tmp_path: Path) -> None:
    with open_small(tmp_path):
        pass
    assert plan_indexes(Settings(data_dir=tmp_path)).indexes == []


def test_without_data_nothing_is_planned(tmp_path: Path) -> None:
    with pytest.raises(NoData) as refused:
        plan_indexes(Settings(data_dir=tmp_path / "none"))
    assert not isinstance(refused.value, ServiceError)
