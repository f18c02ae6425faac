"""Snapshots: a base on disk, with a manifest that says exactly what it is. A cache; SQL can always make it again.

    {directory}/manifest.json            written last: what it names is whole
    {directory}/{generation}.faiss       the vectors
    {directory}/{generation}.ids.npy     entry ids (n,) int64, rising
    {directory}/lock                     held by the one process that writes here

Owns the files. Does not know SQL: whether a snapshot is still true is for `index.live` to ask.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.digest import digest_hex
from index.durable import TEMPORARY_SUFFIX, sync_directory, write_bytes_durably, write_durably
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from index.flat import PLAN, FlatIndex
from index.view import View

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
LOCK = "lock"
SET_ASIDE_SUFFIX = ".set-aside"


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file of a snapshot, as it was when it was written."""

    name: str
    byte_size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is. `digest` is the set digest of its members, in hex; `generation` its last change."""

    format_version: int
    plan: str
    space_fingerprint: str
    dimension: int
    generation: int
    count: int
    digest: str
    vectors: FileStamp
    ids: FileStamp

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of a folder, None where there is none.

    Raises:
        SnapshotCorrupt: it cannot be read, or is of another format than this release writes.

    """
    path = directory / MANIFEST
    try:
        stated = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise SnapshotCorrupt(path, f"the manifest cannot be read: {err}") from err
    version = stated.get("format_version") if isinstance(stated, dict) else None
    if version != FORMAT_VERSION:
        raise SnapshotCorrupt(path, f"its format is {version!r}, this release reads {FORMAT_VERSION}")
    try:
        return _manifest(stated)
    except (KeyError, TypeError, ValueError) as err:
        raise SnapshotCorrupt(path, f"the manifest is incomplete: {err!r}") from err


def snapshot_files(directory: Path) -> tuple[Manifest, tuple[Path, ...]] | None:
    """Return the manifest of a folder and every file that it names, which may be missing; None where there is none.

    Raises:
        SnapshotCorrupt: like `read_manifest`.

    """
    manifest = read_manifest(directory)
    if manifest is None:
        return None
    return manifest, tuple(directory / stamp.name for stamp in (manifest.vectors, manifest.ids))


def open_base(directory: Path, manifest: Manifest, space_fingerprint: str, dimension: int) -> FlatIndex:
    """Map the base that a manifest names, after comparing every byte with its digests.

    Raises:
        SnapshotCorrupt: of another space or plan, a file missing or changed, ids that do not rise.

    """
    path = directory / MANIFEST
    if (manifest.space_fingerprint, manifest.dimension) != (space_fingerprint, dimension):
        raise SnapshotCorrupt(path, f"it is of the foreign embedding space {manifest.space_fingerprint[:16]}")
    if manifest.plan != PLAN:
        raise SnapshotCorrupt(path, f"its plan is {manifest.plan!r}, this release knows {PLAN!r}")
    check_files(directory, manifest)
    try:
        ids = np.load(directory / manifest.ids.name, mmap_mode="r" if manifest.count else None, allow_pickle=False)
        base = FlatIndex.read(directory / manifest.vectors.name, ids, dimension)
    except (OSError, ValueError) as err:
        raise SnapshotCorrupt(path, str(err)) from err
    if ids.dtype != np.int64 or ids.shape != (manifest.count,) or (np.diff(ids) <= 0).any():
        raise SnapshotCorrupt(path, "its ids are not rising int64")
    return base


def check_files(directory: Path, manifest: Manifest) -> None:
    """Raise SnapshotCorrupt unless every file is byte for byte what the manifest says."""
    for stamp in (manifest.vectors, manifest.ids):
        path = directory / stamp.name
        try:
            found = _stamp(path)
        except OSError as err:
            raise SnapshotCorrupt(path, f"it cannot be read: {err.strerror}") from err
        if found.byte_size != stamp.byte_size:
            raise SnapshotCorrupt(path, f"it has {found.byte_size} bytes instead of {stamp.byte_size}")
        if found.sha256 != stamp.sha256:
            raise SnapshotCorrupt(path, "its sha256 is not the one in the manifest")


def write_snapshot(directory: Path, view: View, base: FlatIndex, space_fingerprint: str) -> Manifest:
    """Write a base, which holds exactly the members of a view, and publish it. The caller holds the lock.

    Raises:
        IndexDirectoryUnwritable: no space, no permission. The snapshot before stays in force.

    """
    stem = str(view.generation)
    vectors, ids = directory / f"{stem}.faiss", directory / f"{stem}.ids.npy"
    try:
        write_durably(vectors, base.write)
        write_durably(ids, lambda temporary: _save_ids(temporary, base))
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            plan=base.plan,
            space_fingerprint=space_fingerprint,
            dimension=view.dimension,
            generation=view.generation,
            count=base.size,
            digest=digest_hex(view.digest),
            vectors=_stamp(vectors),
            ids=_stamp(ids),
        )
        write_bytes_durably(directory / MANIFEST, manifest.to_bytes())
        for path in leftovers(directory, manifest):
            path.unlink(missing_ok=True)
    except OSError as err:
        raise IndexDirectoryUnwritable(directory, str(err)) from err
    return manifest


def leftovers(directory: Path, manifest: Manifest | None) -> tuple[Path, ...]:
    """Return the files of older snapshots and of interrupted writes, in order of their names."""
    kept = {LOCK, MANIFEST} | ({manifest.vectors.name, manifest.ids.name} if manifest else set())
    ours = (".faiss", ".ids.npy", TEMPORARY_SUFFIX)
    if not directory.is_dir():
        return ()
    return tuple(sorted(p for p in directory.iterdir() if p.name not in kept and p.name.endswith(ours)))


def set_aside(directory: Path, reason: str) -> None:
    """Rename the manifest, so that nobody opens what it names, and keep it for whoever wants to know.

    A snapshot that another process is replacing at this moment is left to that process.
    """
    try:
        with directory_lock(directory, wait=False) as held:
            if not held:
                return
            path = directory / MANIFEST
            path.replace(path.with_name(MANIFEST + SET_ASIDE_SUFFIX))
            sync_directory(directory)
            logger.warning("snapshot in %s set aside: %s; the index is rebuilt from SQL", directory, reason)
    except (OSError, IndexDirectoryUnwritable) as err:
        logger.warning("snapshot in %s ignored: %s; it could not be set aside: %s", directory, reason, err)


@contextmanager
def directory_lock(directory: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a snapshot folder, which is made if missing; gives False where another process holds it and `wait` is off.

    Raises:
        IndexDirectoryUnwritable: the folder or the lock cannot be made.

    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK).open("ab")
    except OSError as err:
        raise IndexDirectoryUnwritable(directory, str(err)) from err
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True  # closing the file releases the lock, and so does the end of the process


def _manifest(stated: dict[str, Any]) -> Manifest:
    stamps = {name: FileStamp(**stated.pop(name)) for name in ("vectors", "ids")}
    manifest = Manifest(**(stated | stamps))
    for number in (manifest.dimension, manifest.generation, manifest.count):
        if type(number) is not int or number < 0:
            raise ValueError("a number that is none")
    for stamp in stamps.values():
        if Path(stamp.name).name != stamp.name:
            raise ValueError("a file outside the folder")
    return manifest


def _save_ids(path: Path, base: FlatIndex) -> None:
    with path.open("xb") as file:
        np.save(file, np.asarray(base.ids), allow_pickle=False)


def _stamp(path: Path) -> FileStamp:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileStamp(path.name, path.stat().st_size, sha256)
