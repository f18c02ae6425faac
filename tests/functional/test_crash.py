"""Killed anywhere, nothing is lost: after every SIGKILL, truth and index agree and hold exactly
what was committed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.databases.database import Database
from index.truth.filters import Filter
from index.truth.schema import corpora, entries, images
from tests.functional.crashing import open_index, vector
from tests.functional.nursery import SIGKILLED, Nursery

# Jobs are killed in `test_killed_ingest.py`, backups and restores in `tests/index/backups`.
ELSEWHERE = {Failpoint.CHUNK_FINISHED, Failpoint.ARCHIVE_WRITTEN, Failpoint.TARGET_FOUND_EMPTY}
FAILPOINTS = tuple(point for point in Failpoint if point not in ELSEWHERE)
# Corpora by name, with their images; a writer's own begin with its number.
State = dict[str, frozenset[int]]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery("tests.functional.crashing")
    yield made
    made.close()


class Proof:
    """One database and index, hurt again and again, and what must be in them."""

    def __init__(self, nursery: Nursery, url: str, folder: Path, writers: int) -> None:
        self.nursery, self.url, self.folder, self.writers = nursery, url, folder, writers
        self.directory = folder / "index"
        self.state: State = {}
        self.kills: Counter[str] = Counter()
        self.turn = 0
        with Database.open(url, migrate=True):
            pass

    def hurt(
        self, failpoint: Failpoint | None, passing: int, seconds: float, operations: int = 40
    ) -> None:
        """Let the writers work, the first of them to be killed; then prove that nothing was
        lost.
        """
        self.turn += 1
        tasks = [
            {
                "url": self.url,
                "directory": str(self.directory),
                "journal": str(self.folder / f"journal-{self.turn}-{writer}"),
                "log": str(self.folder / "stderr"),
                "seed": self.turn * 1000 + writer,
                "writer": writer,
                "background": self.turn % 3 == 0,
                "failpoint": failpoint if writer == 0 else None,
                "passing": passing,
                "seconds": seconds,
                "operations": operations,
            }
            for writer in range(self.writers)
        ]
        ends = self.nursery.run(tasks)
        if ends[0] == SIGKILLED:
            self.kills[failpoint or "anywhere"] += 1
        self.prove([Path(task["journal"]) for task in tasks])

    def prove(self, journals: list[Path]) -> None:
        with Database.open(self.url) as database:
            found = stored(database)
            for writer, journal in enumerate(journals):
                own = {name: kept for name, kept in found.items() if name.startswith(f"w{writer}-")}
                before = {
                    name: kept
                    for name, kept in self.state.items()
                    if name.startswith(f"w{writer}-")
                }
                assert own in outcomes(before, journal), journal.read_text()
            self.state = found
            report = fsck(database, None, self.directory)
            assert report.clean, report.findings
            with open_index(database, self.directory) as live:
                members = {(name, image) for name, kept in found.items() for image in kept}
                assert live.count == len(members)
                verification = (
                    live.verify()
                )  # of the vectors held, as the log states it, and from the rows alone
                assert verification.agrees
                everything = live.search(vector(0), max(1, live.count), exact=True).neighbours
                assert {(n.entry.corpus, int(n.entry.sha256, 16)) for n in everything} == members
                for name, kept in found.items():
                    for image in kept:
                        first = live.search(
                            vector(image), 1, Filter(corpora=frozenset([name]))
                        ).neighbours[0]
                        assert (int(first.entry.sha256, 16), first.cosine_similarity) == (
                            image,
                            1.0,
                        )
                for image in sorted({image for _, image in members})[::5]:
                    first = live.search(vector(image), 1).neighbours[0]
                    assert (int(first.entry.sha256, 16), first.cosine_similarity) == (image, 1.0)


def stored(database: Database) -> State:
    """What SQL holds: the images of each live corpus."""
    query = (
        select(corpora.c.name, images.c.sha256)
        .join(entries, entries.c.corpus_id == corpora.c.id)
        .join(images, images.c.id == entries.c.image_id)
        .where(entries.c.removed_at.is_(None))
    )
    found: dict[str, set[int]] = {}
    with database.read() as conn:
        for name, sha256 in conn.execute(query):
            found.setdefault(name, set()).add(int(sha256, 16))
    return {name: frozenset(kept) for name, kept in found.items()}


def outcomes(state: State, journal: Path) -> list[State]:
    """What may be stored after a journal: all that is done, and what was begun last either whole or
    not at all.
    """
    begun = None
    for line in journal.read_text().splitlines() if journal.exists() else []:
        if not line.endswith("]"):  # the write of the line itself was cut off, so nothing was begun
            break
        said, operation = json.loads(line)
        if said == "done":
            state, begun = applied(state, operation), None
        else:
            begun = operation
    return [state] if begun is None else [state, applied(state, begun)]


def applied(state: State, operation: list[Any]) -> State:
    what, corpus, *rest = operation
    kept = state.get(corpus, frozenset())
    match what:
        case "add":
            kept = kept | frozenset(rest[0])
        case "remove":
            kept = kept - {rest[0]}
        case _:
            kept = frozenset()
    return {name: images for name, images in (state | {corpus: kept}).items() if images}


def test_every_failpoint_and_some_moments_on_sqlite(
    nursery: Nursery, new_sqlite_url: Callable[[], str], tmp_path: Path
) -> None:
    proof = Proof(nursery, new_sqlite_url(), tmp_path, writers=1)
    for number, failpoint in enumerate(FAILPOINTS):
        proof.hurt(failpoint, passing=1 + number % 3, seconds=20)
    for number in range(6):
        proof.hurt(None, passing=0, seconds=0.05 + 0.1 * number)
    missed = set(FAILPOINTS) - set(proof.kills)
    for failpoint in missed:  # forty random operations may not have come by
        proof.hurt(failpoint, passing=1, seconds=30, operations=400)
    assert set(proof.kills) >= set(FAILPOINTS)


@pytest.mark.postgres
def test_two_writers_of_whom_one_is_killed_on_postgresql(
    nursery: Nursery, new_postgresql_url: Callable[[], str], tmp_path: Path
) -> None:
    proof = Proof(nursery, new_postgresql_url(), tmp_path, writers=2)
    for failpoint in (
        Failpoint.ENTRIES_WRITTEN,
        Failpoint.NUMBERS_TAKEN,
        Failpoint.CHANGES_WRITTEN,
        Failpoint.BEFORE_COMMIT,
        Failpoint.ROWS_WRITTEN,
        Failpoint.MANIFEST_PUBLISHED,
    ):
        proof.hurt(failpoint, passing=2, seconds=20, operations=25)
    assert proof.kills


@pytest.mark.prove
@pytest.mark.parametrize(
    "writers",
    [pytest.param(1, id="sqlite"), pytest.param(2, id="postgresql", marks=pytest.mark.postgres)],
)
def test_hundreds_of_kills(
    nursery: Nursery, request: pytest.FixtureRequest, tmp_path: Path, writers: int
) -> None:
    """At every failpoint again and again, and at random moments; 160 kills at least on each
    database.
    """
    new_url = request.getfixturevalue("new_sqlite_url" if writers == 1 else "new_postgresql_url")
    proof = Proof(nursery, new_url(), tmp_path, writers)
    chance = random.Random(20261124)
    while proof.kills.total() < 160:
        for failpoint in FAILPOINTS:
            proof.hurt(failpoint, passing=chance.randrange(1, 8), seconds=20)
        for _ in range(10):
            proof.hurt(None, passing=0, seconds=chance.uniform(0.01, 1.5), operations=200)
    missed = set(FAILPOINTS) - set(proof.kills)
    for failpoint in missed:
        proof.hurt(failpoint, passing=1, seconds=60, operations=600)
    print(f"{proof.kills.total()} kills: {dict(proof.kills)}")
    assert set(proof.kills) >= set(FAILPOINTS)
