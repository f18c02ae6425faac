"""Inspection and quarantine of a corpus: the functions that the routes and the commands share."""

from __future__ import annotations

from api.inspection.json import (
    InspectionAnswer,
    NamedEntries,
    QuarantinedAnswer,
    QuarantinePage,
    ReleasedAnswer,
    list_entry_ids,
)
from api.paging import page, read_number
from index.proof.inspection import inspect_corpus
from index.truth.databases.database import Database
from index.truth.entries import find_entries
from index.truth.quarantine import list_quarantined, quarantine_entry, release_entry
from index.truth.spaces import Space
from index.verdict import ClassifierPolicy

# The number of pairs of vectors that one request may compare: some ten seconds of two busy cores.
# 500,000,000 took 24 s there (`python -m tests.benchmarks.inspection speed`, 2026-11-25).
MAX_COMPARISONS = 200_000_000


def put_into_quarantine(database: Database, entry_id: int, reason: str) -> QuarantinedAnswer:
    """Remove an entry from every answer. Its thumbnail and original stay.

    Raises `UnknownEntry`, `InvalidReason`.
    """
    with database.write() as connection:
        return QuarantinedAnswer.of(quarantine_entry(connection, entry_id, reason))


def release(database: Database, entry_id: int) -> ReleasedAnswer:
    """Bring an entry back from quarantine, as a new entry.

    Raises `UnknownEntry`, `NotQuarantined`.
    """
    with database.write() as connection:
        return ReleasedAnswer.of(release_entry(connection, entry_id))


def quarantine_page(
    database: Database, corpus: str, cursor: str | None, limit: int
) -> QuarantinePage:
    """Return one page of the entries in quarantine, ordered by id.

    Raises `UnknownCorpus`, and `InvalidRequest` for a foreign cursor.
    """
    after = read_number(cursor) or 0
    with database.read(unlimited=True) as connection:
        found = list_quarantined(connection, corpus, after, limit + 1)
    entries, next_cursor = page(found, limit, lambda quarantined: quarantined.entry.id)
    return QuarantinePage(
        entries=[QuarantinedAnswer.of(each) for each in entries], next_cursor=next_cursor
    )


def inspect(
    database: Database,
    space: Space,
    policy: ClassifierPolicy | None,
    corpus: str,
    limit: int,
    max_comparisons: int | None = None,
) -> InspectionAnswer:
    """Inspect a corpus in one embedding space. All findings are counted, and the first `limit` of
    each kind are listed.

    `policy` states at which logits the classifier finds no synthetic traces. Without it no known
    fake is reported to look real.

    Raises `UnknownCorpus`, `InspectionTooLarge`.
    """
    no_traces_logit = policy.no_traces_logit if policy else None
    inspection = inspect_corpus(
        database, space, corpus, no_traces_logit, max_comparisons=max_comparisons
    )
    with database.read(unlimited=True) as connection:
        entries = find_entries(connection, list_entry_ids(inspection, limit))
    return InspectionAnswer.of(inspection, limit, no_traces_logit, NamedEntries(entries, corpus))
