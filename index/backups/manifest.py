"""The manifest of an archive: the state of the database, and name, size and sha256 of each member.

It is the last member, so an archive without a manifest is unfinished. It contains its own sha256.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from index.backups.archive import ArchiveReader, Member
from index.backups.space_states import SpaceState
from index.errors import BackupCorrupt, BackupTooNew, NotABackup
from index.jsontext import canonical_json

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TABLES = "tables.sqlite3"
# Names in an archive become names of files, so only these patterns are accepted.
SNAPSHOT_FILE = re.compile(
    r"index/(?P<folder>[0-9a-f]{16})/(?P<file>[A-Za-z0-9_][A-Za-z0-9._-]{0,63})"
)
THUMBNAILS = re.compile(r"thumbnails/[0-9]{6}\.tar")
TABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_MANIFEST_BYTES = 256 << 20  # 200 bytes for each of `archive.MAX_MEMBERS`


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """The description of an archive.

    `generation` is the number of the last change, `database` the dialect of the source. `last_ids`
    has the highest id that each table ever assigned, also to rows that were deleted. `thumbnails`
    is their number, or None if they were left out.
    """

    format_version: int
    lineup_version: str
    created_at: datetime
    database: str
    schema_revision: str
    generation: int
    row_counts: Mapping[str, int]
    last_ids: Mapping[str, int]
    spaces: tuple[SpaceState, ...]
    thumbnails: int | None
    members: tuple[Member, ...]

    def to_bytes(self) -> bytes:
        stated = asdict(self) | {"created_at": self.created_at.isoformat()}
        stated["sha256"] = _sha256(stated)
        return (json.dumps(stated, indent=1, sort_keys=True) + "\n").encode()

    @property
    def snapshots(self) -> tuple[str, ...]:
        """The names of the index folders whose snapshots are in the archive."""
        found = [SNAPSHOT_FILE.fullmatch(member.name) for member in self.members]
        return tuple(sorted({match["folder"] for match in found if match}))


def read_backup_manifest(reader: ArchiveReader, archive: Path) -> BackupManifest:
    """Return the manifest, after checking its sha256 and the names and sizes of the members.

    Raises:
        NotABackup: the archive has no manifest.
        BackupTooNew: the format is that of a newer release.
        BackupCorrupt: the manifest is damaged, or a member is missing, unexpected or of another
            size.

    """
    sizes = reader.sizes
    if MANIFEST not in sizes:
        if sizes.keys() & {TABLES} or any(SNAPSHOT_FILE.fullmatch(name) for name in sizes):
            raise BackupCorrupt(archive, MANIFEST, "it is missing")
        raise NotABackup(archive, f"it has no {MANIFEST}")
    if sizes[MANIFEST] > MAX_MANIFEST_BYTES:
        raise BackupCorrupt(archive, MANIFEST, "it is too large for a manifest")
    manifest = _parse(reader.read(MANIFEST), archive)
    stated = {member.name: member.byte_size for member in manifest.members}
    for name in [*stated, *sizes]:
        if name not in sizes:
            raise BackupCorrupt(archive, name, "it is missing")
        if name != MANIFEST and name not in stated:
            raise BackupCorrupt(archive, name, "it is not in the manifest")
        if name != MANIFEST and sizes[name] != stated[name]:
            raise BackupCorrupt(
                archive, name, f"it has {sizes[name]} bytes instead of {stated[name]}"
            )
    return manifest


def _parse(content: bytes, archive: Path) -> BackupManifest:
    try:
        stated = json.loads(content)
        own_sha256 = stated.pop("sha256")
        if own_sha256 != _sha256(stated):
            raise BackupCorrupt(
                archive, MANIFEST, "its sha256 differs from the one that it contains"
            )
        if stated["format_version"] != FORMAT_VERSION:
            raise BackupTooNew(archive, f"format {stated['format_version']!r}")
        return _manifest(stated)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as err:
        raise BackupCorrupt(archive, MANIFEST, f"it cannot be read: {err!r}") from err


def _manifest(stated: dict[str, Any]) -> BackupManifest:
    manifest = BackupManifest(
        **stated
        | {
            "created_at": datetime.fromisoformat(stated["created_at"]),
            "spaces": tuple(SpaceState(**space) for space in stated["spaces"]),
            "members": tuple(Member(**member) for member in stated["members"]),
        }
    )
    counts = [
        *manifest.row_counts.values(),
        *manifest.last_ids.values(),
        *(m.byte_size for m in manifest.members),
    ]
    for number in [
        manifest.generation,
        *counts,
        *([] if manifest.thumbnails is None else [manifest.thumbnails]),
    ]:
        if type(number) is not int or number < 0:
            raise ValueError("a number is negative or not an integer")
    for name in [*manifest.row_counts, *manifest.last_ids]:
        if not TABLE.fullmatch(name):
            raise ValueError("a table has an impossible name")
    for digest in [
        *(space.digest for space in manifest.spaces),
        *(member.sha256 for member in manifest.members),
    ]:
        if not DIGEST.fullmatch(digest):
            raise ValueError("a digest is malformed")
    names = [member.name for member in manifest.members]
    if (
        len(set(names)) < len(names)
        or names.count(TABLES) != 1
        or not all(map(_is_member_name, names))
    ):
        raise ValueError("the members are not those of this format")
    return manifest


def _is_member_name(name: str) -> bool:
    return bool(name == TABLES or SNAPSHOT_FILE.fullmatch(name) or THUMBNAILS.fullmatch(name))


def _sha256(stated: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(dict(stated)).encode()).hexdigest()
