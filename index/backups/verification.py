"""Verifying an archive: its bytes against the manifest, its rows against the logged digests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from index.backups.archive import ArchiveReader, Member, open_archive
from index.backups.container import open_container
from index.backups.manifest import TABLES, THUMBNAILS, BackupManifest, read_backup_manifest
from index.blobs import THUMBNAIL_SUFFIX
from index.errors import BackupCorrupt, RestoreUnwritable
from index.truth.databases.database import Database
from index.truth.images import SHA256_PATTERN

# A pack exceeds `backup.PACK_BYTES` by at most one thumbnail. It is read into memory.
MAX_PACK_BYTES = 256 << 20


def verify_backup(archive: Path) -> BackupManifest:
    """Verify an archive without restoring it; return its manifest.

    Raises:
        BackupUnreadable: the archive cannot be read.
        NotABackup: the file is not an archive of Lineup.
        BackupCorrupt: the archive is damaged.
        BackupTooNew: the archive was made by a newer release.
        RestoreUnwritable: the system's temporary folder has no space for the tables.

    """
    with (
        open_archive(archive) as reader,
        temporary_folder() as folder,
        open_verified_tables(reader, archive, folder / TABLES) as (manifest, _),
    ):
        return manifest


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder for the tables in the system's temporary folder (TMPDIR).

    Raises:
        RestoreUnwritable: the folder cannot be created.

    """
    try:
        folder = TemporaryDirectory(prefix="lineup-tables-")
    except OSError as err:
        raise RestoreUnwritable(Path(gettempdir()), err.strerror or str(err)) from err
    with folder as name:
        yield Path(name)


@contextmanager
def open_verified_tables(
    reader: ArchiveReader, archive: Path, tables: Path
) -> Iterator[tuple[BackupManifest, Database]]:
    """Verify an archive and extract its tables to a new file; yield the manifest and the tables.

    Raises:
        BackupUnreadable: the archive cannot be read.
        NotABackup: the archive has no manifest.
        BackupCorrupt: the archive is damaged.
        BackupTooNew: the archive was made by a newer release.
        RestoreUnwritable: there is no space for the tables.

    """
    manifest = read_backup_manifest(reader, archive)
    check_members(reader, manifest, archive, apart_from=TABLES)
    extract(
        reader,
        next(member for member in manifest.members if member.name == TABLES),
        archive,
        tables,
    )
    with open_container(tables, manifest, archive) as database:
        yield manifest, database


def check_members(
    reader: ArchiveReader, manifest: BackupManifest, archive: Path, *, apart_from: str | None = None
) -> None:
    """Compare every member, except `apart_from`, with the manifest.

    Raises:
        BackupCorrupt: a member differs.

    """
    thumbnails = 0
    for member in manifest.members:
        if THUMBNAILS.fullmatch(member.name):
            thumbnails += sum(1 for _ in read_pack(reader, member, archive))
        elif member.name != apart_from:
            _require(reader.copy(member.name, None), member, archive)
    if thumbnails != (manifest.thumbnails or 0):
        raise BackupCorrupt(
            archive, "thumbnails/", f"there are {thumbnails} instead of {manifest.thumbnails}"
        )


def extract(reader: ArchiveReader, member: Member, archive: Path, target: Path) -> None:
    """Write a member to a new file.

    Raises:
        BackupCorrupt: the member differs from the manifest.
        RestoreUnwritable: the file cannot be written.

    """
    try:
        with target.open("xb") as file:
            _require(reader.copy(member.name, file), member, archive)
    except OSError as err:
        raise RestoreUnwritable(target, err.strerror or str(err)) from err


def read_pack(reader: ArchiveReader, member: Member, archive: Path) -> Iterator[tuple[str, bytes]]:
    """Verify a pack, then yield the image's sha256 and the content of each thumbnail in it.

    Raises:
        BackupCorrupt: the pack differs from the manifest, or has a member that is not a thumbnail.

    """
    if member.byte_size > MAX_PACK_BYTES:
        raise BackupCorrupt(archive, member.name, "it is too large for a pack of thumbnails")
    content = BytesIO()
    _require(reader.copy(member.name, content), member, archive)
    pack = ArchiveReader(content, archive, within=f"{member.name}:")
    for name in pack.sizes:
        sha256 = name.removesuffix(THUMBNAIL_SUFFIX)
        if sha256 + THUMBNAIL_SUFFIX != name or not SHA256_PATTERN.fullmatch(sha256):
            raise BackupCorrupt(archive, f"{member.name}:{name}", "it is not a thumbnail")
        yield sha256, pack.read(name)


def _require(found: Member, stated: Member, archive: Path) -> None:
    if found != stated:
        raise BackupCorrupt(archive, stated.name, "its sha256 differs from that of the manifest")
