"""An ingest killed again and again ends with exactly the counts of one that nobody disturbed.

And several at once, on one corpus of one PostgreSQL database: nothing is doubled, nothing is lost.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from api.settings import Settings
from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.databases.database import Database
from index.truth.jobs.items import Outcome, count_reasons, list_items
from index.truth.jobs.job import JobState, list_jobs
from index.truth.schema import entries, job_chunks
from tests.functional.nursery import Nursery, Task
from tests.functional.shelves import Expected, write_folder, write_tar

FAILPOINTS = (
    Failpoint.IMAGES_WRITTEN,
    Failpoint.ENTRIES_WRITTEN,
    Failpoint.CHANGES_WRITTEN,
    Failpoint.CHUNK_FINISHED,
    Failpoint.BEFORE_COMMIT,
    Failpoint.AFTER_COMMIT,
    Failpoint.FILE_WRITTEN,
    Failpoint.FILE_RENAMED,
)


class Ingests:
    """Whole ingests, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._nursery = Nursery("tests.functional.ingesting")
        self._told = {
            "failpoint": None,
            "passing": 0,
            "seconds": 300,
            "chunk_items": 8,
            "dedup": "exact",
            "log": str(folder / "log"),
        }

    def run(self, *tasks: Task) -> list[int]:
        return self._nursery.run([self._told | task for task in tasks])

    def close(self) -> None:
        self._nursery.close()


@pytest.fixture(scope="module")
def ingests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingests]:
    made = Ingests(tmp_path_factory.mktemp("ingests"))
    yield made
    made.close()


def outcome(url: str, job_id: int | None = None) -> dict[str, Any]:
    """All that a job says of itself and its items, without what names rows or times."""
    with Database.open(url) as database, database.read() as conn:
        (job,) = [each for each in list_jobs(conn) if job_id in (None, each.id)]
        items = list_items(conn, job.id, limit=100_000)
        return {
            "state": job.state,
            "counts": job.counts,
            "reasons": count_reasons(conn, job.id),
            "items": [(each.position, each.name, each.outcome, each.reason) for each in items],
            "entries": conn.execute(select(func.count()).select_from(entries)).scalar_one(),
            "chunks": conn.execute(select(func.count()).select_from(job_chunks)).scalar_one(),
        }


def is_as_expected(found: dict[str, Any], expected: Expected) -> None:
    counts = found["counts"]
    assert found["state"] is JobState.COMPLETED
    assert (counts.found, counts.added, counts.linked) == (expected.found, expected.added, 0)
    assert (counts.failed, counts.skipped) == (expected.failed.total(), expected.duplicates)
    assert (counts.duplicates, counts.near_duplicates) == (
        expected.duplicates,
        expected.near_duplicates,
    )
    assert found["reasons"].get(Outcome.FAILED, {}) == dict(expected.failed)
    assert {
        name: reason for _, name, what, reason in found["items"] if what is Outcome.FAILED
    } == expected.failures
    assert found["entries"] == expected.added
    assert found["chunks"] == 0


def is_sound(url: str, data: Path) -> None:
    settings = Settings(data_dir=data)
    with Database.open(url) as database:
        report = fsck(database, None, settings.index_dir, None)
    assert report.clean, report.findings


def killed_until_done(
    ingests: Ingests, task: dict[str, Any], deaths: Iterator[dict[str, Any]], at_most: int
) -> Counter[str]:
    """Run the same ingest until it ends, killing it on the way; how often it died of what.

    One that died once its job was completed has ended: the same command would begin another job,
    which finds everything there.
    """
    kills: Counter[str] = Counter()
    for _ in range(at_most):
        death = next(deaths)
        (end,) = ingests.run(task | death)
        if end == 0:
            return kills
        kills[death.get("failpoint") or "any moment"] += 1
        if is_completed(task["url"]):
            return kills
    (end,) = ingests.run(task)
    assert end == 0
    return kills


def is_completed(url: str) -> bool:
    with Database.open(url) as database, database.read() as conn:
        return any(job.state is JobState.COMPLETED for job in list_jobs(conn))


def early_deaths() -> Iterator[dict[str, Any]]:
    """At every failpoint, in the first or the second chunk that a run writes."""
    for number, failpoint in enumerate(FAILPOINTS):
        yield {"failpoint": failpoint, "passing": 1 + number % 2}


def some_deaths(chance: random.Random) -> Iterator[dict[str, Any]]:
    while True:
        if chance.random() < 0.6:
            yield {"failpoint": chance.choice(FAILPOINTS), "passing": chance.randrange(1, 9)}
        else:
            yield {"seconds": chance.uniform(0.3, 2.5)}


@pytest.mark.parametrize("dedup", [pytest.param("exact", marks=pytest.mark.prove), "near"])
def test_a_killed_ingest_ends_with_the_counts_of_an_undisturbed_one(
    ingests: Ingests, new_sqlite_url: Callable[[], str], tmp_path: Path, dedup: str
) -> None:
    expected = write_tar(tmp_path / "shelf.tar", 150)
    quiet, disturbed = new_sqlite_url(), new_sqlite_url()
    task = {"sources": [str(tmp_path / "shelf.tar")], "corpus": "known", "dedup": dedup}
    assert ingests.run(task | {"url": quiet, "data": str(tmp_path / "quiet")}) == [0]

    kills = killed_until_done(
        ingests,
        task | {"url": disturbed, "data": str(tmp_path / "disturbed")},
        early_deaths(),
        at_most=len(FAILPOINTS),
    )

    assert set(kills) == set(
        FAILPOINTS
    )  # however quick the machine is: each comes in the first chunks of a run
    assert outcome(disturbed) == outcome(quiet)
    is_sound(disturbed, tmp_path / "disturbed")
    if dedup == "exact":
        is_as_expected(outcome(disturbed), expected)


@pytest.mark.postgres
def test_two_ingests_into_one_corpus_of_postgresql_double_nothing(
    ingests: Ingests, new_postgresql_url: Callable[[], str], tmp_path: Path
) -> None:
    """The same 150 images from a tar and from a folder, at once: each image is added by exactly one
    of the two.
    """
    url = new_postgresql_url()
    expected = write_tar(tmp_path / "shelf.tar", 150)
    write_folder(tmp_path / "shelf", 150)
    base = {"url": url, "data": str(tmp_path / "data"), "corpus": "known"}

    ends = ingests.run(
        base | {"sources": [str(tmp_path / "shelf.tar")]},
        base | {"sources": [str(tmp_path / "shelf")]},
    )

    assert ends == [0, 0]
    with Database.open(url) as database, database.read() as conn:
        one, other = (job.counts for job in list_jobs(conn))
        count = conn.execute(select(func.count()).select_from(entries)).scalar_one()
    assert one.added + other.added == count == expected.added
    assert one.skipped + other.skipped == 2 * expected.duplicates + expected.added
    assert one.failed == other.failed == expected.failed.total()
    assert one.done == other.done == expected.found
    is_sound(url, tmp_path / "data")


@pytest.mark.postgres
def test_one_job_worked_on_by_two_processes_of_which_one_dies(
    ingests: Ingests, new_postgresql_url: Callable[[], str], tmp_path: Path
) -> None:
    """The same command twice at once is one job; what the killed process had is taken over without
    waiting.
    """
    url = new_postgresql_url()
    expected = write_tar(tmp_path / "shelf.tar", 200)
    task = {
        "url": url,
        "data": str(tmp_path / "data"),
        "corpus": "known",
        "sources": [str(tmp_path / "shelf.tar")],
    }

    ends = ingests.run(task, task | {"failpoint": Failpoint.BEFORE_COMMIT, "passing": 12})

    assert 0 in ends  # the survivor finishes it

    found = outcome(url)
    assert found["counts"].added == found["entries"] == expected.added
    assert found["counts"].done == found["counts"].found == expected.found
    assert found["counts"].duplicates == expected.duplicates
    assert found["reasons"][Outcome.FAILED] == dict(expected.failed)
    is_sound(url, tmp_path / "data")


def test_the_counts_of_a_tar_with_bad_ones_are_exact(
    ingests: Ingests, new_sqlite_url: Callable[[], str], tmp_path: Path
) -> None:
    url = new_sqlite_url()
    expected = write_tar(tmp_path / "shelf.tar", 600)
    assert len({name.rpartition("-")[2] for name in expected.failures}) >= 12
    task = {
        "sources": [str(tmp_path / "shelf.tar")],
        "corpus": "known",
        "url": url,
        "data": str(tmp_path / "data"),
    }

    assert ingests.run(task | {"chunk_items": 64}) == [0]

    is_as_expected(outcome(url), expected)


@pytest.mark.prove
def test_twenty_thousand_images_with_three_percent_bad_ones(
    ingests: Ingests, new_sqlite_url: Callable[[], str], tmp_path: Path
) -> None:
    url = new_sqlite_url()
    expected = write_tar(tmp_path / "shelf.tar", 20_000)
    task = {
        "sources": [str(tmp_path / "shelf.tar")],
        "corpus": "known",
        "url": url,
        "data": str(tmp_path / "data"),
    }

    assert ingests.run(task | {"chunk_items": 64, "seconds": 3000}) == [0]

    is_as_expected(outcome(url), expected)
    print(f"{expected.found:,} found, {expected.added:,} added, {dict(expected.failed)}")


@pytest.mark.prove
@pytest.mark.parametrize(
    "system", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def test_a_hundred_kills(
    ingests: Ingests, request: pytest.FixtureRequest, tmp_path: Path, system: str
) -> None:
    """Again and again, on each database, until a hundred ingests have died: each job ends with
    exact counts.
    """
    chance = random.Random(20261125)
    kills: Counter[str] = Counter()
    turn = 0
    while kills.total() < 100:
        turn += 1
        url = request.getfixturevalue(f"new_{system}_url")()
        expected = write_tar(tmp_path / f"{turn}.tar", 300, seed=turn)
        task = {"sources": [str(tmp_path / f"{turn}.tar")], "corpus": "known", "url": url}
        data = tmp_path / f"data-{turn}"
        kills += killed_until_done(
            ingests, task | {"data": str(data)}, some_deaths(chance), at_most=30
        )
        is_as_expected(outcome(url), expected)
        is_sound(url, data)
    print(f"{kills.total()} kills in {turn} ingests: {dict(kills)}")
