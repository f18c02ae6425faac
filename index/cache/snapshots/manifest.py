"""The manifest of a snapshot: what the snapshot is, and which files it consists of.

Owns the JSON of the manifest. `index.cache.snapshots.snapshot` owns the files that it names.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from index.cache.plans.comparison import Comparison
from index.cache.plans.config import Plan
from index.cache.plans.recall import Tuning
from index.errors import SnapshotCorrupt
from index.truth.vectors import HALF, STORED

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
# Format 1 held one exact FAISS index of a few thousand vectors, which SQL replaces in a moment.
EARLIER_FORMATS = (1,)
MANIFEST = "manifest.json"
# The field with the sha256 of all others, as they are written. Earlier releases wrote none.
OWN_DIGEST = "sha256"
FORMS = {form.itemsize: form for form in (STORED, HALF)}


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Name, size and digest of a file, as it was written."""

    name: str
    byte_size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Return the stamp of a file on disk. Raises OSError."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path.name, path.stat().st_size, sha256)

    def check(self, directory: Path) -> None:
        """Raise SnapshotCorrupt unless the file in a folder is exactly this one."""
        path = directory / self.name
        try:
            found = FileStamp.of(path)
        except OSError as err:
            raise SnapshotCorrupt(path, f"it cannot be read: {err.strerror}") from err
        if found.byte_size != self.byte_size:
            raise SnapshotCorrupt(
                path, f"it has {found.byte_size} bytes instead of {self.byte_size}"
            )
        if found.sha256 != self.sha256:
            raise SnapshotCorrupt(path, "its sha256 is not the one in the manifest")


@dataclass(frozen=True, slots=True)
class SavedHashes:
    """A file with the perceptual hashes of `count` images, all of `min_quality` or more.

    None of them came with a change after number `generation`; `history` is the digest of the log up
    to there.
    """

    file: FileStamp
    count: int
    min_quality: int
    generation: int
    history: str

    @classmethod
    def from_json(cls, stated: dict[str, Any]) -> Self:
        """Raise KeyError, TypeError or ValueError unless every field has a value that makes
        sense.
        """
        saved = cls(**(stated | {"file": FileStamp(**stated["file"])}))
        numbers = (saved.count, saved.min_quality, saved.generation)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("a number about the hashes is missing or negative")
        return saved


@dataclass(frozen=True, slots=True)
class Manifest:
    """A description of a snapshot.

    `digest` is the set digest of its members, in hex; `generation` the number of the last change in
    it. `rows` counts positions, `count` the members among them. `trained_rows` is the number of
    rows when codes were last trained. `vectors` names a file that may continue behind
    `rows`; `blocks` holds the digests of its blocks. `float_bytes` are the bytes of one of their
    numbers: 4, or 2 in a copy space. `comparison` has the figures of every plan; None if they were
    not measured, or by an earlier release. `hashes` are those of all images, whatever their
    embedding space; None if none were written. `changed_at` is the time of change `generation` in
    the log; None before the first change, and in snapshots of earlier releases.
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
    float_bytes: int = STORED.itemsize
    comparison: Comparison | None = None
    hashes: SavedHashes | None = None
    changed_at: str | None = None

    @property
    def form(self) -> np.dtype[Any]:
        """The form of its vectors."""
        return FORMS[self.float_bytes]

    def to_bytes(self) -> bytes:
        """Return the JSON. A field of later releases is there only where it states something, so
        that snapshots without it open in every release.
        """
        stated = asdict(self)
        if self.form == STORED:
            del stated["float_bytes"]
        if self.comparison is None:
            del stated["comparison"]
        if self.hashes is None:
            del stated["hashes"]
        if self.changed_at is None:
            del stated["changed_at"]
        return (_dump(stated | {OWN_DIGEST: _digest(stated)}) + "\n").encode()

    @classmethod
    def from_json(cls, stated: dict[str, Any]) -> Manifest:
        """Raise KeyError, TypeError or ValueError unless every field has a value that makes
        sense.
        """
        stated = dict(stated)
        stamps = {
            name: FileStamp(**stated.pop(name)) for name in ("blocks", "facts", "words", "dead")
        }
        codes, tuning = stated.pop("codes"), stated.pop("tuning")
        comparison, hashes = stated.pop("comparison", None), stated.pop("hashes", None)
        manifest = cls(
            **(stated | stamps | {"plan": Plan(stated["plan"])}),
            codes=None if codes is None else FileStamp(**codes),
            tuning=None if tuning is None else Tuning(**tuning),
            comparison=None if comparison is None else Comparison.from_json(comparison),
            hashes=None if hashes is None else SavedHashes.from_json(hashes),
        )
        numbers = (
            manifest.dimension,
            manifest.generation,
            manifest.count,
            manifest.rows,
            manifest.trained_rows,
        )
        if manifest.float_bytes not in FORMS:
            raise ValueError("its vectors have an unknown form")
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("a number is missing or negative")
        if manifest.count > manifest.rows:
            raise ValueError("there are more members than rows")
        if any(Path(name).name != name for name in manifest.files):
            raise ValueError("a file is outside the folder")
        return manifest

    @property
    def stamps(self) -> tuple[FileStamp, ...]:
        """The files of vectors and facts that are written once and never extended."""
        return tuple(
            stamp for stamp in (self.blocks, self.facts, self.words, self.dead, self.codes) if stamp
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files."""
        hashes = () if self.hashes is None else (self.hashes.file.name,)
        return (self.vectors, *(stamp.name for stamp in self.stamps), *hashes)


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of a folder; None without one, and for one of an earlier release.

    Raises:
        SnapshotCorrupt: it cannot be read, or its format is newer than this release.

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
            "the snapshot in %s has format %s of an earlier release: the index is built from SQL",
            path,
            version,
        )
        return None
    if version != FORMAT_VERSION:
        raise SnapshotCorrupt(
            path, f"its format is {version!r}; this release reads {FORMAT_VERSION}"
        )
    digest = stated.pop(OWN_DIGEST, None)
    if digest not in (None, _digest(stated)):
        raise SnapshotCorrupt(path, "the manifest was changed after it was written")
    try:
        return Manifest.from_json(stated)
    except (KeyError, TypeError, ValueError) as err:
        raise SnapshotCorrupt(path, f"the manifest is incomplete: {err!r}") from err


def _dump(stated: dict[str, Any]) -> str:
    return json.dumps(stated, indent=2, sort_keys=True)


def _digest(stated: dict[str, Any]) -> str:
    return hashlib.sha256(_dump(stated).encode()).hexdigest()


def snapshot_files(directory: Path) -> tuple[Manifest, tuple[Path, ...]] | None:
    """Return the manifest of a folder and the path of every file that it names, whether the file
    exists or not; None where `read_manifest` returns None.

    Raises:
        SnapshotCorrupt: like `read_manifest`.

    """
    manifest = read_manifest(directory)
    if manifest is None:
        return None
    return manifest, tuple(directory / name for name in manifest.files)
