"""What a kind of job must say for `api.jobs.working` to do it: what there is, what to embed, what
to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.sources.item import Item, Span
from embedder.pictures.decode import DecodedImage
from embedder.pictures.delivery import Condition
from index.truth.entries import NewEntry
from index.truth.jobs import Chunk, ChunkResult, Job, JobItem, Outcome

Derived = TypeVar("Derived")


@dataclass(frozen=True, slots=True, eq=False)
class ToEmbed:
    """An item whose bytes must be decoded and embedded, as it looks after a delivery if one is
    told.
    """

    position: int
    item: Item
    data: bytes
    sha256: str
    source: str = ""  # name of what it was read from
    delivery: Condition = Condition.AS_IS


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """An item that goes into the database."""

    position: int
    name: str
    entry: NewEntry


@dataclass(frozen=True, slots=True)
class Present:
    """An item whose image the corpus has already."""

    position: int
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Left:
    """An item that ended without being taken."""

    item: JobItem

    @classmethod
    def failed(cls, position: int, name: str, reason: str, detail: str) -> Left:
        return cls(JobItem(position, name, Outcome.FAILED, reason, detail))


End = Taken | Present | Left


class Task(Protocol[Derived]):
    """One job of some kind, open.

    The preparing threads call `derive`, the committing thread `write`, one the rest.
    """

    def spans(self) -> Iterator[Span]:
        """List the work. Raises `UnusableSource`."""
        ...

    def read(self, chunk: Chunk) -> Iterator[ToEmbed | End]:
        """Give the items of a chunk: those to embed, and how the others ended.

        Raises `UnusableSource`.
        """
        ...

    def derive(self, item: ToEmbed, decoded: DecodedImage) -> Derived:
        """Make of the pixels what is needed beside the embedding. Raises `ImageError`."""
        ...

    def embedded(
        self, item: ToEmbed, derived: Derived, vector: NDArray[np.float32], logit: float
    ) -> End:
        """Say how an item ended that was embedded."""
        ...

    def write(self, conn: Connection, ends: Sequence[End]) -> ChunkResult:
        """Write what became of a chunk, in the transaction that finishes it.

        Ends come in the order of the items.
        """
        ...

    def written(self) -> None:
        """Tidy up behind a chunk that is committed; in the committing thread."""
        ...

    def completed(self) -> None:
        """Do what comes when every item of the job has ended; each worker that sees it may be
        asked.
        """
        ...

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class InFlight(Generic[Derived]):
    """A chunk at work, and how its items ended so far."""

    chunk: Chunk
    ends: list[End] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.ends) == self.chunk.item_count

    def in_order(self) -> list[End]:
        return sorted(self.ends, key=_position)


def _position(end: End) -> int:
    return end.item.position if isinstance(end, Left) else end.position


AnyTask = Task[Any]


# Told whenever some items of a job have ended here: how it stands, and what this very chunk came
# to.
Progress = Callable[[Job, ChunkResult], None]
