"""What happens on a disk that is full, then has room again, then is read-only. Run by
`test_small_disk.py`.

`python -m tests.functional.small_disk SCENE DISK HOME`: DISK is where a file system of a few
megabytes is mounted, in a namespace of this process's own; HOME is a folder with room. Nothing is
patched: errors are the kernel's.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.backups.backup import back_up
from index.blobs import BlobStore
from index.cache.config import IndexConfig
from index.cache.folding import FoldPolicy
from index.cache.live import LiveIndex
from index.errors import BackupUnwritable, IndexDirectoryUnwritable, StorageFull
from index.proof.fsck import fsck
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.database import Database
from index.truth.images import ImageFacts
from index.truth.spaces import Space

DIMENSION = 64
SPACE = Space("5" * 64, "small", "6" * 64, "7" * 64, DIMENSION)
CONFIG = IndexConfig(flat_limit=500, recall_probes=32)  # codes are written too
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
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


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


SCENES = {
    scene.__name__: scene
    for scene in (index_on_a_full_disk, truth_on_a_full_disk, backup_on_a_full_disk, read_only_disk)
}


if __name__ == "__main__":
    name, disk, home = sys.argv[1:]
    assert os.path.ismount(disk)
    SCENES[name](Path(disk), Path(home))
