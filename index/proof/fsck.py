"""The check that truth and cache agree. It can repair the cache; it never changes the truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from index.blobs import BlobStore
from index.cache.snapshots.manifest import MANIFEST, Manifest, SavedHashes, read_manifest
from index.cache.snapshots.saved_hashes import is_of_history, open_hashes
from index.cache.snapshots.snapshot import check_files, directory_lock, leftovers, open_snapshot
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from index.proof.findings import Finding, FindingKind
from index.proof.fsck_log import check_log
from index.proof.fsck_rows import (
    check_database,
    check_rows,
    count_rows,
    find_images_with_features,
    find_kept_images,
    find_wrong_facts,
    find_wrong_hash,
)
from index.truth.changes import digest_at, last_number
from index.truth.corpora import Keep
from index.truth.databases.database import Database
from index.truth.digest import digest_hex
from index.truth.spaces import Space, find_space_id, list_spaces
from index.truth.vectors import STORED

__all__ = ["Finding", "FindingKind", "FsckReport", "fsck"]

# A blob is written before its entry commits, so a young blob may still get its entry. A young
# temporary file may be that of an entry which is being added.
ORPHAN_AGE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The findings, and how many things of each kind were checked."""

    findings: tuple[Finding, ...]
    checked: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether every fault was repaired, or there was none."""
        return all(finding.repaired or not finding.kind.is_fault for finding in self.findings)


def fsck(
    database: Database,
    space: Space | None,
    directory: Path,
    thumbnails: BlobStore | None = None,
    originals: BlobStore | None = None,
    features: BlobStore | None = None,
    *,
    repair: bool = False,
) -> FsckReport:
    """Check rows, change log, snapshots, thumbnails, originals and local features against each
    other, in one state of the database.

    `space` limits the check of snapshots to one embedding space. `repair` removes damaged
    snapshots, which are rebuilt when the index is next opened, files left by interrupted writes,
    and thumbnails, originals and features that no live entry needs. Rows are never changed: damage
    there is evidence, and a person decides what to do.

    Raises:
        DatabaseUnavailable, IndexDirectoryUnwritable

    """
    # Manifests are read before the transaction begins, so that a correct one cannot be newer than
    # the database.
    manifests = {folder: _read(folder) for folder in _folders(directory, space)}
    with database.read(unlimited=True) as conn:
        damage = tuple(check_database(conn))
        if damage:  # rows cannot be trusted, and reading them may fail
            return FsckReport(damage, {})
        findings = [*check_rows(conn), *check_log(conn)]
        spaces = {known.fingerprint: known for known in list_spaces(conn)}
        for folder, (manifest, problem) in manifests.items():
            problems = (
                [problem] if problem else list(_check_snapshot(conn, folder, manifest, spaces))
            )
            findings += [
                _remove_snapshot(folder, finding) if repair else finding for finding in problems
            ]
        with_thumbnails = [keep for keep in Keep if keep.thumbnails]
        with_originals = [keep for keep in Keep if keep.originals]
        need_thumbnails = find_kept_images(conn, with_thumbnails) if thumbnails else {}
        need_originals = find_kept_images(conn, with_originals) if originals else {}
        need_features = find_images_with_features(conn) if features else {}
        checked = count_rows(conn) | {"snapshots": len([m for m, _ in manifests.values() if m])}
    findings += _check_leftovers(
        [path for folder in manifests for path in _leftovers(folder)],
        "no snapshot uses it: a write was interrupted, or its snapshot was set aside",
        repair=repair,
    )
    if thumbnails is not None:
        findings += _check_blobs(thumbnails, need_thumbnails, _THUMBNAILS, repair=repair)
        checked["thumbnails"] = sum(1 for _ in thumbnails)
    if originals is not None:
        findings += _check_blobs(originals, need_originals, _ORIGINALS, repair=repair)
        checked["originals"] = sum(1 for _ in originals)
    if features is not None:
        findings += _check_features(features, need_features, repair=repair)
        if stored := sum(1 for _ in features):
            checked["features"] = stored
    return FsckReport(tuple(findings), checked)


def _folders(directory: Path, space: Space | None) -> tuple[Path, ...]:
    if space is not None:
        return (directory / space.fingerprint[:16],)
    return tuple(sorted(path for path in directory.glob("*") if path.is_dir()))


def _read(folder: Path) -> tuple[Manifest | None, Finding | None]:
    try:
        return read_manifest(folder), None
    except SnapshotCorrupt as err:
        return None, Finding(FindingKind.SNAPSHOT_UNREADABLE, str(err.path), err.reason)


def _check_snapshot(
    conn: Connection, folder: Path, manifest: Manifest | None, spaces: dict[str, Space]
) -> Iterator[Finding]:
    if manifest is None:
        return
    item = str(folder / MANIFEST)
    space = spaces.get(manifest.space_fingerprint)
    if (manifest.count and space is None) or folder.name != manifest.space_fingerprint[:16]:
        yield Finding(
            FindingKind.SNAPSHOT_FOREIGN,
            item,
            "it belongs to another embedding space than its folder",
        )
        return
    if manifest.generation > last_number(conn):
        yield Finding(
            FindingKind.SNAPSHOT_AHEAD,
            item,
            f"its generation {manifest.generation} is newer than the database",
        )
        return
    space_id = find_space_id(conn, space) if space else None
    if manifest.digest != digest_hex(digest_at(conn, space_id, manifest.generation)):
        yield Finding(
            FindingKind.SNAPSHOT_DIGEST,
            item,
            "its digest is not the one that the change log states",
        )
    try:
        check_files(folder, manifest)
        contents, _ = open_snapshot(
            folder,
            manifest,
            manifest.space_fingerprint,
            manifest.dimension,
            STORED if space is None else space.form,
        )
    except SnapshotCorrupt as err:
        yield Finding(FindingKind.SNAPSHOT_FILE, str(err.path), err.reason)
        return
    if manifest.hashes is not None:
        yield from _check_hashes(conn, folder, manifest.hashes)
    entry_id = find_wrong_facts(conn, contents.facts, contents.words)
    if entry_id is not None:
        path = str(folder / manifest.facts.name)
        yield Finding(
            FindingKind.SNAPSHOT_FACTS,
            path,
            f"its facts of entry {entry_id} differ from the row",
        )


def _check_hashes(conn: Connection, folder: Path, saved: SavedHashes) -> Iterator[Finding]:
    path = str(folder / saved.file.name)
    if not is_of_history(conn, saved):
        message = "its hashes belong to another history than that of the change log"
        yield Finding(FindingKind.SNAPSHOT_DIGEST, path, message)
        return
    image_id = find_wrong_hash(conn, open_hashes(folder, saved))
    if image_id is not None:
        message = f"its hash of image {image_id} differs from the row"
        yield Finding(FindingKind.SNAPSHOT_FACTS, path, message)


def _remove_snapshot(folder: Path, finding: Finding) -> Finding:
    with directory_lock(folder, wait=True):
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in leftovers(folder, None):
            path.unlink(missing_ok=True)
    return replace(finding, repaired=True)


def _leftovers(folder: Path) -> tuple[Path, ...]:
    """Return the files that the manifest does not name; none while another process writes there,
    and none where nothing can be written.
    """
    if not folder.is_dir():
        return ()
    try:
        with directory_lock(folder, wait=False) as is_locked:
            return leftovers(folder, read_manifest(folder)) if is_locked else ()
    except (SnapshotCorrupt, IndexDirectoryUnwritable):
        return ()


def _check_leftovers(
    paths: list[Path] | tuple[Path, ...], message: str, *, repair: bool
) -> Iterator[Finding]:
    for path in paths:
        if repair:
            path.unlink(missing_ok=True)
        yield Finding(FindingKind.LEFTOVER_FILE, str(path), message, repaired=repair)


_THUMBNAILS = (FindingKind.THUMBNAIL_MISSING, FindingKind.THUMBNAIL_ORPHAN)
_ORIGINALS = (FindingKind.ORIGINAL_MISSING, FindingKind.ORIGINAL_ORPHAN)
_FEATURES = (FindingKind.FEATURES_MISSING, FindingKind.FEATURES_ORPHAN)


def _check_features(
    features: BlobStore, needed: Mapping[str, bool], *, repair: bool
) -> Iterator[Finding]:
    """Compare stored features with the images of corpora that store them.

    What is missing is one remark: images from before the corpus stored any, or from an installation
    without OpenCV.
    """
    yield from _check_blobs(features, dict.fromkeys(needed, False), _FEATURES, repair=repair)
    stored = frozenset(features)
    lacking = sum(was_seen and sha256 not in stored for sha256, was_seen in needed.items())
    if lacking:
        yield Finding(
            FindingKind.FEATURES_MISSING,
            str(features.directory),
            f"{lacking:,} images of corpora that store local features have none",
        )


def _check_blobs(
    blobs: BlobStore,
    needed: Mapping[str, bool],
    kinds: tuple[FindingKind, FindingKind],
    *,
    repair: bool,
) -> Iterator[Finding]:
    """Compare the blobs with the images that need one.

    `needed` maps each sha256 to whether Lineup has ever seen the image. An image that came as a
    ready embedding was never seen, and has no blob.
    """
    missing, orphan = kinds
    stored = frozenset(blobs)
    for sha256 in sorted(
        sha256 for sha256, was_seen in needed.items() if was_seen and sha256 not in stored
    ):
        if sha256 not in blobs:
            yield Finding(missing, sha256, "a live entry needs it, and its corpus keeps such files")
    for sha256 in sorted(stored - needed.keys()):
        if _age_seconds(blobs.path(sha256)) < ORPHAN_AGE_SECONDS:
            continue
        if repair:
            blobs.remove(sha256)
        yield Finding(orphan, sha256, "no live entry needs it", repaired=repair)
    old = [path for path in blobs.leftovers() if _age_seconds(path) >= ORPHAN_AGE_SECONDS]
    yield from _check_leftovers(old, "an interrupted write left it", repair=repair)


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
