"""Snapshots: sealed segments on disk. A cache; SQL can make every snapshot again.

    {directory}/manifest.json         written last: the files that it names are complete
    {directory}/{stem}.vectors        float32 (rows, d), float16 for a copy space, append-only:
                                      later snapshots add to it
    {directory}/{stem}.blocks.npy     sha256 of each 64 rows
    {directory}/{stem}.facts.npy      ids and what filters select by, by position
    {directory}/{stem}.words.json     the texts behind the numbers in the facts
    {directory}/{stem}.dead.npy       positions whose entry was removed
    {directory}/{stem}.codes.faiss    compressed codes, where the corpus is large
    {directory}/{stem}.hashes.npy     perceptual hashes of images, see `saved_hashes`
    {directory}/lock                  locked by the one process that writes here

Owns the files. Does not know SQL: `index.cache.snapshots.folder` checks whether a snapshot still
agrees with the database.
"""

from __future__ import annotations

import fcntl
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.cache.plans.comparison import Comparison
from index.cache.segments.facts import FACTS, Facts, Words
from index.cache.segments.sealed import SealedSegment, TunedCodes, plan_of
from index.cache.snapshots.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    FileStamp,
    Manifest,
    SavedHashes,
    read_manifest,
)
from index.cache.snapshots.saved_hashes import SUFFIX as HASHES_SUFFIX
from index.cache.snapshots.saved_hashes import open_hashes, write_hashes
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import MappedRows
from index.durable import TEMPORARY_SUFFIX, sync_directory, write_bytes_durably, write_durably
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from index.failpoints import Failpoint, reach
from index.truth.digest import digest_hex
from index.truth.vectors import STORED
from index.view_hashes import HashRows

logger = logging.getLogger(__name__)

LOCK = "lock"
SET_ASIDE_SUFFIX = ".set-aside"
SUFFIXES = (
    ".vectors",
    ".blocks.npy",
    ".facts.npy",
    ".words.json",
    ".dead.npy",
    ".codes.faiss",
    HASHES_SUFFIX,
)
EARLIER_SUFFIXES = (".faiss", ".ids.npy")


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a snapshot consists of, except its codes. The vectors are in their file already."""

    generation: int
    digest: int
    rows: MappedRows
    facts: Facts
    words: Words
    dead: NDArray[np.int64]

    @property
    def live(self) -> Marks | None:
        """Which positions are members; None stands for all of them."""
        return Marks.all_of(self.rows.size).without(self.dead) if len(self.dead) else None

    def segment(self, tuned: TunedCodes | None) -> SealedSegment:
        return SealedSegment(self.rows, self.facts, self.words, tuned)


def open_snapshot(
    directory: Path,
    manifest: Manifest,
    space_fingerprint: str,
    dimension: int,
    form: np.dtype[Any] = STORED,
) -> tuple[Contents, TunedCodes | None]:
    """Map what a manifest names.

    Every file but the vectors is compared with its digest now; a block of vectors is compared when
    it is first read.

    Raises:
        SnapshotCorrupt: it belongs to another space, or a file is missing or was changed.

    """
    path = directory / MANIFEST
    if (manifest.space_fingerprint, manifest.dimension) != (space_fingerprint, dimension):
        raise SnapshotCorrupt(
            path, f"it belongs to another embedding space, {manifest.space_fingerprint[:16]}"
        )
    if manifest.form != form:
        raise SnapshotCorrupt(path, f"its vectors are {manifest.form.name}, not {form.name}")
    for stamp in manifest.stamps:
        stamp.check(directory)
    try:
        facts = np.load(
            directory / manifest.facts.name,
            mmap_mode="r" if manifest.rows else None,
            allow_pickle=False,
        )
        blocks, dead = (
            np.load(directory / some.name, allow_pickle=False)
            for some in (manifest.blocks, manifest.dead)
        )
        words = Words(json.loads((directory / manifest.words.name).read_bytes()))
        tuned = None
        if manifest.codes and manifest.tuning:
            codes = Codes.read(directory / manifest.codes.name, manifest.rows, dimension)
            tuned = TunedCodes(codes, manifest.tuning)
    except (OSError, ValueError, TypeError) as err:
        raise SnapshotCorrupt(path, str(err)) from err
    if (
        facts.dtype != FACTS
        or facts.shape != (manifest.rows,)
        or len(dead) != manifest.rows - manifest.count
    ):
        raise SnapshotCorrupt(path, "the number of its facts does not agree with the manifest")
    rows = MappedRows(directory / manifest.vectors, manifest.rows, dimension, blocks, form)
    digest = int(manifest.digest, 16)
    return Contents(manifest.generation, digest, rows, np.asarray(facts), words, dead), tuned


def check_files(directory: Path, manifest: Manifest) -> None:
    """Raise SnapshotCorrupt unless every file is byte for byte what the manifest states."""
    for stamp in manifest.stamps:
        stamp.check(directory)
    if manifest.hashes is not None:
        open_hashes(directory, manifest.hashes)
    try:
        blocks = np.load(directory / manifest.blocks.name, allow_pickle=False)
    except (OSError, ValueError) as err:
        raise SnapshotCorrupt(directory / manifest.blocks.name, str(err)) from err
    path = directory / manifest.vectors
    MappedRows(path, manifest.rows, manifest.dimension, blocks, manifest.form).verify()


def new_stem(generation: int) -> str:
    """Return the beginning of the file names of a new snapshot, unique among all snapshots."""
    return f"{generation}-{secrets.token_hex(4)}"


def write_snapshot(
    directory: Path,
    contents: Contents,
    tuned: TunedCodes | None,
    trained_rows: int,
    comparison: Comparison | None,
    fingerprint: str,
    changed_at: str | None = None,
) -> Manifest:
    """Write the files of a snapshot whose vectors are written already, and publish it with the
    hashes of the snapshot before.

    The caller holds the folder's lock.

    Raises:
        IndexDirectoryUnwritable: the disk is full, or the folder is not writable. The earlier
        snapshot stays valid.

    """
    stem = new_stem(contents.generation)

    def write(suffix: str, write_content: Callable[[Path], None]) -> FileStamp:
        path = directory / f"{stem}{suffix}"
        write_durably(path, write_content)
        return FileStamp.of(path)

    try:
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            plan=plan_of(tuned),
            space_fingerprint=fingerprint,
            dimension=contents.rows.dimension,
            float_bytes=contents.rows.form.itemsize,
            generation=contents.generation,
            count=len(contents.facts) - len(contents.dead),
            rows=len(contents.facts),
            digest=digest_hex(contents.digest),
            vectors=contents.rows.path.name,
            blocks=write(".blocks.npy", lambda path: _save(path, contents.rows.digests)),
            facts=write(".facts.npy", lambda path: _save(path, contents.facts)),
            words=write(".words.json", lambda path: _save_words(path, contents.words)),
            dead=write(".dead.npy", lambda path: _save(path, contents.dead)),
            codes=write(".codes.faiss", tuned.codes.write) if tuned else None,
            trained_rows=trained_rows,
            tuning=tuned.tuning if tuned else None,
            comparison=comparison,
            hashes=_find_hashes(directory),
            changed_at=changed_at,
        )
        _publish(directory, manifest)
    except OSError as err:
        raise IndexDirectoryUnwritable(directory, str(err)) from err
    return manifest


def write_snapshot_hashes(
    directory: Path, manifest: Manifest, rows: HashRows, generation: int, history: str
) -> Manifest:
    """Publish the snapshot of a manifest with other hashes; see `saved_hashes`.

    The caller holds the folder's lock. Raises like `write_snapshot`.
    """
    try:
        hashes = write_hashes(directory, new_stem(generation), rows, generation, history)
        manifest = replace(manifest, hashes=hashes)
        _publish(directory, manifest)
    except OSError as err:
        raise IndexDirectoryUnwritable(directory, str(err)) from err
    return manifest


def _find_hashes(directory: Path) -> SavedHashes | None:
    try:
        manifest = read_manifest(directory)
    except SnapshotCorrupt:
        return None
    return None if manifest is None else manifest.hashes


def _publish(directory: Path, manifest: Manifest) -> None:
    """Write a manifest whose files are complete, and remove the files that it does not name."""
    reach(Failpoint.FILES_COMPLETE)
    write_bytes_durably(directory / MANIFEST, manifest.to_bytes())
    reach(Failpoint.MANIFEST_PUBLISHED)
    for path in leftovers(directory, manifest):
        path.unlink(missing_ok=True)
    reach(Failpoint.LEFTOVERS_REMOVED)


def leftovers(directory: Path, manifest: Manifest | None) -> tuple[Path, ...]:
    """Return the files of older snapshots and of interrupted writes, by name."""
    needed = {LOCK, MANIFEST} | (set(manifest.files) if manifest else set())
    ours = (*SUFFIXES, *EARLIER_SUFFIXES, TEMPORARY_SUFFIX)
    if not directory.is_dir():
        return ()
    return tuple(
        sorted(p for p in directory.iterdir() if p.name not in needed and p.name.endswith(ours))
    )


def set_aside(directory: Path, reason: str, *, locked: bool = False) -> None:
    """Rename the manifest, so that no process opens the snapshot. It is kept for a person to
    examine.

    Does nothing while another process writes in the folder. `locked`: this thread holds the
    folder's lock.
    """
    try:
        if locked:
            _set_aside(directory, reason)
            return
        with directory_lock(directory, wait=False) as is_locked:
            if is_locked:
                _set_aside(directory, reason)
    except (OSError, IndexDirectoryUnwritable) as err:
        logger.warning(
            "snapshot in %s ignored: %s; it could not be set aside: %s", directory, reason, err
        )


def _set_aside(directory: Path, reason: str) -> None:
    path = directory / MANIFEST
    path.replace(path.with_name(MANIFEST + SET_ASIDE_SUFFIX))
    sync_directory(directory)
    logger.warning("snapshot in %s set aside: %s; the index is rebuilt from SQL", directory, reason)


@contextmanager
def directory_lock(directory: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a snapshot folder, which is created if it is missing.

    Without `wait`, yields False if another process holds the lock.

    Raises:
        IndexDirectoryUnwritable: the folder or the lock cannot be created.

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
        yield True  # the lock ends when the file is closed, or when the process ends


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("xb") as file:
        np.save(file, array, allow_pickle=False)


def _save_words(path: Path, words: Words) -> None:
    with path.open("x", encoding="utf-8") as file:
        json.dump(words.texts(), file, ensure_ascii=False)
