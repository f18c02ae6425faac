"""The images of corpora as an inspection reads them: columns in memory, vectors in a mapped file.

Owns the reading from SQL. No image file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, select

from index.calibration.reading import SourceNumbers
from index.errors import TruthDamaged
from index.truth.perceptual import HASH_BYTES, MIN_QUALITY, PerceptualHash
from index.truth.schema import corpora, embeddings, entries, images
from index.truth.spaces import Space, find_space_id
from index.truth.vectors import STORED

PAGE = 4096
RELIABLE_QUALITY = 100  # stands for a quality that was checked already, when the row was read


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """n entries with different images, as arrays of n rows. Implements `others.Pictures`.

    Vectors (n, d) have norm 1. Images with the same source number were made of one photograph.
    `hash_bits` (n, 32) are valid where `hashed`, which is where the image has a reliable hash.
    """

    entry_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    sources: NDArray[np.int64]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]
    hash_bits: NDArray[np.uint8]
    hashed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.entry_ids)

    def hashes_of(self, rows: slice) -> Sequence[PerceptualHash | None]:
        return [
            PerceptualHash(bits.tobytes(), RELIABLE_QUALITY) if is_hashed else None
            for bits, is_hashed in zip(self.hash_bits[rows], self.hashed[rows], strict=True)
        ]


class ImageReader:
    """Reads sets of images one after the other and puts their vectors into one file.

    All sets share their source numbers.
    """

    def __init__(self, conn: Connection, space: Space, spool: IO[bytes]) -> None:
        self._conn = conn
        self._space_id = find_space_id(conn, space) or 0
        self._dimension = space.dimension
        self._spool = spool
        self._sources = SourceNumbers()

    def read(self, selection: ColumnElement[bool]) -> Images:
        """Return the selected live entries that are embedded in the space.

        Where several entries have one image, the entry with the lowest id stands for it.

        Raises:
            TruthDamaged: a stored embedding has the wrong length.

        """
        offset, columns, seen = self._spool.tell(), _Columns(), set[int]()
        for page in self._pages(selection):
            new = []
            for row in page:
                if row.image_id not in seen:
                    seen.add(row.image_id)
                    new.append(row)
            if any(len(row.vector) != self._dimension * STORED.itemsize for row in new):
                raise TruthDamaged("a stored embedding has the wrong length")
            self._spool.write(b"".join(row.vector for row in new))
            columns.add(new, [self._sources.number(row.image_id, row.provenance) for row in new])
        return columns.images(self._vectors(offset, len(seen)))

    def _pages(self, selection: ColumnElement[bool]) -> Iterator[Sequence[Any]]:
        after = 0
        while True:
            query = (
                select(
                    entries.c.id,
                    entries.c.image_id,
                    entries.c.provenance,
                    images.c.pdq_hash,
                    images.c.pdq_quality,
                    embeddings.c.vector,
                    embeddings.c.logit,
                )
                .join(corpora, corpora.c.id == entries.c.corpus_id)
                .join(images, images.c.id == entries.c.image_id)
                .join(embeddings, embeddings.c.image_id == entries.c.image_id)
                .where(selection, embeddings.c.space_id == self._space_id)
                .where(entries.c.removed_at.is_(None), entries.c.id > after)
            )
            page = self._conn.execute(query.order_by(entries.c.id).limit(PAGE)).all()
            if not page:
                return
            yield page
            after = page[-1].id

    def _vectors(self, offset: int, count: int) -> NDArray[np.float32]:
        if not count:
            return np.empty((0, self._dimension), np.float32)
        self._spool.flush()
        return np.memmap(self._spool, STORED, "r", offset, (count, self._dimension))


class _Columns:
    """The columns of `Images`, collected page by page."""

    def __init__(self) -> None:
        self._pages: list[tuple[NDArray[Any], ...]] = []

    def add(self, rows: Sequence[Any], sources: Sequence[int]) -> None:
        hashed = [row.pdq_hash is not None and row.pdq_quality >= MIN_QUALITY for row in rows]
        bits = b"".join(
            row.pdq_hash if is_hashed else bytes(HASH_BYTES)
            for row, is_hashed in zip(rows, hashed, strict=True)
        )
        self._pages.append(
            (
                np.array([row.id for row in rows], np.int64),
                np.array([row.image_id for row in rows], np.int64),
                np.array(sources, np.int64),
                np.array([row.logit for row in rows], np.float64),
                np.frombuffer(bits, np.uint8).reshape(-1, HASH_BYTES),
                np.array(hashed, np.bool_),
            )
        )

    def images(self, vectors: NDArray[np.float32]) -> Images:
        if not self._pages:
            self.add((), ())
        entry_ids, image_ids, sources, logits, bits, hashed = map(
            np.concatenate, zip(*self._pages, strict=True)
        )
        return Images(entry_ids, image_ids, sources, vectors, logits, bits, hashed)
