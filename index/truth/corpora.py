"""Corpora: named sets of reference images.

Removing a corpus removes its entries and leaves other corpora unchanged.
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
from index.truth.changes import record_amendment, record_removals
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
    """A corpus and the number of its live entries.

    `features`: the local features of its images are stored, so that edited copies are verified by
    those of the original.
    """

    name: str
    kind: CorpusKind
    keep: Keep
    description: str
    created_at: datetime
    entries: int
    features: bool = False


def check_name(name: str) -> str:
    """Return the name of a corpus: the one rule, whoever names it and however.

    Raises:
        InvalidCorpusName: the name does not match `NAME_PATTERN`.

    """
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidCorpusName(name)
    return name


def create_corpus(
    conn: Connection,
    name: str,
    kind: CorpusKind,
    description: str = "",
    keep: Keep = Keep.THUMBNAIL,
    *,
    features: bool = False,
) -> Corpus:
    """Create an empty corpus.

    Raises:
        InvalidCorpusName: the name does not match the pattern.
        CorpusExists: a live corpus has this name.
        InvalidProvenance: the databases cannot store the description.

    """
    row = {
        "name": check_name(name),
        "kind": CorpusKind(kind).value,
        "keep": Keep(keep).value,
        "features": features,
        "description": storable_text(description) or "",
        "created_at": datetime.now(UTC),
    }
    if not insert_missing(conn, corpora, [row], corpora.c.id):
        raise CorpusExists(name)
    return get_corpus(conn, name)


def ensure_corpus(
    conn: Connection, name: str, kind: CorpusKind, description: str = "", keep: Keep | None = None
) -> Corpus:
    """Return the corpus of this name, creating it if there is none.

    `keep` None accepts any setting of an existing corpus.

    Raises:
        InvalidCorpusName: the name does not match the pattern.
        CorpusKindConflict: the corpus exists with the other kind.
        CorpusKeepConflict: the corpus exists and keeps other image files.

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
    """Change which image files a corpus keeps from now on.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    conn.execute(
        update(corpora).where(corpora.c.id == lock_corpus(conn, name)).values(keep=Keep(keep).value)
    )
    record_amendment(conn)
    return get_corpus(conn, name)


def set_features(conn: Connection, name: str, *, features: bool) -> Corpus:
    """Change whether a corpus stores the local features of its images from now on.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    conn.execute(
        update(corpora).where(corpora.c.id == lock_corpus(conn, name)).values(features=features)
    )
    return get_corpus(conn, name)


def get_corpus(conn: Connection, name: str) -> Corpus:
    """Return a live corpus.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    row = conn.execute(_with_counts().where(corpora.c.name == name)).one_or_none()
    if row is None:
        raise UnknownCorpus(name)
    return _corpus_from_row(row)


def list_corpora(conn: Connection) -> tuple[Corpus, ...]:
    """Return all live corpora in order of their names."""
    return tuple(
        _corpus_from_row(row) for row in conn.execute(_with_counts().order_by(corpora.c.name))
    )


def remove_corpus(conn: Connection, name: str) -> int:
    """Remove a corpus and its entries; return the number of removed entries.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    now = datetime.now(UTC)
    corpus_id = conn.execute(
        update(corpora)
        .where(corpora.c.name == name, corpora.c.removed_at.is_(None))
        .values(removed_at=now)
        .returning(corpora.c.id)
    ).scalar_one_or_none()
    if corpus_id is None:
        raise UnknownCorpus(name)
    removed_ids = conn.execute(
        update(entries)
        .where(entries.c.corpus_id == corpus_id, entries.c.removed_at.is_(None))
        .values(removed_at=now)
        .returning(entries.c.id)
    ).scalars()
    entry_ids = sorted(removed_ids)
    reach(Failpoint.CORPUS_MARKED)
    record_removals(conn, entry_ids)
    record_amendment(conn)  # without entries, no change says that the corpus is gone
    return len(entry_ids)


def lock_corpus(conn: Connection, name: str) -> int:
    """Return the row id of a corpus, and block its other writers until the transaction ends.

    So a corpus cannot be removed while entries are added to it, and two writers of the same images
    cannot deadlock.

    Raises:
        UnknownCorpus: no live corpus has this name; another transaction may have removed it.

    """
    query = select(corpora.c.id).where(corpora.c.name == name, corpora.c.removed_at.is_(None))
    corpus_id = conn.execute(query.with_for_update(key_share=True)).scalar_one_or_none()
    if corpus_id is None:
        raise UnknownCorpus(name)
    return int(corpus_id)


def find_corpus_ids(conn: Connection, names: frozenset[str]) -> tuple[int, ...]:
    """Return the row ids of live corpora in ascending order.

    Raises:
        UnknownCorpus: a name belongs to no live corpus; the error has the first such name.

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


def _corpus_from_row(row: Row[Any]) -> Corpus:
    return Corpus(
        row.name,
        CorpusKind(row.kind),
        Keep(row.keep),
        row.description,
        row.created_at,
        row.entries,
        row.features,
    )
