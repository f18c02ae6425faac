"""The folder of an index: a snapshot is opened only if it agrees with the database."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.cache.snapshots.folder import LOOKUP_PROBES, IndexFolder
from index.cache.snapshots.manifest import MANIFEST, read_manifest
from index.cache.snapshots.snapshot import directory_lock
from index.cache.vectors.rows import HeldRows, MappedRows
from index.errors import SnapshotCorrupt, TruthDamaged
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.filters import Filter
from index.truth.lookups import NewLookup, save_lookups

NAMES = [f"image-{i}" for i in range(30)]
SMALL = IndexConfig(flat_limit=20, exact_allowance=0, recall_probes=8, recall_target=0.5)


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # what is read from SQL is the same from both


@pytest.fixture
def folder(database: Database, material: Any, tmp_path: Path) -> IndexFolder:
    return IndexFolder(database, material.space, tmp_path / "index", IndexConfig(), threads=1)


@pytest.fixture
def small(database: Database, material: Any, tmp_path: Path) -> IndexFolder:
    """A folder for an index that is on disk from 20 entries on."""
    return IndexFolder(database, material.space, tmp_path / "index", SMALL, threads=1)


def write(folder: IndexFolder) -> Any:
    with directory_lock(folder.path, wait=True):
        return folder.write(folder.build(), compact=False)


def test_without_a_snapshot_there_is_nothing_to_open(folder: IndexFolder) -> None:
    assert folder.open() is None
    assert not folder.path.exists()


def test_the_folder_is_named_by_the_space(folder: IndexFolder, material: Any) -> None:
    assert folder.path.name == material.space.fingerprint[:16]


def test_a_small_index_is_built_in_memory(
    database: Database, material: Any, folder: IndexFolder
) -> None:
    ids = material.fill(database, "fakes", NAMES)
    with database.write() as conn:
        remove_entry(conn, ids[4])
    built = folder.build()
    assert built.manifest is None
    assert isinstance(built.view.sealed.rows, HeldRows)
    assert built.view.member_ids().tolist() == [i for i in ids if i != ids[4]]
    assert (built.view.generation, built.view.count) == (31, 29)
    assert built.view.digest == built.view.compute_digest()
    assert not folder.path.exists()


def test_a_large_index_is_built_on_disk(
    database: Database, material: Any, small: IndexFolder
) -> None:
    material.fill(database, "fakes", NAMES)
    built = small.build()
    assert built.manifest is not None
    assert built.manifest == read_manifest(small.path)
    assert isinstance(built.view.sealed.rows, MappedRows)
    assert built.view.count == 30


def test_a_large_index_is_held_in_memory_if_the_folder_cannot_be_made(
    database: Database,
    material: Any,
    small: IndexFolder,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    material.fill(database, "fakes", NAMES)
    (tmp_path / "index").write_text("a file")
    assert small.build().manifest is None
    assert "the index is held in memory" in caplog.text


def test_a_snapshot_is_opened_as_the_state_that_was_written(
    database: Database, material: Any, folder: IndexFolder
) -> None:
    ids = material.fill(database, "fakes", NAMES)
    manifest = write(folder)
    material.fill(database, "fakes", ["later"])
    opened = folder.open()
    assert opened is not None
    assert (opened.manifest, opened.view.generation) == (manifest, 30)
    assert opened.view.member_ids().tolist() == list(ids)


def test_the_row_id_of_the_space_is_known_once_the_database_knows_it(
    database: Database, material: Any, folder: IndexFolder
) -> None:
    with database.read() as conn:
        assert folder.find_space(conn) is None
    material.fill(database, "fakes", NAMES[:1])
    with database.read() as conn:
        assert folder.find_space(conn) == folder.space_id == 1


def test_a_snapshot_that_is_newer_than_the_database_is_set_aside(
    database: Database, material: Any, folder: IndexFolder, caplog: pytest.LogCaptureFixture
) -> None:
    material.fill(database, "fakes", NAMES)
    write(folder)
    with database.write() as conn:
        conn.execute(text("DELETE FROM changes WHERE number > 10"))
        conn.execute(text("UPDATE change_counter SET last = 10"))
    assert folder.open() is None
    assert "restored or replaced" in caplog.text
    assert (folder.path / f"{MANIFEST}.set-aside").exists()


def test_a_snapshot_of_other_members_is_set_aside(
    database: Database, material: Any, folder: IndexFolder, caplog: pytest.LogCaptureFixture
) -> None:
    material.fill(database, "fakes", NAMES)
    manifest = write(folder)
    with database.write() as conn:
        conn.execute(
            text("UPDATE changes SET digest = (SELECT digest FROM changes WHERE number = 1) ")
        )
    with database.read() as conn, pytest.raises(SnapshotCorrupt, match="digest"):
        folder.check(conn, manifest)
    assert folder.open() is None
    assert "the change log states" in caplog.text


def test_a_snapshot_of_equal_members_with_other_facts_is_set_aside(
    new_database_url: Callable[[], str], material: Any, tmp_path: Path
) -> None:
    """The database was restored to what it was before, and the same images came again, with other
    provenance: ids and vectors are equal, so the digests are.
    """
    found = []
    for generator in ("flux", "sdxl"):
        with Database.open(new_database_url()) as database:
            material.fill(database, "fakes", "abc", generator=generator)
            with LiveIndex.open(database, material.space, tmp_path) as live:
                chosen = Filter(generators=frozenset(["sdxl"]))
                found.append(len(live.search(material.vector("a"), 3, chosen).neighbours))
                live.snapshot()
            assert IndexFolder(database, material.space, tmp_path, SMALL, threads=1).open()
    assert found == [0, 3]


def test_a_damaged_database_is_not_built_from(
    database: Database, material: Any, folder: IndexFolder
) -> None:
    material.fill(database, "fakes", NAMES)
    with database.write() as conn:
        conn.execute(
            text(
                "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) "
                "WHERE id = 2"
            )
        )
    with pytest.raises(TruthDamaged):
        folder.build()


def test_a_view_in_memory_is_written_and_one_on_disk_is_appended_to(
    database: Database, material: Any, folder: IndexFolder
) -> None:
    material.fill(database, "fakes", NAMES)
    first = write(folder)
    opened = folder.open()
    assert opened is not None
    with directory_lock(folder.path, wait=True):
        second = folder.write(opened, compact=False)
        third = folder.write(opened, compact=True)
    assert second.vectors == first.vectors
    assert third.vectors != first.vectors


def test_training_and_measuring_use_the_probes_of_stored_lookups(
    database: Database, material: Any, small: IndexFolder
) -> None:
    material.fill(database, "fakes", [*NAMES, *(f"more-{i}" for i in range(70))])
    with database.write() as conn:
        for number in range(LOOKUP_PROBES + 6):
            image = material.sha256(f"more-{number}")  # of the corpus
            save_lookups(conn, material.space, [NewLookup(1, {}, {}, probe_sha256=image)])
    built = small.build()
    assert built.manifest is not None
    with directory_lock(small.path, wait=True):
        coded = small.train(built.manifest)
        assert coded.tuning is not None
        assert (coded.tuning.lookups, coded.tuning.probes) == (LOOKUP_PROBES, LOOKUP_PROBES + 8)
        measured = small.measure(coded)
    assert measured.tuning is not None
    assert measured.trained_rows == coded.trained_rows == 100


def test_a_deleted_folder_is_built_again(
    database: Database, material: Any, small: IndexFolder
) -> None:
    material.fill(database, "fakes", NAMES)
    small.build()
    shutil.rmtree(small.path)
    assert small.open() is None
    assert small.build().view.count == 30
