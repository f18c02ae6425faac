"""Images and their embeddings: one row for each sha256, one vector for each image and space."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from index.errors import InvalidImageFacts
from index.truth.computations import (
    COMPUTATION_COLUMNS,
    Computation,
    computation_from_row,
    with_computation,
)
from index.truth.perceptual import PerceptualHash
from index.truth.schema import corpora, embedding_spaces, embeddings, entries, images
from index.truth.spaces import Space, find_space_id
from index.truth.statements import insert_missing, is_any, slices
from index.truth.vectors import from_bytes

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
FORMAT_PATTERN = re.compile(r"[a-z0-9]{1,16}")
FILE_FACTS = ("byte_size", "width", "height", "format")  # what a ready embedding may come without


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about an image file. Width and height are those after EXIF orientation.

    None means unknown: a ready embedding may come without facts, and images stored before schema
    0003 have no hash. `seen` is False if only an embedding was ingested, not the image itself.
    """

    sha256: str
    byte_size: int | None
    width: int | None
    height: int | None
    format: str | None
    perceptual_hash: PerceptualHash | None = None
    seen: bool = True

    def check(self) -> None:
        """Require possible facts.

        Raises:
            InvalidImageFacts: the sha256, the format or the hash is malformed, or a size is below
                one.

        """
        if not SHA256_PATTERN.fullmatch(self.sha256):
            raise InvalidImageFacts("a sha256 is 64 lower-case hex digits")
        for size in (self.byte_size, self.width, self.height):
            if size is not None and size < 1:
                raise InvalidImageFacts("an image has at least one byte and one pixel")
        if self.format is not None and not FORMAT_PATTERN.fullmatch(self.format):
            raise InvalidImageFacts("an image format is 1 to 16 of a-z and 0-9")
        if self.perceptual_hash is not None:
            self.perceptual_hash.check()


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image in the database: whether it has an embedding in the space, and its live corpora.

    `described` says whether it has a vector in the copy space that was asked about; True if none
    was, since then none is missing.
    """

    image_id: int
    embedded: bool
    corpora: frozenset[str]
    described: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class StoredEmbedding:
    """A stored embedding: read-only float32 vector (d,) of norm 1, raw logit, and image facts.

    `computation` is None if nobody recorded what computed it.
    """

    vector: NDArray[np.float32]
    logit: float
    image: ImageFacts
    computation: Computation | None = None


def find_known_images(
    conn: Connection, space: Space, sha256s: Sequence[str], copy_space: Space | None = None
) -> Mapping[str, KnownImage]:
    """Return those of these images that are in the database, by sha256.

    Call this before computing embeddings, to skip those that exist. `copy_space` asks for vectors
    in a copy space too.
    """
    space_id = find_space_id(conn, space)
    found: dict[int, tuple[str, bool]] = {}
    for some in slices(sha256s):
        rows = conn.execute(
            select(images.c.id, images.c.sha256, embeddings.c.id.label("embedding_id"))
            .join(
                embeddings,
                (embeddings.c.image_id == images.c.id) & (embeddings.c.space_id == (space_id or 0)),
                isouter=True,
            )
            .where(is_any(conn, images.c.sha256, some))
        )
        found |= {row.id: (row.sha256, row.embedding_id is not None) for row in rows}
    names = _corpora_of_images(conn, list(found))
    described = frozenset(found)
    if copy_space is not None and found:
        described = find_embedded_images(conn, find_space_id(conn, copy_space) or 0, list(found))
    return {
        sha256: KnownImage(
            image_id, embedded, frozenset(names.get(image_id, ())), image_id in described
        )
        for image_id, (sha256, embedded) in found.items()
    }


def _corpora_of_images(conn: Connection, image_ids: Sequence[int]) -> dict[int, set[str]]:
    """Return the live corpora by image. A removed one may have the name of a live one, and entries
    until all of them are removed.
    """
    names: dict[int, set[str]] = {}
    for some in slices(image_ids):
        rows = conn.execute(
            select(entries.c.image_id, corpora.c.name)
            .join(corpora, corpora.c.id == entries.c.corpus_id)
            .where(
                is_any(conn, entries.c.image_id, some),
                entries.c.removed_at.is_(None),
                corpora.c.removed_at.is_(None),
            )
        )
        for image_id, name in rows:
            names.setdefault(image_id, set()).add(name)
    return names


def find_embedding(conn: Connection, space: Space, sha256: str) -> StoredEmbedding | None:
    """Return the embedding of an image in a forensic space, or None if there is none."""
    asked = {"sha256": sha256, "fingerprint": space.fingerprint}
    row = conn.execute(_EMBEDDING, asked).one_or_none()
    return None if row is None else _embedding_from_row(row)


def find_embeddings(
    conn: Connection, space: Space, sha256s: Sequence[str]
) -> dict[str, StoredEmbedding]:
    """Return the embeddings of those of these images that have one in a forensic space, by
    sha256.
    """
    found: dict[str, StoredEmbedding] = {}
    for some in slices(sha256s):
        query = _EMBEDDINGS.where(is_any(conn, images.c.sha256, some))
        for row in conn.execute(query, {"fingerprint": space.fingerprint}):
            found[row.sha256] = _embedding_from_row(row)
    return found


def _embedding_from_row(row: Row[Any]) -> StoredEmbedding:
    return StoredEmbedding(
        from_bytes(row.vector), row.logit, facts_from_row(row), computation_from_row(row)
    )


_EMBEDDINGS = (
    select(images, embeddings.c.vector, embeddings.c.logit, *COMPUTATION_COLUMNS)
    .select_from(with_computation(embeddings))
    .join(images, images.c.id == embeddings.c.image_id)
    .join(embedding_spaces, embedding_spaces.c.id == embeddings.c.space_id)
    .where(embedding_spaces.c.fingerprint == bindparam("fingerprint"))
)
# Composed once: every look-up of an image asks this.
_EMBEDDING = _EMBEDDINGS.where(images.c.sha256 == bindparam("sha256"))


def has_copy_vector(conn: Connection, copy_space: Space, sha256: str) -> bool:
    """Return whether an image has a vector in a copy space."""
    query = (
        select(embeddings.c.id)
        .join(images, images.c.id == embeddings.c.image_id)
        .where(
            images.c.sha256 == sha256,
            embeddings.c.space_id == (find_space_id(conn, copy_space) or 0),
        )
    )
    return conn.execute(query).first() is not None


def facts_from_row(row: Row[Any]) -> ImageFacts:
    """Return the facts in a row that has the columns of `images`."""
    return ImageFacts(
        row.sha256,
        row.byte_size,
        row.width,
        row.height,
        row.format,
        None if row.pdq_hash is None else PerceptualHash(bytes(row.pdq_hash), row.pdq_quality),
        row.seen,
    )


class EnsuredImages(NamedTuple):
    """Row ids by sha256, the sha256s that were new, and whether a row got facts that it lacked."""

    ids: dict[str, int]
    new: frozenset[str]
    completed: bool


def ensure_images(conn: Connection, facts: Sequence[ImageFacts]) -> EnsuredImages:
    """Insert the images that are missing.

    Rows are inserted in the order of their sha256, so that two writers cannot deadlock. A row that
    exists gets the facts that it lacks; then the caller ends with `record_amendment`.
    """
    by_sha256 = {fact.sha256: fact for fact in facts}
    given = [by_sha256[sha256] for sha256 in sorted(by_sha256)]
    inserted = insert_missing(
        conn, images, _columns(given), images.c.sha256, images.c.id, created_at=datetime.now(UTC)
    )
    ids: dict[str, int] = dict(inserted)
    new = frozenset(ids)
    existing = [fact for fact in given if fact.sha256 not in new]
    for some in slices([fact.sha256 for fact in existing]):
        found = conn.execute(
            select(images.c.sha256, images.c.id).where(is_any(conn, images.c.sha256, some))
        )
        ids |= dict(found.all())
    return EnsuredImages(ids, new, _complete(conn, existing))


def _columns(facts: Sequence[ImageFacts]) -> dict[str, list[Any]]:
    hashes = [fact.perceptual_hash for fact in facts]
    return {
        "sha256": [fact.sha256 for fact in facts],
        "byte_size": [fact.byte_size for fact in facts],
        "width": [fact.width for fact in facts],
        "height": [fact.height for fact in facts],
        "format": [fact.format for fact in facts],
        "pdq_hash": [hashed and hashed.bits for hashed in hashes],
        "pdq_quality": [hashed and hashed.quality for hashed in hashes],
        "seen": [fact.seen for fact in facts],
    }


def _complete(conn: Connection, facts: Sequence[ImageFacts]) -> bool:
    """Write the given facts that the rows of images lack; facts in the rows stay unchanged.

    Return whether a row may have changed: a driver that cannot count returns a negative number.
    """
    counts: list[int] = []
    hashed = _new_values([fact for fact in facts if fact.perceptual_hash is not None])
    if hashed:
        lacking = (images.c.sha256 == bindparam("new_sha256"), images.c.pdq_hash.is_(None))
        hashes: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("pdq_hash", "pdq_quality")
        }
        counts.append(
            conn.execute(update(images).where(*lacking).values(**hashes), hashed).rowcount
        )
    sized = _new_values([fact for fact in facts if _has_file_facts(fact)])
    if sized:
        columns = [images.c[name] for name in FILE_FACTS]
        unknown = (
            images.c.sha256 == bindparam("new_sha256"),
            or_(*(column.is_(None) for column in columns)),
        )
        known_first: dict[str, Any] = {
            column.name: func.coalesce(column, bindparam(f"new_{column.name}", type_=column.type))
            for column in columns
        }
        counts.append(
            conn.execute(update(images).where(*unknown).values(**known_first), sized).rowcount
        )
    for some in slices([fact.sha256 for fact in facts if fact.seen]):
        unseen = (is_any(conn, images.c.sha256, some), images.c.seen.is_(False))
        counts.append(conn.execute(update(images).where(*unseen).values(seen=True)).rowcount)
    return any(counts)


def _has_file_facts(facts: ImageFacts) -> bool:
    return any(getattr(facts, name) is not None for name in FILE_FACTS)


def _new_values(facts: Sequence[ImageFacts]) -> list[dict[str, Any]]:
    columns = _columns(facts)
    names = [f"new_{name}" for name in columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def find_embedded_images(
    conn: Connection, space_id: int, image_ids: Sequence[int]
) -> frozenset[int]:
    """Return those of these images that have an embedding in a space."""
    found: set[int] = set()
    for some in slices(image_ids):
        query = select(embeddings.c.image_id).where(
            embeddings.c.space_id == space_id, is_any(conn, embeddings.c.image_id, some)
        )
        found.update(conn.execute(query).scalars())
    return frozenset(found)


# An embedding as it is stored: vector bytes, logit (None in a copy space), and the row id of what
# computed it. A plain tuple: an ingest of ready embeddings makes millions, and the garbage
# collector skips tuples.
EmbeddingRow = tuple[bytes, float | None, int | None]


def ensure_embeddings(
    conn: Connection, space_id: int, rows: Mapping[int, EmbeddingRow]
) -> frozenset[int]:
    """Store embeddings by image id; return the ids of the images that had none in this space."""
    image_ids = sorted(rows)
    columns: dict[str, list[Any]] = {
        "image_id": image_ids,
        "vector": [rows[image_id][0] for image_id in image_ids],
        "logit": [rows[image_id][1] for image_id in image_ids],
        "computation_id": [rows[image_id][2] for image_id in image_ids],
    }
    inserted = insert_missing(conn, embeddings, columns, embeddings.c.image_id, space_id=space_id)
    return frozenset(image_id for (image_id,) in inserted)
