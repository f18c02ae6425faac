"""Leases of one worker: claimed, renewed while its process lives, released when it stops.

A worker's name contains its machine and its process id. So the chunks of a killed process are taken
over at once on the same machine; another machine takes them over when the leases run out.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from index.errors import CorpusError
from index.truth.databases.database import Database
from index.truth.jobs.chunks import (
    Chunk,
    abandon_chunks,
    claim_chunk,
    lease_holders,
    release_chunks,
    renew_leases,
)

# Long enough for a machine under load; short enough that another machine soon takes over.
LEASE_SECONDS = 60.0
RENEW_SECONDS = 15.0
_names_in_use: set[str] = set()  # of the workers of this process
log = logging.getLogger(__name__)


def make_worker_name() -> str:
    """Make a unique name, `host:process:random`, of at most 64 characters."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


class Leases:
    """The leases of one worker; `Leases.held` makes them."""

    def __init__(self, database: Database, worker: str, renew_seconds: float) -> None:
        self.worker = worker
        self._database = database
        self._renew_seconds = renew_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    @classmethod
    @contextmanager
    def held(cls, database: Database, *, renew_seconds: float = RENEW_SECONDS) -> Iterator[Leases]:
        """Leases that are renewed while the block runs, and released however it ends."""
        release_dead_workers(database)
        leases = cls(database, make_worker_name(), renew_seconds)
        _names_in_use.add(leases.worker)
        leases._thread.start()
        try:
            yield leases
        finally:
            leases._stopped.set()
            leases._thread.join()
            leases.release()

    def claim(self, job_id: int, *, untried: bool = False) -> Chunk | None:
        """Claim the next free chunk of a job; None if none is free now.

        `untried` leaves out the chunks that were tried before.
        """
        with self._database.write() as conn:
            return claim_chunk(conn, job_id, self.worker, LEASE_SECONDS, untried=untried)

    def give_back(self) -> None:
        """Give back all chunks unharmed, and go on."""
        with self._database.write() as conn:
            release_chunks(conn, self.worker)

    def release(self) -> None:
        """Give back all chunks unharmed. Where the database fails, the leases run out."""
        try:
            self.give_back()
        except CorpusError as err:
            log.warning("the leases of %s were not given back: %s", self.worker, err)
        _names_in_use.discard(self.worker)

    def _renew(self) -> None:
        while not self._stopped.wait(self._renew_seconds):
            try:
                with self._database.write() as conn:
                    renew_leases(conn, self.worker, LEASE_SECONDS)
            except CorpusError as err:  # the next turn tries again; a lost lease is noticed later
                log.warning("the leases were not renewed: %s", err)


def release_all(database: Database) -> None:
    """Give back what all workers of this process hold, because the process is about to end."""
    for name in list(_names_in_use):
        with database.write() as conn:
            release_chunks(conn, name)


def release_dead_workers(database: Database) -> None:
    """Release the chunks of processes of this machine that no longer exist; their attempts count.

    A process in a container often has the number of the one before it.
    """
    host = socket.gethostname()[:40]
    with database.read() as conn:
        holders = lease_holders(conn)
    for holder in holders:
        machine, _, number = holder.rpartition(":")[0].rpartition(":")
        if machine != host or not number.isdecimal():
            continue
        is_own = int(number) == os.getpid()
        if (is_own and holder not in _names_in_use) or not _is_alive(int(number)):
            with database.write() as conn:
                abandon_chunks(conn, holder)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, and belongs to another user
        return True
    return True
