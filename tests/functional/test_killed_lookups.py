"""Nothing that was acknowledged is lost, wherever in a shared commit the process is killed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.database import Database
from index.truth.lookups import get_lookup
from tests.functional.nursery import SIGKILLED, Nursery

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
