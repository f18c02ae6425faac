"""Filters select exactly what the same rules select in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.errors import InvalidFilter, UnknownCorpus
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, create_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import Entry, list_entries, remove_entry
from index.truth.filters import (
    EVERYTHING,
    Filter,
    normalise_generators,
    normalise_labels,
    select_corpus_ids,
    select_ids,
)
from index.truth.free_provenance import ProvenanceIs
from index.truth.provenance import Provenance, normalise_generator
from index.truth.quarantine import quarantine_entry
from index.truth.spaces import find_space_id

KINDS = {
    "fakes": CorpusKind.KNOWN_FAKE,
    "more": CorpusKind.KNOWN_FAKE,
    "reals": CorpusKind.KNOWN_REAL,
}
GENERATORS = [None, "SD XL", "sd-xl", "flux", "Straße"]
LABELS = [None, "cats", "dogs", "Cats"]
DAYS = [None, *(datetime(2026, 1, day, 12, tzinfo=UTC) for day in (1, 2, 3))]
CAMERAS = [None, "x100", 7]

filters = st.builds(
    Filter,
    corpora=st.none() | st.frozensets(st.sampled_from(sorted(KINDS))),
    kind=st.none() | st.sampled_from(CorpusKind),
    generators=st.none() | st.frozensets(st.sampled_from([*GENERATORS[1:], " FLUX ", "other"])),
    labels=st.none() | st.frozensets(st.sampled_from([*LABELS[1:], " dogs", "birds"])),
    acquired_from=st.sampled_from(DAYS),
    acquired_to=st.sampled_from(DAYS),
    provenance=st.frozensets(
        st.sampled_from([ProvenanceIs.at("camera", ["x100"]), ProvenanceIs.at("camera", [7, None])])
    ),
).filter(
    lambda each: (
        not (each.acquired_from and each.acquired_to) or each.acquired_from <= each.acquired_to
    )
)


def selects(chosen: Filter, entry: Entry) -> bool:
    """The meaning of a filter, without SQL."""
    generators = chosen.generators and {normalise_generator(each) for each in chosen.generators}
    labels = chosen.labels and {each.strip() for each in chosen.labels}
    return all(
        (
            chosen.corpora is None or entry.corpus in chosen.corpora,
            chosen.kind is None or entry.kind is chosen.kind,
            chosen.generators is None or entry.generator in (generators or ()),
            chosen.labels is None or entry.label in (labels or ()),
            chosen.acquired_from is None
            or (entry.acquired_at is not None and entry.acquired_at >= chosen.acquired_from),
            chosen.acquired_to is None
            or (entry.acquired_at is not None and entry.acquired_at < chosen.acquired_to),
            all(
                "camera" in entry.provenance
                and {"x100": '"x100"', 7: "7"}[entry.provenance["camera"]] in each.values  # type: ignore[index]
                for each in chosen.provenance
            ),
        )
    )


def entries_of(material: Any, seed: int) -> list[NewEntry]:
    """Entries with every value of every field, all of them in different combinations."""
    new = []
    for number in range(20):
        camera = CAMERAS[(number + seed) % len(CAMERAS)]
        new.append(
            material.entry(
                (number + 5 * seed) % 30,
                generator=GENERATORS[(number * 3 + seed) % len(GENERATORS)],
                label=LABELS[(number // 2 + seed) % len(LABELS)],
                acquired_at=DAYS[(number // 3 + seed) % len(DAYS)],
                extra={} if camera is None else {"camera": camera},
            )
        )
    return new


@pytest.fixture
def filled(database: Database, material: Any) -> Database:
    """Three corpora with entries of every kind, some of them removed, quarantined or elsewhere."""
    with database.write() as conn:
        for seed, (name, kind) in enumerate(KINDS.items()):
            create_corpus(conn, name, kind)
            added = add_entries(conn, name, material.space, entries_of(material, seed))
            remove_entry(conn, added[seed].entry_id)
            quarantine_entry(conn, added[seed + 4].entry_id, "looks wrong")
        create_corpus(conn, "gone", CorpusKind.KNOWN_FAKE)
        add_entries(conn, "gone", material.space, entries_of(material, 3))
        remove_corpus(conn, "gone")
        small = NewEntry(material.image("small"), material.vector("small", 4), 0.0, Provenance())
        add_entries(conn, "fakes", material.other_space, [small])
    return database


def chosen_ids(database: Database, material: Any, chosen: Filter) -> list[int]:
    with database.read() as conn:
        return select_ids(conn, find_space_id(conn, material.space) or 0, chosen).tolist()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(chosen=filters)
def test_a_filter_selects_what_its_rules_select(
    filled: Database, material: Any, chosen: Filter
) -> None:
    with filled.read() as conn:
        every = list_entries(conn, limit=1000)
    elsewhere = material.sha256("small")  # its only embedding is in the other space
    every = tuple(entry for entry in every if entry.sha256 != elsewhere)
    expected = [entry.id for entry in every if selects(chosen, entry)]
    assert chosen_ids(filled, material, chosen) == expected


def test_the_fixture_has_what_the_property_needs(filled: Database, material: Any) -> None:
    with filled.read() as conn:
        every = list_entries(conn, limit=1000)
    assert len({(e.generator, e.label, e.acquired_at, e.corpus) for e in every}) > 30
    assert {e.generator for e in every} == {None, "sd-xl", "flux", "strasse"}
    assert len(chosen_ids(filled, material, EVERYTHING)) == 3 * 18


@pytest.mark.parametrize(
    "chosen",
    [
        Filter(corpora=frozenset()),
        Filter(generators=frozenset()),
        Filter(labels=frozenset()),
        Filter(acquired_from=DAYS[1], acquired_to=DAYS[1]),
        Filter(generators=frozenset([" ", ""])),
    ],
)
def test_a_criterion_that_nothing_meets_selects_nothing(
    filled: Database, material: Any, chosen: Filter
) -> None:
    assert not chosen.selects_all
    assert chosen_ids(filled, material, chosen) == []


def test_only_the_empty_filter_selects_all() -> None:
    assert EVERYTHING.selects_all
    assert Filter().selects_all
    assert not Filter(kind=CorpusKind.KNOWN_FAKE).selects_all


def test_a_date_is_an_instant_whatever_its_zone(filled: Database, material: Any) -> None:
    day = DAYS[2]
    assert day is not None
    elsewhere = day.astimezone(timezone(timedelta(hours=-11)))
    one = chosen_ids(filled, material, Filter(acquired_from=day))
    assert chosen_ids(filled, material, Filter(acquired_from=elsewhere)) == one != []


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        (Filter(acquired_from=datetime(2026, 1, 1)), "no time zone"),
        (Filter(acquired_to=datetime(2026, 1, 1)), "no time zone"),
        (Filter(acquired_from=DAYS[2], acquired_to=DAYS[1]), "acquired_from is later"),
        (Filter(generators=frozenset(["a\x00"])), "NUL"),
        (Filter(labels=frozenset(["\ud800"])), "surrogate"),
    ],
)
def test_an_impossible_filter_says_what_is_wrong(
    filled: Database, material: Any, chosen: Filter, reason: str
) -> None:
    with pytest.raises(InvalidFilter, match=reason):
        chosen.check()
    with pytest.raises(InvalidFilter, match=reason):
        chosen_ids(filled, material, chosen)


@pytest.mark.parametrize("name", ["nowhere", "gone"])
def test_an_unknown_corpus_is_an_error_and_not_an_empty_answer(
    filled: Database, material: Any, name: str
) -> None:
    chosen = Filter(corpora=frozenset(["fakes", name]))
    with pytest.raises(UnknownCorpus) as caught:
        chosen_ids(filled, material, chosen)
    assert caught.value.name == name
    with filled.read() as conn, pytest.raises(UnknownCorpus):
        select_corpus_ids(conn, chosen)


def test_an_entry_is_only_in_the_spaces_of_its_image(filled: Database, material: Any) -> None:
    with filled.read() as conn:
        other_id = find_space_id(conn, material.other_space)
        assert other_id is not None
        (entry_id,) = select_ids(conn, other_id, EVERYTHING).tolist()
        assert entry_id not in chosen_ids(filled, material, EVERYTHING)
        assert select_ids(conn, 77, EVERYTHING).tolist() == []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(chosen=filters)
def test_the_corpora_of_a_filter_are_those_that_it_names_of_its_kind(
    filled: Database, chosen: Filter
) -> None:
    with filled.read() as conn:
        found = select_corpus_ids(conn, chosen)
        ids = {
            name: (select_corpus_ids(conn, Filter(corpora=frozenset([name]))) or (0,))[0]
            for name in KINDS
        }
    if chosen.corpora is None and chosen.kind is None:
        assert found is None
    else:
        assert found == tuple(
            sorted(
                ids[name]
                for name, kind in KINDS.items()
                if (chosen.corpora is None or name in chosen.corpora)
                and (chosen.kind is None or kind is chosen.kind)
            )
        )


def test_names_are_normalised_once_and_sorted() -> None:
    chosen = Filter(
        generators=frozenset(["SD XL", "sd-xl", "Flux", " "]), labels=frozenset([" b", "a", ""])
    )
    assert normalise_generators(chosen) == ["flux", "sd-xl"]
    assert normalise_labels(chosen) == ["a", "b"]
    assert normalise_generators(EVERYTHING) is None
    assert normalise_labels(EVERYTHING) is None
