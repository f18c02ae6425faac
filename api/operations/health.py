"""Whether look-ups can be answered now: one small function a check.

A check takes what it examines and returns `OK` or what is wrong, in words for an operator. It
raises nothing for a part that is down, and does not wait for work of others: a probe of an
orchestrator comes every few seconds, and its answer must not stand in a queue.
"""

from __future__ import annotations

import threading
from typing import Protocol

from api.batcher import Admission
from api.operations.checks_json import ReadyAnswer
from api.operations.models_json import ConfinementAnswer
from api.server_paths import describe_for_client
from api.settings import Settings
from embedder.decoding.confinement import Confinement
from embedder.errors import DecodersUnavailable
from index.errors import CorpusError
from index.failures import is_storage_full, probe_writing
from index.truth.databases.database import DatabaseState

OK = "ok"
# A full queue is normal for a moment. Requests that fill it longer than this do not end: other
# servers should get the next ones.
MOST_SECONDS_FULL = 10.0
# The index of a server follows the changes by itself, in a fraction of a second.
CATCH_UP_SECONDS = 1.0


class Examinable(Protocol):
    """A database that says how it is."""

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written, by the operator's choice."""
        ...

    def examine(self) -> DatabaseState:
        """Ask it, without waiting for work. Raises `CorpusError`."""
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


class Confined(Protocol):
    """What decodes images, and says how far it is confined."""

    @property
    def confinement(self) -> Confinement:
        """Raises `DecodersUnavailable`."""
        ...


class Examined(Protocol):
    """What is examined: `api.lineup.Lineup`."""

    @property
    def database(self) -> Examinable: ...
    @property
    def index(self) -> Refreshable: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def decoders(self) -> Confined: ...


def check_readiness(
    lineup: Examined, admission: Admission | None = None, copies: str | None = None
) -> ReadyAnswer:
    """Run every check and let the index catch up with the database.

    `admission` counts the places for requests with an image; a command has none. `copies` says how
    the search by copy descriptor is: look-ups are answered without it, so it decides nothing.
    """
    state: DatabaseState | None = None
    try:
        state = lineup.database.examine()
        database = check_writes(state, read_only=lineup.database.read_only)
    except CorpusError as err:
        database = describe_for_client(err)
    confinement: Confinement | None = None
    try:
        confinement, decoding = lineup.decoders.confinement, OK
    except DecodersUnavailable as err:
        decoding = describe_for_client(err)
    checks = {
        "model": OK,  # a server without a model does not start
        "database": database,
        "index": check_index(lineup.index, state),
        "storage": check_storage(lineup.settings),
        "decoding": decoding,
        "places": OK if admission is None else check_places(admission),
    }
    return ReadyAnswer(
        ready=all(each == OK for each in checks.values()),
        checks=checks,
        generation=lineup.index.generation if checks["index"] == OK else None,
        saturated=admission is not None and admission.seconds_full > 0,
        read_only=lineup.database.read_only,
        confinement=None if confinement is None else ConfinementAnswer.of(confinement),
        replica=state is not None and state.is_replica,
        copies=copies,
    )


def check_writes(state: DatabaseState, *, read_only: bool) -> str:
    """Check that the database takes what a look-up stores, unless nothing shall be stored."""
    if state.refuses_writes is None or read_only:
        return OK
    return (
        f"look-ups cannot be stored, because {state.refuses_writes}: start the server with "
        "--read-only to answer without storing"
    )


def check_index(index: Refreshable, state: DatabaseState | None) -> str:
    """Check that the index has the last change of the database, or gets there.

    An index that moves is ok, however many changes are left: their number is in the answers.
    """
    if state is None:
        return "not examined: the database does not answer"
    before = index.generation
    if before >= state.last_change:
        return OK
    failures: list[CorpusError] = []

    def refresh() -> None:
        try:
            index.refresh()
        except CorpusError as err:
            failures.append(err)

    # In a thread, which may wait for a connection or for a lock.
    thread = threading.Thread(target=refresh, name="readiness", daemon=True)
    thread.start()
    thread.join(CATCH_UP_SECONDS)
    if failures:
        return describe_for_client(failures[0])
    if index.generation > before or not thread.is_alive():
        return OK
    return f"{state.last_change - before:,} changes of the database are missing in the index"


def check_storage(settings: Settings) -> str:
    """Check that something can be written into the data folder, unless nothing shall be stored.

    It writes a small file and removes it: a quota shows only so. A look-up that cannot be stored is
    not answered, so a server without room is not ready.
    """
    if settings.read_only:
        return OK
    failure = probe_writing(settings.data_dir)
    if failure is None:
        return OK
    if is_storage_full(failure):
        return f"there is no room to store a look-up: {failure.strerror}"
    return f"the data folder cannot be written: {failure.strerror}"


def check_places(admission: Admission) -> str:
    """Check that a request with an image finds a place, or has found one lately."""
    if admission.seconds_full < MOST_SECONDS_FULL:
        return OK
    return (
        f"all {admission.capacity} places for requests with an image have been taken for "
        f"{admission.seconds_full:.0f} s"
    )
