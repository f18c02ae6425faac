"""The service over PostgreSQL as it is run: locked tables, a replica, roles with few rights."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import NullPool, create_engine, make_url, text

from api.http.app import create_app
from api.settings import Settings
from index.errors import DatabaseRefused
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import OF_LOOKUPS, Database
from tests.functional.replicas import open_replica

pytestmark = pytest.mark.postgres
LOCK_SECONDS = 0.5
DOCUMENT = Path(__file__).parents[2] / "docs" / "postgresql.md"


@pytest.fixture
def dialect() -> str:
    return "postgresql"


def picture(seed: int) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@contextmanager
def serve(folder: Path, url: str, **settings: object) -> Iterator[TestClient]:
    chosen = Settings(
        data_dir=folder,
        database_url=url,
        offline=True,
        device="cpu",
        server_works=False,
        database_lock_timeout_seconds=LOCK_SECONDS,
        **settings,
    )
    with TestClient(
        create_app(chosen),
        base_url="http://localhost",
        headers={"X-Requested-By": "the test"},
        raise_server_exceptions=False,
    ) as client:
        yield client


def add(client: TestClient, *seeds: int) -> None:
    client.post("/v1/corpora", json={"name": "fakes", "kind": "known_fake"})
    for seed in seeds:
        added = client.post("/v1/corpora/fakes/entries", files={"image": picture(seed)})
        added.raise_for_status()


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as conn:
        conn.execute(text(f"LOCK TABLE {table}"))
        yield


@pytest.mark.parametrize(
    "tables",
    [
        ("entries", "lookups"),
        pytest.param(tuple(sorted({table.name for table in OF_LOOKUPS})), marks=pytest.mark.prove),
    ],
    ids=["some", "all"],
)
def test_a_locked_table_is_said_soon(
    tmp_path: Path, database_url: str, tables: tuple[str, ...]
) -> None:
    with serve(tmp_path, database_url) as client, ThreadPoolExecutor(8) as threads:
        add(client, 1, 2)

        def look_up(_: int) -> tuple[int, dict, str | None, float]:
            started = time.monotonic()
            got = client.post("/v1/lookups", files={"image": picture(1)})
            taken = time.monotonic() - started
            return got.status_code, got.json(), got.headers.get("retry-after"), taken

        for table in tables:
            with locked(database_url, table):
                waiting = [threads.submit(look_up, number) for number in range(8)]
                started = time.monotonic()
                ready = client.get("/readyz")
                assert time.monotonic() - started < 3
                assert ready.status_code == 503
                assert "lock" in ready.json()["checks"]["database"]
                for each in waiting:
                    status, problem, later, taken = each.result()
                    if table in {"embeddings", "changes", "computations"} and status == 201:
                        continue  # not every look-up needs them
                    assert (status, later) == (503, "2"), (table, problem)
                    assert problem["type"] == "urn:lineup:problem:database-unavailable"
                    assert taken < 5 * LOCK_SECONDS + 2
            assert look_up(0)[0] == 201
            assert client.get("/readyz").status_code == 200


def test_a_replica_answers_and_stores_nothing(tmp_path: Path, database_url: str) -> None:
    with serve(tmp_path / "primary", database_url) as primary:
        add(primary, 1, 2)
        wait_for_generation(primary, 2)
        stored = primary.post("/v1/lookups", files={"image": picture(1)}).json()
        with open_replica(database_url) as replica_url:
            # a copy is verified by what is kept of its entry, so the reader gets that too
            shutil.copytree(tmp_path / "primary" / "thumbnails", tmp_path / "reader" / "thumbnails")
            with serve(tmp_path / "reader", replica_url, read_only=True) as reader:
                ready = reader.get("/readyz").json()
                assert (ready["ready"], ready["replica"], ready["read_only"]) == (True, True, True)
                got = reader.post("/v1/lookups", files={"image": picture(1)})
                assert (got.status_code, got.json()["stored"]) == (201, False)
                assert "location" not in got.headers
                assert got.json()["evidence_sha256"] == stored["evidence_sha256"]
                assert reader.get(f"/v1/lookups/{stored['id']}").json()["stored"]
                refused = reader.post("/v1/corpora", json={"name": "a", "kind": "known_fake"})
                assert refused.status_code == 503
                assert refused.json()["type"] == "urn:lineup:problem:database-read-only"
                add(primary, 3)
                wait_for_generation(reader, 3)
            hosts = [make_url(url).query["host"] for url in (replica_url, database_url)]
            either = make_url(database_url).set(
                query={
                    "host": ",".join(map(str, hosts)),
                    "port": "5432,5432",
                    "target_session_attrs": "read-write",
                }
            )
            with Database.open(either.render_as_string(hide_password=False)) as database:
                assert not database.examine().is_replica
            with serve(tmp_path / "wrong", replica_url) as wrong:
                ready = wrong.get("/readyz")
                assert ready.status_code == 503
                assert "--read-only" in ready.json()["checks"]["database"]
                got = wrong.post("/v1/lookups", files={"image": picture(1)})
                assert got.status_code == 503
                assert got.json()["type"] == "urn:lineup:problem:database-read-only"


def wait_for_generation(client: TestClient, generation: int) -> None:
    deadline = time.monotonic() + 10
    while client.get("/readyz").json()["generation"] != generation:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def documented_sql() -> list[list[str]]:
    """The statements of each block of SQL in the document."""
    blocks = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return [[each.strip() for each in block.split(";") if each.strip()] for block in blocks]


def test_the_documented_roles_suffice(
    tmp_path: Path, postgres_server: object, run_sql: Callable[..., None]
) -> None:
    as_administrator, as_owner = documented_sql()
    server = make_url(str(postgres_server))
    names = ("lineup_owner", "lineup_app", "lineup_reader")
    owner, app, reader = (
        server.set(username=name, database="lineup", drivername="postgresql").render_as_string()
        for name in names
    )
    run_sql(server, as_administrator)
    try:
        run_sql(make_url(owner), as_owner)
        with pytest.raises(DatabaseRefused, match="permission denied"):
            Database.open(app, migrate=True)
        Database.open(owner, migrate=True).close()
        with serve(tmp_path / "app", app) as client:
            add(client, 1, 2)
            assert client.post("/v1/lookups", files={"image": picture(1)}).status_code == 201
            assert client.delete("/v1/entries/2").status_code in {200, 204}
            assert client.delete("/v1/corpora/fakes").status_code in {200, 202, 204}
        with serve(tmp_path / "reader", reader, read_only=True) as client:
            got = client.post("/v1/lookups", files={"image": picture(1)})
            assert (got.status_code, got.json()["stored"]) == (201, False)
        with (
            Database.open(reader) as database,
            pytest.raises(DatabaseRefused, match="permission denied for table corpora"),
            database.write() as conn,
        ):
            create_corpus(conn, "never", CorpusKind.KNOWN_FAKE)
    finally:
        run_sql(
            server,
            ["DROP DATABASE IF EXISTS lineup WITH (FORCE)"]
            + [f"DROP ROLE IF EXISTS {name}" for name in names],
        )


@pytest.fixture
def run_sql() -> Callable[..., None]:
    def run(url: object, statements: list[str]) -> None:
        engine = create_engine(
            make_url(str(url)).set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )
        with engine.connect() as conn:
            for each in statements:
                conn.execute(text(each))

    return run
