"""Corpora: named sets of reference images.

Removing one removes its entries, and nothing of any other corpus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from index.errors import (
    CorpusExists,
    CorpusKeepConflict,
    CorpusKindConflict,
    InvalidCorpusName,
    UnknownCorpus,
)
from index.failpoints import Failpoint, reach
from index.truth.changes import record_removals
from index.truth.provenance import storable_text
from index.truth.schema import corpora, entries
from index.truth.statements import insert_missing

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class CorpusKind(StrEnum):
    """What is known about every image in a corpus."""

    KNOWN_FAKE = "known_fake"
    KNOWN_REAL = "known_real"


class Keep(StrEnum):
    """What Lineup keeps of a corpus's images beside their embeddings.

    `original` includes the thumbnail.
    """

    ORIGINAL = "original"
    THUMBNAIL = "thumbnail"
    NONE = "none"

    @property
    def thumbnails(self) -> bool:
        return self is not Keep.NONE

    @property
    def originals(self) -> bool:
        return self is Keep.ORIGINAL


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus and the number of its live entries."""

    name: str
    kind: CorpusKind
    keep: Keep
    description: str
    created_at: datetime
    entries: int


def create_corpus(
    conn: Connection,
    name: str,
    kind: CorpusKind,
    description: str = "",
    keep: Keep = Keep.THUMBNAIL,
) -> Corpus:
    """Make an empty corpus.

    Raises:
        InvalidCorpusName, CorpusExists
        InvalidProvenance: a description that cannot be stored.

    """
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidCorpusName(name)
    row = {
        "name": name,
        "kind": CorpusKind(kind).value,
        "keep": Keep(keep).value,
        "description": storable_text(description) or "",
        "created_at": datetime.now(UTC),
    }
    if not insert_missing(conn, corpora, [row], corpora.c.id):
        raise CorpusExists(name)
    return get_corpus(conn, name)


def ensure_corpus(
    conn: Connection, name: str, kind: CorpusKind, description: str = "", keep: Keep | None = None
) -> Corpus:
    """Return the corpus of this name, making it where there is none; `keep` None: whatever it
    keeps.

    Raises:
        InvalidCorpusName, CorpusKindConflict, CorpusKeepConflict

    """
    try:
        return create_corpus(conn, name, kind, description, keep or Keep.THUMBNAIL)
    except CorpusExists:
        found = get_corpus(conn, name)
        if found.kind is not CorpusKind(kind):
            raise CorpusKindConflict(name, found.kind, CorpusKind(kind)) from None
        if keep is not None and found.keep is not Keep(keep):
            raise CorpusKeepConflict(name, found.keep, Keep(keep)) from None
        return found


def set_keep(conn: Connection, name: str, keep: Keep) -> Corpus:
    """Change what a corpus keeps of images from now on. Raises UnknownCorpus."""
    conn.execute(
        update(corpora).where(corpora.c.id == lock_corpus(conn, name)).values(keep=Keep(keep).value)
    )
    return get_corpus(conn, name)


def get_corpus(conn: Connection, name: str) -> Corpus:
    """Return a corpus; raises UnknownCorpus."""
    row = conn.execute(_with_counts().where(corpora.c.name == name)).one_or_none()
    if row is None:
        raise UnknownCorpus(name)
    return _corpus(row)


def list_corpora(conn: Connection) -> tuple[Corpus, ...]:
    """Return every corpus by name."""
    return tuple(_corpus(row) for row in conn.execute(_with_counts().order_by(corpora.c.name)))


def remove_corpus(conn: Connection, name: str) -> int:
    """Remove a corpus and its entries; return how many there were. Raises UnknownCorpus."""
    now = datetime.now(UTC)
    corpus_id = conn.execute(
        update(corpora)
        .where(corpora.c.name == name, corpora.c.removed_at.is_(None))
        .values(removed_at=now)
        .returning(corpora.c.id)
    ).scalar_one_or_none()
    if corpus_id is None:
        raise UnknownCorpus(name)
    removed = conn.execute(
        update(entries)
        .where(entries.c.corpus_id == corpus_id, entries.c.removed_at.is_(None))
        .values(removed_at=now)
        .returning(entries.c.id)
    ).scalars()
    entry_ids = sorted(removed)
    reach(Failpoint.CORPUS_MARKED)
    record_removals(conn, entry_ids)
    return len(entry_ids)


def lock_corpus(conn: Connection, name: str) -> int:
    """Return the row id of a corpus, and keep other writers of it out until this transaction ends.

    So a corpus is not removed while entries are added to it, and two writers of the same images
    cannot deadlock.

    Raises:
        UnknownCorpus: also when another transaction removed it just now.

    """
    query = select(corpora.c.id).where(corpora.c.name == name, corpora.c.removed_at.is_(None))
    corpus_id = conn.execute(query.with_for_update(key_share=True)).scalar_one_or_none()
    if corpus_id is None:
        raise UnknownCorpus(name)
    return int(corpus_id)


def find_corpus_ids(conn: Connection, names: frozenset[str]) -> tuple[int, ...]:
    """Return the row ids of corpora; raises UnknownCorpus for the first name, in order, that is
    none.
    """
    query = select(corpora.c.name, corpora.c.id).where(
        corpora.c.name.in_(names), corpora.c.removed_at.is_(None)
    )
    found = {row.name: int(row.id) for row in conn.execute(query)}
    for name in sorted(names - found.keys()):
        raise UnknownCorpus(name)
    return tuple(sorted(found.values()))


def _with_counts() -> Select[Any]:
    live = (
        select(func.count())
        .select_from(entries)
        .where(entries.c.corpus_id == corpora.c.id, entries.c.removed_at.is_(None))
        .scalar_subquery()
    )
    return select(corpora, live.label("entries")).where(corpora.c.removed_at.is_(None))


def _corpus(row: Row[Any]) -> Corpus:
    return Corpus(
        row.name, CorpusKind(row.kind), Keep(row.keep), row.description, row.created_at, row.entries
    )
