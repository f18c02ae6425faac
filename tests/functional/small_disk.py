"""What happens on a disk that is full, then has room again, then is read-only. Run by
`test_small_disk.py`.

`python -m tests.functional.small_disk SCENES DISK HOME`: SCENES are names with commas, each with
`:` and the megabytes of its disk; DISK is where a file system is mounted, in a namespace of this
process's own; HOME is a folder with room. Nothing is patched: errors are the kernel's.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.http.app import create_app
from api.problems import EXIT_STORAGE
from api.settings import Settings
from index.backups.backup import back_up
from index.blobs import BlobStore
from index.cache.following.folding import FoldPolicy
from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.errors import (
    BackupUnwritable,
    DatabaseReadOnly,
    DatabaseUnavailable,
    IndexDirectoryUnwritable,
    StorageFull,
)
from index.proof.fsck import fsck
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.spaces import Space
from tests.functional.shelves import jpeg
from tests.functional.terminal import answer, lineup
from tests.functional.test_golden import unpack

DIMENSION = 64
SPACE = Space("5" * 64, "small", "6" * 64, "7" * 64, DIMENSION)
CONFIG = IndexConfig(flat_limit=500, exact_allowance=0, recall_probes=32)  # codes are written too
POLICY = FoldPolicy(10, 0.05)
BATCH = 500


def vector(image: int) -> Any:
    wide = np.random.default_rng(image).standard_normal(DIMENSION)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def add(database: Database, first: int, count: int = BATCH) -> None:
    images = range(first, first + count)
    new = [NewEntry(ImageFacts(f"{i:064x}", 1000, 64, 48, "png"), vector(i), 0.0) for i in images]
    with database.write() as conn:
        ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
        add_entries(conn, "known", SPACE, new)


def until_full(database: Database) -> int:
    """Add batches until one is refused, and return how many entries there are."""
    for count in range(0, 10**6, BATCH):
        try:
            add(database, count)
        except StorageFull as err:
            assert "full" in str(err)  # noqa: PT017 - which batch is refused is not known before
            return count
    raise AssertionError("this disk is not small")


def opened(database: Database, index: Path) -> LiveIndex:
    return LiveIndex.open(database, SPACE, index, policy=POLICY, config=CONFIG)


def prove(database: Database, live: LiveIndex, count: int) -> None:
    """Every entry is there once, found as its own first neighbour, and truth and index agree."""
    assert live.verify().agrees
    assert live.count == count
    for image in range(0, count, 97):
        first = live.search(vector(image), 1).neighbours[0]
        assert (int(first.entry.sha256, 16), first.cosine_similarity) == (image, 1.0)


def prove_clean(database: Database, index: Path) -> None:
    report = fsck(database, None, index)
    assert report.clean, report.findings


def remount(disk: Path, options: str) -> None:
    gc.collect()  # a file that is still open for writing would keep the disk from it
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def empty_disk(disk: Path) -> None:
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def filled(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as err:
            if err.errno != errno.ENOSPC:
                raise


def index_on_a_full_disk(disk: Path, home: Path) -> None:
    """The snapshot before stays in force, searches go on, and with room again the next one is
    written.
    """
    index = disk / "index"
    with Database.open(f"sqlite:///{home}/lineup.db", migrate=True) as database:
        add(database, 0)
        with opened(database, index) as live:
            before = live.snapshot()
            ballast = disk / "ballast"
            filled(ballast)
            add(database, BATCH, 3 * BATCH)
            for write in (live.snapshot, live.compact, live.settle, live.snapshot):
                with pytest.raises(IndexDirectoryUnwritable, match="space"):
                    write()
                prove(database, live, 4 * BATCH)
        named = {path.name for path in (index / SPACE.fingerprint[:16]).iterdir()}
        assert named == {"lock", "manifest.json", *before.files}
        with opened(database, index) as again:
            assert again.current.manifest == before
            prove(database, again, 4 * BATCH)
            ballast.unlink()
            again.snapshot()
            again.settle()
            assert again.current.manifest is not None
            assert again.current.manifest.codes is not None
            prove(database, again, 4 * BATCH)
        prove_clean(database, index)


def truth_on_a_full_disk(disk: Path, home: Path) -> None:
    """A batch that does not fit is refused whole; what had committed stays, and with room again the
    batch goes in.
    """
    with Database.open(f"sqlite:///{disk}/lineup.db", migrate=True) as database:
        count = until_full(database)
        assert count
        with opened(database, home / "index") as live:
            prove(database, live, count)
            with pytest.raises(StorageFull, match="full"):
                add(database, count, 10 * BATCH)
            prove(database, live, count)
            remount(disk, "size=64m")
            add(database, count)
            prove(database, live, count + BATCH)
        prove_clean(database, home / "index")


def backup_on_a_full_disk(disk: Path, home: Path) -> None:
    """No file gets the archive's name."""
    with Database.open(f"sqlite:///{home}/lineup.db", migrate=True) as database:
        add(database, 0, 20 * BATCH)
        with opened(database, home / "index") as live:
            live.snapshot()
        with pytest.raises(BackupUnwritable, match="space"):
            back_up(
                database,
                home / "index",
                thumbnails=BlobStore(home / "thumbnails"),
                archive=disk / "backup.tar",
            )
        assert list(disk.iterdir()) == []


def read_only_disk(disk: Path, home: Path) -> None:
    """An index is opened and searched where nothing can be written, and says so when it is asked to
    write.
    """
    index = disk / "index"
    with Database.open(f"sqlite:///{home}/lineup.db", migrate=True) as database:
        add(database, 0)
        with opened(database, index) as live:
            live.snapshot()
        remount(disk, "ro")
        add(database, BATCH)
        with opened(database, index) as live:
            assert live.current.manifest is not None
            prove(database, live, 2 * BATCH)
            with pytest.raises(IndexDirectoryUnwritable, match=r"[Rr]ead-only"):
                live.snapshot()
            prove(database, live, 2 * BATCH)
        remount(disk, "rw")
        with opened(database, index) as live:
            live.snapshot()
            prove(database, live, 2 * BATCH)
        prove_clean(database, index)


def read_only_folder(disk: Path, home: Path) -> None:
    """A whole data folder where nothing can be written is searched, and says what it cannot do."""
    data, lookup, probe = prepare(disk, home)
    remount(disk, "ro")
    for reading in (["fsck"], ["corpora"], ["show", lookup], ["calibrations"], ["doctor"]):
        done = lineup(data, *reading)
        assert done.exit_code == 0, (reading, done.stderr, done.exception)
    refused = lineup(data, "search", probe)
    assert (refused.exit_code, "--read-only" in refused.stderr) == (EXIT_STORAGE, True)
    assert lineup(data, "corpora", "create", "new").exit_code == EXIT_STORAGE
    found = answer(data, "search", probe, "--read-only")["lookups"][0]["lookup"]
    assert found["similarity"]["neighbours"]
    with served(data, read_only=True) as client:
        assert client.get("/readyz").status_code == 200
        asked = client.post("/v1/lookups", files={"image": probe.read_bytes()})
        assert (asked.status_code, asked.json()["stored"]) == (201, False)
        assert client.get("/v1/entries/57/thumbnail").status_code == 200
        asked = client.post("/v1/corpora", json={"name": "new", "kind": "known_fake"})
        assert asked.json()["type"].endswith("read-only")
    remount(disk, "rw")
    assert lineup(data, "search", probe).exit_code == 0


def read_only_log(disk: Path, home: Path) -> None:
    """A write-ahead log is read beside its index, and never left out without a word."""
    there = disk / "there"
    there.mkdir()
    with Database.open(f"sqlite:///{home}/lineup.db", migrate=True) as database:
        add(database, 0)
        for name in ("lineup.db", "lineup.db-wal", "lineup.db-shm"):
            (there / name).write_bytes((home / name).read_bytes())
    remount(disk, "ro")
    with Database.open(f"sqlite:///{there}/lineup.db") as database:
        prove(database, opened(database, home / "index"), BATCH)
    remount(disk, "rw")
    (there / "lineup.db-shm").unlink()
    remount(disk, "ro")
    with pytest.raises(DatabaseUnavailable, match="write-ahead log"):
        Database.open(f"sqlite:///{there}/lineup.db")
    remount(disk, "rw")
    with Database.open(f"sqlite:///{there}/lineup.db"):
        pass  # the last one that closes it takes the log in
    remount(disk, "ro")
    database = Database.open(f"sqlite:///{there}/lineup.db")
    with pytest.raises(DatabaseReadOnly, match="--read-only"):
        add(database, BATCH)
    prove_clean(database, home / "index")
    remount(disk, "rw")
    with Database.open(f"sqlite:///{there}/lineup.db") as other:
        add(other, BATCH)
    with pytest.raises(DatabaseUnavailable, match="changed from elsewhere"):
        prove_clean(database, home / "index")


def server_on_a_full_disk(disk: Path, home: Path) -> None:
    """Every route that writes says so, and so does readiness; nothing is left behind, a job stops,
    and with room again all goes on without a restart.
    """
    data, lookup, probe = prepare(disk, home)
    tempfile.tempdir = str(disk)  # where exports are written before they are sent
    before = {path.relative_to(data) for path in data.rglob("*") if path.is_file()}
    image = {"image": probe.read_bytes()}
    with served(data, free_disk_bytes=0) as client:
        assert client.get("/readyz").status_code == 200
        ballast = disk / "ballast"
        filled(ballast)
        for send in (
            lambda: client.post("/v1/lookups", files=image),
            lambda: client.post(
                "/v1/corpora/shown/entries", files={"image": jpeg(77)}, data={"label": "x"}
            ),
            lambda: client.post("/v1/corpora", json={"name": "new", "kind": "known_fake"}),
            lambda: client.post("/v1/corpora/fakes/ingests", files={"source": tar_of(30)}),
            lambda: client.get("/v1/corpora/fakes/export"),
            lambda: client.delete("/v1/entries/57"),
            lambda: client.post("/v1/calibrations", json={}),
        ):
            sent = send()
            problem = "urn:lineup:problem:storage-full"
            assert (sent.status_code, sent.json()["type"]) == (507, problem), sent.text
        ready = client.get("/readyz")
        assert (ready.status_code, "no room" in ready.json()["checks"]["storage"]) == (503, True)
        assert client.get(f"/v1/lookups/{lookup}").status_code == 200
        assert client.get("/v1/corpora").status_code == 200
        left = {path.relative_to(data) for path in data.rglob("*") if path.is_file()} - before
        assert {path.name for path in left} <= {"lineup.db-wal", "lineup.db-shm", "lock"}, left
        ballast.unlink()
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/lookups", files=image).status_code == 201
        sent = client.post("/v1/corpora/fakes/ingests", files={"source": tar_of(3)})
        assert ended(client, sent.json()["id"])["state"] == "completed"
    assert lineup(data, "fsck").exit_code == 0


def job_on_a_full_disk(disk: Path, home: Path) -> None:
    """A job that finds no room loses and doubles nothing. Where there is room to write that, it has
    failed with the reason and is resumed; otherwise it goes on by itself when there is room.
    """
    data, _, _ = prepare(disk, home)
    with served(data, free_disk_bytes=0) as client:
        room = disk / "room"
        room.write_bytes(bytes(600_000))
        filled(disk / "ballast")
        room.unlink()  # for the row of the job and some chunks, not for the entries and their blobs
        source = {"source": ("many.tar", tar_of(40)[1])}
        sent = client.post("/v1/corpora/more/ingests", files=source)
        assert sent.status_code == 202, sent.text
        job_id = sent.json()["id"]
        time.sleep(2)
        job = client.get(f"/v1/jobs/{job_id}").json()
        assert job["state"] in ("running", "failed")
        assert job["done"] < 40
        (disk / "ballast").unlink()
        job = ended(client, job_id)
        if job["state"] == "failed":
            assert "no room" in job["error"]
            assert job["upload_kept_until"] is not None
            assert client.post(f"/v1/jobs/{job_id}/resume").status_code == 200
            job = ended(client, job_id)
        assert (job["state"], job["added"]) == ("completed", 40), job
    assert list((data / "uploads").iterdir()) == []
    assert lineup(data, "fsck").exit_code == 0


def commands_on_a_full_disk(disk: Path, home: Path) -> None:
    """Every command that writes ends with one line and the exit code of storage."""
    data, _, probe = prepare(disk, home)
    before = {path for path in disk.rglob("*") if path.is_file()}
    (home / "in").mkdir()
    (home / "in" / "a.jpg").write_bytes(jpeg(78))
    # Another model's folder as a source: a copy of the built-in one needs megabytes.
    filled(disk / "ballast")
    for words in (
        ["search", probe],
        ["ingest", home / "in", "--corpus", "fakes"],
        ["corpora", "create", "new"],
        ["backup", disk / "b.tar"],
        ["export", "fakes", "--output", disk / "x.parquet"],
        ["entries", "remove", 57],
        ["quarantine", 58, "--reason", "in doubt"],
        ["calibrate"],
        ["jobs", "failures", 1, "--all", "--csv", disk / "failures.csv"],
    ):
        done = lineup(data, *words)
        assert done.exit_code == EXIT_STORAGE, (words, done.exit_code, done.stderr)
        assert "Traceback" not in done.stderr
    (disk / "ballast").unlink()
    left = {path for path in disk.rglob("*") if path.is_file()} - before
    assert {path.name for path in left} <= {"lineup.db-wal", "lineup.db-shm", "lock"}, left
    assert lineup(data, "search", probe).exit_code == 0
    assert lineup(data, "ingest", home / "in", "--corpus", "fakes").exit_code == 0
    assert lineup(data, "fsck").exit_code == 0


def prepare(disk: Path, home: Path) -> tuple[Path, str, Path]:
    """A data folder on the disk, the id of a look-up in it, and a probe beside it."""
    os.environ |= {"LINEUP_DEVICE": "cpu", "LINEUP_PRECISION": "float32"}
    unpack(home)
    shutil.move(home / "data", disk / "data")
    (home / "p.jpg").write_bytes(jpeg(3))
    found = answer(disk / "data", "search", home / "p.jpg")["lookups"][0]["lookup"]
    return disk / "data", found["id"], home / "p.jpg"


def tar_of(count: int) -> tuple[str, bytes]:
    """Name and content of an archive of pictures."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for seed in range(count):
            member = tarfile.TarInfo(f"{seed}.jpg")
            content = jpeg(5000 + seed)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return "a.tar", file.getvalue()


@contextmanager
def served(data: Path, **chosen: Any) -> Iterator[TestClient]:
    settings = Settings(data_dir=data, offline=True, **chosen)
    headers = {"X-Requested-By": "test"}
    with TestClient(
        create_app(settings),
        base_url="http://localhost",
        headers=headers,
        raise_server_exceptions=False,
    ) as client:
        yield client


def ended(client: TestClient, job_id: int) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.1)
    raise TimeoutError(job)


SCENES = {
    scene.__name__: scene
    for scene in (
        index_on_a_full_disk,
        truth_on_a_full_disk,
        backup_on_a_full_disk,
        read_only_disk,
        read_only_folder,
        read_only_log,
        server_on_a_full_disk,
        job_on_a_full_disk,
        commands_on_a_full_disk,
    )
}


if __name__ == "__main__":
    names, mounted, folder = sys.argv[1:]
    assert os.path.ismount(mounted)
    for name, _, size in (each.partition(":") for each in names.split(",")):
        empty_disk(Path(mounted))
        remount(Path(mounted), f"rw,size={size}m")
        (Path(folder) / name).mkdir()
        SCENES[name](Path(mounted), Path(folder) / name)
