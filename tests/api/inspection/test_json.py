"""JSON of an inspection, made from findings and rows alone: no model, no images."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from api.inspection.json import (
    ClustersAnswer,
    ContradictionsAnswer,
    HubsAnswer,
    InspectionAnswer,
    NamedEntries,
    SuspectsAnswer,
    list_entry_ids,
)
from index.proof.inspection import (
    Contradiction,
    Hub,
    HubReport,
    Inspection,
    NearEntry,
    Suspect,
)
from index.truth.corpora import CorpusKind, Keep
from index.truth.entries import Entry
from index.truth.images import ImageFacts
from index.verdict import Relation

NO_HUBS = HubReport(pictures=0, expected=0.0, skewness=0.0, limit=0, hubs=())
INSPECTION = Inspection(
    corpus="fakes",
    kind=CorpusKind.KNOWN_FAKE,
    generation=7,
    entries=9,
    embedded=8,
    hashed=6,
    known_reals=5,
    known_fakes=4,
    contradictions=(
        Contradiction(1, 101, identical=True, count=3),
        Contradiction(2, 102, identical=False, count=1),
    ),
    suspects=(
        Suspect(3, -2.5, NearEntry(103, 0.9), NearEntry(104, 0.5)),
        Suspect(4, -1.5, NearEntry(105, 0.8), NearEntry(4, 0.7)),
    ),
    photographs=HubReport(40, 1.4, 5.5, 8, (Hub(5, 40), Hub(6, 9))),
    within=HubReport(8, 1.0, 0.1, 5, (Hub(6, 5),)),
    clusters=((1, 7, 8), (2, 9)),
)


def entry(
    entry_id: int, corpus: str, source: str | None = None, provenance: dict[str, Any] | None = None
) -> Entry:
    return Entry(
        id=entry_id,
        corpus=corpus,
        kind=CorpusKind.KNOWN_FAKE,
        keep=Keep.NONE,
        image=ImageFacts(f"{entry_id:064x}", 10, 8, 8, "png"),
        generator="sdxl",
        label=None,
        licence=None,
        source=source,
        acquired_at=None,
        provenance=provenance or {},
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        job_id=None,
    )


def no_entries() -> NamedEntries:
    return NamedEntries({}, "fakes")


def test_a_known_entry_is_named_with_its_corpus_generator_and_path() -> None:
    known = {
        1: entry(1, "more", "a source", {"path": "a/b.png"}),
        2: entry(2, "more", "a source"),
        3: entry(3, "more"),
    }
    names = NamedEntries(known, "fakes")
    assert names.name(1).model_dump() == {
        "id": 1,
        "corpus": "more",
        "generator": "sdxl",
        "location": "a/b.png",
    }
    assert [names.name(i).location for i in (2, 3)] == ["a source", ""]


def test_an_entry_that_was_removed_since_has_its_id_only() -> None:
    assert no_entries().name(4).model_dump() == {
        "id": 4,
        "corpus": "fakes",
        "generator": None,
        "location": "",
    }


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_every_kind_is_counted_in_full_and_listed_up_to_the_limit(limit: int) -> None:
    answer = InspectionAnswer.of(INSPECTION, limit, -1.0, no_entries())
    assert answer.limit == limit
    assert answer.looks_real is not None
    assert answer.hubs_for_photographs is not None
    kinds = (
        (answer.contradictions, 2),
        (answer.looks_real, 2),
        (answer.hubs_for_photographs, 2),
        (answer.hubs_within, 1),
        (answer.clusters, 2),
    )
    for kind, total in kinds:
        assert (kind.total, len(kind.items)) == (total, min(limit, total))


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_the_ids_to_read_are_those_that_the_answer_names(limit: int) -> None:
    answer = InspectionAnswer.of(INSPECTION, limit, -1.0, no_entries()).model_dump()

    def named(part: object) -> set[int]:
        if isinstance(part, dict):
            own = {part["id"]} if "location" in part else set()
            return own.union(*(named(value) for value in part.values()))
        return set().union(*map(named, part)) if isinstance(part, list) else set()

    ids = list_entry_ids(INSPECTION, limit)
    assert ids == sorted(named(answer))


def test_the_counts_of_an_inspection_are_those_of_its_answer() -> None:
    answer = InspectionAnswer.of(INSPECTION, 5, -1.0, no_entries())
    assert (answer.corpus, answer.kind, answer.generation) == ("fakes", "known_fake", 7)
    assert (answer.entry_count, answer.compared, answer.hashed) == (9, 8, 6)
    assert (answer.known_real, answer.known_fake) == (5, 4)


def test_a_contradiction_says_whether_the_bytes_are_the_same() -> None:
    answer = ContradictionsAnswer.of(INSPECTION, 5, no_entries())
    assert [(each.entry.id, each.other.id, each.relation, each.count) for each in answer.items] == [
        (1, 101, Relation.IDENTICAL, 3),
        (2, 102, Relation.NEAR_DUPLICATE, 1),
    ]


def test_a_suspect_names_its_nearest_entries_of_both_kinds() -> None:
    answer = SuspectsAnswer.of(INSPECTION, 1, -1.0, no_entries())
    assert answer is not None
    assert answer.no_traces_logit == -1.0
    (suspect,) = answer.items
    assert (suspect.entry.id, suspect.logit) == (3, -2.5)
    assert (suspect.nearest_real.entry.id, suspect.nearest_real.cosine_similarity) == (103, 0.9)
    assert (suspect.nearest_fake.entry.id, suspect.nearest_fake.cosine_similarity) == (104, 0.5)


def test_there_are_no_suspects_among_known_reals_or_without_a_limit_of_no_traces() -> None:
    assert SuspectsAnswer.of(INSPECTION, 5, None, no_entries()) is None
    reals = replace(INSPECTION, suspects=None, photographs=None, within=NO_HUBS)
    assert SuspectsAnswer.of(reals, 5, -1.0, no_entries()) is None
    answer = InspectionAnswer.of(reals, 5, -1.0, no_entries())
    assert (answer.looks_real, answer.hubs_for_photographs) == (None, None)
    assert list_entry_ids(reals, 1) == [1, 101]


def test_hubs_carry_their_limit_and_the_figures_behind_it() -> None:
    assert INSPECTION.photographs is not None
    answer = HubsAnswer.of(INSPECTION.photographs, 1, no_entries())
    assert (answer.pictures, answer.expected, answer.skewness, answer.limit_count) == (
        40,
        1.4,
        5.5,
        8,
    )
    assert [(hub.entry.id, hub.count) for hub in answer.items] == [(5, 40)]


def test_a_cluster_has_its_whole_size_and_lists_up_to_the_limit() -> None:
    answer = ClustersAnswer.of(INSPECTION, 2, no_entries())
    assert (answer.total, answer.entry_count) == (2, 5)
    assert [(each.size, [entry.id for entry in each.entries]) for each in answer.items] == [
        (3, [1, 7]),
        (2, [2, 9]),
    ]
