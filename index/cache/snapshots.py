"""Snapshots: a base on disk, with a manifest that says exactly what it is. A cache; SQL can always
make it again.

    {directory}/manifest.json         written last: what it names is whole
    {directory}/{stem}.vectors        float32 (rows, d), append-only: later snapshots add to it
    {directory}/{stem}.blocks.npy     sha256 of each 64 rows
    {directory}/{stem}.facts.npy      ids and what filters ask for, by position
    {directory}/{stem}.words.json     the texts behind the numbers in the facts
    {directory}/{stem}.dead.npy       positions whose entry was removed
    {directory}/{stem}.codes.faiss    compressed codes, where the corpus is large
    {directory}/lock                  held by the one process that writes here

Owns the files. Does not know SQL: whether a snapshot is still true is for `index.cache.live` to
ask.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.cache.codes import Codes
from index.cache.config import Plan
from index.cache.facts import FACTS, Facts, Words
from index.cache.marks import Marks
from index.cache.recall import Tuning
from index.cache.rows import MappedRows
from index.cache.sealed import TunedCodes
from index.durable import TEMPORARY_SUFFIX, sync_directory, write_bytes_durably, write_durably
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from index.failpoints import Failpoint, reach
from index.truth.digest import digest_hex

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
# Format 1 held one exact FAISS index of some thousand vectors; SQL makes it again in a moment.
EARLIER_FORMATS = (1,)
MANIFEST = "manifest.json"
LOCK = "lock"
SET_ASIDE_SUFFIX = ".set-aside"
SUFFIXES = (".vectors", ".blocks.npy", ".facts.npy", ".words.json", ".dead.npy", ".codes.faiss")
EARLIER_SUFFIXES = (".faiss", ".ids.npy")


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file of a snapshot, as it was when it was written."""

    name: str
    byte_size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is.

    `digest` is the set digest of its members, in hex; `generation` its last change; `rows` counts
    positions, `count` the members among them; `trained_rows` is how many rows there were when codes
    were last trained or given up. `vectors` names a file that may go on behind `rows`; `blocks`
    holds its digests.
    """

    format_version: int
    plan: Plan
    space_fingerprint: str
    dimension: int
    generation: int
    count: int
    rows: int
    digest: str
    vectors: str
    blocks: FileStamp
    facts: FileStamp
    words: FileStamp
    dead: FileStamp
    codes: FileStamp | None
    trained_rows: int
    tuning: Tuning | None

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()

    @property
    def stamps(self) -> tuple[FileStamp, ...]:
        """The files that are written whole."""
        return tuple(
            stamp for stamp in (self.blocks, self.facts, self.words, self.dead, self.codes) if stamp
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files."""
        return (self.vectors, *(stamp.name for stamp in self.stamps))


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a snapshot is made of beside its codes. The vectors are in their file already."""

    generation: int
    digest: int
    rows: MappedRows
    facts: Facts
    words: Words
    dead: NDArray[np.int64]

    @property
    def live(self) -> Marks | None:
        """Which positions are members; None: all of them."""
        return (
            Marks(np.ones(self.rows.size, np.bool_)).without(self.dead) if len(self.dead) else None
        )


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of a folder, None where there is none or one of an earlier release.

    Raises:
        SnapshotCorrupt: it cannot be read, or is of a format that this release does not know.

    """
    path = directory / MANIFEST
    try:
        stated = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise SnapshotCorrupt(path, f"the manifest cannot be read: {err}") from err
    version = stated.get("format_version") if isinstance(stated, dict) else None
    if version in EARLIER_FORMATS:
        logger.info(
            "snapshot in %s is of format %s of an earlier release: the index is built from SQL",
            path,
            version,
        )
        return None
    if version != FORMAT_VERSION:
        raise SnapshotCorrupt(
            path, f"its format is {version!r}, this release reads {FORMAT_VERSION}"
        )
    try:
        return _manifest(stated)
    except (KeyError, TypeError, ValueError) as err:
        raise SnapshotCorrupt(path, f"the manifest is incomplete: {err!r}") from err


def snapshot_files(directory: Path) -> tuple[Manifest, tuple[Path, ...]] | None:
    """Return the manifest of a folder and every file that it names, there or not; None like
    `read_manifest`.

    Raises:
        SnapshotCorrupt: like `read_manifest`.

    """
    manifest = read_manifest(directory)
    if manifest is None:
        return None
    return manifest, tuple(directory / name for name in manifest.files)


def open_base(
    directory: Path, manifest: Manifest, space_fingerprint: str, dimension: int
) -> tuple[Contents, TunedCodes | None]:
    """Map what a manifest names.

    Every file but the vectors is compared with its digest now, a block of vectors when it is first
    read.

    Raises:
        SnapshotCorrupt: of another space, a file missing or changed.

    """
    path = directory / MANIFEST
    if (manifest.space_fingerprint, manifest.dimension) != (space_fingerprint, dimension):
        raise SnapshotCorrupt(
            path, f"it is of the foreign embedding space {manifest.space_fingerprint[:16]}"
        )
    for stamp in manifest.stamps:
        _check_stamp(directory, stamp)
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
        raise SnapshotCorrupt(path, "its facts are not those of so many entries")
    rows = MappedRows(directory / manifest.vectors, manifest.rows, dimension, blocks)
    digest = int(manifest.digest, 16)
    return Contents(manifest.generation, digest, rows, np.asarray(facts), words, dead), tuned


def check_files(directory: Path, manifest: Manifest) -> None:
    """Raise SnapshotCorrupt unless every file is byte for byte what the manifest says."""
    for stamp in manifest.stamps:
        _check_stamp(directory, stamp)
    try:
        blocks = np.load(directory / manifest.blocks.name, allow_pickle=False)
    except (OSError, ValueError) as err:
        raise SnapshotCorrupt(directory / manifest.blocks.name, str(err)) from err
    MappedRows(directory / manifest.vectors, manifest.rows, manifest.dimension, blocks).verify()


def new_stem(generation: int) -> str:
    """Return how the names of a new snapshot's files begin; never one that was used before."""
    return f"{generation}-{secrets.token_hex(4)}"


def write_snapshot(
    directory: Path,
    contents: Contents,
    tuned: TunedCodes | None,
    trained_rows: int,
    fingerprint: str,
) -> Manifest:
    """Write what belongs to vectors that are written already, and publish it. The caller holds the
    lock.

    Raises:
        IndexDirectoryUnwritable: no space, no permission. The snapshot before stays in force.

    """
    stem = new_stem(contents.generation)

    def written(suffix: str, write: Callable[[Path], None]) -> FileStamp:
        path = directory / f"{stem}{suffix}"
        write_durably(path, write)
        return _stamp(path)

    try:
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            plan=plan_of(tuned),
            space_fingerprint=fingerprint,
            dimension=contents.rows.dimension,
            generation=contents.generation,
            count=len(contents.facts) - len(contents.dead),
            rows=len(contents.facts),
            digest=digest_hex(contents.digest),
            vectors=contents.rows.path.name,
            blocks=written(".blocks.npy", lambda path: _save(path, contents.rows.digests)),
            facts=written(".facts.npy", lambda path: _save(path, contents.facts)),
            words=written(".words.json", lambda path: _save_words(path, contents.words)),
            dead=written(".dead.npy", lambda path: _save(path, contents.dead)),
            codes=written(".codes.faiss", tuned.codes.write) if tuned else None,
            trained_rows=trained_rows,
            tuning=tuned.tuning if tuned else None,
        )
        reach(Failpoint.FILES_COMPLETE)
        write_bytes_durably(directory / MANIFEST, manifest.to_bytes())
        reach(Failpoint.MANIFEST_PUBLISHED)
        for path in leftovers(directory, manifest):
            path.unlink(missing_ok=True)
        reach(Failpoint.LEFTOVERS_REMOVED)
    except OSError as err:
        raise IndexDirectoryUnwritable(directory, str(err)) from err
    return manifest


def plan_of(tuned: TunedCodes | None) -> Plan:
    """Return the plan that codes and their reach amount to."""
    if tuned is None:
        return Plan.FLAT
    return Plan.CODES if tuned.tuning.nprobe >= tuned.codes.nlist else Plan.LISTS


def leftovers(directory: Path, manifest: Manifest | None) -> tuple[Path, ...]:
    """Return the files of older snapshots and of interrupted writes, in order of their names."""
    kept = {LOCK, MANIFEST} | (set(manifest.files) if manifest else set())
    ours = (*SUFFIXES, *EARLIER_SUFFIXES, TEMPORARY_SUFFIX)
    if not directory.is_dir():
        return ()
    return tuple(
        sorted(p for p in directory.iterdir() if p.name not in kept and p.name.endswith(ours))
    )


def set_aside(directory: Path, reason: str, *, locked: bool = False) -> None:
    """Rename the manifest, so that nobody opens what it names, and keep it for whoever wants to
    know.

    A snapshot that another process is replacing at this moment is left to that process. `locked`:
    this thread holds the folder.
    """
    try:
        if locked:
            _set_aside(directory, reason)
            return
        with directory_lock(directory, wait=False) as held:
            if held:
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
    """Hold a snapshot folder, which is made if missing; gives False where another process holds it
    and `wait` is off.

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
    stamps = {name: FileStamp(**stated.pop(name)) for name in ("blocks", "facts", "words", "dead")}
    codes, tuning = stated.pop("codes"), stated.pop("tuning")
    manifest = Manifest(
        **(stated | stamps | {"plan": Plan(stated["plan"])}),
        codes=None if codes is None else FileStamp(**codes),
        tuning=None if tuning is None else Tuning(**tuning),
    )
    numbers = (
        manifest.dimension,
        manifest.generation,
        manifest.count,
        manifest.rows,
        manifest.trained_rows,
    )
    if (
        any(type(number) is not int or number < 0 for number in numbers)
        or manifest.count > manifest.rows
    ):
        raise ValueError("a number that is none")
    if any(Path(name).name != name for name in manifest.files):
        raise ValueError("a file outside the folder")
    return manifest


def _check_stamp(directory: Path, stamp: FileStamp) -> None:
    path = directory / stamp.name
    try:
        found = _stamp(path)
    except OSError as err:
        raise SnapshotCorrupt(path, f"it cannot be read: {err.strerror}") from err
    if found.byte_size != stamp.byte_size:
        raise SnapshotCorrupt(path, f"it has {found.byte_size} bytes instead of {stamp.byte_size}")
    if found.sha256 != stamp.sha256:
        raise SnapshotCorrupt(path, "its sha256 is not the one in the manifest")


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("xb") as file:
        np.save(file, array, allow_pickle=False)


def _save_words(path: Path, words: Words) -> None:
    with path.open("x", encoding="utf-8") as file:
        json.dump(words.texts(), file, ensure_ascii=False)


def _stamp(path: Path) -> FileStamp:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileStamp(path.name, path.stat().st_size, sha256)
