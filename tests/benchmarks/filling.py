"""A database that is filled fast: bulk writes into the project's own schema, with the true chain of
digests.

It has what an ingest writes, but nothing is embedded. Corpora, generators and labels are spread so
that filters of known selectivity exist: a corpus contains one entry in ten, a generator one in a
hundred, the label `rare` one in ten thousand.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.digest import EMPTY, add_member, digest_bytes
from index.truth.spaces import Space, ensure_space_id

CORPORA, GENERATORS, RARE = 10, 100, 10_000
CACHE_KIB = 4 << 20
NOW = "2026-11-24 00:00:00.000000"


def sha256_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def make_space(dimension: int) -> Space:
    return Space(
        sha256_of("benchmark"),
        "benchmark",
        sha256_of("weights"),
        sha256_of("preprocessing"),
        dimension,
    )


def fill(
    path: Path, blocks: Iterable[NDArray[np.float32]], dimension: int, *, space: Space | None = None
) -> Space:
    """Create a SQLite database of the vectors (b, d); the entry of row i has the id i + 1."""
    space = space or make_space(dimension)
    with Database.open(f"sqlite:///{path}", migrate=True) as database, database.write() as conn:
        space_id = ensure_space_id(conn, space)
        for number in range(CORPORA):
            create_corpus(conn, f"corpus-{number}", CorpusKind.KNOWN_FAKE)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")  # the database is new: nothing can be lost
    connection.execute("PRAGMA synchronous = OFF")
    # The sha256 arrive in random order, so their index must stay in memory.
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("BEGIN")
    digest, done = EMPTY, 0
    for block in blocks:
        stored = [row.tobytes() for row in np.ascontiguousarray(block, "<f4")]
        ids = range(done + 1, done + len(stored) + 1)
        digests = [
            digest := add_member(digest, i, vector) for i, vector in zip(ids, stored, strict=True)
        ]
        _insert(
            connection,
            "images",
            "id, sha256, byte_size, width, height, format, created_at",
            map(_image, ids),
        )
        columns = "id, corpus_id, image_id, generator, label, provenance, created_at"
        _insert(connection, "entries", columns, map(_entry, ids))
        embeddings = ((i, space_id, vector, 0.5) for i, vector in zip(ids, stored, strict=True))
        _insert(connection, "embeddings", "image_id, space_id, vector, logit", embeddings)
        changes = (
            (i, "add", i, space_id, digest_bytes(d), NOW) for i, d in zip(ids, digests, strict=True)
        )
        _insert(connection, "changes", "number, kind, entry_id, space_id, digest, at", changes)
        done += len(stored)
    connection.execute("UPDATE change_counter SET last = ?", (done,))
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.close()
    return space


def _insert(
    connection: sqlite3.Connection, table: str, columns: str, rows: Iterable[tuple[object, ...]]
) -> None:
    marks = ", ".join("?" for _ in columns.split(","))
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


def _image(i: int) -> tuple[object, ...]:
    return i, sha256_of(i), 100_000, 1024, 768, "png", NOW


def _entry(i: int) -> tuple[object, ...]:
    label = "rare" if i % RARE == 0 else "common"
    return (
        i,
        1 + i % CORPORA,
        i,
        f"generator-{i % GENERATORS}",
        label,
        '{"batch": "benchmark"}',
        NOW,
    )
