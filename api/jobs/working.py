"""Run a job chunk by chunk: claim, read, embed in one stream across chunks, write.

The stream ends when no chunk is free, because the last items of a stream leave it only at its end.
When everything is written, the run waits for the chunks of other workers, which become free if
those workers die.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar

from PIL import Image

from api.jobs.committer import Committer
from api.jobs.leases import Leases, release_dead_workers
from api.jobs.task import (
    Content,
    Derived,
    ItemResult,
    NotTaken,
    Payload,
    Progress,
    Task,
    ToEmbed,
)
from embedder.network.results import Embedded, Failed
from embedder.pictures.decode import DecodedImage
from embedder.pictures.delivery import Condition, deliver
from index.errors import LeaseLost
from index.truth.database import Database
from index.truth.job_chunks import (
    Chunk,
    ChunkResult,
    add_chunks,
    begin_listing,
    finish_chunk,
    finish_closing,
    finish_listing,
)
from index.truth.jobs import CLOSING, LISTING, OPEN_STATES, Job, JobCounts, JobState, get_job

POLL_SECONDS = 0.3  # between two looks at a job whose last chunks other workers hold
CHUNKS_PER_TRANSACTION = 200  # while a source is listed
Key = TypeVar("Key")
Made = TypeVar("Made")
log = logging.getLogger(__name__)


class StreamEmbedder(Protocol):
    """What a run needs of `embedder.network.embed.Embedder`."""

    def embed_stream(
        self,
        items: Iterable[tuple[Key, bytes]],
        derive: Callable[[Key, DecodedImage], Made],
        *,
        change: Callable[[Key, Image.Image], Image.Image] = ...,
    ) -> Generator[Embedded[Key, Made] | Failed[Key], None, None]: ...


@dataclass(slots=True, eq=False)
class _ChunkInWork(Generic[Content]):
    """A claimed chunk and the results of its items so far."""

    chunk: Chunk
    results: list[ItemResult[Content]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return len(self.results) == self.chunk.item_count

    def in_order(self) -> list[ItemResult[Content]]:
        return sorted(self.results, key=lambda result: result.position)


class JobRun(Generic[Payload, Derived, Content]):
    """One worker's run of one job."""

    def __init__(
        self,
        database: Database,
        embedder: StreamEmbedder,
        task: Task[Payload, Derived, Content],
        leases: Leases,
        on_progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._task = task
        self._leases = leases
        self._on_progress = on_progress
        self._stop = stop
        self._committer = Committer()

    def run(self, job_id: int) -> Job:
        """Work until the job has ended or is paused, or until `stop` is set; return the job then.

        Every finished chunk is committed before this returns. Raises `UnusableSource`, and
        `CorpusError` or OSError where the database or the disk fails.
        """
        try:
            while True:
                self._stream(job_id)
                self._committer.flush()
                release_dead_workers(self._database)
                job = self._read_job(job_id)
                if job.state not in OPEN_STATES or self._stop.wait(POLL_SECONDS):
                    return job
        finally:
            self._committer.close()

    def _stream(self, job_id: int) -> None:
        def derive(
            key: tuple[_ChunkInWork[Content], ToEmbed[Payload]], decoded: DecodedImage
        ) -> Derived:
            return self._task.derive(key[1], decoded)

        stream = self._embedder.embed_stream(self._to_embed(job_id), derive, change=_deliver)
        with closing(stream):
            for outcome in stream:
                in_work, item = outcome.key
                if isinstance(outcome, Failed):
                    error = outcome.error
                    self._add_result(
                        in_work,
                        NotTaken.failed(item.position, item.name, error.reason, str(error)),
                    )
                else:
                    self._add_result(
                        in_work,
                        self._task.finish(item, outcome.derived, outcome.vector, outcome.logit),
                    )
                if self._stop.is_set():
                    return

    def _to_embed(
        self, job_id: int
    ) -> Iterator[tuple[tuple[_ChunkInWork[Content], ToEmbed[Payload]], bytes]]:
        """Yield the items to embed of one chunk after another; record the results of the others."""
        while not self._stop.is_set():
            chunk = self._leases.claim(job_id)
            if chunk is None:
                return
            if chunk.number == LISTING:
                self._list(chunk)
                continue
            if chunk.number == CLOSING:
                self._close(chunk)
                continue
            in_work: _ChunkInWork[Content] = _ChunkInWork(chunk)
            read = 0
            for step in islice(self._task.read(chunk), chunk.item_count):
                read += 1
                if isinstance(step, ToEmbed):
                    yield (in_work, step), step.data
                else:
                    self._add_result(in_work, step)
                if self._stop.is_set():
                    return
            for position in range(
                chunk.first_position + read, chunk.first_position + chunk.item_count
            ):
                self._add_result(
                    in_work,
                    NotTaken.failed(
                        position,
                        f"item {position + 1}",
                        "source_changed",
                        "the source held this item when it was listed, and no longer does",
                    ),
                )

    def _add_result(self, in_work: _ChunkInWork[Content], result: ItemResult[Content]) -> None:
        in_work.results.append(result)
        if in_work.is_complete:
            self._committer.submit(lambda: self._commit(in_work))

    def _commit(self, in_work: _ChunkInWork[Content]) -> None:
        chunk = in_work.chunk
        try:
            with self._database.write() as conn:
                result = self._task.write(conn, in_work.in_order())
                finish_chunk(conn, chunk, result)
                job = get_job(conn, chunk.job_id)
        except LeaseLost as err:  # nothing was written; the worker that holds the chunk does it
            log.warning("%s", err)
            return
        self._task.clean_up()
        self._on_progress(job, result)

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
        """Do what follows the last item, then complete the job."""
        self._task.complete()
        try:
            with self._database.write() as conn:
                finish_closing(conn, closing)
        except LeaseLost as err:
            log.warning("%s", err)

    def _read_job(self, job_id: int) -> Job:
        with self._database.read() as conn:
            return get_job(conn, job_id)


def _deliver(
    key: tuple[_ChunkInWork[Content], ToEmbed[Payload]], image: Image.Image
) -> Image.Image:
    condition = key[1].delivery
    return image if condition is Condition.AS_IS else deliver(image, condition)
