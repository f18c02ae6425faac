"""The exact scan of both segments against a sort in float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.marks import Marks
from index.cache.rows import CHUNK, HeldRows
from index.cache.segments import rounding_slack, scan, scan_at
from tests.index.cache.samples import unit_rows


def best(rows: Any, positions: Any, probe: Any, m: int) -> set[int]:
    similarities = rows[positions].astype(np.float64) @ probe.astype(np.float64)
    return set(np.asarray(positions)[np.argsort(-similarities, kind="stable")[:m]].tolist())


@settings(derandomize=True, deadline=None, max_examples=60)
@given(n=st.integers(1, 60), m=st.integers(1, 70), seed=st.integers(0, 1000), masked=st.booleans())
def test_a_scan_returns_the_m_best_and_a_floor_above_all_others(
    n: int, m: int, seed: int, masked: bool
) -> None:
    rows, random = unit_rows(n, seed=seed), np.random.default_rng(seed)
    (probe,) = unit_rows(1, seed=seed + 5000)
    live = Marks(random.random(n) < 0.5) if masked else None
    positions = np.arange(n) if live is None else live.positions
    found = scan(HeldRows(rows), probe, m, live)
    assert found.exact
    assert set(found.positions.tolist()) == best(rows, positions, probe, m)
    rest = np.setdiff1d(positions, found.positions)
    if len(rest):
        assert (rows[rest].astype(np.float64) @ probe.astype(np.float64)).max() <= found.floor
        left = rows[rest] @ probe
        assert found.floor <= left.max() + 2 * rounding_slack(len(probe))  # and not far above
    else:
        assert found.floor == -np.inf


@settings(derandomize=True, deadline=None, max_examples=40)
@given(n=st.integers(1, 60), m=st.integers(1, 20), seed=st.integers(0, 1000))
def test_a_scan_at_positions_is_a_scan_of_those_alone(n: int, m: int, seed: int) -> None:
    rows = unit_rows(n, seed=seed)
    (probe,) = unit_rows(1, seed=seed + 5000)
    positions = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.6)
    masked = np.zeros(n, np.bool_)
    masked[positions] = True
    one = scan_at(HeldRows(rows), positions, probe, m, exact=False)
    other = scan(HeldRows(rows), probe, m, Marks(masked))
    assert set(one.positions.tolist()) == set(other.positions.tolist())
    assert one.floor == other.floor
    assert (one.exact, other.exact) == (False, True)


@pytest.mark.parametrize("m", [1, 5, 300])
def test_a_scan_over_several_chunks_finds_what_one_sort_finds(m: int) -> None:
    n = 2 * CHUNK + 100
    rows = unit_rows(n, 4, seed=1)
    (probe,) = unit_rows(1, 4, seed=2)
    live = Marks(np.random.default_rng(3).random(n) < 0.3)
    assert set(scan(HeldRows(rows), probe, m, live).positions.tolist()) == best(
        rows, live.positions, probe, m
    )
    at = scan_at(HeldRows(rows), live.positions, probe, m, exact=True)
    assert set(at.positions.tolist()) == best(rows, live.positions, probe, m)


def test_a_chunk_without_a_live_row_is_passed_over() -> None:
    rows = unit_rows(CHUNK + 10, 4)
    live = np.zeros(len(rows), np.bool_)
    live[-3:] = True
    found = scan(HeldRows(rows), rows[-1], 2, Marks(live))
    assert found.positions[0] == len(rows) - 1
    assert scan(HeldRows(rows), rows[0], 2, Marks(live & False)).positions.tolist() == []


def test_the_slack_bounds_the_error_of_a_float32_product() -> None:
    dimension = 384
    rows = unit_rows(500, dimension, seed=4)
    (probe,) = unit_rows(1, dimension, seed=5)
    wide, one = rows.astype(np.float64), probe.astype(np.float64)
    cosines = wide @ one / (np.linalg.norm(wide, axis=1) * np.linalg.norm(one))
    error = np.abs(np.vecdot(rows, probe) - cosines).max()
    assert 0 < error < rounding_slack(dimension) < 1e-4
