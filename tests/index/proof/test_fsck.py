"""Every kind of damage is planted and found under its name. A repair removes it from the cache, and
never from the truth.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from index.blobs import FEATURES_SUFFIX, ORIGINAL_SUFFIX, BlobStore
from index.cache.live import LiveIndex
from index.cache.snapshots.manifest import MANIFEST, OWN_DIGEST
from index.jsontext import JSON
from index.proof.fsck import ORPHAN_AGE_SECONDS, FindingKind, fsck
from index.truth.calibrations import CalibrationScope, add_delivered, save_calibration
from index.truth.corpora import Keep, set_features, set_keep
from index.truth.databases.database import Database
from index.truth.entries import list_entries, remove_entry
from index.truth.lookups import NewLookup, digest_evidence, save_lookups
from index.truth.vectors import to_bytes

Kind = FindingKind


class Scene:
    """A small healthy installation: three entries, one of them removed, a snapshot, thumbnails."""

    def __init__(self, database: Database, material: Any, directory: Path) -> None:
        self.database, self.material = database, material
        self.directory = directory / "index"
        self.thumbnails = BlobStore(directory / "thumbnails")
        self.ids = material.fill(database, "fakes", "abc")
        for name in "abc":
            self.thumbnails.put(material.sha256(name), b"picture")
        with database.write() as conn:
            remove_entry(conn, self.ids[2])
            save_calibration(conn, material.space, 3, CalibrationScope({}), {"rate": 0.01})
            add_delivered(conn, material.space, [(1, "jpeg75", material.vector("delivered"), 0.5)])
            evidence: JSON = {"a": 1, "method": {"k": 10}}
            unlike: JSON = {"id": "x", "method": {"k": 10, "pending_changes": 2}}
            answer = {**evidence, **unlike, "evidence_sha256": digest_evidence(evidence)}
            save_lookups(conn, material.space, [NewLookup(3, {}, answer)])
        self.thumbnails.remove(material.sha256("c"))
        with LiveIndex.open(database, material.space, self.directory) as live:
            live.snapshot()
            self.folder = live.directory

    def file(self, suffix: str) -> Path:
        (path,) = self.folder.glob(f"*{suffix}")
        return path

    def check(self, **options: Any) -> Any:
        return fsck(self.database, None, self.directory, self.thumbnails, **options)

    def kinds(self, **options: Any) -> Any:
        return {finding.kind for finding in self.check(**options).findings}

    def sql(self, *statements: Any, **values: Any) -> None:
        """Change rows without Lineup and without foreign keys, as a bad disk could."""
        with self.database._engine.connect() as conn:
            raw = conn.connection.driver_connection
            if self.database.dialect == "sqlite":
                raw.execute("PRAGMA query_only = OFF")
                raw.execute("PRAGMA foreign_keys = OFF")
            else:
                raw.execute("SET session_replication_role = replica")
            for statement in statements:
                marker = ":{}" if self.database.dialect == "sqlite" else "%({})s"
                names = {name: marker.format(name) for name in values}
                raw.execute(statement.format(**names), values)
            raw.commit()
            if self.database.dialect == "sqlite":
                raw.execute("PRAGMA foreign_keys = ON")
            else:
                raw.execute("SET session_replication_role = origin")
                raw.commit()


@pytest.fixture
def scene(database: Database, material: Any, tmp_path: Path) -> Any:
    made = Scene(database, material, tmp_path)
    assert made.check().findings == ()
    return made


def vector(values: Any) -> Any:
    return to_bytes(np.asarray(values, np.float32))


OF_FIRST = "image_id = (SELECT image_id FROM entries WHERE id = 1)"
ROWS = {
    "the counter is behind": (
        ["UPDATE change_counter SET last = 3"],
        {},
        {Kind.COUNTER_MISMATCH, Kind.LIVE_DIGEST, Kind.SNAPSHOT_AHEAD},
    ),
    "the counter is ahead": (["UPDATE change_counter SET last = 9"], {}, {Kind.COUNTER_MISMATCH}),
    "a change is missing": (
        ["DELETE FROM changes WHERE number = 2"],
        {},
        {Kind.CHANGE_GAP, Kind.LIVE_NOT_LOGGED, Kind.CHANGE_DIGEST},
    ),
    "the first change is missing": (
        ["DELETE FROM changes WHERE number = 1"],
        {},
        {Kind.CHANGE_GAP, Kind.LIVE_NOT_LOGGED, Kind.CHANGE_DIGEST},
    ),
    "a change states another digest": (
        ["UPDATE changes SET digest = {digest} WHERE number = 2"],
        {"digest": b"\x01" * 32},
        {Kind.CHANGE_DIGEST},
    ),
    "a removal without an addition": (
        ["UPDATE changes SET kind = 'remove' WHERE number = 2"],
        {},
        {
            Kind.REMOVE_WITHOUT_ADD,
            Kind.CHANGE_DIGEST,
            Kind.LIVE_NOT_LOGGED,
            Kind.LIVE_BUT_LOGGED_REMOVED,
        },
    ),
    "an entry is marked as removed, no change says so": (
        ["UPDATE entries SET removed_at = created_at WHERE id = 1"],
        {},
        {Kind.REMOVED_NOT_LOGGED, Kind.LIVE_DIGEST, Kind.THUMBNAIL_ORPHAN},
    ),
    "a removed entry is live again": (
        ["UPDATE entries SET removed_at = NULL WHERE id = 3"],
        {},
        {Kind.LIVE_BUT_LOGGED_REMOVED, Kind.LIVE_DIGEST, Kind.THUMBNAIL_MISSING},
    ),
    "a live entry was never logged": (
        [
            "DELETE FROM changes WHERE number > 2",
            "UPDATE change_counter SET last = 2",
            "UPDATE entries SET removed_at = NULL WHERE id = 3",
        ],
        {},
        {Kind.LIVE_NOT_LOGGED, Kind.LIVE_DIGEST, Kind.SNAPSHOT_AHEAD, Kind.THUMBNAIL_MISSING},
    ),
    "an entry is gone": (
        ["DELETE FROM entries WHERE id = 1"],
        {},
        {Kind.CHANGE_WITHOUT_ENTRY, Kind.CHANGE_DIGEST, Kind.LIVE_DIGEST, Kind.THUMBNAIL_ORPHAN},
    ),
    "an embedding is gone": (
        [f"DELETE FROM embeddings WHERE {OF_FIRST}"],
        {},
        {Kind.ENTRY_NOT_EMBEDDED, Kind.CHANGE_DIGEST, Kind.LIVE_DIGEST},
    ),
    "an image is gone": (
        ["DELETE FROM images WHERE id = (SELECT image_id FROM entries WHERE id = 1)"],
        {},
        {Kind.ENTRY_WITHOUT_IMAGE, Kind.EMBEDDING_WITHOUT_IMAGE, Kind.THUMBNAIL_ORPHAN},
    ),
    "a corpus is gone": (["DELETE FROM corpora"], {}, {Kind.ENTRY_WITHOUT_CORPUS}),
    "a corpus is removed, its entries are not": (
        ["UPDATE corpora SET removed_at = created_at"],
        {},
        {Kind.ENTRY_WITHOUT_CORPUS},
    ),
    "a space is gone": (
        ["DELETE FROM embedding_spaces"],
        {},
        {Kind.EMBEDDING_UNKNOWN_SPACE, Kind.CHANGE_UNKNOWN_SPACE, Kind.SNAPSHOT_FOREIGN},
    ),
    "a vector is short": (
        [f"UPDATE embeddings SET vector = {{vector}} WHERE {OF_FIRST}"],
        {"vector": vector([1])},
        {Kind.VECTOR_LENGTH, Kind.CHANGE_DIGEST, Kind.LIVE_DIGEST},
    ),
    "a vector is not finite": (
        [f"UPDATE embeddings SET vector = {{vector}} WHERE {OF_FIRST}"],
        {"vector": vector([np.nan] * 8)},
        {Kind.VECTOR_NOT_FINITE, Kind.CHANGE_DIGEST, Kind.LIVE_DIGEST},
    ),
    "a vector has another norm": (
        [f"UPDATE embeddings SET vector = {{vector}} WHERE {OF_FIRST}"],
        {"vector": vector([2, 0, 0, 0, 0, 0, 0, 0])},
        {Kind.VECTOR_NORM, Kind.CHANGE_DIGEST, Kind.LIVE_DIGEST},
    ),
    "a vector is another vector": (
        [f"UPDATE embeddings SET vector = {{vector}} WHERE {OF_FIRST}"],
        {"vector": vector([1, 0, 0, 0, 0, 0, 0, 0])},
        {Kind.CHANGE_DIGEST, Kind.LIVE_DIGEST},
    ),
    "a logit is not finite": (
        ["UPDATE embeddings SET logit = {logit} WHERE id = 1"],
        {"logit": float("inf")},
        {Kind.LOGIT_NOT_FINITE},
    ),
    "a delivered vector has another norm": (
        ["UPDATE reference_embeddings SET vector = {vector}"],
        {"vector": vector([2, 0, 0, 0, 0, 0, 0, 0])},
        {Kind.VECTOR_NORM},
    ),
    "a calibration says something else": (
        ["UPDATE calibrations SET document = 'x'"],
        {},
        {Kind.CALIBRATION_DIGEST},
    ),
    "an answer says something else": (
        ['UPDATE lookups SET answer = \'{{"a":2,"evidence_sha256":"0"}}\''],
        {},
        {Kind.LOOKUP_ANSWER},
    ),
    "an answer is no document": (
        ["UPDATE lookups SET answer = '[' "],
        {},
        {Kind.LOOKUP_ANSWER},
    ),
    "an embedding names a computation that is not there": (
        [f"UPDATE embeddings SET computation_id = 77 WHERE {OF_FIRST}"],
        {},
        {Kind.EMBEDDING_UNKNOWN_COMPUTATION, Kind.COMPUTATION_NOT_LISTED},
    ),
    "a corpus does not list what computed its embeddings": (
        ["UPDATE corpus_computations SET computation_id = NULL"],
        {},
        {Kind.COMPUTATION_NOT_LISTED},
    ),
    "a corpus lists what computed its embeddings too late": (
        ["UPDATE corpus_computations SET first_generation = 2"],
        {},
        {Kind.COMPUTATION_NOT_LISTED},
    ),
    "an image belongs to nothing": (
        [
            "INSERT INTO images (id, sha256, byte_size, width, height, format, created_at) "
            f"SELECT 99, '{0:064}', 1, 1, 1, 'png', created_at FROM images WHERE id = 1"
        ],
        {},
        {Kind.IMAGE_ORPHAN},
    ),
}


@pytest.mark.parametrize(("statements", "values", "expected"), ROWS.values(), ids=ROWS.keys())
def test_a_planted_row_is_found_and_never_repaired_away(
    scene: Scene, statements: Any, values: Any, expected: Any
) -> None:
    scene.sql(*statements, **values)
    for thumbnail in scene.thumbnails:
        age(scene.thumbnails.path(thumbnail))
    report = scene.check()
    assert {finding.kind for finding in report.findings} == expected
    assert not report.clean
    again = scene.check(repair=True)
    rows = {kind for kind in expected if kind.is_fault and not kind.startswith("snapshot_")}
    assert rows <= {finding.kind for finding in again.findings if not finding.repaired}
    assert scene.kinds() & rows == rows


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def age(path: Path) -> None:
    os.utime(path, times=(time.time() - 2 * ORPHAN_AGE_SECONDS,) * 2)


def rewrite(folder: Path, **changed: Any) -> None:
    stated = json.loads((folder / MANIFEST).read_text()) | changed
    stated.pop(OWN_DIGEST, None)  # earlier releases wrote none
    (folder / MANIFEST).write_text(json.dumps(stated))


FILES = {
    "a manifest that cannot be read": (
        lambda s: (s.folder / MANIFEST).write_text("{"),
        Kind.SNAPSHOT_UNREADABLE,
    ),
    "a manifest of a later format": (
        lambda s: rewrite(s.folder, format_version=99),
        Kind.SNAPSHOT_UNREADABLE,
    ),
    "a manifest of another space": (
        lambda s: rewrite(s.folder, space_fingerprint="0" * 64),
        Kind.SNAPSHOT_FOREIGN,
    ),
    "a manifest from the future": (lambda s: rewrite(s.folder, generation=99), Kind.SNAPSHOT_AHEAD),
    "a manifest of other members": (
        lambda s: rewrite(s.folder, digest="0" * 64),
        Kind.SNAPSHOT_DIGEST,
    ),
    "vectors with a flipped bit": (lambda s: flip(s.file(".vectors")), Kind.SNAPSHOT_FILE),
    "facts of another date": (
        lambda s: s.sql("UPDATE entries SET acquired_at = created_at WHERE id = 1"),
        Kind.SNAPSHOT_FACTS,
    ),
    "facts of another label": (
        lambda s: s.sql("UPDATE entries SET label = 'x' WHERE id = 2"),
        Kind.SNAPSHOT_FACTS,
    ),
    "facts that are missing": (lambda s: s.file(".facts.npy").unlink(), Kind.SNAPSHOT_FILE),
}


@pytest.mark.parametrize(("plant", "kind"), FILES.values(), ids=FILES.keys())
def test_a_damaged_snapshot_is_found_removed_and_rebuilt(
    scene: Scene, plant: Any, kind: FindingKind
) -> None:
    plant(scene)
    report = scene.check()
    assert {finding.kind for finding in report.findings} == {kind}
    assert not report.clean
    repaired = scene.check(repair=True)
    assert repaired.clean
    assert all(finding.repaired for finding in repaired.findings)
    assert scene.check().findings == ()
    with LiveIndex.open(scene.database, scene.material.space, scene.directory) as live:
        assert (live.count, live.verify().agrees) == (2, True)


def test_files_of_interrupted_writes_are_untidy_not_wrong_and_are_removed(scene: Scene) -> None:
    planted = [
        scene.folder / ".9-ab.facts.npy.123-abcd.tmp",
        scene.folder / "3-cdef.vectors",
        scene.thumbnails.path(scene.material.sha256("a")).parent / ".x.webp.1-2.tmp",
    ]
    for path in planted:
        path.write_bytes(b"half")
    young = planted[2].with_name(".y.webp.1-2.tmp")
    young.write_bytes(b"half")  # an ingest may be about to rename it
    age(planted[2])
    report = scene.check()
    assert {finding.item for finding in report.findings} == {str(path) for path in planted}
    assert {finding.kind for finding in report.findings} == {Kind.LEFTOVER_FILE}
    messages = {finding.item: finding.message for finding in report.findings}
    assert "its snapshot was set aside" in messages[str(planted[1])]
    assert messages[str(planted[2])] == "an interrupted write left it"
    assert report.clean
    scene.check(repair=True)
    assert scene.check().findings == ()
    assert not any(path.exists() for path in planted)


def test_a_missing_thumbnail_is_named_by_its_image(scene: Scene) -> None:
    scene.thumbnails.remove(scene.material.sha256("b"))
    report = scene.check()
    assert [(finding.kind, finding.item) for finding in report.findings] == [
        (Kind.THUMBNAIL_MISSING, scene.material.sha256("b"))
    ]
    assert report.clean


def test_a_thumbnail_of_no_live_entry_is_removed_once_it_is_old(scene: Scene) -> None:
    sha256 = scene.material.sha256("c")
    scene.thumbnails.put(sha256, b"picture")
    assert scene.check(repair=True).findings == ()
    age(scene.thumbnails.path(sha256))
    (finding,) = scene.check(repair=True).findings
    assert (finding.kind, finding.item, finding.repaired) == (Kind.THUMBNAIL_ORPHAN, sha256, True)
    assert sha256 not in scene.thumbnails


def test_originals_are_checked_against_the_corpora_that_keep_them(
    scene: Scene, tmp_path: Path
) -> None:
    kept, other = scene.material.sha256("a"), "e" * 64
    originals = BlobStore(tmp_path / "originals", ORIGINAL_SUFFIX)
    originals.put(other, b"of nobody")
    age(originals.path(other))
    with scene.database.write() as conn:
        set_keep(conn, "fakes", Keep.ORIGINAL)
        lacking = {entry.sha256 for entry in list_entries(conn)} - {kept}
    originals.put(kept, b"picture")

    report = fsck(scene.database, None, scene.directory, scene.thumbnails, originals, repair=True)

    found = {(finding.kind, finding.item, finding.repaired) for finding in report.findings}
    assert found == {(Kind.ORIGINAL_MISSING, sha256, False) for sha256 in lacking} | {
        (Kind.ORIGINAL_ORPHAN, other, True)
    }
    assert report.clean
    assert kept in originals
    assert other not in originals


def test_features_are_checked_against_the_corpora_that_store_them(
    scene: Scene, tmp_path: Path
) -> None:
    kept, other = scene.material.sha256("a"), "e" * 64
    features = BlobStore(tmp_path / "features", FEATURES_SUFFIX)
    features.put(other, b"of nobody")
    age(features.path(other))
    with scene.database.write() as conn:
        set_features(conn, "fakes", features=True)
        lacking = len({entry.sha256 for entry in list_entries(conn)} - {kept})
    features.put(kept, b"features")
    age(features.path(kept))

    report = fsck(
        scene.database, None, scene.directory, scene.thumbnails, None, features, repair=True
    )

    assert {(found.kind, found.item, found.repaired) for found in report.findings} == {
        (Kind.FEATURES_MISSING, str(features.directory), False),
        (Kind.FEATURES_ORPHAN, other, True),
    }
    assert lacking
    assert f"{lacking} images" in next(
        found.message for found in report.findings if found.kind is Kind.FEATURES_MISSING
    )
    assert Kind.FEATURES_MISSING.is_remark
    assert report.checked["features"] == 1
    assert kept in features


def test_a_corpus_that_keeps_nothing_needs_no_thumbnails(scene: Scene) -> None:
    with scene.database.write() as conn:
        set_keep(conn, "fakes", Keep.NONE)
        shas = [entry.sha256 for entry in list_entries(conn)]
    for sha256 in shas:
        age(scene.thumbnails.path(sha256))

    assert {finding.kind for finding in scene.check().findings} == {Kind.THUMBNAIL_ORPHAN}


def test_a_page_that_was_overwritten_is_found_by_sqlite_itself(
    new_sqlite_url: Callable[[], str], material: Any, tmp_path: Path
) -> None:
    url = new_sqlite_url()
    with Database.open(url) as database:
        material.fill(database, "fakes", range(200))
        with database.read() as conn:
            page = conn.execute(
                text(
                    "SELECT rootpage FROM sqlite_master WHERE name = 'uq_images_sha256'"
                    " OR name = 'sqlite_autoindex_images_1'"
                )
            ).scalar_one()
            size = conn.execute(text("PRAGMA page_size")).scalar_one()
    with Path(url.removeprefix("sqlite:///")).open("r+b") as file:
        file.seek((page - 1) * size + size - 200)
        file.write(b"\xff" * 150)
    with Database.open(url) as database:
        report = fsck(database, None, tmp_path)
    assert {finding.kind for finding in report.findings} == {Kind.DATABASE_DAMAGED}
    assert not report.clean


def test_every_kind_of_finding_is_planted_by_a_test() -> None:
    planted = {kind for *_, kinds in ROWS.values() for kind in kinds} | {
        kind for _, kind in FILES.values()
    }
    elsewhere = {
        Kind.LEFTOVER_FILE,
        Kind.THUMBNAIL_MISSING,
        Kind.THUMBNAIL_ORPHAN,
        Kind.ORIGINAL_MISSING,
        Kind.ORIGINAL_ORPHAN,
        Kind.FEATURES_MISSING,
        Kind.FEATURES_ORPHAN,
        Kind.DATABASE_DAMAGED,
        Kind.COPY_VECTOR_MISSING,  # tests/index/truth/test_copy_vectors.py
        Kind.LOGIT_UNEXPECTED,  # there too
        Kind.UPLOAD_ORPHAN,  # tests/api/operations/test_checking.py: `api` keeps uploads
    }
    assert planted | elsewhere == set(Kind)


def test_an_empty_installation_is_clean(database: Database, tmp_path: Path) -> None:
    report = fsck(database, None, tmp_path / "not there", BlobStore(tmp_path / "nor there"))
    assert (report.findings, report.clean) == ((), True)
    assert not (tmp_path / "not there").exists()


def test_a_report_counts_what_was_checked(scene: Scene) -> None:
    report = fsck(scene.database, scene.material.space, scene.directory, scene.thumbnails)
    assert report.clean
    assert report.checked == {
        "embedding_spaces": 1,
        "corpora": 1,
        "images": 3,
        "entries": 3,
        "embeddings": 3,
        "changes": 4,
        "jobs": 0,
        "lookups": 1,
        "calibrations": 1,
        "reference_embeddings": 1,
        "snapshots": 1,
        "thumbnails": 2,
    }
