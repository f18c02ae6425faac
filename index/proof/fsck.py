"""Proof that truth and cache agree, finding by finding; heals the cache, never touches the
truth.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from index.blobs import BlobStore
from index.cache.manifest import MANIFEST, Manifest, read_manifest
from index.cache.snapshots import check_files, directory_lock, leftovers, open_snapshot
from index.errors import SnapshotCorrupt
from index.proof.findings import Finding, FindingKind
from index.proof.fsck_log import check_log
from index.proof.fsck_rows import (
    check_database,
    check_rows,
    count_rows,
    find_wrong_facts,
    kept_images,
)
from index.truth.changes import digest_at, last_number
from index.truth.corpora import Keep
from index.truth.database import Database
from index.truth.digest import digest_hex
from index.truth.spaces import Space, find_space_id, list_spaces

__all__ = ["Finding", "FindingKind", "FsckReport", "fsck"]

# A blob is put before its entry commits, so a young one without an entry may be about to get it.
ORPHAN_AGE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was found, and how much was looked at, by kind of thing."""

    findings: tuple[Finding, ...]
    checked: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong that was not repaired.

        Leftovers of an interrupted run are no fault.
        """
        return all(finding.repaired or not finding.kind.is_fault for finding in self.findings)


def fsck(
    database: Database,
    space: Space | None,
    directory: Path,
    thumbnails: BlobStore | None = None,
    originals: BlobStore | None = None,
    *,
    repair: bool = False,
) -> FsckReport:
    """Check rows, change log, snapshots, thumbnails and originals against each other, in one state
    of the database.

    `space` limits the check of snapshots to one embedding space; None: all of them. `repair`
    removes damaged snapshots, which the next opening rebuilds, leftovers of interrupted writes, and
    thumbnails and originals that no live entry needs. Rows are never changed: what is wrong there
    is evidence, and a person decides.

    Raises:
        DatabaseUnavailable, IndexDirectoryUnwritable

    """
    # Manifests are read before the transaction begins: an honest one cannot be newer than what is
    # read after it.
    manifests = {folder: _read(folder) for folder in _folders(directory, space)}
    with database.read() as conn:
        damage = tuple(check_database(conn))
        if damage:  # no row can be trusted, and reading one may fail
            return FsckReport(damage, {})
        findings = [*check_rows(conn), *check_log(conn)]
        spaces = {known.fingerprint: known for known in list_spaces(conn)}
        for folder, (manifest, problem) in manifests.items():
            problems = (
                [problem] if problem else list(_check_snapshot(conn, folder, manifest, spaces))
            )
            findings += [
                _snapshot_removed(folder, finding) if repair else finding for finding in problems
            ]
        shown = kept_images(conn, [keep for keep in Keep if keep.thumbnails]) if thumbnails else {}
        held = kept_images(conn, [keep for keep in Keep if keep.originals]) if originals else {}
        checked = count_rows(conn) | {"snapshots": len([m for m, _ in manifests.values() if m])}
    findings += _check_leftovers(
        [path for folder in manifests for path in _leftovers(folder)], repair=repair
    )
    if thumbnails is not None:
        findings += _check_blobs(thumbnails, shown, _THUMBNAILS, repair=repair)
        checked["thumbnails"] = sum(1 for _ in thumbnails)
    if originals is not None:
        findings += _check_blobs(originals, held, _ORIGINALS, repair=repair)
        checked["originals"] = sum(1 for _ in originals)
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
            "it is of an embedding space that does not belong there",
        )
        return
    if manifest.generation > last_number(conn):
        yield Finding(
            FindingKind.SNAPSHOT_AHEAD,
            item,
            f"generation {manifest.generation} is newer than the database",
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
            folder, manifest, manifest.space_fingerprint, manifest.dimension
        )
    except SnapshotCorrupt as err:
        yield Finding(FindingKind.SNAPSHOT_FILE, str(err.path), err.reason)
        return
    entry_id = find_wrong_facts(conn, contents.facts, contents.words)
    if entry_id is not None:
        path = str(folder / manifest.facts.name)
        yield Finding(
            FindingKind.SNAPSHOT_FACTS,
            path,
            f"it says something else of entry {entry_id} than its row",
        )


def _snapshot_removed(folder: Path, finding: Finding) -> Finding:
    with directory_lock(folder, wait=True):
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in leftovers(folder, None):
            path.unlink(missing_ok=True)
    return replace(finding, repaired=True)


def _leftovers(folder: Path) -> tuple[Path, ...]:
    """Return what no manifest names, unless another process is writing there."""
    if not folder.is_dir():
        return ()
    with directory_lock(folder, wait=False) as held:
        if not held:
            return ()
        try:
            return leftovers(folder, read_manifest(folder))
        except SnapshotCorrupt:
            return ()


def _check_leftovers(paths: list[Path] | tuple[Path, ...], *, repair: bool) -> Iterator[Finding]:
    for path in paths:
        if repair:
            path.unlink(missing_ok=True)
        yield Finding(
            FindingKind.LEFTOVER_FILE,
            str(path),
            "it was left by an interrupted write",
            repaired=repair,
        )


_THUMBNAILS = (FindingKind.THUMBNAIL_MISSING, FindingKind.THUMBNAIL_ORPHAN)
_ORIGINALS = (FindingKind.ORIGINAL_MISSING, FindingKind.ORIGINAL_ORPHAN)


def _check_blobs(
    blobs: BlobStore,
    needed: Mapping[str, bool],
    kinds: tuple[FindingKind, FindingKind],
    *,
    repair: bool,
) -> Iterator[Finding]:
    """`needed` says of each image whether it was ever here: a ready embedding comes without one,
    and has no blobs.
    """
    missing, orphan = kinds
    stored = frozenset(blobs)
    for sha256 in sorted(
        sha256 for sha256, seen in needed.items() if seen and sha256 not in stored
    ):
        if sha256 not in blobs:
            yield Finding(missing, sha256, "a live entry of a corpus that keeps it lacks it")
    for sha256 in sorted(stored - needed.keys()):
        if _age_seconds(blobs.path(sha256)) < ORPHAN_AGE_SECONDS:
            continue
        if repair:
            blobs.remove(sha256)
        yield Finding(
            orphan, sha256, "no live entry of a corpus that keeps it needs it", repaired=repair
        )
    yield from _check_leftovers(blobs.leftovers(), repair=repair)


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
