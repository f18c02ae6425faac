"""`fsck` of the rows: references to missing rows, and values that cannot be an embedding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, func, or_, select, text
from sqlalchemy.exc import DatabaseError

from index.cache.searching.pictures import read_hash_pages
from index.cache.segments.facts import Facts, Words, fact_record
from index.proof.findings import Finding, FindingKind
from index.truth.active import find_active_copy_space
from index.truth.calibrations import find_wrong_calibrations
from index.truth.computations import find_unlisted_corpora
from index.truth.corpora import Keep
from index.truth.coverage import coverage
from index.truth.databases.damage import find_unreadable_values
from index.truth.entries import KEEPS_BLOBS
from index.truth.lookups import find_wrong_answers
from index.truth.schema import (
    calibrations,
    changes,
    computations,
    corpora,
    embedding_spaces,
    embeddings,
    entries,
    images,
    jobs,
    lookups,
    reference_embeddings,
)
from index.truth.spaces import SpaceKind
from index.truth.statements import VARIABLES
from index.truth.vectors import HALF, NORM_TOLERANCE, STORED
from index.view_hashes import HashRows

CHUNK = 4096


def check_rows(conn: Connection) -> Iterator[Finding]:
    """Yield the findings in the rows, apart from the change log."""
    for kind, message, query in _DANGLING:
        for item in conn.execute(query).scalars():
            yield Finding(kind, f"{message.split()[0]} {item}", message)
    yield from _check_embeddings(conn, embeddings, "embedding")
    yield from _check_embeddings(conn, reference_embeddings, "reference embedding")
    yield from _check_copy_vectors(conn)
    yield from _check_calibrations(conn)
    for corpus_id in find_unlisted_corpora(conn):
        message = "what computed an embedding of it is not listed for it"
        yield Finding(FindingKind.COMPUTATION_NOT_LISTED, f"corpus {corpus_id}", message)
    for lookup_id, message in find_wrong_answers(conn):
        yield Finding(FindingKind.LOOKUP_ANSWER, f"look-up {lookup_id}", message)


def count_rows(conn: Connection) -> dict[str, int]:
    """Return how many rows each table has."""
    tables = (
        *(embedding_spaces, corpora, images, entries, embeddings, changes, jobs, lookups),
        *(calibrations, reference_embeddings),
    )
    return {
        table.name: int(conn.execute(select(func.count()).select_from(table)).scalar_one())
        for table in tables
    }


def find_kept_images(conn: Connection, keeps: Sequence[Keep]) -> dict[str, bool]:
    """Return the sha256 of every image whose files are kept, and whether Lineup has seen the image.

    These are the images of live entries and of entries in quarantine, in corpora with one of these
    settings and in corpora whose row is missing.
    """
    return _find_images(conn, corpora.c.keep.in_(keeps))


def find_images_with_features(conn: Connection) -> dict[str, bool]:
    """Return the same for images whose local features are stored."""
    return _find_images(conn, corpora.c.features)


def _find_images(conn: Connection, keeps: ColumnElement[bool]) -> dict[str, bool]:
    query = select(images.c.sha256, images.c.seen).join(entries, entries.c.image_id == images.c.id)
    query = query.join(corpora, corpora.c.id == entries.c.corpus_id, isouter=True)
    query = query.where(or_(keeps, corpora.c.id.is_(None)))
    query = query.where(
        KEEPS_BLOBS, or_(entries.c.removed_at.is_(None), corpora.c.removed_at.is_(None))
    )
    return {row.sha256: row.seen for row in conn.execute(query)}


def check_database(conn: Connection) -> Iterator[Finding]:
    """Yield the damage that SQLite finds in its own pages, and values that cannot be read.

    PostgreSQL's own check, pg_amcheck, needs an administrator.
    """
    if conn.dialect.name != "sqlite":
        return
    try:
        lines = [line for (line,) in conn.execute(text("PRAGMA integrity_check(100)"))]
        damaged = [("database", line) for line in lines if line != "ok"]
        for item, message in damaged or find_unreadable_values(conn):
            yield Finding(FindingKind.DATABASE_DAMAGED, item, message)
    except DatabaseError as err:  # too little of a page can be read for SQLite to continue
        yield Finding(FindingKind.DATABASE_DAMAGED, "database", str(err.orig))


def find_wrong_facts(conn: Connection, facts: Facts, words: Words) -> int | None:
    """Return the first entry whose facts (n,) differ from its row, None if there is none.

    Facts of an entry without a row are not compared.
    """
    texts = Words(words.texts())  # a text that only the rows have gets a number that no fact has
    for start in range(0, len(facts), VARIABLES):
        some = facts[start : start + VARIABLES]
        rows = conn.execute(_FACTS_OF_ENTRIES, {"ids": some["id"].tolist()})
        stated = {
            row.id: fact_record(
                row.id, row.corpus_id, row.generator, row.label, row.acquired_at, texts
            )
            for row in rows
        }
        for fact in some.tolist():
            if stated.get(fact[0], fact) != fact:
                return int(fact[0])
    return None


def find_wrong_hash(conn: Connection, saved: HashRows) -> int | None:
    """Return the first image whose saved hash (n, 32) differs from its row, None if there is none.

    An image that got its hash since they were saved is not among them.
    """
    start = 0
    for ids, bits in read_hash_pages(conn):
        stop = int(np.searchsorted(saved.ids, ids[-1], side="right"))
        some = saved[start:stop]
        places = np.searchsorted(ids, some.ids)
        wrong = (ids[places] != some.ids) | (bits[places] != some.bits).any(axis=1)
        if wrong.any():
            return int(some.ids[wrong][0])
        start = stop
    return int(saved.ids[start]) if start < len(saved) else None


_FACTS_OF_ENTRIES = select(
    entries.c.id, entries.c.corpus_id, entries.c.generator, entries.c.label, entries.c.acquired_at
).where(entries.c.id.in_(bindparam("ids", expanding=True)))


def _by_id(query: Select[Any]) -> Select[Any]:
    return query.order_by(query.selected_columns[0])


# A copy vector alone is no embedding: without the forensic one no look-up ranks the entry.
_copy_spaces = select(embedding_spaces.c.id).where(embedding_spaces.c.kind == SpaceKind.COPY)
_has_embedding = (
    select(embeddings.c.id)
    .where(embeddings.c.image_id == entries.c.image_id, embeddings.c.space_id.not_in(_copy_spaces))
    .exists()
)
_DANGLING: tuple[tuple[FindingKind, str, Select[Any]], ...] = (
    (
        FindingKind.ENTRY_WITHOUT_IMAGE,
        "entry refers to an image that does not exist",
        _by_id(
            select(entries.c.id).where(
                ~select(images.c.id).where(images.c.id == entries.c.image_id).exists()
            )
        ),
    ),
    (
        FindingKind.ENTRY_WITHOUT_CORPUS,
        "entry is live in a corpus that does not exist or was removed",
        _by_id(
            select(entries.c.id).where(
                entries.c.removed_at.is_(None),
                ~select(corpora.c.id)
                .where(
                    corpora.c.id == entries.c.corpus_id,
                    or_(corpora.c.removed_at.is_(None), corpora.c.emptying),
                )
                .exists(),
            )
        ),
    ),
    (
        FindingKind.ENTRY_NOT_EMBEDDED,
        "entry is live, but its image has no embedding",
        _by_id(select(entries.c.id).where(entries.c.removed_at.is_(None), ~_has_embedding)),
    ),
    (
        FindingKind.EMBEDDING_WITHOUT_IMAGE,
        "embedding refers to an image that does not exist",
        _by_id(
            select(embeddings.c.id).where(
                ~select(images.c.id).where(images.c.id == embeddings.c.image_id).exists()
            )
        ),
    ),
    (
        FindingKind.EMBEDDING_UNKNOWN_SPACE,
        "embedding refers to an embedding space that does not exist",
        _by_id(
            select(embeddings.c.id).where(
                ~select(embedding_spaces.c.id)
                .where(embedding_spaces.c.id == embeddings.c.space_id)
                .exists()
            )
        ),
    ),
    (
        FindingKind.EMBEDDING_UNKNOWN_COMPUTATION,
        "embedding refers to a computation that does not exist",
        _by_id(
            select(embeddings.c.id).where(
                embeddings.c.computation_id.is_not(None),
                ~select(computations.c.id)
                .where(computations.c.id == embeddings.c.computation_id)
                .exists(),
            )
        ),
    ),
    (
        FindingKind.IMAGE_ORPHAN,
        "image has no entry and no embedding",
        _by_id(
            select(images.c.id).where(
                ~select(entries.c.id).where(entries.c.image_id == images.c.id).exists(),
                ~select(embeddings.c.id).where(embeddings.c.image_id == images.c.id).exists(),
            )
        ),
    ),
)


def _check_embeddings(conn: Connection, table: Table, name: str) -> Iterator[Finding]:
    after = 0
    while True:
        page = conn.execute(
            select(
                table.c.id,
                table.c.vector,
                table.c.logit,
                embedding_spaces.c.dimension,
                embedding_spaces.c.kind,
            )
            .join(embedding_spaces, embedding_spaces.c.id == table.c.space_id)
            .where(table.c.id > after)
            .order_by(table.c.id)
            .limit(CHUNK)
        ).all()
        if not page:
            return
        for row in page:
            is_copy = row.kind == SpaceKind.COPY
            yield from _check_logit(f"{name} {row.id}", row.logit, is_copy=is_copy)
            form = HALF if is_copy else STORED
            yield from _check_vector(f"{name} {row.id}", row.vector, row.dimension, form)
        after = page[-1].id


def _check_copy_vectors(conn: Connection) -> Iterator[Finding]:
    """Say how many entries the active copy space lacks. That is no fault: a back-fill adds them."""
    active = find_active_copy_space(conn)
    if active is None:
        return
    covered = coverage(conn, active.space)
    if covered.missing:
        message = (
            f"{covered.missing:,} of {covered.entries:,} live entries have no vector of the copy "
            "descriptor: `lineup copies backfill` computes them"
        )
        yield Finding(FindingKind.COPY_VECTOR_MISSING, f"copy space {active.descriptor}", message)


def _check_calibrations(conn: Connection) -> Iterator[Finding]:
    for calibration_id in find_wrong_calibrations(conn):
        message = "its document was changed after it was stored"
        yield Finding(FindingKind.CALIBRATION_DIGEST, f"calibration {calibration_id}", message)


def _check_logit(item: str, logit: float | None, *, is_copy: bool) -> Iterator[Finding]:
    if is_copy and logit is not None:
        yield Finding(FindingKind.LOGIT_UNEXPECTED, item, "a copy descriptor has no logit")
    elif not is_copy and logit is None:
        yield Finding(FindingKind.LOGIT_NOT_FINITE, item, "it has no logit")
    elif logit is not None and not math.isfinite(logit):
        yield Finding(FindingKind.LOGIT_NOT_FINITE, item, "its logit is not finite")


def _check_vector(
    item: str, vector: bytes, dimension: int, form: np.dtype[Any]
) -> Iterator[Finding]:
    if len(vector) != dimension * form.itemsize:
        yield Finding(
            FindingKind.VECTOR_LENGTH,
            item,
            f"it has {len(vector)} bytes instead of {dimension * form.itemsize}",
        )
        return
    norm = float(np.linalg.norm(np.frombuffer(vector, form).astype(np.float64)))
    if not math.isfinite(norm):
        yield Finding(FindingKind.VECTOR_NOT_FINITE, item, "one of its values is not finite")
    elif abs(norm - 1.0) > NORM_TOLERANCE:
        yield Finding(FindingKind.VECTOR_NORM, item, f"its L2 norm is {norm:.6g} instead of 1")
