"""A job done chunk by chunk: claimed, read, embedded in one stream across chunks, written, until
nothing is left.

The stream ends when no chunk is free, for its last items wait in it until then: only when
everything is written are other workers waited for, whose chunks come free if they die.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from PIL import Image

from api.jobs.committer import Committer
from api.jobs.leases import Leases, release_dead_workers
from api.jobs.task import AnyTask, End, InFlight, Left, Progress, ToEmbed
from embedder.network.embed import Embedder
from embedder.network.results import Failed
from embedder.pictures.delivery import Condition, delivered
from index.errors import LeaseLost
from index.truth.database import Database
from index.truth.jobs import (
    LISTING,
    OPEN_STATES,
    Chunk,
    ChunkResult,
    Job,
    JobCounts,
    JobState,
    add_chunks,
    begin_listing,
    finish_chunk,
    finish_listing,
    get_job,
)

POLL_SECONDS = 0.3  # between two looks at a job whose last chunks others have
LISTED_CHUNKS = 200  # chunks a transaction while a source is listed
log = logging.getLogger(__name__)


class Working:
    """One worker at one job."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        task: AnyTask,
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
        """Work until the job has ended or is paused, or until told to stop; what was finished by
        then is written.

        Raises `UnusableSource`, and `CorpusError` or OSError where the database or the disk fails.
        """
        try:
            while True:
                self._stream(job_id)
                self._committer.flush()
                release_dead_workers(self._database)
                job = self._job(job_id)
                if job.state not in OPEN_STATES or self._stop.wait(POLL_SECONDS):
                    return job
        finally:
            self._committer.close()

    def _stream(self, job_id: int) -> None:
        stream = self._embedder.embed_stream(
            self._to_embed(job_id), self._derive, change=_delivered
        )
        with closing(stream):
            for outcome in stream:
                flight, item = outcome.key
                if isinstance(outcome, Failed):
                    failed = Left.failed(
                        item.position, item.item.name, outcome.error.reason, str(outcome.error)
                    )
                    self._end(flight, failed)
                else:
                    end = self._task.embedded(item, outcome.derived, outcome.vector, outcome.logit)
                    self._end(flight, end)
                if self._stop.is_set():
                    return

    def _derive(self, key: tuple[InFlight[Any], ToEmbed], decoded: Any) -> Any:  # noqa: ANN401 -- the task's own
        return self._task.derive(key[1], decoded)

    def _to_embed(self, job_id: int) -> Iterator[tuple[tuple[InFlight[Any], ToEmbed], bytes]]:
        """The items of chunk after chunk that must be embedded; the others end here."""
        while not self._stop.is_set():
            chunk = self._leases.claim(job_id)
            if chunk is None:
                return
            if chunk.number == LISTING:
                self._list(chunk)
                continue
            flight: InFlight[Any] = InFlight(chunk)
            offered = 0
            for step in islice(self._task.read(chunk), chunk.item_count):
                offered += 1
                if isinstance(step, ToEmbed):
                    yield (flight, step), step.data
                else:
                    self._end(flight, step)
                if self._stop.is_set():
                    return
            for missing in range(offered, chunk.item_count):
                name = f"item {chunk.first_position + missing + 1}"
                self._end(
                    flight,
                    Left.failed(
                        chunk.first_position + missing,
                        name,
                        "source_changed",
                        "the source had it when listed",
                    ),
                )

    def _end(self, flight: InFlight[Any], end: End) -> None:
        flight.ends.append(end)
        if flight.complete:
            self._committer.submit(lambda: self._finish(flight))

    def _finish(self, flight: InFlight[Any]) -> None:
        chunk = flight.chunk
        try:
            with self._database.write() as conn:
                ended = self._task.write(conn, flight.in_order())
                finish_chunk(conn, chunk, ended)
                job = get_job(conn, chunk.job_id)
        except LeaseLost as err:  # nothing of it was written; whoever has the chunk now does it
            log.warning("%s", err)
            return
        self._task.written()
        self._on_progress(job, ended)

    def _list(self, listing: Chunk) -> None:
        """List the work into chunks. A listing that another worker has taken over is given up."""
        try:
            with self._database.write() as conn:
                begin_listing(conn, listing)
            last: Chunk | None = None
            spans = self._task.spans()
            while some := [(span.count, span.where) for span in islice(spans, LISTED_CHUNKS)]:
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

    def _job(self, job_id: int) -> Job:
        with self._database.read() as conn:
            return get_job(conn, job_id)


def _delivered(key: tuple[InFlight[Any], ToEmbed], image: Image.Image) -> Image.Image:
    condition = key[1].delivery
    return image if condition is Condition.AS_IS else delivered(image, condition)
