"""Restore: verifies an archive and restores it into an empty database.

The rows come last and in one step: a rename (SQLite) or a commit. An interrupted restore therefore
leaves an empty database, and the same command starts again. Thumbnails and snapshots without rows
do no harm.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from index.backups.archive import ArchiveReader, Member, open_archive
from index.backups.container import COMPANIONS, temporary_container
from index.backups.manifest import (
    SNAPSHOT_FILE,
    TABLES,
    THUMBNAILS,
    BackupManifest,
    read_backup_manifest,
)
from index.backups.space_states import find_difference
from index.backups.tables import find_rows, insert_rows, lock_tables, read_tables, set_last_ids
from index.backups.verification import extract, open_verified_tables, read_pack, temporary_folder
from index.blobs import BlobStore
from index.cache.snapshots.manifest import MANIFEST as SNAPSHOT_MANIFEST
from index.cache.snapshots.snapshot import directory_lock
from index.durable import publish, sync_directory, write_durably
from index.errors import (
    BackupCorrupt,
    IndexDirectoryUnwritable,
    NoData,
    RestoreTargetNotEmpty,
    RestoreUnwritable,
    TruthDamaged,
)
from index.failpoints import Failpoint, reach
from index.truth.databases.database import Database, sqlite_file


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The result of a restore; the digests of the restored rows equal those of the manifest."""

    archive: Path
    manifest: BackupManifest
    database: str
    thumbnails: int


def restore(
    archive: Path, database_url: str, index_directory: Path, thumbnails: BlobStore | None = None
) -> RestoreReport:
    """Verify an archive, then restore it into a database without rows, creating it if needed.

    Any archive can be restored into SQLite or PostgreSQL, whatever its source. A new SQLite file
    needs space only for itself. An existing database needs more space: the tables are first
    extracted to the system's temporary folder. `thumbnails` None leaves the thumbnails out.

    Raises:
        BackupUnreadable: the archive cannot be read.
        NotABackup: the file is not an archive of Lineup.
        BackupCorrupt: the archive is damaged.
        BackupTooNew: the archive was made by a newer release.
        RestoreTargetNotEmpty: the database has rows.
        RestoreUnwritable: the disk is full or a folder is not writable.
        InvalidDatabaseUrl: the URL is neither of a SQLite file nor of PostgreSQL.
        SchemaOutdated: the database has the schema of another release.
        DatabaseUnavailable: the database cannot be used.

    """
    file = sqlite_file(database_url)
    with open_archive(archive) as reader:
        read_backup_manifest(reader, archive)  # a first check, before a folder is created
        source = _Source(reader, archive, index_directory, thumbnails)
        if file is not None and not file.exists():
            return source.restore_file(file)
        _refuse_rows(database_url)
        reach(Failpoint.TARGET_FOUND_EMPTY)
        return source.restore_rows(database_url)


@dataclass(frozen=True, slots=True)
class _Source:
    """An open archive, and the folders for its files."""

    reader: ArchiveReader
    archive: Path
    index_directory: Path
    thumbnails: BlobStore | None

    def restore_file(self, file: Path) -> RestoreReport:
        """Create a SQLite file from the tables; it gets its name when it is complete."""
        for companion in COMPANIONS:
            # SQLite would read a leftover companion file as part of the new database.
            if file.with_name(file.name + companion).exists():
                raise RestoreTargetNotEmpty(f"{file}{companion} is left over from another database")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with temporary_container(file) as tables:
                with open_verified_tables(self.reader, self.archive, tables) as (manifest, _):
                    report = self._restore_files(manifest, "sqlite")
                _publish_new(tables, file)
        except OSError as err:
            raise RestoreUnwritable(file, err.strerror or str(err)) from err
        return report

    def restore_rows(self, database_url: str) -> RestoreReport:
        """Copy the rows into an existing database in one transaction."""
        with (
            temporary_folder() as folder,
            open_verified_tables(self.reader, self.archive, folder / TABLES) as (
                manifest,
                container,
            ),
            Database.open(database_url, migrate=True) as target,
        ):
            report = self._restore_files(manifest, target.dialect)
            try:
                _copy_rows(container, target, manifest)
            except DBAPIError as err:
                raise BackupCorrupt(
                    self.archive, TABLES, f"the database refuses its rows: {err.orig}"
                ) from err
        return report

    def _restore_files(self, manifest: BackupManifest, dialect: str) -> RestoreReport:
        count = 0
        if self.thumbnails is not None:
            packs = [member for member in manifest.members if THUMBNAILS.fullmatch(member.name)]
            count = sum(self._restore_pack(member, self.thumbnails) for member in packs)
            os.sync()
        for folder in manifest.snapshots:
            self._restore_snapshot(self.index_directory / folder, manifest)
        return RestoreReport(self.archive, manifest, dialect, count)

    def _restore_pack(self, member: Member, thumbnails: BlobStore) -> int:
        count = 0
        for sha256, blob in read_pack(self.reader, member, self.archive):
            try:
                thumbnails.put_unsynced(sha256, blob)
            except OSError as err:
                raise RestoreUnwritable(thumbnails.path(sha256), err.strerror or str(err)) from err
            count += 1
        return count

    def _restore_snapshot(self, folder: Path, manifest: BackupManifest) -> None:
        """Write the files of a snapshot over the existing one, its manifest last."""
        found = [(SNAPSHOT_FILE.fullmatch(member.name), member) for member in manifest.members]
        files = {
            match["file"]: member
            for match, member in found
            if match and match["folder"] == folder.name
        }
        try:
            with directory_lock(folder, wait=True):
                (folder / SNAPSHOT_MANIFEST).unlink(missing_ok=True)
                sync_directory(folder)
                for name in sorted(files, key=lambda name: name == SNAPSHOT_MANIFEST):
                    write_durably(
                        folder / name, partial(extract, self.reader, files[name], self.archive)
                    )
        except IndexDirectoryUnwritable as err:
            raise RestoreUnwritable(folder, err.reason) from err
        except OSError as err:
            raise RestoreUnwritable(folder, err.strerror or str(err)) from err


def _publish_new(tables: Path, file: Path) -> None:
    try:
        publish(tables, file, replace=False)
    except FileExistsError as err:
        raise RestoreTargetNotEmpty(f"another process has created {file} meanwhile") from err


def _refuse_rows(database_url: str) -> None:
    """Refuse a database with rows before anything is changed; the transaction checks again."""
    with suppress(NoData), Database.open(database_url) as database, database.read() as conn:
        _require_empty(find_rows(conn))


def _copy_rows(container: Database, target: Database, manifest: BackupManifest) -> None:
    with container.read() as source, target.write(unlimited=True) as conn:
        lock_tables(conn)
        _require_empty(find_rows(conn))
        for table, rows in read_tables(source):
            insert_rows(conn, table, rows)
        set_last_ids(conn, manifest.last_ids)
        difference = find_difference(conn, manifest.generation, manifest.spaces)
        if difference:
            raise TruthDamaged(difference)


def _require_empty(table: str | None) -> None:
    if table is not None:
        raise RestoreTargetNotEmpty(f"the table {table} of the database has rows")
