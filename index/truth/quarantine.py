"""Quarantine: an entry that appears in no answer for a given reason, and that can be released.

A quarantine is a removal with a reason: the change log records it like any removal, and the image
files stay. A release creates a new entry, because ids are never reused.
`index.truth.adding.add_entries` skips images in quarantine. See
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
from index.truth.adding import insert_entries
from index.truth.changes import record_additions
from index.truth.corpora import find_corpus_ids, lock_corpus
from index.truth.entries import ENTRIES, Entry, entry_from_row, get_entry, remove_entry
from index.truth.provenance import Provenance, storable_text
from index.truth.schema import LARGEST_ID, corpora, entries, images
from index.truth.statements import is_any, slices

MAX_REASON_CHARACTERS = 1000  # as for the description of a corpus: a sentence or two, not a report
# The key in the provenance of the new entry that lists its earlier entries, one for each release.
RELEASED = "released_from_quarantine"


@dataclass(frozen=True, slots=True)
class QuarantinedEntry:
    """An entry in quarantine, with the reason and the time of its quarantine."""

    entry: Entry
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Release:
    """The entry of an image after its release from quarantine.

    `is_new` is False if the corpus already had the image again.
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
    """Put an entry into quarantine; after the commit it appears in no answer of any process.

    Raises:
        UnknownEntry: no live entry has this id; it may be removed or in quarantine already.
        InvalidReason: the reason is empty or too long.

    """
    remove_entry(conn, entry_id, check_reason(reason))
    return get_quarantined(conn, entry_id)


def release_entry(conn: Connection, entry_id: int) -> Release:
    """Release an entry from quarantine as a new entry with the same image, corpus and provenance.

    The provenance also names the earlier entry. If the corpus has the image again, its entry is
    returned and none is created. The new entry is a member of the spaces in which its image has an
    embedding, so a space that is newer than the quarantine lacks it until it is embedded there.

    Raises:
        UnknownEntry: no entry ever had this id.
        NotQuarantined: the entry is not in quarantine.

    """
    quarantined = get_quarantined(conn, entry_id)
    corpus_id = lock_corpus(conn, quarantined.entry.corpus)
    row = conn.execute(
        update(entries)
        .where(entries.c.id == entry_id, entries.c.removal_reason.is_not(None))
        .values(removal_reason=None)
        .returning(entries.c.image_id, entries.c.job_id)
    ).one_or_none()
    if row is None:  # another process released it while this one waited
        raise NotQuarantined(entry_id)
    inserted = insert_entries(
        conn, corpus_id, {row.image_id: _extend_provenance(quarantined)}, row.job_id
    )
    record_additions(conn, [row.image_id])
    if inserted:
        return Release(get_entry(conn, inserted[row.image_id]), quarantined, is_new=True)
    existing = select(entries.c.id).where(
        entries.c.corpus_id == corpus_id,
        entries.c.image_id == row.image_id,
        entries.c.removed_at.is_(None),
    )
    return Release(get_entry(conn, conn.execute(existing).scalar_one()), quarantined, is_new=False)


def get_quarantined(conn: Connection, entry_id: int) -> QuarantinedEntry:
    """Return an entry that is in quarantine.

    Raises:
        UnknownEntry: no entry ever had this id.
        NotQuarantined: the entry is live, removed or released.

    """
    if not 0 < entry_id <= LARGEST_ID:
        raise UnknownEntry(entry_id)
    row = conn.execute(_QUARANTINED.where(entries.c.id == entry_id)).one_or_none()
    if row is not None:
        return _from_row(row)
    if conn.execute(select(entries.c.id).where(entries.c.id == entry_id)).one_or_none() is None:
        raise UnknownEntry(entry_id)
    raise NotQuarantined(entry_id)


def list_quarantined(
    conn: Connection, corpus: str, after: int = 0, limit: int = 100
) -> tuple[QuarantinedEntry, ...]:
    """Return at most `limit` quarantined entries of a corpus with ids above `after`, ascending.

    Raises:
        UnknownCorpus: no live corpus has this name.
        InvalidFilter: the limit is below one.

    """
    if limit < 1:
        raise InvalidFilter("limit must be at least 1")
    of_corpus = entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([corpus])))
    query = _QUARANTINED.where(of_corpus, entries.c.id > min(after, LARGEST_ID)).limit(limit)
    return tuple(_from_row(row) for row in conn.execute(query))


def find_quarantined_images(
    conn: Connection, corpus: str, sha256s: Sequence[str]
) -> dict[str, int]:
    """Return the entry ids of those of these images that are in quarantine in a corpus.

    Returns nothing for an unknown corpus. Hold the lock of the corpus if the answer must stay
    valid. Two queries by key replace a join, for which SQLite would read the whole corpus.
    """
    found: dict[str, int] = {}
    for some in slices(sha256s):
        rows = conn.execute(
            select(images.c.id, images.c.sha256).where(is_any(conn, images.c.sha256, some))
        )
        sha256_of = {row.id: row.sha256 for row in rows}
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
    """Return the reason in its stored form, trimmed.

    Raises:
        InvalidReason: the reason is empty or too long.
        InvalidProvenance: the databases cannot store the text.

    """
    text = storable_text(reason)
    if text is None or len(text) > MAX_REASON_CHARACTERS:
        raise InvalidReason(
            f"a quarantine needs a reason of 1 to {MAX_REASON_CHARACTERS:,} characters"
        )
    return text


def _extend_provenance(quarantined: QuarantinedEntry) -> Provenance:
    """Return the provenance of the entry, extended by the quarantine that ends."""
    entry, earlier = quarantined.entry, quarantined.entry.provenance.get(RELEASED)
    item: JSON = {
        "entry": entry.id,
        "reason": quarantined.reason,
        "quarantined_at": quarantined.since.isoformat(),
    }
    extra = {
        **entry.provenance,
        RELEASED: [*earlier, item] if isinstance(earlier, list) else [item],
    }
    provenance = Provenance(
        entry.generator, entry.label, entry.licence, entry.source, entry.acquired_at, extra
    )
    return provenance.normalise()


def _from_row(row: Row[*tuple[Any, ...]]) -> QuarantinedEntry:
    *entry, reason, since = row
    return QuarantinedEntry(entry_from_row(entry), reason, since)
