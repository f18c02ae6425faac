"""JSON of an inspection and of the quarantine of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import Field

from api.corpora.json import EntryAnswer
from api.fields import Answer, CorpusName, Order
from api.server_paths import name_path
from index.proof.inspection import (
    Contradiction,
    Hub,
    HubReport,
    Inspection,
    NearEntry,
    Suspect,
)
from index.truth.corpora import CorpusKind
from index.truth.entries import Entry
from index.truth.quarantine import QuarantinedEntry, Release
from index.verdict import Relation


class QuarantineRequest(Order):
    """The reason for putting an entry into quarantine."""

    reason: str = Field(
        min_length=1,
        max_length=1000,
        description="Reason, for people. It is stored with the entry.",
        examples=["a photograph"],
    )


class QuarantinedAnswer(Answer):
    """An entry in quarantine. No answer contains it until it is released."""

    entry: EntryAnswer = Field(description="The entry as it was before the quarantine.")
    reason: str = Field(description="Reason for the quarantine.")
    quarantined_at: datetime = Field(description="When the entry was put into quarantine, in UTC.")

    @classmethod
    def of(cls, quarantined: QuarantinedEntry) -> QuarantinedAnswer:
        return cls(
            entry=EntryAnswer.of(quarantined.entry),
            reason=quarantined.reason,
            quarantined_at=quarantined.since,
        )


class QuarantinePage(Answer):
    """One page of entries in quarantine, ordered by id."""

    entries: list[QuarantinedAnswer] = Field(
        description="The entries of this page, at most `limit`."
    )
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. Null on the last page."
    )


class ReleasedAnswer(Answer):
    """The result of releasing an entry from quarantine."""

    released: int = Field(
        description="Id of the entry that was in quarantine. It is not used again."
    )
    made: bool = Field(
        description="True if a new entry was created. False if the corpus already held the image "
        "again."
    )
    entry: EntryAnswer = Field(
        description="The image's entry now, with the provenance of the old one. In it, "
        "`released_from_quarantine` names the old entry, the reason and the time."
    )

    @classmethod
    def of(cls, released: Release) -> ReleasedAnswer:
        return cls(
            released=released.quarantined.entry.id,
            made=released.is_new,
            entry=EntryAnswer.of(released.entry),
        )


class InspectedEntry(Answer):
    """An entry named by an inspection, and where its image came from."""

    id: int = Field(description="Id of the entry.")
    corpus: CorpusName = Field(description="Name of the corpus that holds the entry.")
    generator: str | None = Field(
        description="Name of the generator that made the image. Null if not declared."
    )
    location: str = Field(description="Path or source of the image. Empty if neither was declared.")


class NamedEntries:
    """The entries that an inspection names; an entry that was removed since has only its id."""

    def __init__(self, entries: Mapping[int, Entry], corpus: str) -> None:
        self._entries = entries
        self._corpus = corpus

    def name(self, entry_id: int) -> InspectedEntry:
        entry = self._entries.get(entry_id)
        if entry is None:
            return InspectedEntry(id=entry_id, corpus=self._corpus, generator=None, location="")
        location = name_path(str(entry.provenance.get("path") or entry.source or ""))
        return InspectedEntry(
            id=entry_id, corpus=entry.corpus, generator=entry.generator, location=location
        )


class NearAnswer(Answer):
    """The nearest entry of one kind."""

    entry: InspectedEntry = Field(
        description="The entry. It shows another image than the inspected one."
    )
    cosine_similarity: float = Field(
        ge=-1, le=1, description="Cosine similarity to the inspected entry. Higher is nearer."
    )

    @classmethod
    def of(cls, near: NearEntry, entries: NamedEntries) -> NearAnswer:
        return cls(entry=entries.name(near.entry_id), cosine_similarity=near.cosine_similarity)


class ContradictionAnswer(Answer):
    """An image that corpora of both kinds hold."""

    entry: InspectedEntry = Field(description="The entry in the inspected corpus.")
    other: InspectedEntry = Field(
        description="One of the `count` entries in corpora of the other kind."
    )
    relation: Relation = Field(
        description="identical: the files have the same SHA-256. near_duplicate: the perceptual "
        "hashes match. A fake made by editing a photograph can also match that "
        "photograph."
    )
    count: int = Field(
        ge=1, description="Number of entries of the other kind that show this image."
    )

    @classmethod
    def of(cls, contradiction: Contradiction, entries: NamedEntries) -> ContradictionAnswer:
        return cls(
            entry=entries.name(contradiction.entry_id),
            other=entries.name(contradiction.other_entry_id),
            relation=Relation.IDENTICAL if contradiction.identical else Relation.NEAR_DUPLICATE,
            count=contradiction.count,
        )


class ContradictionsAnswer(Answer):
    """Images that corpora of both kinds hold. Identical files come first, then by entry id."""

    total: int = Field(ge=0, description="Number of contradictions.")
    items: list[ContradictionAnswer] = Field(description="The first `limit` of them.")

    @classmethod
    def of(cls, inspection: Inspection, limit: int, entries: NamedEntries) -> ContradictionsAnswer:
        listed = inspection.contradictions[:limit]
        return cls(
            total=len(inspection.contradictions),
            items=[ContradictionAnswer.of(each, entries) for each in listed],
        )


class SuspectAnswer(Answer):
    """A known fake that looks like a real image by two criteria.

    This is a reason to check the entry. It does not show that the image is real.
    """

    entry: InspectedEntry = Field(description="The entry in the inspected corpus.")
    logit: float = Field(
        description="Logit of the classifier. It does not exceed `no_traces_logit`."
    )
    nearest_real: NearAnswer = Field(
        description="The nearest known-real image. It is nearer than the nearest fake."
    )
    nearest_fake: NearAnswer = Field(
        description="The nearest other known fake, in this or another corpus."
    )

    @classmethod
    def of(cls, suspect: Suspect, entries: NamedEntries) -> SuspectAnswer:
        return cls(
            entry=entries.name(suspect.entry_id),
            logit=suspect.logit,
            nearest_real=NearAnswer.of(suspect.real, entries),
            nearest_fake=NearAnswer.of(suspect.fake, entries),
        )


class SuspectsAnswer(Answer):
    """Known fakes that look like real images.

    Those with the largest difference between the two similarities come first.
    """

    no_traces_logit: float = Field(
        description="The classifier's verdict is no_traces for a logit up to this limit."
    )
    total: int = Field(ge=0, description="Number of suspects.")
    items: list[SuspectAnswer] = Field(
        description="The first `limit` of them. Entries listed under `contradictions` are not "
        "repeated here."
    )

    @classmethod
    def of(
        cls,
        inspection: Inspection,
        limit: int,
        no_traces_logit: float | None,
        entries: NamedEntries,
    ) -> SuspectsAnswer | None:
        if inspection.suspects is None or no_traces_logit is None:
            return None
        return cls(
            no_traces_logit=no_traces_logit,
            total=len(inspection.suspects),
            items=[SuspectAnswer.of(each, entries) for each in inspection.suspects[:limit]],
        )


class HubAnswer(Answer):
    """An entry that is the nearest one of unusually many images."""

    entry: InspectedEntry = Field(description="The entry in the inspected corpus.")
    count: int = Field(
        ge=1, description="Number of images whose nearest entry of this corpus is this one."
    )

    @classmethod
    def of(cls, hub: Hub, entries: NamedEntries) -> HubAnswer:
        return cls(entry=entries.name(hub.entry_id), count=hub.count)


class HubsAnswer(Answer):
    """Entries that are the nearest one at least `limit_count` times, most often first."""

    pictures: int = Field(
        ge=0, description="Number of images whose nearest entry of this corpus was determined."
    )
    expected: float = Field(ge=0, description="Mean count over all entries.")
    skewness: float = Field(
        description="Skewness of the counts over all entries. 0 means symmetrical; hubs make it "
        "large."
    )
    limit_count: int = Field(
        ge=0,
        description="Smallest count of a hub. It exceeds the mean by more than two standard "
        "deviations, and chance alone produces it in at most one corpus of a hundred. "
        "0 if nothing was compared.",
    )
    total: int = Field(ge=0, description="Number of hubs.")
    items: list[HubAnswer] = Field(description="The first `limit` of them.")

    @classmethod
    def of(cls, report: HubReport, limit: int, entries: NamedEntries) -> HubsAnswer:
        return cls(
            pictures=report.pictures,
            expected=report.expected,
            skewness=report.skewness,
            limit_count=report.limit,
            total=len(report.hubs),
            items=[HubAnswer.of(hub, entries) for hub in report.hubs[:limit]],
        )


class ClusterAnswer(Answer):
    """Entries connected by matching perceptual hashes: versions of one image."""

    size: int = Field(ge=2, description="Number of entries in the cluster.")
    entries: list[InspectedEntry] = Field(description="The first `limit` of them, ordered by id.")

    @classmethod
    def of(cls, cluster: tuple[int, ...], limit: int, entries: NamedEntries) -> ClusterAnswer:
        return cls(
            size=len(cluster), entries=[entries.name(entry_id) for entry_id in cluster[:limit]]
        )


class ClustersAnswer(Answer):
    """Clusters of near duplicates, largest first."""

    total: int = Field(ge=0, description="Number of clusters.")
    entry_count: int = Field(ge=0, description="Number of entries in all clusters together.")
    items: list[ClusterAnswer] = Field(description="The first `limit` clusters.")

    @classmethod
    def of(cls, inspection: Inspection, limit: int, entries: NamedEntries) -> ClustersAnswer:
        return cls(
            total=len(inspection.clusters),
            entry_count=sum(map(len, inspection.clusters)),
            items=[
                ClusterAnswer.of(cluster, limit, entries) for cluster in inspection.clusters[:limit]
            ],
        )


class InspectionAnswer(Answer):
    """Entries of a corpus that a person should check.

    The inspection uses stored embeddings, logits and perceptual hashes. It changes nothing.
    """

    corpus: CorpusName = Field(description="Name of the inspected corpus.")
    kind: CorpusKind = Field(description="Kind of the corpus: known_fake or known_real.")
    generation: int = Field(ge=0, description="Number of the last change that the inspection saw.")
    entry_count: int = Field(ge=0, description="Number of entries in the corpus.")
    compared: int = Field(
        ge=0,
        description="Number of entries that have an embedding of the active model. Only these "
        "were inspected.",
    )
    hashed: int = Field(
        ge=0, description="Number of these entries whose perceptual hash can be compared."
    )
    known_real: int = Field(
        ge=0,
        description="Number of known-real images in other corpora that they were compared with.",
    )
    known_fake: int = Field(
        ge=0, description="Number of known fakes in other corpora that they were compared with."
    )
    limit: int = Field(
        ge=1,
        description="Largest number of items listed of each kind. Every `total` counts all of "
        "them.",
    )
    contradictions: ContradictionsAnswer = Field(
        description="Images that corpora of both kinds hold."
    )
    looks_real: SuspectsAnswer | None = Field(
        description="Known fakes that look like real images: the classifier's verdict is "
        "no_traces, and a known-real image is nearer than any other known fake. Null "
        "for a corpus of known-real images, and for a model without a limit for "
        "no_traces."
    )
    hubs_for_photographs: HubsAnswer | None = Field(
        description="Entries that are the nearest one of unusually many known-real images. Null "
        "without known-real images."
    )
    hubs_within: HubsAnswer = Field(
        description="Entries that are the nearest one of unusually many other entries of this "
        "corpus."
    )
    clusters: ClustersAnswer = Field(description="Near duplicates within the corpus.")

    @classmethod
    def of(
        cls,
        inspection: Inspection,
        limit: int,
        no_traces_logit: float | None,
        entries: NamedEntries,
    ) -> InspectionAnswer:
        photographs = inspection.photographs
        return cls(
            corpus=inspection.corpus,
            kind=inspection.kind,
            generation=inspection.generation,
            entry_count=inspection.entries,
            compared=inspection.embedded,
            hashed=inspection.hashed,
            known_real=inspection.known_reals,
            known_fake=inspection.known_fakes,
            limit=limit,
            contradictions=ContradictionsAnswer.of(inspection, limit, entries),
            looks_real=SuspectsAnswer.of(inspection, limit, no_traces_logit, entries),
            hubs_for_photographs=None
            if photographs is None
            else HubsAnswer.of(photographs, limit, entries),
            hubs_within=HubsAnswer.of(inspection.within, limit, entries),
            clusters=ClustersAnswer.of(inspection, limit, entries),
        )


def list_entry_ids(inspection: Inspection, limit: int) -> list[int]:
    """Return the rising ids of the entries that an answer with this limit names."""
    return sorted(set(_entry_ids(inspection, limit)))


def _entry_ids(inspection: Inspection, limit: int) -> Iterator[int]:
    for contradiction in inspection.contradictions[:limit]:
        yield from (contradiction.entry_id, contradiction.other_entry_id)
    for suspect in (inspection.suspects or ())[:limit]:
        yield from (suspect.entry_id, suspect.real.entry_id, suspect.fake.entry_id)
    for report in (inspection.photographs, inspection.within):
        yield from (hub.entry_id for hub in (report.hubs if report else ())[:limit])
    for cluster in inspection.clusters[:limit]:
        yield from cluster[:limit]
