"""An error at any point of a chunk is that of one item; the database's moments are nobody's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.jobs.failures import JobDefect, Patience
from api.jobs.leases import Leases
from api.jobs.task import ItemResult, ToEmbed
from api.jobs.working import JobRun
from embedder.decoding.picture import Picture, PictureOrder
from index.errors import DatabaseUnavailable, InvalidProvenance
from index.truth.corpora import remove_corpus
from index.truth.databases.database import Database
from index.truth.jobs.chunks import (
    Chunk,
    ChunkResult,
    abandon_chunks,
    claim_chunk,
    count_tried_again,
)
from index.truth.jobs.items import list_items
from index.truth.jobs.job import Job, JobCounts, JobState
from tests.api.modelless import ImageEmbedder, TinyTask, corpus_names, queue_job, read_job

POINTS = ("open", "read", "decode", "finish", "store", "write")

NO_ORDER = cast("PictureOrder", None)


@dataclass
class PoisonedTask(TinyTask):
    """Raises at one point of the work whenever the item `poison` is in it."""

    point: str = "read"
    error: Exception | None = None

    def fail(self) -> None:
        raise self.error or ZeroDivisionError("poison")

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[str] | ItemResult[str]]:
        assert isinstance(chunk.span, dict)
        start = chunk.span["start"]
        assert isinstance(start, int)
        if self.point == "open" and "poison" in self.names[start : start + chunk.item_count]:
            self.fail()
        return self._read(chunk)

    def _read(self, chunk: Chunk) -> Iterator[ToEmbed[str] | ItemResult[str]]:
        for step in super().read(chunk):
            if self.point == "read" and isinstance(step, ToEmbed) and step.name == "poison":
                self.fail()
            if self.point == "decode" and isinstance(step, ToEmbed) and step.name == "poison":
                yield replace(step, order=NO_ORDER)  # which no decoder understands
            else:
                yield step

    def finish(
        self, item: ToEmbed[str], picture: Picture, vector: NDArray[np.float32], logit: float
    ) -> ItemResult[str]:
        if self.point == "finish" and item.name == "poison":
            self.fail()
        return super().finish(item, picture, vector, logit)

    def store(self, results: Sequence[ItemResult[str]]) -> None:
        super().store(results)
        if self.point == "store" and self._holds_poison(results):
            self.fail()

    def write(self, conn: Connection, results: Sequence[ItemResult[str]]) -> ChunkResult:
        counted = super().write(conn, results)
        if self.point == "write" and self._holds_poison(results):
            self.fail()
        return counted

    def _holds_poison(self, results: Sequence[ItemResult[str]]) -> bool:
        return list(self.names).index("poison") in {result.position for result in results}


def run(database: Database, task: TinyTask, job: Job) -> Job:
    stop = threading.Event()
    with Leases.held(database) as leases:
        patience = Patience(stop, 0.5, 0.001)
        return JobRun(
            database,
            ImageEmbedder(),
            task,
            leases,
            lambda *_: None,
            stop,
            patience=patience,
        ).run(job.id)


@pytest.mark.parametrize("point", POINTS)
def test_the_item_that_ends_the_work_fails_and_all_others_get_their_results(
    database: Database, point: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = [*"abcdefg", "poison", *"hijk"]
    job = queue_job(database)

    done = run(database, PoisonedTask(names, chunk_items=5, point=point), job)

    assert (done.state, done.counts) == (
        JobState.COMPLETED,
        JobCounts(found=12, added=11, failed=1),
    )
    assert corpus_names(database) == sorted([*"abcdefghijk"])
    with database.read() as conn:
        (item,) = list_items(conn, job.id)
        assert count_tried_again(conn, job.id) == 0
    name = "item 8" if point in ("open", "read") else "poison"
    assert (item.position, item.name, item.reason) == (7, name, "defect")
    error = "AttributeError" if point == "decode" else "ZeroDivisionError"
    assert f"{error}, 3 attempts in all" in item.detail
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert repr(name) in record.getMessage()
    assert record.exc_info is not None


def test_every_item_may_be_bad(database: Database) -> None:
    job = queue_job(database)

    done = run(database, PoisonedTask(["poison"] * 3, chunk_items=3, point="finish"), job)

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=3, failed=3))


def test_an_error_that_does_not_come_again_costs_nothing(database: Database) -> None:
    class Once(PoisonedTask):
        def fail(self) -> None:
            if len(self.failed) < 2:
                self.failed.append(1)
                super().fail()

        failed: list[int] = []  # noqa: RUF012 -- of the only task

    job = queue_job(database)
    done = run(database, Once(["a", "poison", "b"], chunk_items=3, point="write"), job)

    assert done.counts == JobCounts(found=3, added=3)


def test_a_row_that_the_database_cannot_hold_fails_alone(database: Database) -> None:
    """Such errors are foreseen, and are still those of one item."""
    job = queue_job(database)
    error = InvalidProvenance("it has a NUL character")

    done = run(database, PoisonedTask(["a", "poison"], point="write", error=error), job)

    assert done.counts == JobCounts(found=2, added=1, failed=1)


def test_failures_of_the_database_that_pass_are_no_attempts(database: Database) -> None:
    class Restarting(PoisonedTask):
        calls = 0

        def fail(self) -> None:
            self.calls += 1
            if self.calls <= 4:  # more often than an item is tried
                raise DatabaseUnavailable("it restarts")

    for point in ("read", "write"):
        job = queue_job(database)
        done = run(database, Restarting([f"a-{point}", "poison"], point=point), job)
        assert done.counts.added + done.counts.failed == 2
        assert done.counts.failed == 0
        break_name(database)


def break_name(database: Database) -> None:
    """Make room for the next task, whose items become corpora of the same names."""

    with database.write() as conn:
        remove_corpus(conn, "poison")


def test_a_chunk_that_ended_its_process_three_times_is_named_by_what_was_read(
    database: Database,
) -> None:
    job = queue_job(database)
    task = TinyTask(["a"], chunk_items=1)
    run_listing(database, job, task)
    for _ in range(3):
        take_and_die(database, job)

    done = run(database, task, job)

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=1, failed=1))
    with database.read() as conn:
        (item,) = list_items(conn, job.id)
    assert "the process that worked on it ended 3 times" in item.detail


def test_a_listing_that_ended_its_process_three_times_fails_the_job(database: Database) -> None:

    job = queue_job(database)
    for _ in range(3):
        take_and_die(database, job)

    with pytest.raises(JobDefect, match="ended 3 times while it listed the sources"):
        run(database, TinyTask(["a"]), job)
    assert read_job(database, job.id).state is JobState.RUNNING


def run_listing(database: Database, job: Job, task: TinyTask) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(database, TinyTask(task.names, task.chunk_items, on_read=interrupt), job)


def take_and_die(database: Database, job: Job) -> None:
    """Claim a chunk as a process does that ends then."""

    with database.write() as conn:
        assert claim_chunk(conn, job.id, "elsewhere:1:a", 60.0) is not None
        abandon_chunks(conn, "elsewhere:1:a")


def test_suspects_wait_for_other_jobs(database: Database) -> None:
    job, other = queue_job(database), queue_job(database)
    waiting = [True]
    stop = threading.Event()
    with Leases.held(database) as leases:
        task = PoisonedTask(["a", "poison", "b", "c"], chunk_items=2, point="finish")
        run_ = JobRun(
            database,
            ImageEmbedder(),
            task,
            leases,
            lambda *_: None,
            stop,
            lambda: waiting[0],
            patience=Patience(stop, 0.5, 0.001),
        )
        left = run_.run(job.id)

    assert left.state is JobState.RUNNING
    assert left.counts == JobCounts(found=4, added=2)
    with database.read() as conn:
        assert count_tried_again(conn, job.id) == 2
    assert other.id != job.id
