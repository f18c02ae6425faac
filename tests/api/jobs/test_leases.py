"""Leases are renewed while their worker lives, and released when it stops or is found dead."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from sqlalchemy import select

from api.jobs.leases import Leases, make_worker_name, release_dead_workers
from index.truth.databases.database import Database
from index.truth.jobs.chunks import claim_chunk, lease_holders
from index.truth.schema import job_chunks
from tests.api.modelless import queue_job

HOST = socket.gethostname()[:40]


def holders(database: Database) -> tuple[str, ...]:
    with database.read() as conn:
        return lease_holders(conn)


def hold(database: Database, worker: str) -> None:
    job = queue_job(database)
    with database.write() as conn:
        assert claim_chunk(conn, job.id, worker, 60.0) is not None


@pytest.fixture(scope="module")
def dead_process() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_name_is_new_each_time_and_says_host_and_process() -> None:
    names = {make_worker_name() for _ in range(100)}

    assert len(names) == 100
    assert all(len(name) <= 64 for name in names)
    pattern = re.escape(f"{HOST}:{os.getpid()}:") + "[0-9a-f]{8}"
    assert all(re.fullmatch(pattern, name) for name in names)


def test_only_dead_processes_of_this_machine_lose_their_leases(
    database: Database, dead_process: int
) -> None:
    kept = [
        f"{HOST}:{os.getppid()}:aa",  # it lives
        f"{HOST}:1:aa",  # it lives, and may be another user's
        f"elsewhere:{dead_process}:aa",  # nobody here can know
        "of-an-unknown-form",
        f"{HOST}:none:aa",
    ]
    for worker in [f"{HOST}:{dead_process}:aa", *kept]:
        hold(database, worker)

    release_dead_workers(database)

    assert sorted(holders(database)) == sorted(kept)


def test_opening_leases_takes_over_from_the_dead(database: Database, dead_process: int) -> None:
    hold(database, f"{HOST}:{dead_process}:aa")

    with Leases.held(database):
        assert holders(database) == ()


def test_leases_are_released_however_the_block_ends(database: Database) -> None:
    job = queue_job(database)

    def work() -> None:
        with Leases.held(database) as leases:
            assert leases.claim(job.id) is not None
            assert leases.claim(job.id) is None  # there is one chunk, the listing
            assert holders(database) == (leases.worker,)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert holders(database) == ()


def test_leases_are_renewed_while_the_worker_lives(database: Database) -> None:
    job = queue_job(database)
    until = select(job_chunks.c.leased_until).where(job_chunks.c.job_id == job.id)

    with Leases.held(database, renew_seconds=0.005) as leases:
        leases.claim(job.id)
        with database.read() as conn:
            first = conn.execute(until).scalar_one()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with database.read() as conn:
                if conn.execute(until).scalar_one() > first:
                    return
    pytest.fail("the lease was never renewed")


def test_nothing_is_released_where_nothing_is_held(database: Database) -> None:
    release_dead_workers(database)
    assert holders(database) == ()


def test_a_host_of_a_long_name_is_shortened_so_that_the_name_can_be_stored(
    monkeypatch: pytest.MonkeyPatch, database: Database, dead_process: int
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 200)
    name = make_worker_name()
    assert len(name) <= 64
    assert name.startswith(f"{'h' * 40}:{os.getpid()}:")
    hold(database, f"{'h' * 40}:{dead_process}:aa")
    release_dead_workers(database)
    assert holders(database) == ()


def test_a_host_whose_name_has_colons_is_known_again(
    monkeypatch: pytest.MonkeyPatch, database: Database, dead_process: int
) -> None:
    """As an IPv6 address has; the process stands before the last colon."""
    monkeypatch.setattr(socket, "gethostname", lambda: "fe80::1")
    hold(database, f"fe80::1:{dead_process}:aa")
    hold(database, f"fe80::2:{dead_process}:aa")
    release_dead_workers(database)
    assert holders(database) == (f"fe80::2:{dead_process}:aa",)


def test_two_workers_of_one_process_hold_chunks_of_their_own(database: Database) -> None:
    first, second = queue_job(database), queue_job(database)
    with Leases.held(database) as one:
        with Leases.held(database) as other:
            assert one.claim(first.id) is not None
            assert other.claim(first.id) is None
            assert other.claim(second.id) is not None
            assert set(holders(database)) == {one.worker, other.worker}
        assert holders(database) == (one.worker,)
    assert holders(database) == ()
