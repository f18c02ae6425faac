"""Quarantine: an entry that must be in no answer for now, for a stated reason, and that can come
back.

It is a removal with a reason: the entry leaves by the change log like any other, and what the
corpus keeps of its image stays. The release is a new entry, for ids are never reused.
`index.truth.entries.add_entries` skips what is in quarantine. See
`docs/decisions/0008-quarantine-is-a-removal-with-a-reason.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from index.errors import InvalidFilter, InvalidReason, NotQuarantined, UnknownEntry
from index.jsontext import JSON
from index.truth.changes import record_additions
from index.truth.corpora import find_corpus_ids, lock_corpus
from index.truth.entries import (
    ENTRIES,
    Entry,
    entry_from_row,
    get_entry,
    insert_entries,
    remove_entry,
)
from index.truth.provenance import Provenance, storable_text
from index.truth.schema import LARGEST_ID, corpora, entries, images
from index.truth.statements import is_any, slices

MAX_REASON_CHARACTERS = 1000  # as the description of a corpus: a sentence or two, not a report
# Where the new entry tells in its provenance which one it was: a list, one item for each release.
RELEASED = "released_from_quarantine"


@dataclass(frozen=True, slots=True)
class QuarantinedEntry:
    """An entry as it was, why it is in quarantine, and since when."""

    entry: Entry
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Release:
    """The entry that an image has in its corpus after a release;

    `is_new` is False where the corpus had the image again already.
    """

    entry: Entry
    quarantined: QuarantinedEntry
    is_new: bool


_QUARANTINED = (
    ENTRIES.add_columns(entries.c.removal_reason, entries.c.removed_at)
    .where(entries.c.removal_reason.is_not(None), corpora.c.removed_at.is_(None))
    .order_by(entries.c.id)
)


def quarantine_entry(conn: Connection, entry_id: int, reason: str) -> QuarantinedEntry:
    """Put an entry into quarantine; it is in no answer of any process as soon as this commits.

    Raises:
        UnknownEntry: also where it is removed, or in quarantine already.
        InvalidReason

    """
    remove_entry(conn, entry_id, check_reason(reason))
    return get_quarantined(conn, entry_id)


def release_entry(conn: Connection, entry_id: int) -> Release:
    """Bring an entry back as a new one, of the same image, corpus and provenance, which tells where
    it was.

    Where the corpus has the image again, that entry is returned and none is made. Only spaces that
    the image is embedded in have it: one that came in the meantime lacks it until it is embedded
    there.

    Raises:
        UnknownEntry, NotQuarantined

    """
    was = get_quarantined(conn, entry_id)
    corpus_id = lock_corpus(conn, was.entry.corpus)
    row = conn.execute(
        update(entries)
        .where(entries.c.id == entry_id, entries.c.removal_reason.is_not(None))
        .values(removal_reason=None)
        .returning(entries.c.image_id, entries.c.job_id)
    ).one_or_none()
    if row is None:  # another process released it while this one waited
        raise NotQuarantined(entry_id)
    inserted = insert_entries(conn, corpus_id, {row.image_id: _provenance(was)}, row.job_id)
    record_additions(conn, [row.image_id])
    if inserted:
        return Release(get_entry(conn, inserted[row.image_id]), was, is_new=True)
    there = select(entries.c.id).where(
        entries.c.corpus_id == corpus_id,
        entries.c.image_id == row.image_id,
        entries.c.removed_at.is_(None),
    )
    return Release(get_entry(conn, conn.execute(there).scalar_one()), was, is_new=False)


def get_quarantined(conn: Connection, entry_id: int) -> QuarantinedEntry:
    """Return an entry that is in quarantine.

    Raises:
        UnknownEntry: there never was one with this id.
        NotQuarantined: it is live, was simply removed, or was released.

    """
    if not 0 < entry_id <= LARGEST_ID:
        raise UnknownEntry(entry_id)
    row = conn.execute(_QUARANTINED.where(entries.c.id == entry_id)).one_or_none()
    if row is not None:
        return _quarantined(row)
    if conn.execute(select(entries.c.id).where(entries.c.id == entry_id)).one_or_none() is None:
        raise UnknownEntry(entry_id)
    raise NotQuarantined(entry_id)


def list_quarantined(
    conn: Connection, corpus: str, after: int = 0, limit: int = 100
) -> tuple[QuarantinedEntry, ...]:
    """Return the entries of a corpus that are in quarantine by rising id, at most `limit`, starting
    after an id.

    Raises:
        UnknownCorpus InvalidFilter: a limit below one.

    """
    if limit < 1:
        raise InvalidFilter("limit must be at least 1")
    of_corpus = entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([corpus])))
    query = _QUARANTINED.where(of_corpus, entries.c.id > min(after, LARGEST_ID)).limit(limit)
    return tuple(_quarantined(row) for row in conn.execute(query))


def find_quarantined_images(
    conn: Connection, corpus: str, sha256s: Sequence[str]
) -> dict[str, int]:
    """Return those of these images that are in quarantine in a corpus, with their entries.

    None in a corpus that is not there. To be sure of them, hold the lock of the corpus. Two lookups
    by key and not one join, for which SQLite reads the whole corpus.
    """
    found: dict[str, int] = {}
    for some in slices(sha256s):
        named = conn.execute(
            select(images.c.id, images.c.sha256).where(is_any(conn, images.c.sha256, some))
        )
        sha256_of = {row.id: row.sha256 for row in named}
        if not sha256_of:
            continue
        query = select(entries.c.image_id, entries.c.id).where(
            is_any(conn, entries.c.image_id, list(sha256_of)), entries.c.removal_reason.is_not(None)
        )
        query = query.join(corpora, corpora.c.id == entries.c.corpus_id)
        query = query.where(corpora.c.name == corpus, corpora.c.removed_at.is_(None))
        found |= {sha256_of[row.image_id]: row.id for row in conn.execute(query)}
    return found


def check_reason(reason: str) -> str:
    """Return a reason as it is stored; raises InvalidReason, InvalidProvenance for text that cannot
    be stored.
    """
    told = storable_text(reason)
    if told is None or len(told) > MAX_REASON_CHARACTERS:
        raise InvalidReason(
            f"a quarantine needs a reason of 1 to {MAX_REASON_CHARACTERS:,} characters"
        )
    return told


def _provenance(was: QuarantinedEntry) -> Provenance:
    """What the entry said, and that it was here."""
    entry, earlier = was.entry, was.entry.provenance.get(RELEASED)
    item: JSON = {"entry": entry.id, "reason": was.reason, "quarantined_at": was.since.isoformat()}
    extra = {
        **entry.provenance,
        RELEASED: [*earlier, item] if isinstance(earlier, list) else [item],
    }
    told = Provenance(
        entry.generator, entry.label, entry.licence, entry.source, entry.acquired_at, extra
    )
    return told.normalise()


def _quarantined(row: Row[*tuple[Any, ...]]) -> QuarantinedEntry:
    *entry, reason, since = row
    return QuarantinedEntry(entry_from_row(entry), reason, since)
