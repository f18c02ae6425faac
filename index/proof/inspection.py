"""A corpus inspected: what `index.proof.hubs` finds in its stored rows, beside all other known
reals and known fakes.

Owns the reading from SQL, in one state of the database and before anything is computed. Vectors go
through a temporary file that is mapped, so that memory stays bounded; no image is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from index.calibration.reading import SourceNumbers
from index.errors import InspectionTooLarge, TruthDamaged
from index.proof.hubs import Clusters, Comparison, Hubs, Images, compare, find_hubs, looks_real
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, find_corpus_ids, get_corpus
from index.truth.database import Database
from index.truth.perceptual import HASH_BYTES, MIN_QUALITY
from index.truth.schema import corpora, embeddings, entries, images
from index.truth.spaces import Space, find_space_id
from index.truth.statements import all_rows
from index.truth.vectors import STORED

PAGE = 4096


@dataclass(frozen=True, slots=True)
class NearEntry:
    """An entry and its cosine similarity to another."""

    entry_id: int
    cosine_similarity: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An entry whose picture is in a corpus of the other kind too: in `count` entries, of which one
    is named.
    """

    entry_id: int
    other_entry_id: int
    identical: bool  # the same bytes; else the same picture by perceptual hash
    count: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """An entry among known fakes that the classifier calls authentic, and that is nearer to a known
    real.
    """

    entry_id: int
    logit: float
    real: NearEntry
    fake: NearEntry


@dataclass(frozen=True, slots=True)
class Hub:
    """An entry and of how many pictures it is the nearest."""

    entry_id: int
    count: int


@dataclass(frozen=True, slots=True)
class HubReport:
    """Hubs, most often nearest first: at least `limit` times among `pictures`, where `expected` is
    the mean.
    """

    pictures: int
    expected: float
    skewness: float
    limit: int
    hubs: tuple[Hub, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a corpus at a generation, and what it was compared with.

    `clusters` are entry ids; `photographs` hubs among known reals of other corpora, None where
    there are none; `suspects` None in a corpus of known reals, or without a limit of authentic.
    """

    corpus: str
    kind: CorpusKind
    generation: int
    entries: int
    embedded: int
    hashed: int
    known_reals: int
    known_fakes: int
    contradictions: tuple[Contradiction, ...]
    suspects: tuple[Suspect, ...] | None
    photographs: HubReport | None
    within: HubReport
    clusters: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A corpus, and beside it the known reals and known fakes of all others."""

    kind: CorpusKind
    generation: int
    entries: int
    own: Images
    reals: Images
    fakes: Images


def inspect_corpus(
    database: Database,
    space: Space,
    corpus: str,
    authentic_logit: float | None,
    *,
    max_comparisons: int | None = None,
) -> Inspection:
    """Inspect a corpus in one embedding space; up to `authentic_logit` a logit is one of an
    authentic image.

    The time grows with its entries times all known images: 20,000 beside 5,000 took 24 s on two
    busy cores.

    Raises:
        UnknownCorpus, ForeignSpace, DatabaseUnavailable InspectionTooLarge: more pairs of vectors
        than `max_comparisons`. TruthDamaged: a stored embedding is of the wrong length.

    """
    with TemporaryFile() as spool:
        with database.read() as conn:
            if max_comparisons is not None:
                _require_small(conn, corpus, max_comparisons)
            read = _read(conn, space, corpus, spool)
        return _inspected(corpus, read, authentic_logit)


def _require_small(conn: Connection, corpus: str, max_comparisons: int) -> None:
    live = select(func.count()).select_from(entries).where(entries.c.removed_at.is_(None))
    comparisons = get_corpus(conn, corpus).entries * int(conn.execute(live).scalar_one())
    if comparisons > max_comparisons:
        raise InspectionTooLarge(corpus, comparisons, max_comparisons)


def _read(conn: Connection, space: Space, corpus: str, spool: IO[bytes]) -> _Read:
    about = get_corpus(conn, corpus)
    (corpus_id,) = find_corpus_ids(conn, frozenset([corpus]))
    elsewhere = (entries.c.corpus_id != corpus_id) & corpora.c.removed_at.is_(None)
    reader = _Reader(conn, space, spool)
    with all_rows(conn):
        own = reader.images(entries.c.corpus_id == corpus_id)
        reals = reader.images(elsewhere & (corpora.c.kind == CorpusKind.KNOWN_REAL.value))
        fakes = reader.images(elsewhere & (corpora.c.kind == CorpusKind.KNOWN_FAKE.value))
    return _Read(about.kind, last_number(conn), about.entries, own, reals, fakes)


class _Reader:
    """Reads images one set after the other, their vectors into one file."""

    def __init__(self, conn: Connection, space: Space, spool: IO[bytes]) -> None:
        self._conn = conn
        self._space_id = find_space_id(conn, space) or 0
        self._dimension = space.dimension
        self._spool = spool
        self._sources = SourceNumbers()

    def images(self, of: ColumnElement[bool]) -> Images:
        """Live entries that are in the space, of each image that with the lowest id."""
        offset, columns, seen = self._spool.tell(), _Columns(), set[int]()
        for page in self._pages(of):
            new = [row for row in page if not (row.image_id in seen or seen.add(row.image_id))]  # type: ignore[func-returns-value]
            if any(len(row.vector) != self._dimension * STORED.itemsize for row in new):
                raise TruthDamaged("a stored embedding is of the wrong length")
            self._spool.write(b"".join(row.vector for row in new))
            columns.add(new, [self._sources.number(row.image_id, row.provenance) for row in new])
        return columns.images(self._vectors(offset, len(seen)))

    def _pages(self, of: ColumnElement[bool]) -> Iterator[Sequence[Any]]:
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
                .where(of, embeddings.c.space_id == self._space_id)
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
    """The columns of `Images` as they come, page by page."""

    def __init__(self) -> None:
        self._pages: list[tuple[NDArray[Any], ...]] = []

    def add(self, rows: Sequence[Any], sources: Sequence[int]) -> None:
        hashed = [row.pdq_hash is not None and row.pdq_quality >= MIN_QUALITY for row in rows]
        bits = b"".join(
            row.pdq_hash if told else bytes(HASH_BYTES)
            for row, told in zip(rows, hashed, strict=True)
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


def _inspected(corpus: str, read: _Read, authentic_logit: float | None) -> Inspection:
    own, clusters = read.own, Clusters(len(read.own))
    within = compare(own, own, clusters.join)
    to_reals, to_fakes = compare(own, read.reals), compare(own, read.fakes)
    fakes_here = read.kind is CorpusKind.KNOWN_FAKE
    other_kind = (read.reals, to_reals) if fakes_here else (read.fakes, to_fakes)
    contradictions = _contradictions(own, *other_kind)
    suspects = None
    if fakes_here and authentic_logit is not None:
        suspects = _suspects(read, authentic_logit, within, to_reals, to_fakes)
        named = {each.entry_id for each in contradictions}
        suspects = tuple(each for each in suspects if each.entry_id not in named)
    of_photographs = _report(
        own, find_hubs(to_reals.back_positions, len(own)), to_reals.back_positions
    )
    return Inspection(
        corpus=corpus,
        kind=read.kind,
        generation=read.generation,
        entries=read.entries,
        embedded=len(own),
        hashed=int(own.hashed.sum()),
        known_reals=len(read.reals),
        known_fakes=len(read.fakes),
        contradictions=contradictions,
        suspects=suspects,
        photographs=of_photographs if len(read.reals) else None,
        within=_report(own, find_hubs(within.positions, len(own)), within.positions),
        clusters=tuple(tuple(own.entry_ids[rows].tolist()) for rows in clusters.members()),
    )


def _contradictions(own: Images, others: Images, found: Comparison) -> tuple[Contradiction, ...]:
    """The same bytes first, then by entry."""
    rows = np.flatnonzero(found.same)
    rows = rows[np.argsort(~found.identical[rows], kind="stable")]
    return tuple(
        Contradiction(
            entry_id=int(own.entry_ids[row]),
            other_entry_id=int(others.entry_ids[found.first_same[row]]),
            identical=bool(found.identical[row]),
            count=int(found.same[row]),
        )
        for row in rows
    )


def _suspects(
    read: _Read,
    authentic_logit: float,
    within: Comparison,
    to_reals: Comparison,
    to_fakes: Comparison,
) -> tuple[Suspect, ...]:
    to_fake = np.maximum(within.similarities, to_fakes.similarities)  # (n,)
    rows = looks_real(read.own.logits, authentic_logit, to_reals.similarities, to_fake)
    return tuple(
        Suspect(
            entry_id=int(read.own.entry_ids[row]),
            logit=float(read.own.logits[row]),
            real=_near(read.reals, to_reals, row),
            fake=_near(read.own, within, row)
            if within.similarities[row] >= to_fakes.similarities[row]
            else _near(read.fakes, to_fakes, row),
        )
        for row in rows
    )


def _near(of: Images, found: Comparison, row: np.int64) -> NearEntry:
    similarity = float(np.clip(found.similarities[row], -1.0, 1.0))
    return NearEntry(int(of.entry_ids[found.positions[row]]), similarity)


def _report(own: Images, hubs: Hubs, nearest: NDArray[np.int64]) -> HubReport:
    return HubReport(
        pictures=int((nearest >= 0).sum()),
        expected=hubs.expected,
        skewness=hubs.skewness,
        limit=hubs.limit,
        hubs=tuple(Hub(int(own.entry_ids[row]), int(hubs.counts[row])) for row in hubs.rows),
    )
