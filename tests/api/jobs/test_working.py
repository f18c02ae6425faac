"""One worker's run of a job: every item ends once, a chunk is written whole or not at all."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from api.jobs.leases import Leases
from api.jobs.task import ItemResult
from api.jobs.working import JobRun, require_wanted
from api.sources.item import UnusableSource
from embedder.pictures.delivery import Condition
from index.errors import StorageFull
from index.truth.databases.database import Database
from index.truth.jobs.chunks import ChunkResult, claim_chunk, lease_holders, release_chunks
from index.truth.jobs.items import list_items
from index.truth.jobs.job import Job, JobCounts, JobKind, JobState, pause_job, resume_job
from index.truth.schema import job_chunks
from tests.api.modelless import ImageEmbedder, TinyTask, corpus_names, queue_job, read_job


def run(
    database: Database,
    task: TinyTask,
    job: Job,
    on_progress: Callable[[Job, ChunkResult], None] = lambda *_: None,
    stop: threading.Event | None = None,
) -> Job:
    with Leases.held(database) as leases:
        return JobRun(
            database, ImageEmbedder(), task, leases, on_progress, stop or threading.Event()
        ).run(job.id)


def count_chunks(database: Database) -> int:
    with database.read() as conn:
        return conn.execute(select(func.count()).select_from(job_chunks)).scalar_one()


def lose_leases(database: Database, job: Job) -> None:
    """Let another worker take over what this process holds."""
    with database.write() as conn:
        for holder in {row.worker for row in conn.execute(select(job_chunks.c.worker))} - {None}:
            release_chunks(conn, holder)
        while claim_chunk(conn, job.id, "elsewhere:1:ab", 60.0) is not None:
            pass


def test_a_lost_lease_writes_nothing_and_reports_no_progress(database: Database) -> None:
    job, stop, reports = queue_job(database), threading.Event(), list[JobCounts]()

    def lose() -> None:  # while the chunk is read, so outside of every transaction
        lose_leases(database, job)
        stop.set()

    task = TinyTask(["a", "b"], on_read=lose)
    run(database, task, job, lambda _job, result: reports.append(result.counts), stop)

    assert corpus_names(database) == []
    assert read_job(database, job.id).counts == JobCounts(found=2)
    assert sum(reports, JobCounts()) == JobCounts()
    assert task.cleaned == 0
    assert count_chunks(database) == 1


def test_a_lease_lost_after_the_items_are_embedded_rolls_the_chunk_back(
    new_sqlite_url: Callable[[], str],
) -> None:
    """The lease is lost in the very transaction that writes: its rows must not be committed."""
    with Database.open(new_sqlite_url()) as database:
        job, stop = queue_job(database), threading.Event()

        class LosesAtWrite(TinyTask):
            def write(self, conn: Connection, results: Sequence[ItemResult[str]]) -> ChunkResult:
                ended = super().write(conn, results)
                release_chunks(conn, leases.worker)
                stop.set()
                return ended

        task = LosesAtWrite(["a", "b"])
        with Leases.held(database) as leases:
            JobRun(database, ImageEmbedder(), task, leases, lambda *_: None, stop).run(job.id)

        assert task.written == [[0, 1]]
        assert corpus_names(database) == []
        assert read_job(database, job.id).counts.done == 0
        assert count_chunks(database) == 1


def test_an_error_while_writing_is_raised_and_nothing_is_committed(database: Database) -> None:
    def fail() -> None:
        raise StorageFull("the disk", "No space left on device")

    job = queue_job(database)

    with pytest.raises(StorageFull, match="the disk"):
        run(database, TinyTask(["a", "b", "c"], before_write=fail), job)

    assert corpus_names(database) == []
    assert read_job(database, job.id).counts.done == 0
    assert count_chunks(database) == 2


def test_a_listing_that_fails_is_begun_anew_by_the_next_run(database: Database) -> None:
    job = queue_job(database)
    failing = TinyTask(["a", "b", "c"], fail_spans=UnusableSource("here", "it broke off"))
    with pytest.raises(UnusableSource):
        run(database, failing, job)
    assert not read_job(database, job.id).listed

    done = run(database, TinyTask(["a", "b", "c"]), job)

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=3, added=3))


def test_items_that_the_source_no_longer_holds_fail_with_that_reason(database: Database) -> None:
    job = queue_job(database)

    done = run(database, TinyTask(["a", "b", "c", "d"], chunk_items=4, offered=1), job)

    assert done.counts == JobCounts(found=4, added=1, failed=3)
    with database.read() as conn:
        items = list_items(conn, job.id)
    assert [(item.position, item.name, item.reason) for item in items] == [
        (1, "item 2", "source_changed"),
        (2, "item 3", "source_changed"),
        (3, "item 4", "source_changed"),
    ]


def test_items_that_came_to_the_source_since_it_was_listed_are_ignored(database: Database) -> None:
    job = queue_job(database)

    done = run(database, TinyTask(["a", "b", "c"], chunk_items=1, offered=3), job)

    assert done.counts == JobCounts(found=3, added=3)
    assert corpus_names(database) == ["a", "b", "c"]


def on_read_number(number: int, act: Callable[[], None]) -> Callable[[], None]:
    """Acts when a task begins to read its n-th chunk."""
    reads = itertools.count(1)
    return lambda: act() if next(reads) == number else None


def test_a_run_that_is_stopped_commits_whole_chunks_and_gives_back_the_rest(
    database: Database,
) -> None:
    job, stop = queue_job(database), threading.Event()
    task = TinyTask([*"abcdefgh"], chunk_items=2, on_read=on_read_number(3, stop.set))

    stopped = run(database, task, job, stop=stop)
    # Three items wait in the embedder when the third chunk is read, so one chunk is complete.
    assert (stopped.state, stopped.counts) == (JobState.RUNNING, JobCounts(found=8, added=2))
    assert corpus_names(database) == ["a", "b"]
    with database.read() as conn:
        assert lease_holders(conn) == ()

    done = run(database, TinyTask([*"abcdefgh"], chunk_items=2), job)

    assert done.counts == JobCounts(found=8, added=8)
    assert corpus_names(database) == [*"abcdefgh"]


def test_a_paused_job_ends_the_run_and_claims_nothing_more(database: Database) -> None:
    job = queue_job(database)

    def pause() -> None:
        with database.write() as conn:
            pause_job(conn, job.id)

    task = TinyTask([*"abcdefgh"], chunk_items=2, on_read=on_read_number(2, pause))
    paused = run(database, task, job)

    assert (paused.state, paused.counts) == (JobState.PAUSED, JobCounts(found=8, added=4))


@pytest.mark.parametrize("is_paused", [True, False])
def test_what_follows_the_last_item_ends_early_and_is_done_when_the_job_goes_on(
    database: Database, is_paused: bool
) -> None:
    job = queue_job(database, JobKind.CALIBRATE)
    for _ in range(4):  # more often than what ends a process is tried
        stop = threading.Event()

        def rest(stop: threading.Event = stop) -> None:
            require_wanted(database, job.id, stop)
            if is_paused:
                with database.write() as conn:
                    pause_job(conn, job.id)
            else:
                stop.set()
            require_wanted(database, job.id, stop)

        task = TinyTask(["a"], on_complete=rest)
        rested = run(database, task, job, stop=stop)
        assert rested.state is (JobState.PAUSED if is_paused else JobState.RUNNING)
        assert task.completed == 0
        with database.write() as conn:
            assert lease_holders(conn) == ()
            if is_paused:
                resume_job(conn, job.id)

    assert run(database, TinyTask(["a"]), job).state is JobState.COMPLETED


def test_an_image_is_embedded_as_it_looks_after_its_delivery(database: Database) -> None:
    job = queue_job(database)
    task = TinyTask(["plain", "half"], deliveries={"half": Condition.HALF})

    run(database, task, job)

    assert task.sizes == {"plain": (64, 64), "half": (32, 32)}


def test_a_job_without_items_is_completed(database: Database) -> None:
    done = run(database, TinyTask([]), queue_job(database))

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts())


def test_progress_adds_up_to_the_counts_and_each_chunk_is_cleaned_up_after_its_commit(
    database: Database,
) -> None:
    job, seen = queue_job(database), list[JobCounts]()
    committed: list[int] = []

    class Watched(TinyTask):
        def clean_up(self) -> None:
            super().clean_up()
            committed.append(read_job(database, job.id).counts.done)

    task = Watched(["a", "bad", "there", "gone", "b"], chunk_items=2)
    done = run(database, task, job, lambda _job, result: seen.append(result.counts))

    assert done.counts == JobCounts(found=5, added=2, skipped=1, failed=2)
    assert sum(seen, JobCounts(found=5)) == done.counts
    assert sorted(task.written) == [[0, 1], [2, 3], [4]]
    assert task.cleaned == 3
    assert sorted(committed)[-1] == 5
    with database.read() as conn:
        items = list_items(conn, job.id)
    assert [(item.name, item.reason) for item in items] == [
        ("bad", "not_an_image"),
        ("gone", "unreadable"),
    ]


KINDS = st.lists(st.sampled_from(["a", "bad", "there", "gone"]), max_size=12)


@given(kinds=KINDS, chunk_items=st.integers(1, 5), ahead=st.integers(0, 7))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_item_ends_exactly_once(
    new_sqlite_url: Callable[[], str], kinds: list[str], chunk_items: int, ahead: int
) -> None:
    names = [f"{kind}-{number}" for number, kind in enumerate(kinds)]
    expected = Counter(kinds)
    with Database.open(new_sqlite_url()) as database:
        job = queue_job(database)
        task = TinyTask(names, chunk_items)
        with Leases.held(database) as leases:
            done = JobRun(
                database, ImageEmbedder(ahead), task, leases, lambda *_: None, threading.Event()
            ).run(job.id)

        assert done.state is JobState.COMPLETED
        assert done.counts == JobCounts(
            found=len(names),
            added=expected["a"],
            skipped=expected["there"],
            failed=expected["bad"] + expected["gone"],
        )
        assert sorted(position for chunk in task.written for position in chunk) == [
            *range(len(names))
        ]
        assert corpus_names(database) == sorted(name for name in names if name.startswith("a-"))
