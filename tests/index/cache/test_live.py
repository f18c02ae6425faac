import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from index import failpoints
from index.cache.following.current import CHANGES_IN_SEARCH
from index.cache.following.folding import FoldPolicy
from index.cache.following.maintenance import Pace
from index.cache.live import LiveIndex
from index.cache.searching.questions import Question
from index.cache.snapshots.manifest import MANIFEST, OWN_DIGEST, read_manifest
from index.cache.snapshots.snapshot import SUFFIXES, directory_lock
from index.errors import SnapshotCorrupt, TruthDamaged
from index.truth.corpora import remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.filters import EVERYTHING, Filter
from tests.index.tracing import trace_messages

NAMES = [f"image-{i}" for i in range(30)]


@pytest.fixture
def snapshot(database: Database, open_live: Callable[..., LiveIndex], material: Any) -> Any:
    """A snapshot of thirty entries on disk, and its folder."""
    material.fill(database, "fakes", NAMES)
    live = open_live()
    manifest = live.snapshot()
    assert manifest.count == 30
    return live.directory


def test_the_newest_state_is_searched_although_the_thread_that_follows_is_behind(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    live = open_live(background=True, pace=Pace(follow_seconds=3600))
    names = [f"later-{i}" for i in range(CHANGES_IN_SEARCH + 1)]
    material.fill(database, "fakes", names)
    question = Question(None, 1, EVERYTHING)
    (behind,) = live.search_all([question])
    assert (behind.searched, behind.pending_changes) == (0, len(names))
    (newest,) = live.search_all([question], newest=True)
    assert (newest.searched, newest.pending_changes) == (len(names), 0)


def rewrite(folder: Path, **changed: Any) -> None:
    stated = json.loads((folder / MANIFEST).read_text()) | changed
    stated.pop(OWN_DIGEST, None)  # earlier releases wrote none
    (folder / MANIFEST).write_text(json.dumps(stated))


def named(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


def flip(path: Path, position: Any = -5) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a manifest that is no JSON": lambda f: (f / MANIFEST).write_text("{"),
    "a manifest that is a list": lambda f: (f / MANIFEST).write_text("[1]"),
    "a manifest of an unknown format": lambda f: rewrite(f, format_version=3),
    "a manifest of an older format": lambda f: rewrite(f, format_version=0),
    "a manifest of a foreign space": lambda f: rewrite(f, space_fingerprint="0" * 64),
    "a manifest of another dimension": lambda f: rewrite(f, dimension=16),
    "a manifest of an unknown plan": lambda f: rewrite(f, plan="magic"),
    "a manifest with another digest": lambda f: rewrite(f, digest="0" * 64),
    "a manifest with another count": lambda f: rewrite(f, count=29),
    "a manifest newer than SQL": lambda f: rewrite(f, generation=31),
    "a manifest at another generation": lambda f: rewrite(f, generation=29),
    "a manifest without a field": lambda f: (f / MANIFEST).write_text('{"format_version": 2}'),
    "a manifest with an unknown field": lambda f: rewrite(f, surprise=1),
    "a manifest that names a file elsewhere": lambda f: rewrite(
        f, facts={"name": "../30.facts.npy", "byte_size": 1, "sha256": ""}
    ),
    "vectors in a file elsewhere": lambda f: rewrite(f, vectors="../30.vectors"),
    "more members than rows": lambda f: rewrite(f, count=31),
    "vectors cut short": lambda f: named(f, ".vectors").write_bytes(
        named(f, ".vectors").read_bytes()[:-1]
    ),
} | {
    f"{suffix} {how}": lambda f, suffix=suffix, harm=harm: harm(named(f, suffix))
    for suffix in SUFFIXES
    if suffix not in {".codes.faiss", ".hashes.npy"}  # such a small snapshot has neither
    for how, harm in {
        "with a flipped bit at the end": flip,
        "with a flipped bit at the start": lambda path: flip(path, 0),
        "missing": Path.unlink,
        "empty": lambda path: path.write_bytes(b""),
    }.items()
    if not (suffix == ".words.json" and "end" in how)  # it has two bytes
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_snapshot_is_named_set_aside_and_rebuilt(
    new_sqlite_url: Callable[[], str],
    material: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Any,
) -> None:
    with Database.open(new_sqlite_url()) as database:
        material.fill(database, "fakes", NAMES)
        with LiveIndex.open(database, material.space, tmp_path) as live:
            live.snapshot()
            folder = live.directory
        damage(folder)
        with (
            caplog.at_level(logging.WARNING, "index"),
            LiveIndex.open(database, material.space, tmp_path) as live,
        ):
            assert [
                n.entry.sha256 for n in live.search(material.vector(NAMES[7]), 1).neighbours
            ] == [material.sha256(NAMES[7])]
            assert "set aside" in caplog.text
            assert str(folder) in caplog.text
            assert not (folder / MANIFEST).exists()
            assert (folder / f"{MANIFEST}.set-aside").exists()
            assert live.verify().agrees
            live.snapshot()
        caplog.clear()
        with LiveIndex.open(database, material.space, tmp_path) as live:
            assert (live.count, caplog.text) == (30, "")


def test_a_snapshot_of_another_history_is_set_aside(
    new_database_url: Callable[[], str],
    material: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The database was restored from a backup and went on: the same generation, other members."""
    with Database.open(new_database_url()) as database:
        material.fill(database, "fakes", NAMES)
        with LiveIndex.open(database, material.space, tmp_path) as live:
            live.snapshot()
    with Database.open(new_database_url()) as database:
        ids = material.fill(database, "fakes", [f"other-{i}" for i in range(40)])
        with LiveIndex.open(database, material.space, tmp_path) as live:
            assert "the change log states" in caplog.text
            assert {n.entry.id for n in live.search(material.vector("x"), 50).neighbours} == set(
                ids
            )
            assert live.verify().agrees


REPLACED = {
    "other images": ([f"other-{i}" for i in range(30)], "sdxl"),
    "the same images with other facts": (NAMES, "sdxl"),
    "a later history": ([*NAMES, "one more"], "sdxl"),
    "a much later history": ([*NAMES, *map(str, range(CHANGES_IN_SEARCH + 1))], "sdxl"),
}


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("replaced", REPLACED)
def test_a_database_that_is_replaced_under_a_process_is_read_anew(
    new_database_url: Callable[[], str],
    material: Any,
    tmp_path: Path,
    replaced: str,
    background: bool,
) -> None:
    """Its log comes to the same numbers, so only the times of the changes tell the two apart."""
    names, generator = REPLACED[replaced]
    url = new_database_url()
    with Database.open(url) as database:
        material.fill(database, "fakes", NAMES, generator="flux")
        pace = Pace(follow_seconds=3600)
        with LiveIndex.open(
            database, material.space, tmp_path / "index", background=background, pace=pace
        ) as live:
            assert live.search(material.vector(NAMES[7]), 40).searched == 30
            new_url = new_database_url()  # on PostgreSQL the same one, emptied
            with Database.open(new_url) as other:
                ids = material.fill(other, "fakes", names, generator=generator)
            if new_url != url:
                restore_in_place(new_url, url)
            for chosen in (EVERYTHING, Filter(generators=frozenset([generator]))):
                found = live.search(material.vector(NAMES[7]), 200, chosen)
                assert {each.entry.id for each in found.neighbours} == set(ids)
                assert {each.entry.generator for each in found.neighbours} == {generator}
            assert live.verify().agrees


def restore_in_place(source: str, target: str) -> None:
    """Copy one SQLite database over another, which stays open, as `.restore` of its shell does."""
    files = [sqlite3.connect(url.removeprefix("sqlite:///")) for url in (source, target)]
    with closing(files[0]), closing(files[1]):
        files[0].backup(files[1])


def test_a_deleted_directory_is_rebuilt_and_not_made_before_there_is_something_to_write(
    database: Database, open_live: Callable[..., LiveIndex], material: Any, snapshot: Path
) -> None:
    shutil.rmtree(snapshot.parent)
    live = open_live()
    assert live.count == 30
    assert not snapshot.exists()
    live.snapshot()
    assert read_manifest(snapshot).count == 30


def test_an_open_index_goes_on_when_its_files_are_deleted(
    database: Database, open_live: Callable[..., LiveIndex], material: Any, snapshot: Path
) -> None:
    live = open_live()
    shutil.rmtree(snapshot)
    assert live.search(material.vector(NAMES[3]), 1).neighbours[0].entry.sha256 == material.sha256(
        NAMES[3]
    )


def test_an_unwritable_directory_stops_snapshots_not_searches(
    database: Database, material: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    material.fill(database, "fakes", NAMES)
    (tmp_path / "index").write_text("a file where the folder should be")
    from index.errors import IndexDirectoryUnwritable  # noqa: PLC0415

    with LiveIndex.open(database, material.space, tmp_path / "index", policy=FoldPolicy(5)) as live:
        assert live.search(material.vector(NAMES[0]), 1).searched == 30
        with pytest.raises(IndexDirectoryUnwritable):
            live.snapshot()
    assert "no snapshot was written" in caplog.text


def test_a_full_disk_leaves_the_older_snapshot_in_force(
    database: Database,
    open_live: Callable[..., LiveIndex],
    material: Any,
    snapshot: Path,
) -> None:
    from index.errors import IndexDirectoryUnwritable  # noqa: PLC0415

    def fill_disk(point: failpoints.Failpoint) -> None:
        if point is failpoints.Failpoint.FILE_WRITTEN:
            raise OSError(28, "No space left on device")

    material.fill(database, "fakes", ["one more"])
    live = open_live()
    before = read_manifest(snapshot)
    failpoints.install(fill_disk)
    try:
        with pytest.raises(IndexDirectoryUnwritable, match="No space left"):
            live.snapshot()
    finally:
        failpoints.install(None)
    assert read_manifest(snapshot) == before
    assert {path.name for path in snapshot.iterdir()} == {"lock", MANIFEST, *before.files}
    assert open_live().verify().agrees
    assert live.snapshot().generation == 31
    assert live.verify().agrees


def test_rows_that_contradict_the_log_are_refused_not_answered_from(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    material.fill(database, "fakes", NAMES)
    with database.write() as conn:
        conn.execute(
            text(
                "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) "
                "WHERE id = 2"
            )
        )
    with pytest.raises(TruthDamaged, match="lineup fsck"):
        open_live()


def test_a_change_that_contradicts_its_rows_is_refused_by_an_open_index(
    database: Database, live: LiveIndex, material: Any
) -> None:
    material.fill(database, "fakes", NAMES[:3])
    live.refresh()
    material.fill(database, "fakes", NAMES[3:5])
    with database.write() as conn:
        conn.execute(
            text(
                "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) "
                "WHERE id = 5"
            )
        )
    with pytest.raises(TruthDamaged):
        live.search(material.vector("x"), 1)


def test_an_open_index_follows_a_database_that_was_reset(
    database: Database, live: LiveIndex, material: Any, caplog: pytest.LogCaptureFixture
) -> None:
    material.fill(database, "fakes", NAMES)
    assert live.refresh() == 30
    with database.write() as conn:
        for table in (
            "changes",
            "entries",
            "embeddings",
            "images",
            "corpus_computations",
            "corpora",
            "embedding_spaces",
        ):
            conn.execute(text(f"DELETE FROM {table}"))
        conn.execute(text("UPDATE change_counter SET last = 0"))
    assert live.search(material.vector("x"), 5).neighbours == ()
    assert "older than this index" in caplog.text
    material.fill(database, "fakes", NAMES[:2])
    assert live.search(material.vector("x"), 5).searched == 2
    assert live.verify().agrees


def test_an_empty_index_answers_and_can_be_written(
    live: LiveIndex, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    assert live.search(material.vector("a"), 5).neighbours == ()
    assert live.snapshot().count == 0
    assert open_live().generation == 0


def test_looking_for_news_where_there_is_none_is_one_small_select(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    messages, live = trace_messages(database), open_live()
    material.fill(database, "fakes", NAMES)
    live.refresh()
    messages.clear()
    live.refresh()
    assert len(messages) == 1
    assert "change_counter" in messages[0]


def test_what_committed_is_found_at_the_next_search_and_what_was_removed_is_not(
    database: Database, live: LiveIndex, material: Any
) -> None:
    ids = material.fill(database, "fakes", NAMES[:3])
    for name, entry_id in zip(NAMES[:3], ids, strict=True):
        assert live.search(material.vector(name), 1).neighbours[0].entry.id == entry_id
    with database.write() as conn:
        remove_entry(conn, ids[0])
        assert live.search(material.vector(NAMES[0]), 1).neighbours[0].entry.id == ids[0]
    assert live.search(material.vector(NAMES[0]), 5).searched == 2
    with database.write() as conn:
        remove_corpus(conn, "fakes")
    assert live.search(material.vector(NAMES[0]), 5).neighbours == ()


def test_an_entry_added_by_another_process_is_found_at_the_next_search(
    database: Database, database_url: str, live: LiveIndex, material: Any
) -> None:
    code = """
import sys, numpy as np
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.adding import NewEntry, add_entries
from index.truth.images import ImageFacts
from index.truth.spaces import Space
space = Space(*sys.argv[2:6], int(sys.argv[6]))
with Database.open(sys.argv[1]) as database, database.write() as conn:
    create_corpus(conn, "elsewhere", CorpusKind.KNOWN_FAKE)
    image = ImageFacts("ab" * 32, 10, 20, 30, "png")
    vector = np.eye(space.dimension, dtype=np.float32)[0]
    add_entries(conn, "elsewhere", space, [NewEntry(image, vector, 0.0)])
"""
    assert live.search(np.eye(8)[0], 1).neighbours == ()
    space = material.space
    facts = (
        space.fingerprint,
        space.model,
        space.weights_sha256,
        space.preprocessing_fingerprint,
        "8",
    )
    subprocess.run([sys.executable, "-c", code, database_url, *facts], check=True)
    (neighbour,) = live.search(np.eye(8)[0], 1).neighbours
    assert (neighbour.entry.corpus, neighbour.cosine_similarity) == ("elsewhere", 1.0)


def test_rebuilt_replayed_and_incremental_are_the_same(
    database: Database, open_live: Callable[..., LiveIndex], material: Any, tmp_path: Path
) -> None:
    incremental = open_live()
    ids = material.fill(database, "fakes", NAMES[:10])
    incremental.refresh()
    incremental.snapshot()
    with database.write() as conn:
        remove_entry(conn, ids[4])
    incremental.refresh()
    material.fill(database, "fakes", NAMES[10:])
    incremental.refresh()
    replayed = open_live()
    with LiveIndex.open(database, material.space, tmp_path / "none") as rebuilt:
        verifications = {index.verify() for index in (incremental, replayed, rebuilt)}
        assert len(verifications) == 1
        assert verifications.pop().agrees
        probe = material.vector("probe")
        answers = [index.search(probe, 40) for index in (incremental, replayed, rebuilt)]
        assert answers[0] == answers[1] == answers[2]


def test_a_long_growing_segment_is_folded_beside_the_searches(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    live = open_live(policy=FoldPolicy(20, 0.1))
    material.fill(database, "fakes", NAMES)
    answer = live.search(material.vector("x"), 10)
    live.close()
    assert read_manifest(live.directory).count == 30
    assert (live.current.view.sealed.size, live.current.view.growing.size) == (30, 0)
    assert live.search(material.vector("x"), 10) == answer
    material.fill(database, "fakes", ["one more"])
    live.settle()
    assert (live.current.view.sealed.size, live.current.view.growing.size) == (30, 1)


def test_tombstones_are_compacted_away(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    live = open_live(policy=FoldPolicy(8, 0.1))
    ids = material.fill(database, "fakes", NAMES)
    live.settle()
    with database.write() as conn:
        for entry_id in ids[:10]:
            remove_entry(conn, entry_id)
    live.settle()
    assert (live.current.view.sealed.size, live.current.view.dead, live.count) == (20, 0, 20)
    assert live.verify().agrees


def test_changes_made_while_a_snapshot_is_written_are_kept(
    database: Database,
    open_live: Callable[..., LiveIndex],
    material: Any,
) -> None:
    live = open_live()
    ids = material.fill(database, "fakes", NAMES)
    live.refresh()
    material.fill(database, "fakes", ["in the growing segment"])

    def change(point: failpoints.Failpoint) -> None:
        if point is failpoints.Failpoint.LEFTOVERS_REMOVED:  # written, and not opened yet
            material.fill(database, "fakes", ["late"])
            with database.write() as conn:
                remove_entry(conn, ids[0])
            assert live.search(material.vector("late"), 1).neighbours[0].cosine_similarity == 1.0

    failpoints.install(change)
    try:
        manifest = live.snapshot()
    finally:
        failpoints.install(None)
    assert (manifest.count, live.count, live.current.view.growing.size) == (31, 31, 1)
    assert live.verify().agrees
    assert open_live().verify() == live.verify()


def test_what_was_healed_while_a_snapshot_was_opened_is_kept_until_the_snapshot_proves_true(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    material.fill(database, "fakes", NAMES)
    live = open_live()
    healed = []

    def heal(point: failpoints.Failpoint) -> None:
        if point is failpoints.Failpoint.SNAPSHOT_OPENED and not healed:
            live.rebuild()
            healed.append(live.current.view.sealed)

    failpoints.install(heal)
    try:
        manifest = live.snapshot()
    finally:
        failpoints.install(None)
    assert (live.current.view.sealed, live.current.manifest) == (healed[0], None)
    assert live.verify().agrees
    assert live.snapshot() == manifest == live.current.manifest
    assert live.verify().agrees


def test_a_snapshot_that_is_current_is_not_written_again(
    database: Database,
    open_live: Callable[..., LiveIndex],
    material: Any,
    snapshot: Path,
) -> None:
    files = sorted((path.name, path.stat().st_mtime_ns) for path in snapshot.iterdir())
    assert open_live().snapshot().generation == 30
    assert sorted((path.name, path.stat().st_mtime_ns) for path in snapshot.iterdir()) == files


def test_a_current_snapshot_that_was_damaged_is_written_again(
    database: Database,
    open_live: Callable[..., LiveIndex],
    material: Any,
    snapshot: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    live = open_live()
    flip(named(snapshot, ".vectors"))
    live.snapshot()
    assert "rebuilt from SQL" in caplog.text
    caplog.clear()
    assert open_live().count == 30
    assert caplog.text == ""


def test_a_newer_snapshot_replaces_the_files_of_the_older(
    database: Database, open_live: Callable[..., LiveIndex], material: Any, snapshot: Path
) -> None:
    material.fill(database, "fakes", ["more"])
    older = read_manifest(snapshot)
    manifest = open_live().snapshot()
    assert {path.name for path in snapshot.iterdir()} == {"lock", MANIFEST, *manifest.files}
    assert manifest.vectors == older.vectors
    assert not {stamp.name for stamp in manifest.stamps} & {stamp.name for stamp in older.stamps}


def test_only_one_process_writes_the_snapshot_and_the_others_do_not_wait(
    database: Database, open_live: Callable[..., LiveIndex], material: Any, snapshot: Path
) -> None:
    with directory_lock(snapshot, wait=True):
        live = open_live(policy=FoldPolicy(5, 0.1))
        material.fill(database, "fakes", [f"more-{i}" for i in range(10)])
        live.refresh()  # waiting for the lock would never end: this thread holds it
        live.close()
    assert read_manifest(snapshot).generation == 30


def test_a_snapshot_that_was_set_aside_by_hand_is_not_opened(
    database: Database, open_live: Callable[..., LiveIndex], snapshot: Path
) -> None:
    (snapshot / MANIFEST).rename(snapshot / "old.json")
    assert open_live().count == 30
    (snapshot / MANIFEST).mkdir()
    with pytest.raises(SnapshotCorrupt):
        read_manifest(snapshot)


def test_many_threads_search_while_entries_come_and_go(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    live = open_live(policy=FoldPolicy(15, 0.1))
    first = material.fill(database, "fakes", NAMES[:10])
    failures, stop = [], threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                result = live.search(material.vector(NAMES[0]), 60)
                assert result.neighbours[0].entry.id == first[0]
                assert len(result.neighbours) == result.searched
        except Exception as err:
            failures.append(err)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(10):
        ids = material.fill(database, "fakes", [f"{turn}-{i}" for i in range(4)])
        with database.write() as conn:
            remove_entry(conn, ids[0])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert live.refresh() == 60
    assert live.verify().agrees
