"""Images and their embeddings: one row for each sha256, one vector for each image and embedding space."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from index.errors import InvalidImageFacts
from index.schema import corpora, embeddings, entries, images
from index.spaces import Space, find_space_id
from index.statements import insert_missing, is_any, slices
from index.vectors import from_bytes

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image file without its pixels. Width and height are those after orientation."""

    sha256: str
    byte_size: int
    width: int
    height: int
    format: str

    def check(self) -> None:
        """Raise InvalidImageFacts on a malformed sha256 or a size below one."""
        if not SHA256_PATTERN.fullmatch(self.sha256):
            raise InvalidImageFacts("a sha256 is 64 lower-case hex digits")
        if min(self.byte_size, self.width, self.height) < 1:
            raise InvalidImageFacts("an image has at least one byte and one pixel")
        if not re.fullmatch(r"[a-z0-9]{1,16}", self.format):
            raise InvalidImageFacts("an image format is 1 to 16 of a-z and 0-9")


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image that is in the database: whether it is embedded in the space asked for, and in which live corpora."""

    image_id: int
    embedded: bool
    corpora: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class StoredEmbedding:
    """An embedding as stored: vector (d,) float32 of norm 1, read-only; the raw logit; the image's facts."""

    vector: NDArray[np.float32]
    logit: float
    image: ImageFacts


def known_images(conn: Connection, space: Space, sha256s: Sequence[str]) -> Mapping[str, KnownImage]:
    """Return what is known of these images, by sha256: ask before computing anything."""
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
    return {
        sha256: KnownImage(image_id, embedded, frozenset(names.get(image_id, ())))
        for image_id, (sha256, embedded) in found.items()
    }


def _corpora_of_images(conn: Connection, image_ids: Sequence[int]) -> dict[int, set[str]]:
    names: dict[int, set[str]] = {}
    for some in slices(image_ids):
        rows = conn.execute(
            select(entries.c.image_id, corpora.c.name)
            .join(corpora, corpora.c.id == entries.c.corpus_id)
            .where(is_any(conn, entries.c.image_id, some), entries.c.removed_at.is_(None))
        )
        for image_id, name in rows:
            names.setdefault(image_id, set()).add(name)
    return names


def stored_embedding(conn: Connection, space: Space, sha256: str) -> StoredEmbedding | None:
    """Return the embedding of an image in a space, None where there is none."""
    row = conn.execute(
        select(images, embeddings.c.vector, embeddings.c.logit)
        .join(embeddings, embeddings.c.image_id == images.c.id)
        .where(images.c.sha256 == sha256, embeddings.c.space_id == (find_space_id(conn, space) or 0))
    ).one_or_none()
    if row is None:
        return None
    facts = ImageFacts(row.sha256, row.byte_size, row.width, row.height, row.format)
    return StoredEmbedding(from_bytes(row.vector), row.logit, facts)


def ensure_images(conn: Connection, facts: Sequence[ImageFacts]) -> tuple[dict[str, int], frozenset[str]]:
    """Return row ids by sha256, and the sha256s that were new; images not there yet are inserted, in one order."""
    rows = [
        {
            "sha256": fact.sha256,
            "byte_size": fact.byte_size,
            "width": fact.width,
            "height": fact.height,
            "format": fact.format,
        }
        for fact in sorted({fact.sha256: fact for fact in facts}.values(), key=lambda fact: fact.sha256)
    ]
    inserted = insert_missing(conn, images, rows, images.c.sha256, created_at=datetime.now(UTC))
    new = frozenset(row.sha256 for row in inserted)
    ids: dict[str, int] = {}
    for some in slices([row["sha256"] for row in rows]):
        found = conn.execute(select(images.c.sha256, images.c.id).where(is_any(conn, images.c.sha256, some)))
        ids |= {row.sha256: row.id for row in found}
    return ids, new


def embedded_images(conn: Connection, space_id: int, image_ids: Sequence[int]) -> frozenset[int]:
    """Return which of these images have an embedding in a space."""
    found: set[int] = set()
    for some in slices(image_ids):
        query = select(embeddings.c.image_id).where(
            embeddings.c.space_id == space_id, is_any(conn, embeddings.c.image_id, some)
        )
        found.update(conn.execute(query).scalars())
    return frozenset(found)


def ensure_embeddings(conn: Connection, space_id: int, vectors: Mapping[int, tuple[bytes, float]]) -> frozenset[int]:
    """Store vector bytes and logit by image id; return the ids that had none in this space before."""
    rows = [
        {"image_id": image_id, "vector": vector, "logit": logit}
        for image_id, (vector, logit) in sorted(vectors.items())
    ]
    inserted = insert_missing(conn, embeddings, rows, embeddings.c.image_id, space_id=space_id)
    return frozenset(row.image_id for row in inserted)
