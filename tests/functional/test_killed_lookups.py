"""Nothing that was acknowledged is lost, wherever in a shared commit the process is killed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.databases.database import Database
from index.truth.lookups import get_lookup
from tests.clients import NO_BROWSER
from tests.functional.nursery import SIGKILLED, Nursery
from tests.functional.test_malformed_requests import server

COMMITS = (Failpoint.BEFORE_COMMIT, Failpoint.AFTER_COMMIT)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery("tests.functional.storing")
    yield made
    made.close()


def kill_and_prove(
    nursery: Nursery, url: str, folder: Path, failpoint: Failpoint | None, **task: float
) -> int:
    """Kill a process in its work; return how many calls were open then."""
    journal = folder / f"journal-{random.getrandbits(64)}"
    told = {
        "url": url,
        "journal": str(journal),
        "log": str(folder / "stderr"),
        "failpoint": failpoint,
        "passing": 0,
        "seconds": 20,
        "operations": 1000,
    }
    ends = nursery.run([told | task])
    assert ends == [SIGKILLED], journal.read_text()[-300:]
    lines = [line.split() for line in journal.read_text().splitlines()]
    begun, done = ({row for said, row in lines if said == state} for state in ("begun", "done"))
    with Database.open(url) as database, database.read() as conn:
        for row in done:
            assert get_lookup(conn, row).generation == 7  # raises where it is lost
    return len(begun - done)


@pytest.mark.parametrize("failpoint", COMMITS)
def test_a_kill_in_a_shared_commit_loses_nothing_that_was_acknowledged(
    nursery: Nursery, new_database_url: Callable[[], str], tmp_path: Path, failpoint: Failpoint
) -> None:
    url = new_database_url()
    assert kill_and_prove(nursery, url, tmp_path, failpoint, passing=12) > 1
    with Database.open(url) as database:
        assert fsck(database, None, tmp_path / "index").clean


@pytest.mark.prove
def test_hundreds_of_kills_lose_nothing_that_was_acknowledged(
    nursery: Nursery, new_database_url: Callable[[], str], tmp_path: Path
) -> None:
    """At both ends of commits, and at random moments."""
    url, chance = new_database_url(), random.Random(20261130)
    for _ in range(40):
        for failpoint in COMMITS:
            kill_and_prove(nursery, url, tmp_path, failpoint, passing=chance.randrange(1, 60))
        for _ in range(2):
            kill_and_prove(nursery, url, tmp_path, None, seconds=chance.uniform(0.05, 0.6))


@pytest.mark.prove
@pytest.mark.parametrize("kill_after", [1, 10, 50, 200])
def test_a_killed_server_has_stored_every_look_up_that_it_acknowledged(
    tmp_path: Path, kill_after: int
) -> None:
    row = np.random.default_rng(1).standard_normal(192)
    acknowledged: list[str] = []

    def ask_until_it_is_gone(url: httpx.URL) -> None:
        with httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=60) as client:
            while True:
                answer = client.post("/v1/lookups", json=body)
                assert answer.status_code == 201, answer.text
                acknowledged.append(answer.json()["id"])
                if len(acknowledged) == kill_after:
                    os.kill(process, signal.SIGKILL)

    with server(tmp_path / "data", decoding="threads") as (client, process):
        model = client.get("/v1/models").json()["models"][0]
        body = {
            "embedding": (row / np.linalg.norm(row)).tolist(),
            "embedding_space": model["embedding_space"],
        }
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(ask_until_it_is_gone, client.base_url) for _ in range(8)]
        assert all(isinstance(each.exception(), httpx.TransportError) for each in asked)
    assert len(acknowledged) >= kill_after
    with Database.open(f"sqlite:///{tmp_path}/data/lineup.db") as database, database.read() as conn:
        for each in acknowledged:
            assert get_lookup(conn, each).id == each
