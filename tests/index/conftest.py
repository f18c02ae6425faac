"""A small embedding space and an easy way to fill corpora in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from index import (
    CorpusKind,
    Database,
    ImageFacts,
    LiveIndex,
    NewEntry,
    Provenance,
    Space,
    add_entries,
    ensure_corpus,
)

DIMENSION = 8

settings.register_profile(
    "index", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sha256_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def unit(values: Any) -> np.ndarray:
    wide = np.asarray(values, np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


class Material:
    """Makes vectors, images and entries, all of them reproducible from their names."""

    dimension = DIMENSION
    space = Space(sha256_of("space"), "test-model", sha256_of("weights"), sha256_of("preprocessing"), DIMENSION)
    other_space = Space(sha256_of("other"), "other-model", sha256_of("weights-2"), sha256_of("preprocessing"), 4)

    @staticmethod
    def sha256(name: object) -> str:
        return sha256_of(name)

    @staticmethod
    def unit(values: Any) -> np.ndarray:
        return unit(values)

    @staticmethod
    def vector(name: object, dimension: int = DIMENSION) -> np.ndarray:
        return unit(np.random.default_rng(list(f"{name}:{dimension}".encode())).standard_normal(dimension))

    @staticmethod
    def image(name: object) -> ImageFacts:
        return ImageFacts(sha256_of(name), 1000, 64, 48, "png")

    def entry(self, name: object, vector: np.ndarray | None = None, **provenance: Any) -> NewEntry:
        chosen = self.vector(name) if vector is None else vector
        return NewEntry(self.image(name), chosen, 0.5, Provenance(**provenance))

    def fill(
        self, database: Database, corpus: str, names: Any, kind: CorpusKind = CorpusKind.KNOWN_FAKE, **provenance: Any
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
