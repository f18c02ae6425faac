"""The file of vectors: appended to, never rewritten, and never read past a damaged block."""

import hashlib
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.cache.vectors.rows import BLOCK_ROWS, FEW_ROWS, HeldRows, block_count, write_rows
from index.errors import SnapshotCorrupt

DIMENSION = 3


def rows_of(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def chunks(rows: Any, size: int) -> Any:
    return (rows[start : start + size] for start in range(0, len(rows), size))


@given(lengths=st.lists(st.integers(0, 200), min_size=1, max_size=5), size=st.integers(1, 150))
def test_appending_gives_the_same_file_and_digests_as_writing_at_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], size: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = rows_of(sum(lengths))
    mapped, start = None, 0
    for length in lengths:
        mapped = write_rows(
            folder / "grown", mapped, chunks(rows[start : start + length], size), DIMENSION
        )
        start += length
    at_once = write_rows(folder / "once", None, [rows], DIMENSION)
    assert np.array_equal(mapped.chunk(0, len(rows)), rows)
    assert np.array_equal(mapped.digests, at_once.digests)
    assert len(mapped.digests) == block_count(len(rows))
    for block, digest in enumerate(mapped.digests):
        content = rows[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS].tobytes()
        assert digest.tobytes() == hashlib.sha256(content).digest()


def test_what_an_interrupted_append_left_is_cut_off_by_the_next(tmp_path: Path) -> None:
    rows = rows_of(100)
    mapped = write_rows(tmp_path / "v", None, [rows[:70]], DIMENSION)
    with (tmp_path / "v").open("ab") as file:
        file.write(b"half a row")
    grown = write_rows(tmp_path / "v", mapped, [rows[70:]], DIMENSION)
    assert np.array_equal(grown.chunk(0, 100), rows)
    assert np.array_equal(mapped.chunk(0, 70), rows[:70])
    assert (tmp_path / "v").stat().st_size == 100 * DIMENSION * 4


def test_a_new_file_never_overwrites_another(tmp_path: Path) -> None:
    write_rows(tmp_path / "v", None, [rows_of(2)], DIMENSION)
    with pytest.raises(FileExistsError):
        write_rows(tmp_path / "v", None, [rows_of(2)], DIMENSION)


def test_only_a_block_that_is_read_is_checked_and_then_refused(tmp_path: Path) -> None:
    rows = rows_of(3 * BLOCK_ROWS)
    mapped = write_rows(tmp_path / "v", None, [rows], DIMENSION)
    with (tmp_path / "v").open("r+b") as file:
        file.seek(BLOCK_ROWS * DIMENSION * 4 + 5)
        file.write(b"\xff")
    assert np.array_equal(mapped.take(np.array([0, 2 * BLOCK_ROWS])), rows[[0, 2 * BLOCK_ROWS]])
    with pytest.raises(SnapshotCorrupt, match=f"rows from {BLOCK_ROWS} on"):
        mapped.take(np.array([0, BLOCK_ROWS + 1]))
    with pytest.raises(SnapshotCorrupt):
        mapped.chunk(0, 3 * BLOCK_ROWS)


def test_no_row_is_compared_before_its_block_was_checked(tmp_path: Path) -> None:
    rows = rows_of(3 * BLOCK_ROWS)
    mapped = write_rows(tmp_path / "v", None, [rows], DIMENSION)
    damage(tmp_path / "v", row=BLOCK_ROWS)
    sound = np.array([[0, 2 * BLOCK_ROWS, 5, -1], [9, 1, -1, -1]])
    found, similarities = mapped.find_best_at(sound, rows[:2], 3)
    assert sorted(found[0].tolist()) == [0, 5, 2 * BLOCK_ROWS]
    assert set(found[1].tolist()) == {9, 1, -1}
    assert similarities[0] == pytest.approx(rows[found[0]] @ rows[0], abs=1e-5)
    with pytest.raises(SnapshotCorrupt):
        mapped.find_best_at(np.array([[0, BLOCK_ROWS + 1]]), rows[:1], 1)


def test_a_block_damaged_after_it_was_read_is_found_by_verifying(tmp_path: Path) -> None:
    mapped = write_rows(tmp_path / "v", None, [rows_of(10)], DIMENSION)
    mapped.take(np.array([3]))
    with (tmp_path / "v").open("r+b") as file:
        file.write(b"\xff")
    with pytest.raises(SnapshotCorrupt):
        mapped.verify()
    with pytest.raises(SnapshotCorrupt):
        mapped.take(np.array([3]))


def test_what_was_compared_of_a_file_is_not_compared_again_after_an_append(tmp_path: Path) -> None:
    rows = rows_of(3 * BLOCK_ROWS)
    first = write_rows(tmp_path / "v", None, [rows[: BLOCK_ROWS + 5]], DIMENSION)
    first.verify()
    grown = write_rows(tmp_path / "v", first, [rows[BLOCK_ROWS + 5 :]], DIMENSION)
    grown.trust(first)
    damage(tmp_path / "v", row=1)
    grown.take(np.array([1]))  # known to have been right, as it was to `first`
    damage(tmp_path / "v", row=BLOCK_ROWS + 1)  # in the block that was begun then
    with pytest.raises(SnapshotCorrupt):
        grown.take(np.array([BLOCK_ROWS + 1]))


def test_nothing_is_trusted_of_another_file(tmp_path: Path) -> None:
    rows = rows_of(BLOCK_ROWS)
    first, other = (write_rows(tmp_path / name, None, [rows], DIMENSION) for name in "vw")
    first.verify()
    other.trust(first)
    damage(tmp_path / "w", row=0)
    with pytest.raises(SnapshotCorrupt):
        other.take(np.array([0]))


def damage(path: Path, row: int) -> None:
    with path.open("r+b") as file:
        file.seek(row * DIMENSION * 4)
        file.write(b"\x7f\x7f\x7f\x7f")


def test_reading_rows_of_float16_leaves_the_threads_of_a_search_as_they_were() -> None:
    before = faiss.omp_get_max_threads()
    held = HeldRows(rows_of(FEW_ROWS).astype(np.float16))
    try:
        faiss.omp_set_num_threads(3)
        wide = held.chunk(0, FEW_ROWS)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
    assert np.array_equal(wide, rows_of(FEW_ROWS).astype(np.float16).astype(np.float32))
