"""Readiness: the database answers, the index catches up, a place is free, or the reason is in the
answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Connection

from api.batcher import Admission
from api.operations.health import MOST_SECONDS_FULL, check_places, check_readiness
from index.errors import CorpusError, DatabaseUnavailable
from index.truth.database import Database
from tests.api.small_lineup import fill, open_small


@dataclass
class Index:
    """An index whose database answers, or not."""

    generation: int = 0
    error: CorpusError | None = None

    def refresh(self) -> None:
        if self.error is not None:
            raise self.error
        self.generation += 1


class Down:
    """A database that does not answer."""

    @contextmanager
    def read(self) -> Iterator[Connection]:
        raise DatabaseUnavailable("no connection")
        yield


@dataclass
class Parts:
    database: Database | Down
    index: Index = field(default_factory=lambda: Index(41))


class FullFor(Admission):
    """Places that have all been taken for some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(4)
        self._seconds = seconds

    @property
    def seconds_full(self) -> float:
        return self._seconds


@pytest.fixture
def dialect() -> str:
    return "sqlite"


def test_an_index_that_catches_up_is_ready(database: Database) -> None:
    answer = check_readiness(Parts(database))
    assert (answer.ready, answer.generation, answer.saturated) == (True, 42, False)
    assert set(answer.checks.values()) == {"ok"}


def test_an_index_that_cannot_catch_up_is_the_reason(database: Database) -> None:
    error = DatabaseUnavailable("the disk is full")
    answer = check_readiness(Parts(database, Index(41, error)))
    assert (answer.ready, answer.generation) == (False, None)
    assert answer.checks["index"] == str(error)
    assert answer.checks["database"] == "ok"


def test_a_database_that_does_not_answer_is_the_reason() -> None:
    answer = check_readiness(Parts(Down()))
    assert not answer.ready
    assert answer.checks["database"] == str(DatabaseUnavailable("no connection"))


def test_a_full_queue_is_said_at_once_and_makes_unready_when_it_lasts(database: Database) -> None:
    admission = Admission(1)
    with ExitStack() as places:
        places.enter_context(admission.place())
        answer = check_readiness(Parts(database), admission)
        assert (answer.ready, answer.saturated, answer.checks["places"]) == (True, True, "ok")
    assert not check_readiness(Parts(database), admission).saturated
    answer = check_readiness(Parts(database), FullFor(MOST_SECONDS_FULL))
    assert (answer.ready, answer.saturated) == (False, True)
    assert "all 4 places" in answer.checks["places"]
    assert check_places(FullFor(MOST_SECONDS_FULL - 1)) == "ok"


def test_a_real_index_reaches_the_last_change(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        assert check_readiness(lineup).generation == 12
