"""What a kind of job provides so that `api.jobs.working` can run it.

A task lists the work, reads the items of a chunk, and writes their results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.sources.item import Span
from embedder.decoding.picture import Picture, PictureOrder
from index.jsontext import JSON
from index.truth.jobs.chunks import Chunk, ChunkResult
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import Job

Payload = TypeVar("Payload")  # what a task needs to finish an item after its embedding
Content = TypeVar("Content")  # what a task writes to the database for an item


class Unwanted(Exception):
    """The work on a job ends before it is done: its worker stops, or the job rests."""


@dataclass(frozen=True, slots=True, eq=False)
class ToEmbed(Generic[Payload]):
    """An item whose bytes must be decoded and embedded. `order` says what else is made of them."""

    position: int
    name: str
    data: bytes
    sha256: str
    payload: Payload
    order: PictureOrder


@dataclass(frozen=True, slots=True, eq=False)
class Added(Generic[Content]):
    """An item to be written to the database."""

    position: int
    name: str
    content: Content


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """An item whose image the corpus already holds."""

    position: int
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    """An item that failed, with its reason."""

    item: JobItem

    @property
    def position(self) -> int:
        return self.item.position

    @classmethod
    def failed(cls, position: int, name: str, reason: str, detail: str) -> NotTaken:
        return cls(JobItem(position, name, Outcome.FAILED, reason, detail))


ItemResult = Added[Content] | AlreadyThere | NotTaken


class Task(Protocol[Payload, Content]):
    """An open job of some kind.

    The committing thread calls `store`, `write` and `clean_up`, one other thread calls the rest.
    """

    def spans(self) -> Iterator[Span]:
        """List the work. Raises `UnusableSource`."""
        ...

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[Payload] | ItemResult[Content]]:
        """Yield the items of a chunk: those to embed, and the results of the others.

        Raises `UnusableSource`.
        """
        ...

    def narrow(self, chunk: Chunk, first: int, count: int) -> JSON:
        """Return the span of `count` items of a chunk from item `first` on, counted from 0.

        Raises `UnusableSource`.
        """
        ...

    def finish(
        self, item: ToEmbed[Payload], picture: Picture, vector: NDArray[np.float32], logit: float
    ) -> ItemResult[Content]:
        """Return the result of an item that was embedded; `picture` is what its order made."""
        ...

    def store(self, results: Sequence[ItemResult[Content]]) -> None:
        """Make durable what the results of a chunk need outside the database.

        This runs before the transaction of `write`, so that no transaction waits for a disk.
        """
        ...

    def write(self, conn: Connection, results: Sequence[ItemResult[Content]]) -> ChunkResult:
        """Write the results of a chunk, in the order of its items, and count them.

        This runs in the transaction that finishes the chunk.
        """
        ...

    def clean_up(self) -> None:
        """Remove what a committed chunk leaves behind outside the database."""
        ...

    def complete(self) -> None:
        """Do what follows the last item, before the job is completed.

        It is called for the kinds of jobs that have a closing chunk. Where a worker lost its lease,
        a second one calls it too. Raises `Unwanted` if it ends early; it is called again when the
        job goes on.
        """
        ...

    def close(self) -> None: ...


AnyTask = Task[Any, Any]


# Called after each commit with the job as it stands and the result of the chunk just committed.
Progress = Callable[[Job, ChunkResult], None]
