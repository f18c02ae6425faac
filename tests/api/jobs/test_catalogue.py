"""Jobs listed, described and steered."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.jobs.catalogue import (
    PAGE,
    SHOWN_FAILURES,
    describe_job,
    glance_at_job,
    iterate_items,
    list_first_failures,
    page_items,
    page_jobs,
    pause,
    resume,
    write_csv,
)
from index.errors import JobStateConflict, UnknownJob
from index.truth.databases.database import Database
from index.truth.jobs.chunks import (
    ChunkResult,
    add_chunks,
    begin_listing,
    claim_chunk,
    finish_chunk,
    finish_listing,
)
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import Job, JobCounts, JobState, fail_job
from tests.api.modelless import queue_job


def worked(database: Database, items: list[JobItem], added: int = 0, *, finish: bool = True) -> Job:
    """A job of one chunk, in which these items and some successes ended."""
    job, count = queue_job(database), len(items) + added
    with database.write() as conn:
        listing = claim_chunk(conn, job.id, "w", 60.0)
        assert listing is not None
        begin_listing(conn, listing)
        add_chunks(conn, listing, None, [(count, None)])
        finish_listing(conn, listing)
        chunk = claim_chunk(conn, job.id, "w", 60.0)
        assert chunk is not None
        if finish:
            failed = sum(item.outcome is Outcome.FAILED for item in items)
            counts = JobCounts(added=added, failed=failed, skipped=len(items) - failed)
            finish_chunk(conn, chunk, ChunkResult(counts, items))
    return job


def failures(count: int) -> list[JobItem]:
    return [JobItem(n, f"{n}.png", Outcome.FAILED, "truncated", "cut") for n in range(count)]


def test_an_unknown_job_and_a_foreign_cursor_are_refused(database: Database) -> None:
    for ask in (describe_job, glance_at_job, pause, resume, list_first_failures):
        with pytest.raises(UnknownJob):
            ask(database, 7)
    with pytest.raises(UnknownJob):
        list(iterate_items(database, 7, None))
    for cursor in ("!", "eA", "LTE"):  # no base64, "x", "-1"
        with pytest.raises(InvalidRequest):
            page_jobs(database, cursor, 10)
        with pytest.raises(InvalidRequest):
            page_items(database, queue_job(database).id, None, cursor, 10)


def test_a_job_is_described_with_reasons_workers_and_why_it_failed(database: Database) -> None:
    items = [*failures(2), JobItem(2, "c", Outcome.SKIPPED, "duplicate", "", 9)]
    done = describe_job(database, worked(database, items, added=3).id)
    assert (done.state, done.found, done.done, done.added) == (JobState.COMPLETED, 6, 6, 3)
    assert (done.failed, done.skipped, done.workers, done.error) == (2, 1, 0, None)
    assert done.reasons == {Outcome.FAILED: {"truncated": 2}, Outcome.SKIPPED: {"duplicate": 1}}

    stuck = worked(database, [], added=1, finish=False)
    assert describe_job(database, stuck.id).workers == 1
    with database.write() as conn:
        fail_job(conn, stuck.id, "the folder is gone")
    (listed, _) = page_jobs(database, None, 10).jobs
    assert (listed.id, listed.state, listed.error) == (stuck.id, "failed", "the folder is gone")


def test_a_glance_counts_nothing_before_the_job_stops(database: Database) -> None:
    job = worked(database, failures(1), finish=False)
    assert glance_at_job(database, job.id).reasons is None

    done = worked(database, failures(1))
    assert glance_at_job(database, done.id) == describe_job(database, done.id)
    assert glance_at_job(database, done.id).reasons == {Outcome.FAILED: {"truncated": 1}}


@given(count=st.integers(0, 7), limit=st.integers(1, 8))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_of_jobs_give_each_job_once_the_newest_first(
    new_sqlite_url: Callable[[], str], count: int, limit: int
) -> None:
    with Database.open(new_sqlite_url()) as database:
        ids = [queue_job(database).id for _ in range(count)]
        seen, cursor = [], None
        while True:
            page = page_jobs(database, cursor, limit)
            assert len(page.jobs) <= limit
            seen += [job.id for job in page.jobs]
            cursor = page.next_cursor
            if cursor is None:
                break

    assert seen == ids[::-1]


def test_items_are_paged_and_filtered_in_the_order_of_the_source(database: Database) -> None:
    skipped = [JobItem(n, f"{n}", Outcome.SKIPPED, "duplicate", "", n) for n in range(3, 6)]
    job = worked(database, [*failures(3), *skipped])

    first = page_items(database, job.id, None, None, 4)
    rest = page_items(database, job.id, None, first.next_cursor, 4)
    only = page_items(database, job.id, Outcome.SKIPPED, None, 3)

    assert [item.position for item in first.items] == [0, 1, 2, 3]
    assert [item.position for item in rest.items] == [4, 5]
    assert rest.next_cursor is None
    assert [item.entry_id for item in only.items] == [3, 4, 5]
    assert only.next_cursor is None


def test_every_item_is_iterated_beyond_one_page_and_a_person_sees_the_first(
    new_sqlite_url: Callable[[], str],
) -> None:
    with Database.open(new_sqlite_url()) as database:
        job = worked(database, failures(PAGE + 5))

        found = [item.position for item in iterate_items(database, job.id, Outcome.FAILED)]

        assert found == [*range(PAGE + 5)]
        shown = list_first_failures(database, job.id)
        assert [item.position for item in shown] == [*range(SHOWN_FAILURES)]


def test_csv_disarms_what_a_spreadsheet_would_run() -> None:
    names = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "plain", "", 'a"b, c']
    items = [JobItem(n, name, Outcome.FAILED, "truncated", "-cut") for n, name in enumerate(names)]
    file = io.StringIO(newline="")

    write_csv(iter(items), file)

    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["name"] for row in rows] == [
        *(f"'{name}" for name in names[:4]),
        r"'\tx",
        r"'\rx",
        "plain",
        "",
        'a"b, c',
    ]
    assert {row["detail"] for row in rows} == {"'-cut"}
    assert rows[0]["entry_id"] == ""


def test_a_job_is_paused_and_resumed_once(database: Database) -> None:
    job = queue_job(database)

    assert pause(database, job.id).state is JobState.PAUSED
    with pytest.raises(JobStateConflict):
        pause(database, job.id)
    assert resume(database, job.id).state is JobState.QUEUED
    with pytest.raises(JobStateConflict):
        resume(database, job.id)


def test_a_job_that_runs_or_is_over_is_not_resumed(database: Database) -> None:
    done = worked(database, [], added=2)
    for steer in (pause, resume):
        with pytest.raises(JobStateConflict):
            steer(database, done.id)
    assert describe_job(database, done.id).state is JobState.COMPLETED


def test_a_failed_job_is_queued_again_without_its_error(database: Database) -> None:
    job = queue_job(database)
    with database.write() as conn:
        fail_job(conn, job.id, "the folder is gone")
    assert resume(database, job.id).state is JobState.QUEUED
    assert describe_job(database, job.id).error is None


def test_a_paused_job_is_glanced_at_with_its_reasons(database: Database) -> None:
    """No worker changes its counts any more."""
    job = worked(database, failures(2), finish=False)
    assert glance_at_job(database, job.id).reasons is None
    pause(database, job.id)
    assert glance_at_job(database, job.id) == describe_job(database, job.id)


@pytest.mark.parametrize("items", [0, PAGE - 1, PAGE, PAGE + 1])
def test_items_are_iterated_to_the_last_whatever_their_number(
    new_sqlite_url: Callable[[], str], items: int
) -> None:
    with Database.open(new_sqlite_url()) as database:
        job = worked(database, failures(items), added=1)
        found = [item.position for item in iterate_items(database, job.id, None)]
        skipped = list(iterate_items(database, job.id, Outcome.SKIPPED))
    assert found == list(range(items))
    assert skipped == []


def test_a_job_without_items_is_a_header_of_csv_alone() -> None:
    file = io.StringIO()
    write_csv(iter(()), file)
    assert file.getvalue() == "position,name,outcome,reason,detail,entry_id\r\n"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_csv_begins_as_a_formula(first: str) -> None:
    file = io.StringIO()
    write_csv(iter([JobItem(0, f"{first}1+1", Outcome.FAILED, "cut", f"{first}x")]), file)
    file.seek(0)
    (row,) = csv.DictReader(file)
    assert row["name"].startswith("'")
    assert row["detail"].startswith("'")
    assert row["position"] == "0"
