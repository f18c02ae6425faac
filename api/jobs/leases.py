"""A worker's leases: claimed, renewed while the process lives, given back when it stops.

A worker's name says on which machine and in which process it is, so that what a killed process held
is taken over at once on the same machine; elsewhere it is when the lease has run out.
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
from index.truth.database import Database
from index.truth.jobs import Chunk, claim_chunk, lease_holders, release_chunks, renew_leases

# Long enough for a machine under load, short enough that another machine soon takes over what a
# dead one had.
LEASE_SECONDS = 60.0
RENEW_SECONDS = 15.0
log = logging.getLogger(__name__)


def worker_name() -> str:
    """A name that no other worker has: `host:process:random`, at most 64 characters."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


class Leases:
    """The leases of one worker. Use `held` to make one."""

    def __init__(self, database: Database, worker: str) -> None:
        self.worker = worker
        self._database = database
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    @classmethod
    @contextmanager
    def held(cls, database: Database) -> Iterator[Leases]:
        """Leases that are renewed while the block runs and given back when it ends, however it
        ends.
        """
        release_dead_workers(database)
        leases = cls(database, worker_name())
        leases._thread.start()
        try:
            yield leases
        finally:
            leases._stopped.set()
            leases._thread.join()
            with database.write() as conn:
                release_chunks(conn, leases.worker)

    def claim(self, job_id: int) -> Chunk | None:
        """The next free chunk of a job; None where there is none now."""
        with self._database.write() as conn:
            return claim_chunk(conn, job_id, self.worker, LEASE_SECONDS)

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_SECONDS):
            try:
                with self._database.write() as conn:
                    renew_leases(conn, self.worker, LEASE_SECONDS)
            except (
                CorpusError
            ) as err:  # tried again in a moment; a lease that is lost is noticed when it is needed
                log.warning("leases not renewed: %s", err)


def release_dead_workers(database: Database) -> None:
    """Give back what processes of this machine held that are no more."""
    host = socket.gethostname()[:40]
    with database.read() as conn:
        holders = lease_holders(conn)
    for holder in holders:
        machine, _, rest = holder.rpartition(":")[0].rpartition(":")
        if machine == host and rest.isdecimal() and not _is_alive(int(rest)):
            with database.write() as conn:
                release_chunks(conn, holder)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's, and it is there
        return True
    return True
