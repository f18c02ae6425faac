"""When a snapshot, a compaction, training and measuring are due."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from index.cache.following.folding import FoldPolicy, is_measuring_due, is_training_due
from index.cache.plans.comparison import Comparison
from index.cache.plans.config import IndexConfig, Plan
from index.cache.plans.recall import Tuning
from index.cache.segments.view import View
from index.cache.snapshots.manifest import FileStamp, Manifest
from index.cache.vectors.codes import FEWEST_TRAINED
from index.cache.vectors.marks import Marks
from index.truth.digest import EMPTY
from tests.index.cache.samples import DIMENSION, member, sealed_members

CONFIG = IndexConfig(flat_limit=100)
STAMP = FileStamp("f", 1, "0" * 64)
TUNING = Tuning(1, 32, 10, 0.99, 64, 0, 200, "2026-11-24T00:00:00+00:00")
COMPARISON = Comparison((), 200, 10, 0.99, "2026-11-24T00:00:00+00:00")
MANIFEST = Manifest(
    format_version=2,
    plan=Plan.FLAT,
    space_fingerprint="0" * 64,
    dimension=DIMENSION,
    generation=1,
    count=50,
    rows=50,
    digest="00",
    vectors="v",
    blocks=STAMP,
    facts=STAMP,
    words=STAMP,
    dead=STAMP,
    codes=None,
    trained_rows=0,
    tuning=None,
)


def view_of(sealed: int, growing: int, dead: int) -> View:
    segment = sealed_members(range(1, sealed + 1))
    marks = np.ones(sealed, np.bool_)
    marks[:dead] = False
    view = View.of_sealed(segment, Marks(marks) if dead else None, 1, EMPTY, DIMENSION)
    return view.add([member(1000 + i) for i in range(growing)])


@pytest.mark.parametrize(
    ("sealed", "growing", "dead", "manifest", "due"),
    [
        (50, 10, 0, MANIFEST, False),  # exactly the minimum
        (50, 11, 0, MANIFEST, True),
        (50, 5, 6, MANIFEST, True),  # new entries and new tombstones count together
        (50, 0, 11, MANIFEST, True),
        (50, 0, 11, replace(MANIFEST, count=39), False),  # those tombstones are in the snapshot
        (50, 0, 0, None, True),  # the sealed segment is in memory only
        (10, 0, 0, None, False),
        (0, 0, 0, None, False),
    ],
)
def test_a_snapshot_is_due_by_the_positions_that_the_last_one_lacks(
    sealed: int, growing: int, dead: int, manifest: Manifest | None, due: bool
) -> None:
    policy = FoldPolicy(minimum=10, fraction=0.01)
    assert policy.is_due(view_of(sealed, growing, dead), manifest) is due


def test_a_larger_segment_needs_more_changes() -> None:
    policy = FoldPolicy(minimum=1, fraction=0.2)
    assert not policy.is_due(view_of(50, 10, 0), MANIFEST)
    assert policy.is_due(view_of(50, 11, 0), MANIFEST)


@pytest.mark.parametrize(("dead", "due"), [(5, False), (6, True), (50, True)])
def test_compaction_is_due_by_the_share_of_dead_positions(dead: int, due: bool) -> None:
    config = replace(CONFIG, compact_fraction=0.1)
    assert FoldPolicy(minimum=2).is_compaction_due(view_of(50, 0, dead), config) is due


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({"count": 100, "rows": 100}, False),  # still flat
        ({"count": 101, "rows": 101}, True),  # never trained
        ({"count": 101, "rows": 199, "trained_rows": 100}, False),
        ({"count": 101, "rows": 200, "trained_rows": 100}, True),  # twice as many rows
    ],
)
def test_training_is_due_above_the_flat_limit_and_when_the_corpus_has_doubled(
    changes: Any, due: bool
) -> None:
    assert is_training_due(replace(MANIFEST, **changes), CONFIG) is due


@pytest.mark.parametrize(("rows", "due"), [(FEWEST_TRAINED - 1, False), (FEWEST_TRAINED, True)])
def test_training_needs_a_row_for_each_value_of_a_code(rows: int, due: bool) -> None:
    manifest = replace(MANIFEST, rows=rows, count=rows)
    assert is_training_due(manifest, IndexConfig(flat_limit=0)) is due


def test_nothing_is_due_without_a_snapshot() -> None:
    assert not is_training_due(None, CONFIG)
    assert not is_measuring_due(None, CONFIG)
    assert not is_measuring_due(MANIFEST, CONFIG)  # no codes, no recall


@pytest.mark.parametrize(("rows", "due"), [(200, False), (220, False), (221, True)])
def test_measuring_is_due_when_the_corpus_has_grown_by_a_tenth(rows: int, due: bool) -> None:
    manifest = replace(MANIFEST, rows=rows, count=rows, tuning=TUNING, comparison=COMPARISON)
    assert is_measuring_due(manifest, CONFIG) is due


def test_codes_of_an_earlier_release_are_measured_beside_the_other_plans() -> None:
    manifest = replace(MANIFEST, rows=200, count=200, tuning=TUNING)
    assert is_measuring_due(manifest, CONFIG)
