"""Quarantine and inspection: the shared functions behind their routes and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from api.corpora.json import EntryAnswer
from api.inspection.json import (
    ClusterAnswer,
    ClustersAnswer,
    ContradictionAnswer,
    ContradictionsAnswer,
    HubAnswer,
    HubsAnswer,
    InspectedEntry,
    InspectionAnswer,
    NearAnswer,
    QuarantinedAnswer,
    QuarantinePage,
    ReleasedAnswer,
    SuspectAnswer,
    SuspectsAnswer,
)
from api.lineup import Lineup
from api.paging import page, read_number
from index.proof.inspection import HubReport, Inspection, NearEntry, inspect_corpus
from index.truth.database import Database
from index.truth.entries import Entry, find_entries
from index.truth.quarantine import (
    QuarantinedEntry,
    list_quarantined,
    quarantine_entry,
    release_entry,
)
from index.verdict import Relation

# Pairs of vectors that one request may have compared: some ten seconds of two busy cores.
# 500,000,000 took 24 s there (`python -m tests.benchmarks.inspection speed`, 2026-11-25).
MAX_COMPARISONS = 200_000_000


def put_into_quarantine(database: Database, entry_id: int, reason: str) -> QuarantinedAnswer:
    """Take an entry out of every answer; what is kept of its image stays.

    Raises `UnknownEntry`, `InvalidReason`.
    """
    with database.write() as connection:
        return _quarantined(quarantine_entry(connection, entry_id, reason))


def release(database: Database, entry_id: int) -> ReleasedAnswer:
    """Bring it back, as a new entry. Raises `UnknownEntry`, `NotQuarantined`."""
    with database.write() as connection:
        released = release_entry(connection, entry_id)
    return ReleasedAnswer(
        released=released.quarantined.entry.id,
        made=released.is_new,
        entry=EntryAnswer.of(released.entry),
    )


def quarantine_page(
    database: Database, corpus: str, cursor: str | None, limit: int
) -> QuarantinePage:
    """Entries in quarantine by id.

    Raises `UnknownCorpus`, `InvalidRequest` for a foreign cursor.
    """
    after = read_number(cursor) or 0
    with database.read() as connection:
        found = list_quarantined(connection, corpus, after, limit + 1)
    entries, next_cursor = page(found, limit, lambda quarantined: quarantined.entry.id)
    return QuarantinePage(entries=[_quarantined(each) for each in entries], next_cursor=next_cursor)


def inspect(
    lineup: Lineup, corpus: str, limit: int, max_comparisons: int | None = None
) -> InspectionAnswer:
    """Inspect a corpus by the active model; the first `limit` of each kind are listed, all are
    counted.

    Raises `UnknownCorpus`, `InspectionTooLarge`.
    """
    policy = lineup.classifier_policy
    authentic = policy.authentic_logit if policy else None
    found = inspect_corpus(
        lineup.database, lineup.space, corpus, authentic, max_comparisons=max_comparisons
    )
    with lineup.database.read() as connection:
        named = _Named(find_entries(connection, sorted(set(_ids(found, limit)))), corpus)
    return InspectionAnswer(
        corpus=found.corpus,
        kind=found.kind,
        generation=found.generation,
        entry_count=found.entries,
        compared=found.embedded,
        hashed=found.hashed,
        known_real=found.known_reals,
        known_fake=found.known_fakes,
        limit=limit,
        contradictions=_contradictions(found, limit, named),
        looks_real=_suspects(found, authentic, limit, named),
        hubs_for_photographs=None
        if found.photographs is None
        else _hubs(found.photographs, limit, named),
        hubs_within=_hubs(found.within, limit, named),
        clusters=_clusters(found, limit, named),
    )


class _Named:
    """What is told of entries that are named; one that was removed since the inspection has its id
    only.
    """

    def __init__(self, entries: Mapping[int, Entry], corpus: str) -> None:
        self._entries = entries
        self._corpus = corpus

    def of(self, entry_id: int) -> InspectedEntry:
        entry = self._entries.get(entry_id)
        if entry is None:
            return InspectedEntry(id=entry_id, corpus=self._corpus, generator=None, location="")
        location = str(entry.provenance.get("path") or entry.source or "")
        return InspectedEntry(
            id=entry_id, corpus=entry.corpus, generator=entry.generator, location=location
        )

    def near(self, near: NearEntry) -> NearAnswer:
        return NearAnswer(entry=self.of(near.entry_id), cosine_similarity=near.cosine_similarity)


def _ids(found: Inspection, limit: int) -> Iterator[int]:
    """The entries that are listed."""
    for contradiction in found.contradictions[:limit]:
        yield from (contradiction.entry_id, contradiction.other_entry_id)
    for suspect in (found.suspects or ())[:limit]:
        yield from (suspect.entry_id, suspect.real.entry_id, suspect.fake.entry_id)
    for report in (found.photographs, found.within):
        yield from (hub.entry_id for hub in (report.hubs if report else ())[:limit])
    for cluster in found.clusters[:limit]:
        yield from cluster[:limit]


def _contradictions(found: Inspection, limit: int, named: _Named) -> ContradictionsAnswer:
    items = [
        ContradictionAnswer(
            entry=named.of(each.entry_id),
            other=named.of(each.other_entry_id),
            relation=Relation.IDENTICAL if each.identical else Relation.NEAR_DUPLICATE,
            count=each.count,
        )
        for each in found.contradictions[:limit]
    ]
    return ContradictionsAnswer(total=len(found.contradictions), items=items)


def _suspects(
    found: Inspection, authentic: float | None, limit: int, named: _Named
) -> SuspectsAnswer | None:
    if found.suspects is None or authentic is None:
        return None
    items = [
        SuspectAnswer(
            entry=named.of(each.entry_id),
            logit=each.logit,
            nearest_real=named.near(each.real),
            nearest_fake=named.near(each.fake),
        )
        for each in found.suspects[:limit]
    ]
    return SuspectsAnswer(authentic_logit=authentic, total=len(found.suspects), items=items)


def _hubs(report: HubReport, limit: int, named: _Named) -> HubsAnswer:
    return HubsAnswer(
        pictures=report.pictures,
        expected=report.expected,
        skewness=report.skewness,
        limit_count=report.limit,
        total=len(report.hubs),
        items=[
            HubAnswer(entry=named.of(hub.entry_id), count=hub.count) for hub in report.hubs[:limit]
        ],
    )


def _clusters(found: Inspection, limit: int, named: _Named) -> ClustersAnswer:
    return ClustersAnswer(
        total=len(found.clusters),
        entry_count=sum(map(len, found.clusters)),
        items=[
            ClusterAnswer(
                size=len(cluster), entries=[named.of(entry_id) for entry_id in cluster[:limit]]
            )
            for cluster in found.clusters[:limit]
        ],
    )


def _quarantined(each: QuarantinedEntry) -> QuarantinedAnswer:
    return QuarantinedAnswer(
        entry=EntryAnswer.of(each.entry), reason=each.reason, quarantined_at=each.since
    )
