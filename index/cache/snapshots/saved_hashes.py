"""The perceptual hashes beside a snapshot: `{stem}.hashes.npy`, ids and hashes of images by rising
id.

A process maps them instead of reading every image from SQL. They are a cache of `images`, not of a
space, so they are written when images have come, whatever happens to the vectors. Owns the file,
and whether it belongs to the history of the database. `index.cache.searching.pictures` adds what
came later, and notices an image that got its hash late.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, select

from index.cache.snapshots.manifest import FileStamp, SavedHashes
from index.durable import write_durably
from index.errors import SnapshotCorrupt
from index.truth.changes import digest_at, last_number
from index.truth.digest import digest_hex
from index.truth.perceptual import HASH_BYTES, MIN_QUALITY
from index.truth.schema import embedding_spaces
from index.view_hashes import HashRows

SUFFIX = ".hashes.npy"
_ID_BYTES = 8


def write_hashes(
    directory: Path, stem: str, rows: HashRows, generation: int, history: str
) -> SavedHashes:
    """Write rows, one or more, by rising id. Raises OSError."""
    path = directory / f"{stem}{SUFFIX}"
    content = np.concatenate([rows.ids.astype("<i8").view(np.uint8), rows.bits.ravel()])

    def save(temporary: Path) -> None:
        with temporary.open("xb") as file:
            np.save(file, content, allow_pickle=False)

    write_durably(path, save)
    return SavedHashes(FileStamp.of(path), len(rows), MIN_QUALITY, generation, history)


def open_hashes(directory: Path, saved: SavedHashes) -> HashRows:
    """Map a file after comparing it with its digest: 40 ms for a million hashes.

    Raises:
        SnapshotCorrupt: it is missing, or was changed.

    """
    saved.file.check(directory)
    path = directory / saved.file.name
    try:
        content = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as err:
        raise SnapshotCorrupt(path, str(err)) from err
    if content.dtype != np.uint8 or content.shape != (saved.count * (_ID_BYTES + HASH_BYTES),):
        raise SnapshotCorrupt(path, "the number of its hashes does not agree with the manifest")
    ids = content[: saved.count * _ID_BYTES].view("<i8")
    if not (np.diff(ids) > 0).all():
        raise SnapshotCorrupt(path, "its ids do not rise")
    return HashRows.of(ids, content[saved.count * _ID_BYTES :].reshape(-1, HASH_BYTES))


def is_of_history(conn: Connection, saved: SavedHashes) -> bool:
    """Return whether saved hashes are those of this database, by this release's rule.

    A database that was restored or replaced has another log, or a shorter one.
    """
    return (
        saved.min_quality == MIN_QUALITY
        and saved.generation <= last_number(conn)
        and saved.history == history_at(conn, saved.generation)
    )


def history_at(conn: Connection, generation: int) -> str:
    """Return a digest of the members of every space at a generation, in hex."""
    space_ids = conn.execute(select(embedding_spaces.c.id)).scalars()
    digests = {space_id: digest_at(conn, space_id, generation) for space_id in sorted(space_ids)}
    members = [f"{space_id} {digest_hex(own)}\n" for space_id, own in digests.items() if own]
    return hashlib.sha256("".join(members).encode()).hexdigest()
