"""Backup: writes an archive of one generation, while other processes read and write.

Owns the contents of an archive and their order. One transaction reads all tables. It begins while
the snapshot folders are locked, so that no snapshot can be newer than the rows.
`index.backups.restore` restores an archive. `docs/decisions/0004-backup.md` explains the format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, select

from index.backups.archive import ArchiveWriter, Member, open_archive
from index.backups.container import temporary_container, write_container
from index.backups.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    SNAPSHOT_FILE,
    TABLES,
    BackupManifest,
    read_backup_manifest,
)
from index.backups.space_states import find_difference, space_states
from index.backups.tables import last_ids
from index.backups.verification import check_members
from index.blobs import THUMBNAIL_SUFFIX, BlobStore
from index.cache.snapshots.manifest import MANIFEST as SNAPSHOT_MANIFEST
from index.cache.snapshots.manifest import Manifest, snapshot_files
from index.cache.snapshots.snapshot import check_files, directory_lock
from index.durable import publish, temporary_beside
from index.errors import (
    BackupCorrupt,
    BackupExists,
    BackupUnwritable,
    BlobCorrupt,
    IndexDirectoryUnwritable,
    SnapshotCorrupt,
    TruthDamaged,
)
from index.failpoints import Failpoint, reach
from index.truth.changes import digest_at, last_number
from index.truth.databases import revisions
from index.truth.databases.database import Database, sqlite_url
from index.truth.digest import digest_hex
from index.truth.membership import read_kept_images
from index.truth.schema import embedding_spaces

# A thumbnail has some kilobytes. Packs keep the manifest short, at one line for about a thousand
# thumbnails, and memory holds one pack at a time.
PACK_BYTES = 16 << 20
PRIVATE = 0o600  # an archive holds all the data of the database


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A new archive that was read back and verified.

    `warnings` name what the archive leaves out, and why.
    """

    archive: Path
    byte_size: int
    manifest: BackupManifest
    warnings: tuple[str, ...]


def back_up(
    database: Database,
    index_directory: Path,
    thumbnails: BlobStore | None,
    archive: Path,
    *,
    replace: bool = False,
) -> BackupReport:
    """Write an archive of the newest committed state: rows, index snapshots, thumbnails if given.

    While it runs, it needs twice the space of the tables beside the archive. A snapshot or
    thumbnail that cannot be read is left out with a warning. The rows are complete, or the backup
    fails and leaves no file behind.

    Raises:
        BackupExists: the file exists and `replace` is False.
        BackupUnwritable: the disk is full or the folder is not writable.
        TruthDamaged: the rows contradict the change log.
        DatabaseUnavailable: the database cannot be read.

    """
    if archive.exists() and not replace:
        raise BackupExists(archive)
    try:
        with temporary_beside(archive) as unfinished, temporary_container(archive) as tables:
            with _create(unfinished) as file:
                draft = _Draft(ArchiveWriter(file))
                manifest = _write(draft, database, index_directory, thumbnails, tables)
            reach(Failpoint.ARCHIVE_WRITTEN)
            _read_back(unfinished, manifest)
            publish(unfinished, archive, replace=replace)
        return BackupReport(archive, archive.stat().st_size, manifest, tuple(draft.warnings))
    except FileExistsError as err:
        raise BackupExists(archive) from err
    except OSError as err:
        raise BackupUnwritable(archive, err.strerror or str(err)) from err


class _Draft:
    """An archive that is being written: its members so far, and a warning for each omission."""

    def __init__(self, writer: ArchiveWriter) -> None:
        self._writer = writer
        self.members: list[Member] = []
        self.warnings: list[str] = []

    def add_file(self, name: str, path: Path) -> None:
        self.members.append(self._writer.add_file(name, path))

    def add_bytes(self, name: str, content: bytes) -> None:
        self.members.append(self._writer.add_bytes(name, content))

    def leave_out(self, what: str, reason: str) -> None:
        self.warnings.append(f"{what} is left out: {reason}")

    def finish(self, manifest: BackupManifest) -> BackupManifest:
        whole = replace_fields(manifest, members=tuple(self.members))
        self._writer.add_bytes(MANIFEST, whole.to_bytes())
        self._writer.finish()
        return whole


@contextmanager
def _create(path: Path) -> Iterator[BinaryIO]:
    """Create a file that only this user can read; sync it to the disk at the end of the block."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(descriptor)
        # Drop the cached pages, so that reading back reads the disk. macOS has no such call.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _write(
    draft: _Draft,
    database: Database,
    index_directory: Path,
    thumbnails: BlobStore | None,
    tables: Path,
) -> BackupManifest:
    with _create(tables):
        pass
    manifest = _add_state(draft, database, index_directory, tables)
    with Database.open(sqlite_url(tables)) as container, container.read() as conn:
        difference = find_difference(conn, manifest.generation, manifest.spaces)
        if difference:
            raise TruthDamaged(difference)
        if thumbnails is not None:
            manifest = replace_fields(manifest, thumbnails=_add_thumbnails(draft, conn, thumbnails))
    return draft.finish(manifest)


def _read_back(unfinished: Path, manifest: BackupManifest) -> None:
    with open_archive(unfinished) as reader:
        if read_backup_manifest(reader, unfinished) != manifest:
            raise BackupCorrupt(unfinished, MANIFEST, "it differs from what was written")
        check_members(reader, manifest, unfinished)


def _add_state(
    draft: _Draft, database: Database, index_directory: Path, tables: Path
) -> BackupManifest:
    """Add the snapshots and rows of one generation; return the manifest so far."""
    with ExitStack() as locks:
        folders = _lock_folders(draft, locks, index_directory)
        with database.read(unlimited=True) as conn:
            generation = last_number(conn)
            for folder in folders:
                _add_snapshot(draft, conn, folder)
            locks.close()
            ids = last_ids(conn)
            manifest = BackupManifest(
                format_version=FORMAT_VERSION,
                lineup_version=version("lineup-forensics"),
                created_at=datetime.now(UTC),
                database=database.dialect,
                schema_revision=revisions.head(),
                generation=generation,
                row_counts=write_container(conn, ids, tables),
                last_ids=ids,
                spaces=space_states(conn),
                thumbnails=None,
                members=(),
            )
    draft.add_file(TABLES, tables)
    return manifest


def _lock_folders(draft: _Draft, locks: ExitStack, index_directory: Path) -> list[Path]:
    folders = []
    for folder in sorted(path for path in index_directory.glob("*") if path.is_dir()):
        try:
            locks.enter_context(directory_lock(folder, wait=True))
            folders.append(folder)
        except IndexDirectoryUnwritable as err:
            draft.leave_out(f"the snapshot in {folder}", err.reason)
    return folders


def _add_snapshot(draft: _Draft, conn: Connection, folder: Path) -> None:
    """Add the snapshot of a folder, if it is complete and belongs to this database.

    The caller holds the lock of the folder.
    """
    try:
        snapshot = snapshot_files(folder)
        if snapshot is None:
            return
        manifest, paths = snapshot
        check_files(folder, manifest)
        problem = _find_problem(conn, manifest)
    except SnapshotCorrupt as err:
        problem = f"{err.path.name}: {err.reason}"
    if problem:
        draft.leave_out(f"the snapshot in {folder}", problem)
        return
    members = {
        f"index/{folder.name}/{path.name}": path for path in (*paths, folder / SNAPSHOT_MANIFEST)
    }
    if not all(map(SNAPSHOT_FILE.fullmatch, members)):
        draft.leave_out(
            f"the snapshot in {folder}", "an archive cannot hold the name of one of its files"
        )
        return
    for name, path in members.items():
        draft.add_file(name, path)


def _find_problem(conn: Connection, manifest: Manifest) -> str | None:
    if manifest.generation > last_number(conn):
        return "it is newer than the database"
    query = select(embedding_spaces.c.id).where(
        embedding_spaces.c.fingerprint == manifest.space_fingerprint
    )
    space_id = conn.execute(query).scalar_one_or_none()
    if manifest.digest != digest_hex(digest_at(conn, space_id, manifest.generation)):
        return "its digest differs from that of the change log"
    return None


def _add_thumbnails(draft: _Draft, conn: Connection, thumbnails: BlobStore) -> int:
    """Add the thumbnails of live and quarantined entries; return the number of thumbnails."""
    count = 0
    for number, pack in enumerate(_packs(_blobs(draft, conn, thumbnails))):
        content = BytesIO()
        writer = ArchiveWriter(content)
        for sha256, blob in pack:
            writer.add_bytes(sha256 + THUMBNAIL_SUFFIX, blob)
        writer.finish()
        draft.add_bytes(f"thumbnails/{number:06}.tar", content.getvalue())
        count += len(pack)
    return count


def _blobs(draft: _Draft, conn: Connection, thumbnails: BlobStore) -> Iterator[tuple[str, bytes]]:
    for page in read_kept_images(conn):
        for sha256 in page:
            try:
                blob = thumbnails.find(sha256)
            except BlobCorrupt as err:
                draft.leave_out(f"the thumbnail {err.path}", err.reason)
                continue
            if blob is not None:
                yield sha256, blob


def _packs(blobs: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    pack: list[tuple[str, bytes]] = []
    byte_size = 0
    for sha256, blob in blobs:
        pack.append((sha256, blob))
        byte_size += len(blob)
        if byte_size > PACK_BYTES:
            yield pack
            pack, byte_size = [], 0
    if pack:
        yield pack
