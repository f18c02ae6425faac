"""JSON of an inspection and of the quarantine of a corpus."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.corpora.json import EntryAnswer
from api.fields import Answer, CorpusName
from index.truth.corpora import CorpusKind
from index.verdict import Relation


class QuarantineRequest(Answer):
    """Why an entry is put into quarantine."""

    reason: str = Field(
        min_length=1,
        max_length=1000,
        description="For people; it stays with the entry.",
        examples=["a photograph"],
    )


class QuarantinedAnswer(Answer):
    """An entry that is in no answer until it is released."""

    entry: EntryAnswer = Field(description="As it was.")
    reason: str = Field(description="Why it is in quarantine.")
    quarantined_at: datetime = Field(description="UTC.")


class QuarantinePage(Answer):
    """Entries in quarantine, in the order of their ids."""

    entries: list[QuarantinedAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )


class ReleasedAnswer(Answer):
    """What a release came to."""

    released: int = Field(description="The entry that was in quarantine; its id is not used again.")
    made: bool = Field(description="False: the corpus had this image again, so no entry was made.")
    entry: EntryAnswer = Field(
        description="The entry that the image has now, of the same provenance; "
        "`released_from_quarantine` in it names "
        "the entry it was, with reason and time."
    )


class InspectedEntry(Answer):
    """An entry that is named, and where its image came from."""

    id: int = Field(description="Of the entry.")
    corpus: CorpusName
    generator: str | None = Field(description="What made it, as told.")
    location: str = Field(description="Path or source, as told; empty where neither was.")


class NearAnswer(Answer):
    """The nearest entry of one side."""

    entry: InspectedEntry = Field(description="Of another picture.")
    cosine_similarity: float = Field(ge=-1, le=1, description="Up is nearer.")


class ContradictionAnswer(Answer):
    """A picture that is in a corpus of the other kind too."""

    entry: InspectedEntry = Field(description="Of this corpus.")
    other: InspectedEntry = Field(description="Of the other kind; one of `count`.")
    relation: Relation = Field(
        description="identical: the same sha256; near_duplicate: the same picture by perceptual "
        "hash, as a fake is too "
        "that was made from that photograph."
    )
    count: int = Field(ge=1, description="Entries of the other kind that show this picture.")


class ContradictionsAnswer(Answer):
    """Identical ones first, then by entry id."""

    total: int = Field(ge=0, description="How many there are.")
    items: list[ContradictionAnswer] = Field(description="The first `limit` of them.")


class SuspectAnswer(Answer):
    """A known fake that looks real from both sides.

    It is a reason to look at it, not a finding that it is real.
    """

    entry: InspectedEntry = Field(description="Of this corpus.")
    logit: float = Field(description="Of the classifier, not over its limit of authentic.")
    nearest_real: NearAnswer = Field(description="Known-real image; nearer than the nearest fake.")
    nearest_fake: NearAnswer = Field(description="Known fake, of this or another corpus.")


class SuspectsAnswer(Answer):
    """Those first that are nearer to the real side by most."""

    authentic_logit: float = Field(description="Up to it the classifier calls an image authentic.")
    total: int = Field(ge=0, description="How many there are.")
    items: list[SuspectAnswer] = Field(
        description="The first `limit` of them; `contradictions` are not repeated."
    )


class HubAnswer(Answer):
    """An entry that matches too much."""

    entry: InspectedEntry = Field(description="Of this corpus.")
    count: int = Field(ge=1, description="Pictures whose nearest entry of this corpus it is.")


class HubsAnswer(Answer):
    """Entries that are nearest more often than `limit_count`, most often first."""

    pictures: int = Field(
        ge=0, description="Pictures of which the nearest entry of this corpus was found."
    )
    expected: float = Field(ge=0, description="Mean count of an entry.")
    skewness: float = Field(
        description="Of the counts of all entries: 0 is symmetrical, hubs make it large."
    )
    limit_count: int = Field(
        ge=0,
        description="A hub has at least this count: over the mean by more than two standard "
        "deviations, and so many "
        "that chance would give them to an entry of one corpus in a hundred; 0 where nothing was "
        "compared.",
    )
    total: int = Field(ge=0, description="How many there are.")
    items: list[HubAnswer] = Field(description="The first `limit` of them.")


class ClusterAnswer(Answer):
    """Entries that show one picture, each near another of them by perceptual hash."""

    size: int = Field(ge=2, description="Entries in it.")
    entries: list[InspectedEntry] = Field(description="The first `limit` of them, by id.")


class ClustersAnswer(Answer):
    """The largest first."""

    total: int = Field(ge=0, description="How many there are.")
    entry_count: int = Field(ge=0, description="Entries in all of them together.")
    items: list[ClusterAnswer] = Field(description="The first `limit` of them.")


class InspectionAnswer(Answer):
    """What deserves a look in a corpus, from stored embeddings, logits and perceptual hashes.

    Nothing is changed.
    """

    corpus: CorpusName
    kind: CorpusKind = Field(description="known_fake or known_real.")
    generation: int = Field(ge=0, description="The last change that was seen.")
    entry_count: int = Field(ge=0, description="Live entries of the corpus.")
    compared: int = Field(
        ge=0, description="Of them, those embedded by the active model; only they were looked at."
    )
    hashed: int = Field(
        ge=0, description="Of those, the ones whose perceptual hash can be compared."
    )
    known_real: int = Field(
        ge=0, description="Known-real images of other corpora that they were compared with."
    )
    known_fake: int = Field(
        ge=0, description="Known fakes of other corpora that they were compared with."
    )
    limit: int = Field(ge=1, description="Items listed of each kind; every `total` counts all.")
    contradictions: ContradictionsAnswer = Field(
        description="Pictures that are in a corpus of the other kind too."
    )
    looks_real: SuspectsAnswer | None = Field(
        description="Known fakes that look real from both sides: the classifier calls them "
        "authentic, and a known-real "
        "image is nearer than any known fake of another picture. Null in a corpus of known reals, "
        "and where the model "
        "has no limit of authentic."
    )
    hubs_for_photographs: HubsAnswer | None = Field(
        description="Entries that are the nearest one of too many known-real images; null where "
        "there are none."
    )
    hubs_within: HubsAnswer = Field(
        description="Entries that are the nearest one of too many others of this corpus."
    )
    clusters: ClustersAnswer = Field(description="Near duplicates within the corpus.")
