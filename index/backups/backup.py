"""Backup: one archive of one generation, written while others read and write.

Owns what goes into an archive and in which order. The tables are read in one transaction, begun
behind the locks of the snapshot folders, so that a snapshot cannot be newer than the rows.
`index.backups.restore` is the way back; `docs/decisions/0004-backup.md` says why the archive is
what it is.
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
from index.cache.manifest import MANIFEST as SNAPSHOT_MANIFEST
from index.cache.manifest import Manifest, snapshot_files
from index.cache.snapshots import check_files, directory_lock
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
from index.truth import revisions
from index.truth.changes import digest_at, last_number
from index.truth.database import Database, sqlite_url
from index.truth.digest import digest_hex
from index.truth.membership import read_kept_images
from index.truth.schema import embedding_spaces

# Thumbnails have some kilobytes each; packed, the manifest has a line for a thousand of them and
# memory holds one pack.
PACK_BYTES = 16 << 20
PRIVATE = 0o600  # an archive holds everything that the database does


@dataclass(frozen=True, slots=True)
class BackupReport:
    """An archive that was written, read back and found true;

    `warnings` name what was left out of it, and why.
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
    """Write an archive of the newest committed state, with the snapshots of the index and, if
    given, the thumbnails.

    Needs room for the tables twice beside the archive while it runs. A snapshot or a thumbnail that
    cannot be read is left out with a warning; the rows are the truth, and are complete or the
    backup fails and leaves nothing behind.

    Raises:
        BackupExists: the file is there, and `replace` is off. BackupUnwritable: no space, no
        permission. TruthDamaged: the rows are not what the change log states. DatabaseUnavailable

    """
    if archive.exists() and not replace:
        raise BackupExists(archive)
    try:
        with temporary_beside(archive) as unfinished, temporary_container(archive) as tables:
            with _created(unfinished) as file:
                draft = _Draft(ArchiveWriter(file))
                manifest = _write(draft, database, index_directory, thumbnails, tables)
            _read_back(unfinished, manifest)
            publish(unfinished, archive, replace=replace)
        return BackupReport(archive, archive.stat().st_size, manifest, tuple(draft.warnings))
    except FileExistsError as err:
        raise BackupExists(archive) from err
    except OSError as err:
        raise BackupUnwritable(archive, err.strerror or str(err)) from err


class _Draft:
    """An archive that is being written: what is in it so far, and what was left out."""

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
def _created(path: Path) -> Iterator[BinaryIO]:
    """Make a file that only this user can read; when the block has ended it is on the disk, and out
    of the memory.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(descriptor)
        if hasattr(
            os, "posix_fadvise"
        ):  # so that reading back reads the disk; macOS has no such call
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _write(
    draft: _Draft,
    database: Database,
    index_directory: Path,
    thumbnails: BlobStore | None,
    tables: Path,
) -> BackupManifest:
    with _created(tables):
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
            raise BackupCorrupt(unfinished, MANIFEST, "it was not written as it is")
        check_members(reader, manifest, unfinished)


def _add_state(
    draft: _Draft, database: Database, index_directory: Path, tables: Path
) -> BackupManifest:
    """Add snapshots and rows of one generation, and return what the manifest says of them."""
    with ExitStack() as locks:
        folders = _locked_folders(draft, locks, index_directory)
        with database.read() as conn:
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


def _locked_folders(draft: _Draft, locks: ExitStack, index_directory: Path) -> list[Path]:
    folders = []
    for folder in sorted(path for path in index_directory.glob("*") if path.is_dir()):
        try:
            locks.enter_context(directory_lock(folder, wait=True))
            folders.append(folder)
        except IndexDirectoryUnwritable as err:
            draft.leave_out(f"the snapshot in {folder}", err.reason)
    return folders


def _add_snapshot(draft: _Draft, conn: Connection, folder: Path) -> None:
    """Add the snapshot in a folder whose lock the caller holds, if it is whole and of this
    database.
    """
    try:
        found = snapshot_files(folder)
        if found is None:
            return
        manifest, paths = found
        check_files(folder, manifest)
        problem = _problem_of(conn, manifest)
    except SnapshotCorrupt as err:
        problem = f"{err.path.name}: {err.reason}"
    if problem:
        draft.leave_out(f"the snapshot in {folder}", problem)
        return
    members = {
        f"index/{folder.name}/{path.name}": path for path in (*paths, folder / SNAPSHOT_MANIFEST)
    }
    if not all(map(SNAPSHOT_FILE.fullmatch, members)):
        draft.leave_out(f"the snapshot in {folder}", "it has a name that no archive takes")
        return
    for name, path in members.items():
        draft.add_file(name, path)


def _problem_of(conn: Connection, manifest: Manifest) -> str | None:
    if manifest.generation > last_number(conn):
        return "it is newer than the database"
    query = select(embedding_spaces.c.id).where(
        embedding_spaces.c.fingerprint == manifest.space_fingerprint
    )
    space_id = conn.execute(query).scalar_one_or_none()
    if manifest.digest != digest_hex(digest_at(conn, space_id, manifest.generation)):
        return "its digest is not the one that the change log states"
    return None


def _add_thumbnails(draft: _Draft, conn: Connection, thumbnails: BlobStore) -> int:
    """Add the thumbnail of every live entry that has one, and return how many those are."""
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
