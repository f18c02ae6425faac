"""Readiness: the database answers, the index catches up, a place is free, or the reason is in the
answer.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

from api.batcher import Admission
from api.operations.health import (
    CATCH_UP_SECONDS,
    MOST_SECONDS_FULL,
    check_places,
    check_readiness,
)
from api.settings import Settings
from embedder.decoding.confinement import Confinement, ConfinementLevel
from embedder.errors import DecodersUnavailable
from index.errors import CorpusError, DatabaseUnavailable
from index.truth.databases.database import DatabaseState
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


@dataclass
class Answering:
    """A database that answers about itself."""

    state: DatabaseState = field(default_factory=lambda: DatabaseState(last_change=42))
    read_only: bool = False

    def examine(self) -> DatabaseState:
        return self.state


class Down(Answering):
    """A database that does not answer."""

    def examine(self) -> DatabaseState:
        raise DatabaseUnavailable("no connection")


class Stuck(Index):
    """An index that waits for something."""

    def refresh(self) -> None:
        time.sleep(3 * CATCH_UP_SECONDS)


@dataclass
class Confined:
    """Decoders that say how far they are confined."""

    confinement: Confinement = field(
        default_factory=lambda: Confinement(ConfinementLevel.FULL, "it cannot do a thing")
    )


class Unavailable(Confined):
    """Decoders that do not start."""

    @property
    def confinement(self) -> Confinement:  # type: ignore[override]
        raise DecodersUnavailable("no process can be started")

    def __init__(self) -> None: ...


@dataclass
class Parts:
    database: Answering = field(default_factory=Answering)
    index: Index = field(default_factory=lambda: Index(41))
    settings: Settings = field(default_factory=lambda: Settings(data_dir=Path(gettempdir())))
    decoders: Confined = field(default_factory=Confined)


class FullFor(Admission):
    """Places that have all been taken for some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(4)
        self._seconds = seconds

    @property
    def seconds_full(self) -> float:
        return self._seconds


def test_an_index_that_catches_up_is_ready() -> None:
    answer = check_readiness(Parts())
    assert (answer.ready, answer.generation, answer.saturated) == (True, 42, False)
    assert set(answer.checks.values()) == {"ok"}


def test_an_index_that_has_the_last_change_reads_nothing() -> None:
    error = DatabaseUnavailable("the disk is full")
    assert check_readiness(Parts(index=Index(42, error))).ready


def test_an_index_that_cannot_catch_up_is_the_reason() -> None:
    error = DatabaseUnavailable("the disk is full")
    answer = check_readiness(Parts(index=Index(41, error)))
    assert (answer.ready, answer.generation) == (False, None)
    assert answer.checks["index"] == str(error)
    assert answer.checks["database"] == "ok"


def test_an_index_that_stands_still_is_not_waited_for() -> None:
    started = time.monotonic()
    answer = check_readiness(Parts(index=Stuck(40)))
    assert time.monotonic() - started < 2 * CATCH_UP_SECONDS
    assert answer.checks["index"] == "2 changes of the database are missing in the index"


def test_a_database_that_does_not_answer_is_the_reason() -> None:
    answer = check_readiness(Parts(Down()))
    assert not answer.ready
    assert answer.checks["database"] == str(DatabaseUnavailable("no connection"))
    assert "not examined" in answer.checks["index"]


def test_on_a_replica_only_a_server_that_stores_nothing_is_ready() -> None:
    replica = DatabaseState(41, is_replica=True, refuses_writes="it is a replica")
    answer = check_readiness(Parts(Answering(replica)))
    assert (answer.ready, answer.replica, answer.read_only) == (False, True, False)
    assert "it is a replica: start the server with --read-only" in answer.checks["database"]
    answer = check_readiness(Parts(Answering(replica, read_only=True)))
    assert (answer.ready, answer.replica, answer.read_only) == (True, True, True)


def test_a_full_queue_is_said_at_once_and_makes_unready_when_it_lasts() -> None:
    admission = Admission(1)
    with ExitStack() as places:
        places.enter_context(admission.place())
        answer = check_readiness(Parts(), admission)
        assert (answer.ready, answer.saturated, answer.checks["places"]) == (True, True, "ok")
    assert not check_readiness(Parts(), admission).saturated
    answer = check_readiness(Parts(), FullFor(MOST_SECONDS_FULL))
    assert (answer.ready, answer.saturated) == (False, True)
    assert "all 4 places" in answer.checks["places"]
    assert check_places(FullFor(MOST_SECONDS_FULL - 1)) == "ok"


def test_a_real_index_reaches_the_last_change(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        assert check_readiness(lineup).generation == 12


def test_the_confinement_of_decoding_is_told() -> None:
    answer = check_readiness(Parts())
    assert answer.checks["decoding"] == "ok"
    assert answer.confinement is not None
    assert answer.confinement.level is ConfinementLevel.FULL


def test_without_decoders_it_is_not_ready() -> None:
    answer = check_readiness(Parts(decoders=Unavailable()))
    assert not answer.ready
    assert answer.confinement is None
    assert "no process" in answer.checks["decoding"]
