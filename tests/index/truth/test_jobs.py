"""Jobs as rows: chunks are leased, counted once and never lost, on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from index.errors import JobStateConflict, LeaseLost, UnknownJob
from index.truth.database import Database
from index.truth.jobs import (
    Chunk,
    ChunkResult,
    Job,
    JobCounts,
    JobItem,
    JobKind,
    JobState,
    Outcome,
    add_chunks,
    begin_listing,
    cancel_job,
    claim_chunk,
    count_reasons,
    count_workers,
    create_job,
    fail_job,
    find_last_job,
    find_open_job,
    find_unfinished_job,
    finish_chunk,
    finish_listing,
    get_job,
    lease_holders,
    list_items,
    list_jobs,
    pause_job,
    release_chunks,
    renew_leases,
    resume_job,
)
from index.truth.schema import job_chunks
from index.truth.spaces import Space

SPACE = Space("1" * 64, "tests", "2" * 64, "3" * 64, 8)
OTHER = Space("4" * 64, "others", "5" * 64, "6" * 64, 8)
REQUEST = {"sources": ["somewhere"]}
LONG = 60.0


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.write() as connection:
        yield connection


def queued(conn: Connection, space: Space = SPACE) -> Job:
    return create_job(conn, JobKind.INGEST, None, space, REQUEST)


def listed(conn: Connection, *counts: int) -> Job:
    """A job whose source is listed into chunks of so many items."""
    job = queued(conn)
    listing = claimed(conn, job)
    begin_listing(conn, listing)
    add_chunks(
        conn, listing, None, [(count, {"at": number}) for number, count in enumerate(counts)]
    )
    finish_listing(conn, listing)
    return get_job(conn, job.id)


def claimed(conn: Connection, job: Job, worker: str = "w") -> Chunk:
    chunk = claim_chunk(conn, job.id, worker, LONG)
    assert chunk is not None
    return chunk


def expire_leases(conn: Connection, job: Job) -> None:
    conn.execute(
        update(job_chunks).where(job_chunks.c.job_id == job.id).values(leased_until=job.created_at)
    )


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


def test_a_chunk_that_another_worker_took_over_cannot_be_finished(conn: Connection) -> None:
    job = listed(conn, 3)
    slow = claimed(conn, job, "slow")
    expire_leases(conn, job)
    quick = claimed(conn, job, "quick")

    with pytest.raises(LeaseLost, match="chunk 1 of job"):
        finish_chunk(conn, slow, ChunkResult(JobCounts(added=3)))
    assert quick.number == slow.number


def test_nothing_of_a_cancelled_job_can_be_finished_or_claimed(conn: Connection) -> None:
    job = listed(conn, 3)
    chunk = claimed(conn, job)
    cancel_job(conn, job.id)

    assert claim_chunk(conn, job.id, "w", LONG) is None
    with pytest.raises(LeaseLost):
        finish_chunk(conn, chunk, ChunkResult(JobCounts(added=3)))


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


def test_a_listing_that_was_taken_over_adds_nothing(conn: Connection) -> None:
    job = queued(conn)
    slow = claimed(conn, job, "slow")
    expire_leases(conn, job)
    claimed(conn, job, "quick")

    for step in (
        lambda: begin_listing(conn, slow),
        lambda: add_chunks(conn, slow, None, [(1, None)]),
        lambda: finish_listing(conn, slow),
    ):
        with pytest.raises(LeaseLost):
            step()


def test_no_chunk_is_free_before_the_listing_has_ended(conn: Connection) -> None:
    job = queued(conn)
    listing = claimed(conn, job)
    begin_listing(conn, listing)
    add_chunks(conn, listing, None, [(2, None)])

    assert claim_chunk(conn, job.id, "other", LONG) is None
    assert find_open_job(conn, SPACE) is None
    finish_listing(conn, listing)
    assert claimed(conn, job, "other").number == 1


def test_a_listing_begun_again_forgets_what_was_listed(conn: Connection) -> None:
    job = queued(conn)
    listing = claimed(conn, job, "dead")
    begin_listing(conn, listing)
    last = add_chunks(conn, listing, None, [(2, "a"), (2, "b")])
    add_chunks(conn, listing, last, [(1, "c")])
    assert get_job(conn, job.id).counts.found == 5
    expire_leases(conn, job)

    again = claimed(conn, job, "quick")
    begin_listing(conn, again)
    add_chunks(conn, again, None, [(3, "d")])
    finish_listing(conn, again)

    chunk = claimed(conn, job)
    assert (chunk.number, chunk.first_position, chunk.item_count, chunk.span) == (1, 0, 3, "d")
    assert get_job(conn, job.id).counts.found == 3
    assert claim_chunk(conn, job.id, "w", LONG) is None


def test_a_failed_job_says_why_and_can_be_resumed(conn: Connection) -> None:
    job = listed(conn, 1)
    fail_job(conn, job.id, "the disk is gone")
    assert (get_job(conn, job.id).state, get_job(conn, job.id).error) == (
        JobState.FAILED,
        "the disk is gone",
    )

    resumed = resume_job(conn, job.id)

    assert (resumed.state, resumed.error) == (JobState.QUEUED, None)


def test_a_job_without_items_is_completed_by_its_listing(conn: Connection) -> None:
    job = listed(conn)

    assert (job.state, job.counts.found) == (JobState.COMPLETED, 0)
    assert job.finished_at is not None


def test_a_paused_job_gives_no_chunk_and_takes_what_was_in_flight(conn: Connection) -> None:
    job = listed(conn, 1, 1)
    chunk = claimed(conn, job)
    pause_job(conn, job.id)

    assert claim_chunk(conn, job.id, "w", LONG) is None
    finish_chunk(conn, chunk, ChunkResult(JobCounts(added=1)))

    assert get_job(conn, job.id).state is JobState.PAUSED
    assert get_job(conn, job.id).counts.added == 1


def test_the_last_chunk_completes_the_job(conn: Connection) -> None:
    job = listed(conn, 2, 1)
    first, second = claimed(conn, job), claimed(conn, job, "other")
    assert (first.first_position, second.first_position) == (0, 2)
    assert count_workers(conn, job.id) == 2

    finish_chunk(
        conn,
        second,
        ChunkResult(JobCounts(failed=1), [JobItem(2, "c", Outcome.FAILED, "truncated", "cut")]),
    )
    assert get_job(conn, job.id).state is JobState.RUNNING
    finish_chunk(
        conn,
        first,
        ChunkResult(JobCounts(added=1, skipped=1), [JobItem(1, "b", Outcome.SKIPPED, "duplicate")]),
    )

    done = get_job(conn, job.id)
    assert (done.state, done.counts.done, done.counts.found) == (JobState.COMPLETED, 3, 3)
    assert [item.name for item in list_items(conn, job.id)] == ["b", "c"]
    assert [item.name for item in list_items(conn, job.id, Outcome.FAILED)] == ["c"]
    assert list_items(conn, job.id, after=1, limit=1)[0].detail == "cut"
    assert count_reasons(conn, job.id) == {
        Outcome.FAILED: {"truncated": 1},
        Outcome.SKIPPED: {"duplicate": 1},
    }


def test_a_lease_is_renewed_and_given_back(conn: Connection) -> None:
    job = listed(conn, 1)
    claimed(conn, job, "first")
    expire_leases(conn, job)
    renew_leases(conn, "first", LONG)
    assert claim_chunk(conn, job.id, "second", LONG) is None
    assert lease_holders(conn) == ("first",)

    release_chunks(conn, "first")

    assert claimed(conn, job, "second").worker == "second"


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


def test_a_worker_finds_open_jobs_of_its_own_model(conn: Connection) -> None:
    first, second = queued(conn), queued(conn)
    queued(conn, OTHER)
    assert [job.id for job in list_jobs(conn, before=second.id + 1)] == [second.id, first.id]

    assert (found := find_open_job(conn, SPACE)) is not None
    assert found.id == first.id
    assert (found := find_open_job(conn, SPACE, frozenset([first.id]))) is not None
    assert found.id == second.id


def test_a_job_is_abandoned_when_no_lease_of_it_is_left(conn: Connection) -> None:
    job = listed(conn, 1, 1)
    claimed(conn, job)
    assert find_open_job(conn, SPACE) is not None
    assert find_open_job(conn, SPACE, abandoned=True) is None

    expire_leases(conn, job)

    assert find_open_job(conn, SPACE, abandoned=True) is not None


@settings(settings.get_profile("index"), max_examples=20, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_however_workers_die_every_item_is_counted_once(
    new_sqlite_url: Callable[[], str], sizes: list[int], steps: list[str], chance: object
) -> None:
    """Workers claim, finish, die and come back in any order; at the end every item has been counted
    exactly once.
    """
    held: dict[str, Chunk] = {}
    with Database.open(new_sqlite_url()) as database, database.write() as conn:
        job = listed(conn, *sizes)
        for worker in itertools.chain(steps, itertools.cycle("abc")):
            if get_job(conn, job.id).state is JobState.COMPLETED:
                break
            what = chance.choice(["claim", "finish", "die"])  # type: ignore[attr-defined]
            if what == "die":
                expire_leases(conn, job)
            elif what == "finish" and worker in held:
                chunk = held.pop(worker)
                with suppress(LeaseLost), conn.begin_nested():
                    finish_chunk(conn, chunk, ChunkResult(JobCounts(added=chunk.item_count)))
            elif what == "claim" and (chunk_or_none := claim_chunk(conn, job.id, worker, LONG)):
                held[worker] = chunk_or_none
        counts = get_job(conn, job.id).counts
        assert counts.added == counts.found == sum(sizes)
