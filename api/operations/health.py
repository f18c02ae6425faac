"""Whether look-ups can be answered now: one small function a check.

A check takes what it examines and returns `OK` or what is wrong, in words for an operator. It
raises nothing for a part that is down, and does not wait for work of others: a probe of an
orchestrator comes every few seconds, and its answer must not stand in a queue.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection

from api.batcher import Admission
from api.operations.json import ReadyAnswer
from index.errors import CorpusError
from index.truth.changes import last_number

OK = "ok"
# A full queue is normal for a moment. Requests that fill it longer than this do not end: other
# servers should get the next ones.
MOST_SECONDS_FULL = 10.0


class Readable(Protocol):
    """A database that can be read."""

    def read(self) -> AbstractContextManager[Connection]:
        """Yield a connection. Raises `CorpusError`."""
        ...


class Refreshable(Protocol):
    """An index that can catch up with the database."""

    @property
    def generation(self) -> int:
        """The last change that the index has seen."""
        ...

    def refresh(self) -> object:
        """Catch up. Raises `CorpusError`."""
        ...


class Examined(Protocol):
    """What is examined: `api.lineup.Lineup`."""

    @property
    def database(self) -> Readable: ...
    @property
    def index(self) -> Refreshable: ...


def check_readiness(lineup: Examined, admission: Admission | None = None) -> ReadyAnswer:
    """Run every check and let the index catch up with the database.

    `admission` counts the places for requests with an image; a command has none.
    """
    checks = {
        "model": OK,  # a server without a model does not start
        "database": check_database(lineup.database),
        "index": check_index(lineup.index),
        "places": OK if admission is None else check_places(admission),
    }
    return ReadyAnswer(
        ready=all(each == OK for each in checks.values()),
        checks=checks,
        generation=lineup.index.generation if checks["index"] == OK else None,
        saturated=admission is not None and admission.seconds_full > 0,
    )


def check_database(database: Readable) -> str:
    """Check that the database answers a small query."""
    try:
        with database.read() as conn:
            last_number(conn)
    except CorpusError as err:
        return str(err)
    return OK


def check_index(index: Refreshable) -> str:
    """Check that the index catches up with the database."""
    try:
        index.refresh()
    except CorpusError as err:
        return str(err)
    return OK


def check_places(admission: Admission) -> str:
    """Check that a request with an image finds a place, or has found one lately."""
    if admission.seconds_full < MOST_SECONDS_FULL:
        return OK
    return (
        f"all {admission.capacity} places for requests with an image have been taken for "
        f"{admission.seconds_full:.0f} s"
    )
