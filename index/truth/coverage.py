"""Which entries have an embedding in a space, and where the images of the others may be.

Also reads a corpus for export.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from index.truth.corpora import find_corpus_ids
from index.truth.entries import Entry, find_entries
from index.truth.images import ImageFacts, facts_from_row
from index.truth.schema import corpora, embeddings, entries, images
from index.truth.spaces import Space, find_space_id
from index.truth.statements import is_any, slices

CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Coverage:
    """The number of live entries, and of those that have an embedding in a space.

    A look-up in this space finds only the embedded ones.
    """

    entries: int
    embedded: int

    @property
    def missing(self) -> int:
        return self.entries - self.embedded


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image with live entries, and the locations in their provenance."""

    image: ImageFacts
    locations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A live entry with its vector's stored bytes and its logit in one space.

    `copy_vector` are the stored bytes in the copy space that was asked for, None without one.
    """

    entry: Entry
    vector: bytes
    logit: float
    copy_vector: bytes | None = None


def coverage(conn: Connection, space: Space) -> Coverage:
    """Count the live entries, and those with an embedding in a space.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.

    """
    live = select(func.count()).select_from(entries).where(entries.c.removed_at.is_(None))
    count = conn.execute(live).scalar_one()
    embedded = conn.execute(live.where(_has_embedding(find_space_id(conn, space)))).scalar_one()
    return Coverage(count, embedded)


def images_to_embed(conn: Connection, space: Space, after: int, limit: int) -> tuple[int, ...]:
    """Return ids of images that have a live entry but no embedding in a space, ascending.

    Returns at most `limit` ids, all larger than `after`.
    """
    space_id = find_space_id(conn, space)
    has_entry = (
        select(entries.c.id)
        .where(entries.c.image_id == images.c.id, entries.c.removed_at.is_(None))
        .exists()
    )
    has_vector = (
        select(embeddings.c.id)
        .where(embeddings.c.image_id == images.c.id, embeddings.c.space_id == (space_id or 0))
        .exists()
    )
    query = select(images.c.id).where(images.c.id > after, has_entry, ~has_vector)
    return tuple(conn.execute(query.order_by(images.c.id).limit(limit)).scalars())


def list_embedded_image_ids(
    conn: Connection, space: Space, corpus_ids: Sequence[int]
) -> tuple[int, ...]:
    """Return ids of the images of these corpora that have an embedding in a space.

    The images are in the order of their first entries in these corpora.
    """
    query = (
        select(entries.c.image_id)
        .where(is_any(conn, entries.c.corpus_id, corpus_ids), entries.c.removed_at.is_(None))
        .where(_has_embedding(find_space_id(conn, space)))
        .group_by(entries.c.image_id)
        .order_by(func.min(entries.c.id))
    )
    return tuple(conn.execute(query).scalars())


def count_embedded(conn: Connection, space: Space, corpus_ids: Sequence[int]) -> int:
    """Count the live entries of these corpora that have an embedding in a space."""
    query = select(func.count()).select_from(entries)
    return int(conn.execute(_restrict(query, conn, space, corpus_ids)).scalar_one())


def has_embedded(
    conn: Connection, space: Space, corpus_ids: Sequence[int], at_least: int = 1
) -> bool:
    """Return whether these corpora have so many live entries with an embedding in a space."""
    if not corpus_ids:
        return False  # the query would read every entry
    # In the order of an index, so that SQLite reads that and not every entry before the first one.
    query = select(entries.c.id).order_by(entries.c.corpus_id, entries.c.id).limit(at_least)
    return len(conn.execute(_restrict(query, conn, space, corpus_ids)).all()) == at_least


def find_embedded_corpora(
    conn: Connection, space: Space, corpus_ids: Sequence[int]
) -> frozenset[int]:
    """Return which of these corpora have a live entry with an embedding in a space."""
    has_entry = (
        select(entries.c.id)
        .where(
            entries.c.corpus_id == corpora.c.id,
            entries.c.removed_at.is_(None),
            _has_embedding(find_space_id(conn, space)),
        )
        .exists()
    )
    query = select(corpora.c.id).where(is_any(conn, corpora.c.id, corpus_ids), has_entry)
    return frozenset(conn.execute(query).scalars())


def _restrict(
    query: Select[Any], conn: Connection, space: Space, corpus_ids: Sequence[int]
) -> Select[Any]:
    """Restrict a query to live entries of these corpora that have an embedding in a space."""
    of_corpora = is_any(conn, entries.c.corpus_id, corpus_ids)
    return query.where(
        of_corpora, entries.c.removed_at.is_(None), _has_embedding(find_space_id(conn, space))
    )


def image_sources(conn: Connection, image_ids: Sequence[int]) -> tuple[ImageSource, ...]:
    """Return these images in the given order, with the locations that may still hold them.

    Give at most `statements.VARIABLES` ids.
    """
    locations: dict[int, list[str]] = {}
    query = select(entries.c.image_id, entries.c.provenance).where(
        is_any(conn, entries.c.image_id, image_ids), entries.c.removed_at.is_(None)
    )
    for image_id, provenance in conn.execute(query.order_by(entries.c.id)):
        location = provenance.get("location")
        if isinstance(location, str):
            locations.setdefault(image_id, []).append(location)
    rows = conn.execute(select(images).where(is_any(conn, images.c.id, image_ids)))
    found = {
        row.id: ImageSource(facts_from_row(row), tuple(locations.get(row.id, ()))) for row in rows
    }
    return tuple(found[image_id] for image_id in image_ids)


def read_export_rows(
    conn: Connection,
    corpus: str,
    space: Space,
    chunk: int = CHUNK,
    copy_space: Space | None = None,
) -> Iterator[list[ExportedRow]]:
    """Yield the live entries of a corpus with an embedding in a space, by ascending id, in chunks;
    with their vectors in a copy space if one is given.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    (corpus_id,) = find_corpus_ids(conn, frozenset([corpus]))
    space_id, after = find_space_id(conn, space), 0
    while True:
        query = (
            select(entries.c.id, entries.c.image_id, embeddings.c.vector, embeddings.c.logit)
            .join(embeddings, embeddings.c.image_id == entries.c.image_id)
            .where(
                entries.c.corpus_id == corpus_id,
                entries.c.removed_at.is_(None),
                entries.c.id > after,
            )
            .where(embeddings.c.space_id == (space_id or 0))
        )
        page = conn.execute(query.order_by(entries.c.id).limit(chunk)).all()
        if not page:
            return
        found = find_entries(conn, [row.id for row in page])
        copies = _read_vectors(conn, copy_space, [row.image_id for row in page])
        yield [
            ExportedRow(found[row.id], bytes(row.vector), row.logit, copies.get(row.image_id))
            for row in page
        ]
        after = page[-1].id


def _read_vectors(
    conn: Connection, space: Space | None, image_ids: Sequence[int]
) -> dict[int, bytes]:
    """Return the stored vectors of these images in a space, None for no space, by image id."""
    found: dict[int, bytes] = {}
    space_id = None if space is None else find_space_id(conn, space)
    if space_id is None:
        return found
    for some in slices(image_ids):
        query = select(embeddings.c.image_id, embeddings.c.vector).where(
            is_any(conn, embeddings.c.image_id, some), embeddings.c.space_id == space_id
        )
        found |= {row.image_id: bytes(row.vector) for row in conn.execute(query)}
    return found


def _has_embedding(space_id: int | None) -> ColumnElement[bool]:
    return (
        select(embeddings.c.id)
        .where(
            embeddings.c.image_id == entries.c.image_id, embeddings.c.space_id == (space_id or 0)
        )
        .exists()
    )
