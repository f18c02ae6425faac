"""Failpoints: silent without a hook, called in order with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index import failpoints
from index.durable import write_bytes_durably
from index.failpoints import Failpoint, reach
from index.truth.adding import add_entries
from index.truth.corpora import CorpusKind, create_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry


@pytest.fixture
def points() -> Iterator[list[Failpoint]]:
    """The failpoints that the test reaches, in order."""
    reached: list[Failpoint] = []
    failpoints.install(reached.append)
    yield reached
    failpoints.install(None)


def test_without_a_hook_nothing_happens() -> None:
    for point in Failpoint:
        reach(point)


def test_a_hook_that_is_removed_is_not_called_again(points: list[Failpoint]) -> None:
    reach(Failpoint.FILE_WRITTEN)
    failpoints.install(None)
    reach(Failpoint.FILE_SYNCED)
    assert points == [Failpoint.FILE_WRITTEN]


def test_an_error_of_the_hook_ends_the_step(points: list[Failpoint], tmp_path: Path) -> None:
    def fail(point: Failpoint) -> None:
        if point is Failpoint.FILE_SYNCED:
            raise InterruptedError(point)

    failpoints.install(fail)
    with pytest.raises(InterruptedError):
        write_bytes_durably(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_durable_file_is_written_synced_and_renamed(
    points: list[Failpoint], tmp_path: Path
) -> None:
    write_bytes_durably(tmp_path / "file", b"content")
    assert points == [Failpoint.FILE_WRITTEN, Failpoint.FILE_SYNCED, Failpoint.FILE_RENAMED]


def test_an_addition_writes_rows_before_its_changes_and_commits_last(
    database: Database, material: Any, points: list[Failpoint]
) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
    points.clear()
    with database.write() as conn:
        add_entries(conn, "fakes", material.space, [material.entry("a")])
    assert points == [
        Failpoint.IMAGES_WRITTEN,
        Failpoint.EMBEDDINGS_WRITTEN,
        Failpoint.ENTRIES_WRITTEN,
        Failpoint.NUMBERS_TAKEN,
        Failpoint.CHANGES_WRITTEN,
        Failpoint.BEFORE_COMMIT,
        Failpoint.AFTER_COMMIT,
    ]


@pytest.mark.parametrize("what", ["entry", "corpus"])
def test_a_removal_marks_rows_before_its_changes(
    database: Database, material: Any, points: list[Failpoint], what: str
) -> None:
    (entry_id,) = material.fill(database, "fakes", "a")
    points.clear()
    with database.write() as conn:
        if what == "entry":
            remove_entry(conn, entry_id)
        else:
            remove_corpus(conn, "fakes")
    assert points == [
        Failpoint.ENTRY_MARKED if what == "entry" else Failpoint.CORPUS_MARKED,
        Failpoint.NUMBERS_TAKEN,
        Failpoint.CHANGES_WRITTEN,
        Failpoint.BEFORE_COMMIT,
        Failpoint.AFTER_COMMIT,
    ]


def test_a_rollback_does_not_reach_the_commit(database: Database, points: list[Failpoint]) -> None:
    with pytest.raises(InterruptedError), database.write():
        raise InterruptedError
    assert points == []
