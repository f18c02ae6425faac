"""The exact scan of both segments against a sort in float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.segments.segment import (
    SPARE,
    Candidates,
    choose_best,
    floors_of,
    rounding_slack,
    scan,
    scan_at,
)
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import CHUNK, HeldRows
from tests.index.cache.samples import unit_rows


def chosen(found: Candidates) -> set[int]:
    """The positions that were found for the one probe."""
    return set(found.positions[0].tolist()) - {-1}


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
    found = scan(HeldRows(rows), probe[np.newaxis], m, live)
    assert found.exact.all()
    assert chosen(found) == best(rows, positions, probe, m)
    (floor,) = floors_of(found)
    rest = np.setdiff1d(positions, found.positions)
    if len(rest):
        assert (rows[rest].astype(np.float64) @ probe.astype(np.float64)).max() <= floor
        left = rows[rest] @ probe
        assert floor <= left.max() + 2 * rounding_slack(len(probe))  # and not far above
    else:
        assert floor == -np.inf


@settings(derandomize=True, deadline=None, max_examples=40)
@given(n=st.integers(1, 60), m=st.integers(1, 20), seed=st.integers(0, 1000))
def test_a_scan_at_positions_is_a_scan_of_those_alone(n: int, m: int, seed: int) -> None:
    rows = unit_rows(n, seed=seed)
    (probe,) = unit_rows(1, seed=seed + 5000)
    positions = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.6)
    masked = np.zeros(n, np.bool_)
    masked[positions] = True
    one = scan_at(HeldRows(rows), positions, probe[np.newaxis], m)
    other = scan(HeldRows(rows), probe[np.newaxis], m, Marks(masked))
    assert chosen(one) == chosen(other)
    assert floors_of(one) == floors_of(other)
    assert (one.exact.all(), other.exact.all()) == (True, True)


@pytest.mark.parametrize("m", [1, 5, 300])
def test_a_scan_over_several_chunks_finds_what_one_sort_finds(m: int) -> None:
    n = 2 * CHUNK + 100
    rows = unit_rows(n, 4, seed=1)
    (probe,) = unit_rows(1, 4, seed=2)
    live = Marks(np.random.default_rng(3).random(n) < 0.3)
    expected = best(rows, live.positions, probe, m)
    assert chosen(scan(HeldRows(rows), probe[np.newaxis], m, live)) == expected
    assert chosen(scan_at(HeldRows(rows), live.positions, probe[np.newaxis], m)) == expected


def test_a_chunk_without_a_live_row_is_passed_over() -> None:
    rows = unit_rows(CHUNK + 10, 4)
    live = np.zeros(len(rows), np.bool_)
    live[-3:] = True
    found = scan(HeldRows(rows), rows[-1:], 2, Marks(live))
    assert found.positions[0, 0] == len(rows) - 1
    assert scan(HeldRows(rows), rows[:1], 2, Marks(live & False)).positions.tolist() == [[]]


def test_the_slack_bounds_the_error_of_a_float32_product() -> None:
    dimension = 384
    rows = unit_rows(500, dimension, seed=4)
    (probe,) = unit_rows(1, dimension, seed=5)
    wide, one = rows.astype(np.float64), probe.astype(np.float64)
    cosines = wide @ one / (np.linalg.norm(wide, axis=1) * np.linalg.norm(one))
    error = np.abs(np.vecdot(rows, probe) - cosines).max()
    assert 0 < error < rounding_slack(dimension) < 1e-4


@settings(derandomize=True, deadline=None, max_examples=30)
@given(p=st.integers(2, 40), n=st.integers(1, 80), m=st.integers(1, 9), seed=st.integers(0, 1000))
def test_many_probes_are_scanned_as_each_alone(p: int, n: int, m: int, seed: int) -> None:
    rows, probes = HeldRows(unit_rows(n, seed=seed)), unit_rows(p, seed=seed + 5000)
    live = Marks(np.random.default_rng(seed).random(n) < 0.7)
    found = scan(rows, probes, m, live)
    for i, probe in enumerate(probes):
        alone = scan(rows, probe[np.newaxis], m, live)
        assert set(found.positions[i].tolist()) == set(alone.positions[0].tolist())
        assert floors_of(found)[i] == pytest.approx(floors_of(alone)[0], abs=1e-6)


@pytest.mark.parametrize("form", [np.float32, np.float16])
def test_the_best_of_a_choice_are_kept_for_each_probe(form: Any) -> None:
    random = np.random.default_rng(3)
    rows, probes = unit_rows(400, 16, seed=1).astype(form), unit_rows(30, 16, seed=2)
    proposed = np.array([random.choice(400, 40, replace=False) for _ in probes])
    proposed[4, 3:] = -1  # three positions alone
    found = choose_best(HeldRows(rows), proposed, probes, 5)
    for probe, some, kept in zip(probes, proposed, found, strict=True):
        assert best(rows, some[some >= 0], probe, 5) <= set(kept.tolist())
        assert set(kept.tolist()) - {-1} <= set(some.tolist())
    assert found.shape == (30, 5 + SPARE)


def test_all_of_a_choice_are_kept_where_rounding_could_decide() -> None:
    rows = np.tile(unit_rows(1, 16), (50, 1))
    proposed = np.array([np.arange(50), np.r_[7, np.full(49, -1)]])
    found = choose_best(HeldRows(rows), proposed, unit_rows(2, 16), 5)
    assert found[0].tolist() == list(range(50))
    assert found[1].tolist() == [7] + 49 * [-1]
