"""No item stops a job, no job stops another one, and nothing keeps a process from ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.http.app import create_app
from api.jobs.failures import Patience
from api.jobs.leases import Leases
from api.jobs.working import JobRun
from api.settings import Settings
from index.truth.databases.database import Database
from index.truth.jobs.items import list_items
from index.truth.jobs.job import Job, JobCounts, JobState
from tests.api.modelless import (
    ImageEmbedder,
    TinyTask,
    corpus_names,
    png,
    queue_job,
    read_job,
)
from tests.clients import NO_BROWSER
from tests.functional.nursery import SIGKILLED, Nursery
from tests.functional.terminal import answer

NET_MIN_VALUE = "0001-01-01T00:00:00+01:00"  # what .NET exports for "no date"


def test_a_row_with_a_date_before_the_first_year_is_taken_by_the_terminal(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.png").write_bytes(png(number, 224))
    table = tmp_path / "table.csv"
    table.write_text(
        f"path,acquired_at\na.png,2026-01-02\nb.png,{NET_MIN_VALUE}\nc.png,2026-01-03\n"
    )

    done = answer(tmp_path / "data", "ingest", table, "--corpus", "known")

    assert (done["state"], done["added"], done["failed"]) == ("completed", 3, 0)
    entries = answer(tmp_path / "data", "entries", "list", "known")["entries"]
    dates = {each["provenance"]["path"]: each["acquired_at"] for each in entries}
    assert dates["b.png"] is None
    assert None not in (dates["a.png"], dates["c.png"])
    (unread,) = [each for each in entries if each["acquired_at"] is None]
    assert unread["provenance"]["acquired_at_unread"] == NET_MIN_VALUE


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        data_dir=tmp_path / "data", offline=True, ingest_roots=[str(tmp_path / "in")]
    )
    with TestClient(
        create_app(settings), base_url="http://127.0.0.1:8787", headers=NO_BROWSER
    ) as opened:
        yield opened


def wait_for(client: TestClient, job: int) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.05)
    raise TimeoutError


def test_a_server_survives_a_hostile_pattern_and_a_poisoned_row_and_the_next_job_is_done(
    client: TestClient, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = "a" * 180 + ".png"
    (folder / name).write_bytes(png(1, 224))
    (folder / "table.csv").write_text(
        f"path,acquired_at,generator\n{name},{NET_MIN_VALUE},\n{name},2026-01-02,"
        + "a\u0301\u0316" * 20_000
    )
    orders = [
        {"sources": [str(folder)], "pattern": "**a" * 12 + "{g}zzz"},
        {"sources": [str(folder / "table.csv")]},
        {"sources": [str(folder / name)], "pattern": "{g}.png"},
    ]
    ids = [
        client.post(f"/v1/corpora/known-{number}/ingests", json=order).json()["id"]
        for number, order in enumerate(orders)
    ]
    began = time.monotonic()
    assert client.get("/v1/corpora").status_code == 200
    assert time.monotonic() - began < 30  # the pattern once held the interpreter for good

    first, second, third = (wait_for(client, job) for job in ids)

    assert [each["state"] for each in (first, second, third)] == ["completed"] * 3
    assert (first["added"], first["failed"]) == (1, 1)  # the table is no image
    assert (second["linked"], second["duplicates"]) == (1, 1)
    assert third["linked"] == 1


def test_a_date_before_the_first_year_is_refused_in_an_order(client: TestClient) -> None:
    order = {"sources": ["/x"], "acquired_at": NET_MIN_VALUE}
    refused = client.post("/v1/corpora/known/ingests", json=order)

    assert refused.status_code == 422
    assert "years 1 to 9999" in refused.text


class Workers:
    """Worker processes, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._nursery = Nursery("tests.functional.poisoning")
        self.log = folder / "log"

    def run(self, url: str, on_hang: str = "") -> int:
        """Let a worker do what is open; return its exit code."""
        self.log.write_text("")
        told = {
            "url": url,
            "on_hang": on_hang,
            "failpoint": None,
            "passing": 0,
            "seconds": 60,
            "log": str(self.log),
        }
        return self._nursery.run([told])[0]

    def close(self) -> None:
        self._nursery.close()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    made = Workers(tmp_path_factory.mktemp("workers"))
    yield made
    made.close()


def queue(database: Database, *names: str, point: str = "read", chunk_items: int = 8) -> Job:
    request: dict[str, Any] = {"names": list(names), "chunk_items": chunk_items, "point": point}
    return queue_job(database, request=request)


@pytest.mark.parametrize(
    ("dialect", "point"),
    [
        ("sqlite", "read"),
        pytest.param("postgresql", "store", marks=pytest.mark.postgres),
        pytest.param("sqlite", "store", marks=pytest.mark.prove),
        pytest.param("postgresql", "read", marks=[pytest.mark.postgres, pytest.mark.prove]),
    ],
    indirect=["dialect"],
)
def test_the_item_that_ends_its_worker_three_times_is_found_and_holds_nobody_up(
    database: Database, database_url: str, workers: Workers, point: str
) -> None:
    names = ["a", "b", "exit", "c", "d"]
    poisoned = queue(database, *names, point=point, chunk_items=5)
    other = queue(database, "other")
    deaths = 0
    while (code := workers.run(database_url)) != 0:
        assert code == SIGKILLED
        deaths += 1
        assert deaths <= 3
        if deaths == 2:
            assert read_job(database, other.id).state is JobState.COMPLETED

    assert deaths == 3
    done = read_job(database, poisoned.id)
    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=5, added=4, failed=1))
    assert corpus_names(database) == ["a", "b", "c", "d", "other"]
    with database.read() as conn:
        (item,) = list_items(conn, poisoned.id)
    assert (item.position, item.reason) == (2, "defect")
    assert item.name == ("item 3" if point == "read" else "exit")
    assert "ended 3 times" in item.detail
    assert workers.log.read_text().count("ended 3 times") == 1


@pytest.mark.parametrize(
    "dialect",
    [
        "sqlite",
        pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.prove]),
    ],
    indirect=True,
)
def test_a_worker_that_hangs_in_native_code_ends_on_sigterm(
    database: Database, database_url: str, workers: Workers
) -> None:
    job = queue(database, "a", "hang")
    began = time.monotonic()

    assert workers.run(database_url, on_hang="terminate") == 0

    assert time.monotonic() - began < 60  # it hangs for 1,000 s; the grace period is a second
    log = workers.log.read_text()
    assert "interrupted" in log
    assert "left behind" in log
    assert read_job(database, job.id).state is JobState.RUNNING


@pytest.mark.parametrize(
    "dialect",
    [
        pytest.param("postgresql", marks=pytest.mark.postgres),
        pytest.param("sqlite", marks=pytest.mark.prove),
    ],
    indirect=True,
)
def test_a_cancelled_job_frees_a_worker_that_hangs_within_five_seconds(
    database: Database, database_url: str, workers: Workers
) -> None:
    job, other = queue(database, "hang"), queue(database, "other")
    began = time.monotonic()

    assert workers.run(database_url, on_hang="cancel") == 0

    assert time.monotonic() - began < 60  # it hangs for 1,000 s; this has two starts in it
    assert read_job(database, job.id).state is JobState.CANCELLED
    assert read_job(database, other.id).state is JobState.COMPLETED


@pytest.mark.postgres
def test_a_database_that_ends_every_connection_again_and_again_ends_no_work(
    new_postgresql_url: Callable[[], str],
) -> None:
    """As a restart does, which also rolls back what is being written."""
    with (
        Database.open(new_postgresql_url()) as database,
        Database.open(new_postgresql_url()) as killer,
    ):
        names = [f"n{number}" for number in range(16)]
        job, stop = queue_job(database), threading.Event()

        def end_connections() -> None:
            with killer.write() as conn:
                conn.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )

        turns = iter(range(1000))

        def disturb() -> None:
            if next(turns) % 3 == 0:
                end_connections()

        task = TinyTask(names, chunk_items=4, before_write=disturb, on_read=disturb)
        with Leases.held(database) as leases:
            run = JobRun(
                database,
                ImageEmbedder(),
                task,
                leases,
                lambda *_: None,
                stop,
                patience=Patience(stop, 60, 0.01),
            )
            done = run.run(job.id)

        assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=16, added=16))
        assert corpus_names(database) == sorted(names)
