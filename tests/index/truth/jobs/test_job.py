"""Jobs as rows: their states, their counts, and how they are found, on both databases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from index.errors import JobStateConflict, UnknownJob
from index.truth.jobs.job import (
    JobCounts,
    JobState,
    cancel_job,
    fail_job,
    find_last_job,
    find_unfinished_job,
    get_job,
    list_jobs,
    pause_job,
    resume_job,
)
from tests.index.truth.queued_jobs import OTHER, REQUEST, SPACE, listed, queued

COUNTS = st.builds(JobCounts, *[st.integers(0, 2**40)] * 8)


@given(COUNTS, COUNTS)
def test_what_was_counted_since_is_the_difference(earlier: JobCounts, more: JobCounts) -> None:
    assert (earlier + more) - earlier == more
    assert (earlier + more).done - earlier.done == more.done


def test_an_unknown_job_is_named(conn: Connection) -> None:
    for job_id in (7, 0, -1, 2**64):
        with pytest.raises(UnknownJob, match=str(job_id)):
            get_job(conn, job_id)
    with pytest.raises(UnknownJob):
        pause_job(conn, 7)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (pause_job, JobState.PAUSED),
        (pause_job, JobState.COMPLETED),
        (resume_job, JobState.QUEUED),
        (resume_job, JobState.CANCELLED),
        (cancel_job, JobState.COMPLETED),
        (cancel_job, JobState.CANCELLED),
    ],
)
def test_a_state_that_does_not_follow_is_refused(
    conn: Connection, change: object, state: JobState
) -> None:
    job = listed(conn) if state is JobState.COMPLETED else queued(conn)
    if state is JobState.PAUSED:
        pause_job(conn, job.id)
    elif state is JobState.CANCELLED:
        cancel_job(conn, job.id)
    assert get_job(conn, job.id).state is state
    assert callable(change)

    with pytest.raises(JobStateConflict, match=f"is {state}"):
        change(conn, job.id)


def test_a_failed_job_says_why_and_can_be_resumed(conn: Connection) -> None:
    job = listed(conn, 1)
    fail_job(conn, job.id, "the disk is gone")
    assert (get_job(conn, job.id).state, get_job(conn, job.id).error) == (
        JobState.FAILED,
        "the disk is gone",
    )

    resumed = resume_job(conn, job.id)

    assert (resumed.state, resumed.error) == (JobState.QUEUED, None)


def test_a_job_is_found_by_its_request_until_it_has_ended(conn: Connection) -> None:
    job = queued(conn)

    assert find_unfinished_job(conn, None, SPACE, {"sources": ["elsewhere"]}) is None
    assert find_unfinished_job(conn, None, OTHER, REQUEST) is None
    found = find_unfinished_job(conn, None, SPACE, REQUEST)
    assert found is not None
    assert found.id == job.id
    cancel_job(conn, job.id)
    assert find_unfinished_job(conn, None, SPACE, REQUEST) is None
    last = find_last_job(conn, None, SPACE, REQUEST)
    assert last is not None
    assert (last.id, last.state) == (job.id, JobState.CANCELLED)
    assert find_last_job(conn, None, OTHER, REQUEST) is None


def test_an_error_with_characters_that_databases_refuse_is_escaped(conn: Connection) -> None:
    job = queued(conn)
    fail_job(conn, job.id, "no \x00 or \ud800")
    assert get_job(conn, job.id).error == r"no \x00 or \ud800"


def test_jobs_are_listed_newest_first_in_pages(conn: Connection) -> None:
    first, second, third = queued(conn), queued(conn, OTHER), queued(conn)
    assert [job.id for job in list_jobs(conn)] == [third.id, second.id, first.id]
    assert [job.id for job in list_jobs(conn, before=third.id, limit=1)] == [second.id]
    assert [job.id for job in list_jobs(conn, before=10**30, limit=1)] == [third.id]
    assert list_jobs(conn, before=first.id) == ()
