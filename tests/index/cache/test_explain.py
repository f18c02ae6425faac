"""The explanation of an index: its plan, its counts and the reason in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from index.cache.explain import explain
from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig, Plan
from index.cache.segments.sealed import plan_of
from index.truth.databases.database import Database
from index.truth.entries import remove_entry

NAMES = [f"image-{i}" for i in range(300)]


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_searching` has both databases


def test_a_small_index_compares_every_vector(
    database: Database, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    ids = material.fill(database, "fakes", NAMES[:10])
    live = open_live()
    live.snapshot()
    material.fill(database, "fakes", NAMES[10:13])
    with database.write() as conn:
        remove_entry(conn, ids[0])
    live.refresh()
    state = explain(live)
    assert (state.plan, state.space) == (Plan.FLAT, material.space)
    assert state.reason == "up to 4,096 entries every vector is compared, exactly"
    assert (state.entries, state.rows, state.dead, state.growing) == (12, 10, 1, 3)
    assert (state.generation, state.snapshot_generation) == (14, 10)
    assert (state.nlist, state.code_bytes, state.tuning) == (None, None, None)
    assert state.comparison is None


def test_an_index_in_memory_has_no_snapshot(live: LiveIndex) -> None:
    state = explain(live)
    assert (state.snapshot_generation, state.entries, state.generation) == (None, 0, 0)


def test_a_large_index_without_codes_says_who_trains_them(
    database: Database, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    material.fill(database, "fakes", NAMES)
    state = explain(open_live(config=IndexConfig(flat_limit=100)))
    assert state.plan is Plan.FLAT
    assert "`lineup index build`" in state.reason


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_codes_are_explained_with_their_recall_or_with_why_there_are_none(
    database: Database, material: Any, open_live: Callable[..., LiveIndex], target: float
) -> None:
    material.fill(database, "fakes", NAMES)
    config = IndexConfig(
        flat_limit=100, exact_allowance=0, recall_probes=32, recall_target=target, recall_k=70
    )
    live = open_live(config=config)
    live.settle()
    state = explain(live)
    assert state.comparison is not None
    assert [each.plan for each in state.comparison.plans] == [Plan.FLAT, Plan.CODES, Plan.LISTS]
    if state.tuning is None:
        assert target == 1.0
        assert state.reason == (
            "codes are not used: at every reach that was tried, recall stayed below 1.0"
        )
        return
    assert target == 0.5
    assert state.plan is plan_of(live.current.view.sealed.tuned)
    assert state.nlist == config.lists_for(300)
    assert state.code_bytes is not None
    assert f"recall@70 is {state.tuning.recall:.4f} on 32 probes" in state.reason
    assert f"{state.tuning.candidates:,} candidates" in state.reason
    lists = "all codes are read" if state.plan is Plan.CODES else "lists are read"
    assert lists in state.reason


def test_an_index_whose_codes_are_not_quicker_says_so(
    database: Database, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    material.fill(database, "fakes", NAMES)
    config = IndexConfig(
        flat_limit=100, exact_allowance=1e9, recall_probes=32, recall_target=0.5, recall_k=70
    )
    live = open_live(config=config)
    live.settle()
    state = explain(live)
    assert (state.plan, state.tuning) == (Plan.FLAT, None)
    assert "codes are not quicker" in state.reason
    assert not live.is_maintenance_due(train=True, hurry=True)


def test_an_explanation_does_not_write_anything(
    database: Database, material: Any, open_live: Callable[..., LiveIndex], tmp_path: Path
) -> None:
    material.fill(database, "fakes", NAMES[:5])
    explain(open_live())
    assert not (tmp_path / "index").exists()
