"""Chunks of jobs: leased, counted once and never lost, on both databases."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from index.errors import LeaseLost
from index.truth.databases.database import Database
from index.truth.jobs.chunks import (
    LONGEST_LEASE_SECONDS,
    Chunk,
    ChunkResult,
    abandon_chunks,
    add_chunks,
    begin_listing,
    claim_chunk,
    count_tried_again,
    count_workers,
    find_open_job,
    finish_chunk,
    finish_closing,
    finish_listing,
    lease_holders,
    note_item_name,
    read_item_name,
    release_chunks,
    renew_leases,
    return_chunk,
    split_chunk,
)
from index.truth.jobs.job import (
    CLOSING,
    JobCounts,
    JobKind,
    JobState,
    cancel_job,
    get_job,
    pause_job,
    resume_job,
)
from index.truth.schema import job_chunks
from tests.index.truth.queued_jobs import LONG, OTHER, SPACE, claimed, expire_leases, listed, queued


def test_a_chunk_that_another_worker_took_over_cannot_be_finished(conn: Connection) -> None:
    job = listed(conn, 3)
    slow = claimed(conn, job, "slow")
    expire_leases(conn, job)
    quick = claimed(conn, job, "quick")

    with pytest.raises(LeaseLost, match="chunk 1 of job"):
        finish_chunk(conn, slow, ChunkResult(JobCounts(added=3)))
    assert quick.number == slow.number


def move_leases(conn: Connection, seconds: float) -> None:
    """Write every lease as if a clock that was ahead by so many seconds had given it."""
    for number, until in conn.execute(
        select(job_chunks.c.number, job_chunks.c.leased_until).where(
            job_chunks.c.leased_until.is_not(None)
        )
    ).all():
        conn.execute(
            update(job_chunks)
            .where(job_chunks.c.number == number)
            .values(leased_until=until + timedelta(seconds=seconds))
        )


@pytest.mark.parametrize("seconds", [2 * LONGEST_LEASE_SECONDS, 3600, 24 * 3600 * 365])
def test_a_lease_from_before_the_clock_went_back_holds_nothing_up(
    conn: Connection, seconds: float
) -> None:
    job = listed(conn, 3)
    before = claimed(conn, job, "before")
    move_leases(conn, seconds)

    assert count_workers(conn, job.id) == 0
    assert find_open_job(conn, SPACE, frozenset(), abandoned=True) is not None
    after = claimed(conn, job, "after")
    assert after.number == before.number
    with pytest.raises(LeaseLost), conn.begin_nested():
        finish_chunk(conn, before, ChunkResult(JobCounts(added=3)))
    finish_chunk(conn, after, ChunkResult(JobCounts(added=3)))
    assert get_job(conn, job.id).counts.added == 3


def test_a_worker_that_lives_keeps_its_lease_when_the_clock_goes_back(conn: Connection) -> None:
    job = listed(conn, 3)
    chunk = claimed(conn, job, "lives")
    move_leases(conn, 24 * 3600)
    renew_leases(conn, "lives", LONG)  # its next turn, some seconds later

    assert claim_chunk(conn, job.id, "other", LONG) is None
    finish_chunk(conn, chunk, ChunkResult(JobCounts(added=3)))


def test_a_clock_that_goes_back_a_little_takes_no_lease(conn: Connection) -> None:
    job = listed(conn, 3)
    claimed(conn, job, "lives")
    move_leases(conn, LONGEST_LEASE_SECONDS - 2 * LONG)

    assert claim_chunk(conn, job.id, "other", LONG) is None


def test_a_clock_that_jumps_ahead_doubles_nothing(conn: Connection) -> None:
    job = listed(conn, 3)
    slow = claimed(conn, job, "slow")
    move_leases(conn, -24 * 3600)
    quick = claimed(conn, job, "quick")
    finish_chunk(conn, quick, ChunkResult(JobCounts(added=3)))
    with pytest.raises(LeaseLost), conn.begin_nested():
        finish_chunk(conn, slow, ChunkResult(JobCounts(added=3)))
    assert get_job(conn, job.id).counts.added == 3


def test_nothing_of_a_cancelled_job_can_be_finished_or_claimed(conn: Connection) -> None:
    job = listed(conn, 3)
    chunk = claimed(conn, job)
    cancel_job(conn, job.id)

    assert claim_chunk(conn, job.id, "w", LONG) is None
    with pytest.raises(LeaseLost):
        finish_chunk(conn, chunk, ChunkResult(JobCounts(added=3)))


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

    finish_chunk(conn, second, ChunkResult(JobCounts(failed=1)))
    assert get_job(conn, job.id).state is JobState.RUNNING
    finish_chunk(conn, first, ChunkResult(JobCounts(added=1, skipped=1)))

    done = get_job(conn, job.id)
    assert (done.state, done.counts.done, done.counts.found) == (JobState.COMPLETED, 3, 3)


def test_a_calibration_is_completed_by_its_closing_chunk(conn: Connection) -> None:
    job = listed(conn, 2, kind=JobKind.CALIBRATE)
    finish_chunk(conn, claimed(conn, job), ChunkResult(JobCounts(embedded=2)))
    assert get_job(conn, job.id).state is JobState.RUNNING

    closing = claimed(conn, job)
    assert (closing.number, closing.item_count, closing.first_position) == (CLOSING, 0, 2)
    assert claim_chunk(conn, job.id, "other", LONG) is None
    finish_closing(conn, closing)

    done = get_job(conn, job.id)
    assert (done.state, done.counts.done) == (JobState.COMPLETED, 2)


def test_a_calibration_without_items_is_closed_too(conn: Connection) -> None:
    job = listed(conn, kind=JobKind.CALIBRATE)
    assert job.state is JobState.RUNNING
    assert claimed(conn, job).number == CLOSING


def test_a_closing_that_is_interrupted_is_done_by_another_worker(conn: Connection) -> None:
    job = listed(conn, kind=JobKind.CALIBRATE)
    dead = claimed(conn, job, "dead")
    pause_job(conn, job.id)
    resume_job(conn, job.id)
    expire_leases(conn, job)
    assert find_open_job(conn, SPACE, abandoned=True) is not None

    finish_closing(conn, claimed(conn, job, "quick"))

    assert get_job(conn, job.id).state is JobState.COMPLETED
    with pytest.raises(LeaseLost):
        finish_closing(conn, dead)


def test_a_lease_is_renewed_and_given_back(conn: Connection) -> None:
    job = listed(conn, 1)
    claimed(conn, job, "first")
    expire_leases(conn, job)
    renew_leases(conn, "first", LONG)
    assert claim_chunk(conn, job.id, "second", LONG) is None
    assert lease_holders(conn) == ("first",)

    release_chunks(conn, "first")

    assert claimed(conn, job, "second").worker == "second"


def test_a_worker_finds_open_jobs_of_its_own_model(conn: Connection) -> None:
    first, second = queued(conn), queued(conn)
    queued(conn, OTHER)

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
    st.integers(0, 2**32).map(random.Random),
)
def test_however_workers_die_every_item_is_counted_once(
    new_sqlite_url: Callable[[], str], sizes: list[int], steps: list[str], chance: random.Random
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
            what = chance.choice(["claim", "finish", "die"])
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


def test_an_attempt_counts_unless_the_chunk_is_given_back_unharmed(conn: Connection) -> None:
    job = listed(conn, 3)
    assert claimed(conn, job).attempts == 1
    release_chunks(conn, "w")
    first = claimed(conn, job)
    assert (first.attempts, first.error) == (1, None)
    abandon_chunks(conn, "w")  # its process ended
    second = claimed(conn, job)
    assert (second.attempts, second.error) == (2, None)
    return_chunk(conn, second, "ValueError")
    third = claimed(conn, job, "other")
    assert (third.attempts, third.error) == (3, "ValueError")
    return_chunk(conn, second, "KeyError")  # its lease is lost: nothing happens
    assert count_tried_again(conn, job.id) == 3
    release_chunks(conn, "other")
    release_chunks(conn, "other")
    assert claimed(conn, job).attempts == 3


def test_tried_chunks_come_after_all_others_and_their_jobs_after_other_jobs(
    conn: Connection,
) -> None:
    job, later = listed(conn, 1, 1, 1), listed(conn, 1)
    bad = claimed(conn, job)
    return_chunk(conn, bad, "ValueError")
    rest = [claimed(conn, job).number for _ in range(2)]
    assert bad.number not in rest
    assert claim_chunk(conn, job.id, "w", LONG, untried=True) is None
    assert (found := find_open_job(conn, SPACE)) is not None
    assert found.id == later.id
    assert find_open_job(conn, SPACE, frozenset([later.id]), untried=True) is None
    assert (found := find_open_job(conn, SPACE, frozenset([later.id]))) is not None
    assert found.id == job.id
    assert claimed(conn, job).number == bad.number


def test_a_chunk_is_split_into_parts_that_have_all_its_items(conn: Connection) -> None:
    job = listed(conn, 2, 5)
    kept = claimed(conn, job)
    chunk = claimed(conn, job)

    split_chunk(conn, chunk, [(1, "a"), (3, "b"), (1, None)], [2, 1, 2])

    parts = sorted(
        (claimed(conn, job, "other") for _ in range(3)), key=lambda part: part.first_position
    )
    assert [(part.first_position, part.item_count, part.span) for part in parts] == [
        (2, 1, "a"),
        (3, 3, "b"),
        (6, 1, None),
    ]
    assert [part.attempts for part in parts] == [3, 2, 3]
    assert len({part.number for part in (kept, *parts)}) == 4
    with pytest.raises(LeaseLost):
        split_chunk(conn, chunk, [(5, None)], [1])
    for part in (kept, *parts):
        finish_chunk(conn, part, ChunkResult(JobCounts(added=part.item_count)))
    done = get_job(conn, job.id)
    assert (done.state, done.counts.done) == (JobState.COMPLETED, 7)


def test_the_name_of_a_suspect_outlives_its_worker(conn: Connection) -> None:
    job = listed(conn, 1)
    chunk = claimed(conn, job)
    note_item_name(conn, chunk, "bad\x00.png")
    assert read_item_name(conn, chunk) == r"bad\x00.png"
    abandon_chunks(conn, "w")
    assert claimed(conn, job).item_name == r"bad\x00.png"
    assert read_item_name(conn, chunk) == r"bad\x00.png"
