"""Entries: the membership of an image in a corpus, with its provenance.

Reads and removes entries; `index.truth.adding` adds them. Every removal is also written to the
change log.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, or_, select, update

from index.errors import InvalidFilter, UnknownCorpus, UnknownEntry
from index.failpoints import Failpoint, reach
from index.jsontext import JSON
from index.truth.changes import HEAD, HEAD_COLUMNS, Head, head_from_row, record_removals
from index.truth.corpora import CorpusKind, Keep, find_corpus_ids, lock_corpus
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.schema import LARGEST_ID, corpora, entries, images
from index.truth.statements import QueryByValues, is_any, slices


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry with the facts of its image.

    `provenance` is the free JSON beside the named columns.
    """

    id: int
    corpus: str
    kind: CorpusKind
    keep: Keep
    image: ImageFacts
    generator: str | None
    label: str | None
    licence: str | None
    source: str | None
    acquired_at: datetime | None
    provenance: Mapping[str, JSON]
    created_at: datetime
    job_id: int | None

    @property
    def sha256(self) -> str:
        return self.image.sha256


# Images that are looked for with the head of the log; for more, a transaction costs little. Their
# number is rounded up to a power of two, so there are seven statements, which PostgreSQL keeps.
IMAGES_WITH_HEAD = 64
# Built once, because composing the statement takes longer than fetching ten rows. The columns have
# the order of `entry_from_row`.
ENTRIES = (
    select(
        entries.c.id,
        corpora.c.name,
        corpora.c.kind,
        corpora.c.keep,
        images.c.sha256,
        images.c.byte_size,
        images.c.width,
        images.c.height,
        images.c.format,
        images.c.pdq_hash,
        images.c.pdq_quality,
        images.c.seen,
        entries.c.generator,
        entries.c.label,
        entries.c.licence,
        entries.c.source,
        entries.c.acquired_at,
        entries.c.provenance,
        entries.c.created_at,
        entries.c.job_id,
    )
    .join(corpora, corpora.c.id == entries.c.corpus_id)
    .join(images, images.c.id == entries.c.image_id)
)
# Those of a corpus that is being emptied are gone already.
_LIVE_ENTRIES = ENTRIES.where(entries.c.removed_at.is_(None), corpora.c.removed_at.is_(None))
# The image files of these entries stay. An entry in quarantine can be released
# (`index.truth.quarantine`).
KEEPS_BLOBS = or_(entries.c.removed_at.is_(None), entries.c.removal_reason.is_not(None))
_KEEPING_ENTRIES = ENTRIES.where(KEEPS_BLOBS, corpora.c.removed_at.is_(None))


def remove_entry(conn: Connection, entry_id: int, reason: str | None = None) -> Entry:
    """Remove an entry and return it; its image stays in other corpora.

    Takes the lock of the corpus, so that a writer who adds the same image cannot find the entry and
    then lose it. Two writers could deadlock if they remove from several corpora in one transaction.
    A reason puts the entry into quarantine; `index.truth.quarantine.quarantine_entry` checks the
    reason first.

    Raises:
        UnknownEntry: no live entry has this id.

    """
    entry = get_entry(conn, entry_id)
    try:
        lock_corpus(conn, entry.corpus)
    except UnknownCorpus as err:
        raise UnknownEntry(entry_id) from err
    marked = conn.execute(
        update(entries)
        .where(entries.c.id == entry_id, entries.c.removed_at.is_(None))
        .values(removed_at=datetime.now(UTC), removal_reason=reason)
        .returning(entries.c.id)
    ).scalar_one_or_none()
    if marked is None:
        raise UnknownEntry(entry_id)
    reach(Failpoint.ENTRY_MARKED)
    record_removals(conn, [entry_id])
    return entry


def get_entry(conn: Connection, entry_id: int) -> Entry:
    """Return a live entry.

    Raises:
        UnknownEntry: no live entry has this id.

    """
    query = _LIVE_ENTRIES.where(entries.c.id == entry_id)
    row = conn.execute(query).one_or_none() if 0 < entry_id <= LARGEST_ID else None
    if row is None:
        raise UnknownEntry(entry_id)
    return entry_from_row(row)


def find_entries(conn: Connection, entry_ids: Sequence[int]) -> dict[int, Entry]:
    """Return those of these entries that are live, by id.

    Rows are read in the order of their ids, so that neighbours in the file are read together.
    """
    query = _compose_live_entries(conn.dialect)
    return {
        row[0]: entry_from_row(row)
        for some in slices(sorted(entry_ids))
        for row in query.fetch(conn, some)
    }


def find_live_ids(conn: Connection, image_ids: Collection[int]) -> dict[int, list[int]]:
    """Return the live entries of each of these images, by rising id."""
    found: dict[int, list[int]] = {image_id: [] for image_id in image_ids}
    for some in slices(sorted(found)):
        for image_id, entry_id in _compose_ids_by_image(conn.dialect).fetch(conn, some):
            found[image_id].append(entry_id)
    return found


def find_live_ids_by_sha256(conn: Connection, sha256s: Collection[str]) -> dict[str, list[int]]:
    """Return the live entries of those of these images that have any, by rising id."""
    found: dict[str, list[int]] = {}
    for some in slices(sorted(sha256s)):
        for sha256, entry_id in _compose_ids_by_sha256(conn.dialect).fetch(conn, some):
            found.setdefault(sha256, []).append(entry_id)
    return found


def read_head_unless_live(database: Database, sha256s: Collection[str]) -> Head | None:
    """Return the head of the log; None if one of these images has a live entry, or if they are more
    than `IMAGES_WITH_HEAD`. One statement, so both are of one state.
    """
    if not sha256s:
        return head_from_row(database.read_row(HEAD))
    if len(sha256s) > IMAGES_WITH_HEAD:
        return None
    values = sorted(sha256s)
    values += values[-1:] * (2 ** (len(values) - 1).bit_length() - len(values))
    row = database.read_row(_compose_head(database.dialect, len(values)), tuple(values))
    return None if row[-1] else head_from_row(row)


@lru_cache(maxsize=16)
def _compose_head(dialect: str, images: int) -> str:
    """Return the question for the head, and whether one of a number of images has a live entry.

    PostgreSQL plans a statement with a list once, but one with an array each time, which takes 0.12
    ms: it does not know how long the array will be.
    """
    marks = ", ".join(["%s" if dialect == "postgresql" else "?"] * images)
    live = (
        "SELECT 1 FROM images JOIN entries ON entries.image_id = images.id "  # noqa: S608  # nosec B608 # constants
        f"WHERE entries.removed_at IS NULL AND images.sha256 IN ({marks})"
    )
    return f"SELECT {HEAD_COLUMNS}, EXISTS ({live}) FROM change_counter"  # noqa: S608  # nosec B608 # constants


@lru_cache(maxsize=8)
def _compose_ids_by_image(dialect: Dialect) -> QueryByValues:
    query = select(entries.c.image_id, entries.c.id).where(entries.c.removed_at.is_(None))
    return QueryByValues(dialect, query.order_by(entries.c.id), entries.c.image_id)


@lru_cache(maxsize=8)
def _compose_ids_by_sha256(dialect: Dialect) -> QueryByValues:
    query = select(images.c.sha256, entries.c.id).join(entries, entries.c.image_id == images.c.id)
    query = query.where(entries.c.removed_at.is_(None)).order_by(entries.c.id)
    return QueryByValues(dialect, query, images.c.sha256)


@lru_cache(maxsize=8)
def _compose_live_entries(dialect: Dialect) -> QueryByValues:
    return QueryByValues(dialect, _LIVE_ENTRIES, entries.c.id)


def find_entries_ever(conn: Connection, entry_ids: Sequence[int]) -> dict[int, Entry]:
    """Return these entries by id, also removed ones, which earlier answers still name."""
    found: dict[int, Entry] = {}
    for some in slices(entry_ids):
        found |= {
            row.id: entry_from_row(row)
            for row in conn.execute(ENTRIES.where(is_any(conn, entries.c.id, some)))
        }
    return found


def list_entries(
    conn: Connection, corpus: str | None = None, after: int | None = None, limit: int = 100
) -> tuple[Entry, ...]:
    """Return at most `limit` live entries with ids above `after`, ascending.

    Raises:
        UnknownCorpus: no live corpus has this name.
        InvalidFilter: the limit is below one.

    """
    if limit < 1:
        raise InvalidFilter("limit must be at least 1")
    query = (
        _LIVE_ENTRIES.where(entries.c.id > min(after or 0, LARGEST_ID))
        .order_by(entries.c.id)
        .limit(limit)
    )
    if corpus is not None:
        query = query.where(entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([corpus]))))
    return tuple(entry_from_row(row) for row in conn.execute(query))


def entries_of_image(conn: Connection, sha256: str) -> tuple[Entry, ...]:
    """Return the live entries of an image in all corpora by ascending id."""
    query = _LIVE_ENTRIES.where(images.c.sha256 == sha256).order_by(entries.c.id)
    return tuple(entry_from_row(row) for row in conn.execute(query))


def corpus_sha256s(conn: Connection, corpus: str) -> tuple[str, ...]:
    """Return the sha256 of every image of a corpus, also of those in quarantine, ascending.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    query = _KEEPING_ENTRIES.where(
        entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([corpus])))
    )
    return tuple(
        conn.execute(query.with_only_columns(images.c.sha256).order_by(images.c.sha256)).scalars()
    )


def sha256s_not_kept(
    conn: Connection, sha256s: Sequence[str], keeps: Sequence[Keep]
) -> frozenset[str]:
    """Return those of these images whose files can be deleted.

    A live or quarantined entry keeps the file if its corpus has one of the settings `keeps`.
    """
    return _find_unneeded(conn, sha256s, corpora.c.keep.in_(keeps))


def sha256s_without_features(conn: Connection, sha256s: Sequence[str]) -> frozenset[str]:
    """Return those of these images whose stored local features can be deleted.

    A live or quarantined entry of a corpus that stores features keeps them.
    """
    return _find_unneeded(conn, sha256s, corpora.c.features)


def _find_unneeded(
    conn: Connection, sha256s: Sequence[str], keeps: ColumnElement[bool]
) -> frozenset[str]:
    needed: set[str] = set()
    for some in slices(sha256s):
        query = _KEEPING_ENTRIES.where(is_any(conn, images.c.sha256, some), keeps)
        needed.update(conn.execute(query.with_only_columns(images.c.sha256)).scalars())
    return frozenset(sha256s) - needed


def jobs_of_entries(
    conn: Connection, corpus: str, sha256s: Sequence[str]
) -> dict[str, tuple[int, int | None]]:
    """Return the entry id and job id of those of these images that are in a corpus.

    Two queries by key replace a join, for which SQLite would read the whole corpus.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    (corpus_id,) = find_corpus_ids(conn, frozenset([corpus]))
    found: dict[str, tuple[int, int | None]] = {}
    for some in slices(sha256s):
        rows = conn.execute(
            select(images.c.id, images.c.sha256).where(is_any(conn, images.c.sha256, some))
        )
        sha256_of = {row.id: row.sha256 for row in rows}
        query = select(entries.c.image_id, entries.c.id, entries.c.job_id).where(
            is_any(conn, entries.c.image_id, list(sha256_of)),
            entries.c.corpus_id == corpus_id,
            entries.c.removed_at.is_(None),
        )
        found |= {
            sha256_of[image_id]: (entry_id, job_id)
            for image_id, entry_id, job_id in conn.execute(query)
        }
    return found


def entry_from_row(row: Sequence[Any]) -> Entry:
    """Return the entry in a row of the query `ENTRIES`."""
    (
        entry_id,
        corpus,
        kind,
        keep,
        sha256,
        byte_size,
        width,
        height,
        image_format,
        bits,
        quality,
        seen,
        *provenance_columns,
    ) = row
    hashed = None if bits is None else PerceptualHash(bytes(bits), quality)
    image = ImageFacts(
        sha256, byte_size or None, width or None, height or None, image_format or None, hashed, seen
    )
    return Entry(entry_id, corpus, _KINDS[kind], _KEEPS[keep], image, *provenance_columns)


_KINDS = {each.value: each for each in CorpusKind}
_KEEPS = {each.value: each for each in Keep}
