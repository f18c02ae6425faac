"""A small embedding space and an easy way to fill corpora in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from index import failpoints
from index.backups.backup import BackupReport, back_up
from index.backups.tables import last_ids, read_tables
from index.blobs import BlobStore
from index.cache.live import LiveIndex
from index.truth.active import activate_copy_space
from index.truth.adding import NewEntry, add_copy_vectors, add_entries
from index.truth.computations import Computation
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from index.truth.lookups import NewLookup, save_lookups
from index.truth.provenance import Provenance
from index.truth.spaces import Space, SpaceKind

DIMENSION = 8

settings.register_profile(
    "index",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def sha256_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def unit(values: Any) -> np.ndarray:
    wide = np.asarray(values, np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


class Material:
    """Makes vectors, images and entries, all of them reproducible from their names."""

    dimension = DIMENSION
    space = Space(
        sha256_of("space"),
        "test-model",
        sha256_of("weights"),
        sha256_of("preprocessing"),
        DIMENSION,
    )
    other_space = Space(
        sha256_of("other"), "other-model", sha256_of("weights-2"), sha256_of("preprocessing"), 4
    )

    copy_space = Space(
        sha256_of("copies"),
        "test-copies",
        sha256_of("weights-3"),
        sha256_of("input"),
        16,
        SpaceKind.COPY,
    )

    computation = Computation("cpu", "float32")

    @staticmethod
    def sha256(name: object) -> str:
        return sha256_of(name)

    @staticmethod
    def unit(values: Any) -> np.ndarray:
        return unit(values)

    @staticmethod
    def vector(name: object, dimension: int = DIMENSION) -> np.ndarray:
        return unit(
            np.random.default_rng(list(f"{name}:{dimension}".encode())).standard_normal(dimension)
        )

    @staticmethod
    def image(name: object) -> ImageFacts:
        return ImageFacts(sha256_of(name), 1000, 64, 48, "png")

    def entry(self, name: object, vector: np.ndarray | None = None, **provenance: Any) -> NewEntry:
        chosen = self.vector(name) if vector is None else vector
        return NewEntry(self.image(name), chosen, 0.5, Provenance(**provenance), self.computation)

    def described(self, name: object) -> NewEntry:
        """An entry with the vector of a copy descriptor."""
        return replace(
            self.entry(name),
            copy_vector=self.vector(name, self.copy_space.dimension),
            copy_computation=self.computation,
        )

    def fill(
        self,
        database: Database,
        corpus: str,
        names: Any,
        kind: CorpusKind = CorpusKind.KNOWN_FAKE,
        **provenance: Any,
    ) -> tuple[int, ...]:
        """Commit entries of these names to a corpus, which is made if needed; return their ids."""
        with database.write() as conn:
            ensure_corpus(conn, corpus, kind)
            new = [self.entry(name, **provenance) for name in names]
            return tuple(result.entry_id for result in add_entries(conn, corpus, self.space, new))


@pytest.fixture
def material() -> Material:
    return Material()


@pytest.fixture
def open_live(database: Database, material: Material, tmp_path: Path) -> Callable[..., LiveIndex]:
    """Opens the index of the test's database; every one is closed at the end."""
    opened: list[LiveIndex] = []

    def open_one(**options: Any) -> LiveIndex:
        opened.append(LiveIndex.open(database, material.space, tmp_path / "index", **options))
        return opened[-1]

    yield open_one
    for live in opened:
        live.close()


@pytest.fixture
def live(open_live: Callable[..., LiveIndex]) -> LiveIndex:
    return open_live()


@dataclass
class Stock:
    """A database with some of everything, its snapshot and its thumbnails, for backups of it."""

    database: Database
    material: Material
    folder: Path

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def thumbnails(self) -> BlobStore:
        return BlobStore(self.folder / "thumbnails")

    @property
    def archive(self) -> Path:
        return self.folder / "backups" / "lineup.tar"

    def fill(self) -> None:
        material = self.material
        self.archive.parent.mkdir()
        extra = {
            "path": "Fälle/π ?.png",
            "depth": [1, 2.5, None, {"z": True, "a": "\U0001f600"}],
            "n": 10**15,
        }
        acquired_at = datetime(2026, 2, 3, 4, 5, 6, 789, UTC)
        ids = material.fill(
            self.database, "fakes", "abcdef", generator="sdxl", acquired_at=acquired_at, extra=extra
        )
        material.fill(self.database, "reals", "fgh", CorpusKind.KNOWN_REAL)
        material.fill(self.database, "gone", "xy")
        for name in "abcdefgh":
            self.thumbnails.put(material.sha256(name), f"thumbnail of {name}".encode() * 40)
        with LiveIndex.open(self.database, material.space, self.index) as live:
            live.snapshot()
        other = NewEntry(material.image("a"), material.vector("a", 4), -1.25, Provenance())
        with self.database.write() as conn:
            remove_entry(conn, ids[-1])
            remove_corpus(conn, "gone")
            add_entries(conn, "fakes", material.other_space, [other])
            add_copy_vectors(conn, material.copy_space, [*map(material.described, "abcdefgh")])
            activate_copy_space(conn, "test-copies", material.copy_space)
            save_lookups(conn, material.space, [NewLookup(3, {"k": 1}, {"ü": [0.1 + 0.2]})])

    def back_up(self, **options: Any) -> BackupReport:
        chosen = {"thumbnails": self.thumbnails, "archive": self.archive} | options
        return back_up(self.database, self.index, **chosen)


@pytest.fixture
def stock(database: Database, material: Material, tmp_path: Path) -> Stock:
    made = Stock(database, material, tmp_path / "stock")
    made.folder.mkdir()
    made.fill()
    return made


@pytest.fixture
def dump() -> Callable[[Database], dict[str, Any]]:
    """Gives every row of every table of a database, and the last ids that each gave out."""

    def all_of(database: Database) -> dict[str, Any]:
        with database.read() as conn:
            rows: dict[str, Any] = {}
            for table, some in read_tables(conn):
                rows.setdefault(table.name, []).extend(some)
            return rows | {"last_ids": last_ids(conn)}

    return all_of


@pytest.fixture
def at_failpoint() -> Iterator[Callable[[failpoints.Failpoint, Callable[[], object]], None]]:
    """Calls a function whenever this process reaches a failpoint, until the test ends."""

    def install(wanted: failpoints.Failpoint, act: Callable[[], object]) -> None:
        failpoints.install(lambda point: act() if point is wanted else None)

    yield install
    failpoints.install(None)
