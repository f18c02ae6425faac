"""Items of jobs: recorded with their chunk, and read in the order of the source."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from index.errors import LeaseLost
from index.truth.jobs.chunks import ChunkResult, finish_chunk
from index.truth.jobs.items import JobItem, Outcome, count_reasons, list_items
from index.truth.jobs.job import Job
from tests.index.truth.queued_jobs import claimed, expire_leases, listed

B = JobItem(1, "b", Outcome.SKIPPED, "duplicate", entry_id=7)
C = JobItem(2, "c", Outcome.FAILED, "truncated", "cut")
D = JobItem(4, "d", Outcome.SKIPPED, "duplicate")


@pytest.fixture
def job(conn: Connection) -> Job:
    """A job of two chunks, of which the second was finished first."""
    job = listed(conn, 2, 3)
    first, second = claimed(conn, job), claimed(conn, job)
    finish_chunk(conn, second, ChunkResult(items=[C, D]))
    finish_chunk(conn, first, ChunkResult(items=[B]))
    return job


def test_items_come_back_in_the_order_of_the_source(conn: Connection, job: Job) -> None:
    assert list_items(conn, job.id) == (B, C, D)
    assert list_items(conn, job.id + 1) == ()


def test_items_are_selected_by_outcome_and_read_in_pages(conn: Connection, job: Job) -> None:
    assert list_items(conn, job.id, Outcome.SKIPPED) == (B, D)
    assert list_items(conn, job.id, Outcome.SKIPPED, after=1) == (D,)
    assert list_items(conn, job.id, after=1, limit=1) == (C,)
    assert list_items(conn, job.id, after=4) == ()


def test_reasons_are_counted_by_outcome(conn: Connection, job: Job) -> None:
    assert count_reasons(conn, job.id) == {
        Outcome.FAILED: {"truncated": 1},
        Outcome.SKIPPED: {"duplicate": 2},
    }
    assert count_reasons(conn, job.id + 1) == {}


def test_no_item_of_a_chunk_that_was_taken_over_is_recorded(conn: Connection) -> None:
    job = listed(conn, 3)
    slow = claimed(conn, job, "slow")
    expire_leases(conn, job)
    claimed(conn, job, "quick")
    with pytest.raises(LeaseLost), conn.begin_nested():
        finish_chunk(conn, slow, ChunkResult(items=[B]))
    assert list_items(conn, job.id) == ()


@pytest.mark.parametrize(
    ("given", "stored"),
    [("a\x00b", r"a\x00b"), ("a\udcffb", r"a\udcffb"), ("Hühnchen", "Hühnchen")],
)
def test_a_name_with_characters_that_databases_refuse_is_escaped(
    conn: Connection, given: str, stored: str
) -> None:
    job = listed(conn, 1)
    item = JobItem(0, given, Outcome.FAILED, "unreadable", given)
    finish_chunk(conn, claimed(conn, job), ChunkResult(items=[item]))
    assert [(each.name, each.detail) for each in list_items(conn, job.id)] == [(stored, stored)]
