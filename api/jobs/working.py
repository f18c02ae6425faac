"""Run a job chunk by chunk: claim, read, embed in one stream across chunks, write.

The stream ends when no chunk is free, because the last items of a stream leave it only at its end.
When everything is written, the run waits for the chunks of other workers, which become free if
those workers die.

An error that nobody foresaw is that of the chunk, whose items are tried three times in all: in the
stream, then in their chunk alone, then each alone. The item that ends its third attempt, with an
error or with the whole process, fails with the reason `defect`; the others get their results.
Failures of the database that pass are waited for, and are no attempt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from api.jobs.committer import Committer
from api.jobs.failures import JobDefect, Patience, ends_job, passes
from api.jobs.leases import Leases, release_dead_workers
from api.jobs.task import (
    Content,
    ItemResult,
    NotTaken,
    Payload,
    Progress,
    Task,
    ToEmbed,
    Unwanted,
)
from embedder.decoding.picture import PictureOrder
from embedder.network.results import Embedded, Failed
from index.errors import DatabaseUnavailable, LeaseLost
from index.truth.databases.database import Database
from index.truth.jobs.chunks import (
    Chunk,
    ChunkResult,
    add_chunks,
    begin_listing,
    finish_chunk,
    finish_closing,
    finish_listing,
    note_item_name,
    read_item_name,
    return_chunk,
    split_chunk,
)
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import CLOSING, LISTING, OPEN_STATES, Job, JobCounts, JobState, get_job

POLL_SECONDS = 0.3  # between two looks at a job whose last chunks other workers hold
CHUNKS_PER_TRANSACTION = 200  # while a source is listed
# An item that ended the work on it this often fails: in a stream with other chunks, alone in its
# chunk, and alone. A crash of the process counts, so a planted image can end a worker three times.
MAX_ATTEMPTS = 3
# Parts of a chunk that is divided: as many as a chunk of images has items, so that each is alone.
MAX_PARTS = 64
# In a row, by a database that answers in between: not a restart but a fault.
MOST_INTERRUPTIONS = 8
Key = TypeVar("Key")
log = logging.getLogger(__name__)


class StreamEmbedder(Protocol):
    """What a run needs of `embedder.network.embed.Embedder`."""

    def embed_stream(
        self, items: Iterable[tuple[Key, bytes, PictureOrder]]
    ) -> Generator[Embedded[Key] | Failed[Key], None, None]: ...


@dataclass(slots=True, eq=False)
class _ChunkInWork(Generic[Content]):
    """A claimed chunk and the results of its items so far."""

    chunk: Chunk
    results: list[ItemResult[Content]] = field(default_factory=list)
    is_dropped: bool = False  # an error ended the work on it; results that still come are ignored

    @property
    def is_complete(self) -> bool:
        return len(self.results) == self.chunk.item_count

    def in_order(self) -> list[ItemResult[Content]]:
        return sorted(self.results, key=lambda result: result.position)


class JobRun(Generic[Payload, Content]):
    """One worker's run of one job."""

    def __init__(
        self,
        database: Database,
        embedder: StreamEmbedder,
        task: Task[Payload, Content],
        leases: Leases,
        on_progress: Progress,
        stop: threading.Event,
        gives_way: Callable[[], bool] = lambda: False,
        patience: Patience | None = None,
    ) -> None:
        """`gives_way` says whether another job waits, before a chunk is tried again; `patience` is
        with the database.
        """
        self._database = database
        self._embedder = embedder
        self._task = task
        self._leases = leases
        self._on_progress = on_progress
        self._stop = stop
        self._gives_way = gives_way
        self._persist = patience or Patience(stop)
        self._committer = Committer()
        self._in_work: list[_ChunkInWork[Content]] = []
        self._interruptions = 0  # by the database, since the last commit

    def run(self, job_id: int) -> Job:
        """Work until the job has ended or is paused, or until `stop` is set; return the job then.

        It also returns where only chunks are left that were tried before, and another job waits.
        Every finished chunk is committed before this returns. Raises `UnusableSource`,
        `JobDefect`, and `CorpusError` or OSError where the database or the disk fails.
        """
        try:
            while True:
                try:
                    job = self._work_through(job_id)
                except DatabaseUnavailable as err:
                    self._recover(err)
                    continue
                has_ended = job.state not in OPEN_STATES
                if has_ended or self._gives_way() or self._stop.wait(POLL_SECONDS):
                    return job
        finally:
            self._committer.close()

    def _work_through(self, job_id: int) -> Job:
        """Work until no chunk is free: first those that were not tried, then each other alone."""
        while not self._stream(self._claim_untried(job_id)):
            pass
        self._committer.flush()
        while not (self._stop.is_set() or self._gives_way()):
            chunk = self._persist(lambda: self._leases.claim(job_id))
            if chunk is None:
                break
            self._try_again(chunk)
            self._committer.flush()
        self._persist(lambda: release_dead_workers(self._database))
        return self._persist(lambda: self._read_job(job_id))

    def _recover(self, err: DatabaseUnavailable) -> None:
        """Give the chunks in work back and go on, unless that never helps. Raises the error."""
        self._interruptions += 1
        is_over = self._stop.is_set() or self._interruptions > MOST_INTERRUPTIONS
        if is_over or self._committer.has_failed:
            raise err
        log.warning("the work is interrupted: %s", err)
        self._committer.flush()
        self._in_work.clear()
        self._persist.pause(self._interruptions)
        self._persist(self._leases.give_back)

    def _claim_untried(self, job_id: int) -> Iterator[Chunk]:
        """Claim one chunk after another; list and close at once."""
        while not self._stop.is_set():
            chunk = self._persist(lambda: self._leases.claim(job_id, untried=True))
            if chunk is None:
                return
            if chunk.number in (LISTING, CLOSING):
                self._do_once(chunk)
            else:
                yield chunk

    def _try_again(self, chunk: Chunk) -> None:
        """Work on a chunk alone, so that what ends the work is known to be one of its items.

        The last attempt is that of each item alone.
        """
        failed = chunk.attempts - 1
        if chunk.number in (LISTING, CLOSING):
            if failed >= MAX_ATTEMPTS:
                doing = "listed the sources" if chunk.number == LISTING else "finished the job"
                raise JobDefect(f"the process ended {failed} times while it {doing}")
            self._do_once(chunk)
        elif failed >= MAX_ATTEMPTS and chunk.item_count == 1:
            self._record_defect(chunk, chunk.item_name, None)
        elif failed >= MAX_ATTEMPTS - 1 and chunk.item_count > 1:
            self._split(chunk)
        else:
            self._stream([chunk])

    def _split(self, chunk: Chunk) -> None:
        """Divide a chunk that failed twice, so that its good items get their results."""
        size = -(-chunk.item_count // MAX_PARTS)
        firsts = range(0, chunk.item_count, size)
        counts = [min(size, chunk.item_count - first) for first in firsts]
        try:
            parts = [
                (count, self._task.narrow(chunk, first, count))
                for first, count in zip(firsts, counts, strict=True)
            ]
        except Exception as err:
            if passes(err) or ends_job(err):
                raise
            raise JobDefect(f"a chunk cannot be split: {name_defect(err)}") from err
        log.warning(
            "job %d: the items %d to %d failed twice, and are tried in %d parts",
            chunk.job_id,
            chunk.first_position + 1,
            chunk.first_position + chunk.item_count,
            len(parts),
        )
        attempts = [MAX_ATTEMPTS - 1 if count == 1 else 1 for count in counts]

        def split() -> None:
            with self._database.write() as conn:
                split_chunk(conn, chunk, parts, attempts)

        with suppress(LeaseLost):
            self._persist(split)

    def _stream(self, chunks: Iterable[Chunk]) -> bool:
        """Work on chunks; return False if an error ended it whose chunk is not known."""
        try:
            with closing(self._embedder.embed_stream(self._to_embed(chunks))) as stream:
                for outcome in stream:
                    self._finish(outcome)
                    if self._stop.is_set():
                        return True
        except Exception as err:
            is_of_chunk = not (passes(err) or ends_job(err) or self._committer.has_failed)
            if not is_of_chunk or not self._in_work:
                raise
            for in_work in list(self._in_work):
                self._fail(in_work, err)
            return False
        return True

    def _finish(self, outcome: Embedded[Any] | Failed[Any]) -> None:
        in_work, item = outcome.key
        if in_work.is_dropped:
            return
        if isinstance(outcome, Failed):
            error = outcome.error
            result: ItemResult[Content] = NotTaken.failed(
                item.position, item.name, error.reason, str(error)
            )
        else:
            try:
                result = self._task.finish(item, outcome.picture, outcome.vector, outcome.logit)
            except Exception as err:
                self._fail(in_work, err)
                return
        self._add_result(in_work, result)

    def _to_embed(
        self, chunks: Iterable[Chunk]
    ) -> Iterator[tuple[tuple[_ChunkInWork[Content], ToEmbed[Payload]], bytes, PictureOrder]]:
        """Yield the items to embed of one chunk after another; record the results of the others."""
        for chunk in chunks:
            in_work: _ChunkInWork[Content] = _ChunkInWork(chunk)
            self._in_work.append(in_work)
            for step in self._read(in_work):
                if isinstance(step, ToEmbed):
                    yield (in_work, step), step.data, step.order
                else:
                    self._add_result(in_work, step)
                if self._stop.is_set():
                    return

    def _read(
        self, in_work: _ChunkInWork[Content]
    ) -> Iterator[ToEmbed[Payload] | ItemResult[Content]]:
        """Yield every item of a chunk, until an error ends that."""
        chunk, read = in_work.chunk, 0
        try:
            steps = iter(self._task.read(chunk))
        except Exception as err:
            self._fail(in_work, err)
            return
        while read < chunk.item_count and not in_work.is_dropped:
            try:
                step = next(steps)
            except StopIteration:
                break
            except Exception as err:
                self._fail(in_work, err)
                return
            read += 1
            if chunk.item_count == 1 and chunk.attempts > 1:
                self._note_name(chunk, step)
            yield step
        for position in range(chunk.first_position + read, chunk.first_position + chunk.item_count):
            yield NotTaken.failed(
                position,
                name_unread(position),
                "source_changed",
                "the source held this item when it was listed, and no longer does",
            )

    def _note_name(self, chunk: Chunk, step: ToEmbed[Payload] | ItemResult[Content]) -> None:
        """Keep the name of a suspect before anything is done with its bytes."""
        name = name_of(step)

        def note() -> None:
            with self._database.write() as conn:
                note_item_name(conn, chunk, name)

        self._persist(note)

    def _add_result(self, in_work: _ChunkInWork[Content], result: ItemResult[Content]) -> None:
        if in_work.is_dropped:
            return
        in_work.results.append(result)
        if in_work.is_complete:
            self._in_work.remove(in_work)
            self._committer.submit(lambda: self._commit(in_work))

    def _commit(self, in_work: _ChunkInWork[Content]) -> None:
        try:
            self._task.store(in_work.in_order())
            job, result = self._persist(lambda: self._write(in_work))
        except LeaseLost as err:  # nothing was written; the worker that holds the chunk does it
            log.warning("%s", err)
            return
        except Exception as err:
            self._fail(in_work, err)
            return
        self._interruptions = 0
        try:
            self._task.clean_up()
        except Exception:  # what is left over is in nobody's way, and `lineup fsck` names it
            log.exception("job %d: what a chunk leaves behind was not removed", job.id)
        self._on_progress(job, result)

    def _write(self, in_work: _ChunkInWork[Content]) -> tuple[Job, ChunkResult]:
        with self._database.write() as conn:
            result = self._task.write(conn, in_work.in_order())
            finish_chunk(conn, in_work.chunk, result)
            return get_job(conn, in_work.chunk.job_id), result

    def _fail(self, in_work: _ChunkInWork[Content], err: Exception) -> None:
        """End an attempt in an error. Raises the error if it is not that of a chunk."""
        if passes(err) or ends_job(err):
            raise err
        in_work.is_dropped = True
        if in_work in self._in_work:
            self._in_work.remove(in_work)
        chunk = in_work.chunk
        if chunk.item_count == 1 and chunk.attempts >= MAX_ATTEMPTS:
            self._record_defect(chunk, name_of(*in_work.results), err)
            return
        log.warning(
            "job %d: attempt %d at the items %d to %d ended: %s",
            chunk.job_id,
            chunk.attempts,
            chunk.first_position + 1,
            chunk.first_position + chunk.item_count,
            name_defect(err),
        )

        def give_back() -> None:
            with self._database.write() as conn:
                return_chunk(conn, chunk, name_defect(err))

        self._persist(give_back)

    def _record_defect(self, chunk: Chunk, name: str | None, err: Exception | None) -> None:
        """Let the only item of a chunk fail: every attempt at it ended in an error.

        The traceback goes to the log. Where the process ended, the log of that process may say why.
        """
        name = name or self._read_name(chunk) or name_unread(chunk.first_position)
        if err is None and chunk.error is not None:
            problem = f"the work on it ended in {chunk.error}"
        elif err is None:
            problem = f"the process that worked on it ended {chunk.attempts - 1} times"
        else:
            problem = f"the work on it ended in {name_defect(err)}"
        log.error("job %d: item %r fails: %s", chunk.job_id, name, problem, exc_info=err)
        item = JobItem(
            chunk.first_position,
            name,
            Outcome.FAILED,
            "defect",
            f"{problem}, {MAX_ATTEMPTS} attempts in all; this is a defect of Lineup, and the log "
            "of the worker says more",
        )
        result = ChunkResult(JobCounts(failed=1), [item])

        def finish() -> Job:
            with self._database.write() as conn:
                finish_chunk(conn, chunk, result)
                return get_job(conn, chunk.job_id)

        try:
            job = self._persist(finish)
        except LeaseLost as lost:
            log.warning("%s", lost)
        else:
            self._on_progress(job, result)

    def _read_name(self, chunk: Chunk) -> str | None:
        with self._database.read() as conn:
            return read_item_name(conn, chunk)

    def _do_once(self, chunk: Chunk) -> None:
        """List the work or finish the job. An error that nobody foresaw is a `JobDefect`."""
        doing = "listing the sources" if chunk.number == LISTING else "finishing the job"
        try:
            if chunk.number == LISTING:
                self._list(chunk)
            else:
                self._close(chunk)
        except Exception as err:
            if passes(err) or ends_job(err):
                raise
            raise JobDefect(f"a defect of Lineup while {doing}: {name_defect(err)}") from err

    def _list(self, listing: Chunk) -> None:
        """List the work as chunks. Give up when another worker has taken over the listing."""
        try:
            with self._database.write() as conn:
                begin_listing(conn, listing)
            last: Chunk | None = None
            spans = self._task.spans()
            while some := [
                (span.count, span.where) for span in islice(spans, CHUNKS_PER_TRANSACTION)
            ]:
                with self._database.write() as conn:
                    last = add_chunks(conn, listing, last, some)
                    job = get_job(conn, listing.job_id)
                if job.state is not JobState.RUNNING or self._stop.is_set():
                    return
                self._on_progress(job, ChunkResult(JobCounts()))
            with self._database.write() as conn:
                finish_listing(conn, listing)
        except LeaseLost as err:
            log.warning("%s", err)

    def _close(self, closing: Chunk) -> None:
        """Do what follows the last item, then complete the job.

        Where that is no longer wanted, the chunk is given back unharmed: it is the last of its job.
        """
        try:
            self._task.complete()
        except Unwanted:
            self._persist(self._leases.give_back)
            return
        try:
            with self._database.write() as conn:
                finish_closing(conn, closing)
        except LeaseLost as err:
            log.warning("%s", err)

    def _read_job(self, job_id: int) -> Job:
        with self._database.read() as conn:
            return get_job(conn, job_id)


def require_wanted(database: Database, job_id: int, stop: threading.Event) -> None:
    """Raise `Unwanted` if `stop` is set, or the job is paused, cancelled or has ended."""
    if stop.is_set():
        raise Unwanted
    with database.read() as conn:
        if get_job(conn, job_id).state not in OPEN_STATES:
            raise Unwanted


def name_defect(err: BaseException) -> str:
    """Return what an answer says of an error that nobody foresaw: its text may hold anything."""
    return type(err).__name__


def name_of(*steps: ToEmbed[Any] | ItemResult[Any]) -> str:
    """Return the name of the first item, or an empty text without any."""
    for step in steps:
        return step.item.name if isinstance(step, NotTaken) else step.name
    return ""


def name_unread(position: int) -> str:
    """Return how an item is called whose name was never read."""
    return f"item {position + 1}"
