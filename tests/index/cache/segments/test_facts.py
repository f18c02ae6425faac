"""Facts of entries as columns, and the numbers of their texts."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.segments.facts import (
    EPOCH,
    FACTS,
    NO_INSTANT,
    NO_WORD,
    Words,
    fact_record,
    facts_of,
    microseconds,
    translate,
)
from tests.index.cache.samples import member

texts = st.lists(st.text(max_size=4), max_size=12)


def test_one_record_is_thirty_two_bytes_on_disk() -> None:
    """Snapshots store these records: a change of the layout needs a new format of snapshots."""
    assert FACTS.itemsize == 32
    assert [FACTS.fields[name][1] for name in FACTS.names] == [0, 8, 16, 24, 28]  # type: ignore[index, union-attr]
    assert all(FACTS[name].byteorder in "=<" for name in FACTS.names)  # type: ignore[union-attr]


@settings(derandomize=True, deadline=None)
@given(texts)
def test_a_text_keeps_the_number_that_it_got_first(some: list[str]) -> None:
    words = Words()
    numbers = [words.number(text) for text in some]
    assert numbers == [words.number(text) for text in some]
    assert [words.texts()[number] for number in numbers] == some
    assert len(words) == len(set(some))
    again = Words(words.texts())
    assert [again.number(text) for text in some] == numbers


def test_no_text_has_the_number_of_none_and_asking_adds_nothing() -> None:
    words = Words(["a"])
    assert words.number(None) == NO_WORD
    assert words.find_numbers(["b", "a", "c"]) == [0]
    assert words.texts() == ["a"]


def test_a_copy_of_the_texts_does_not_change_the_words() -> None:
    words = Words(["a"])
    words.texts().append("b")
    assert words.texts() == ["a"]


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (None, NO_INSTANT),
        (EPOCH, 0),
        (EPOCH - timedelta(microseconds=1), -1),
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), 1_767_323_045_000_006),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
    ],
)
def test_an_instant_is_microseconds_since_1970(instant: datetime | None, expected: int) -> None:
    assert microseconds(instant) == expected


def test_facts_of_rows_are_the_records_of_each() -> None:
    words, rows = Words(), [member(i) for i in (7, 3, 20)]
    facts = facts_of(rows, words)
    other = Words(words.texts())
    records = [
        fact_record(r.entry_id, r.corpus_id, r.generator, r.label, r.acquired_at, other)
        for r in rows
    ]
    assert facts.tolist() == records
    assert other.texts() == words.texts()
    assert facts["acquired_at"][2] == NO_INSTANT  # member 20 has no date


def test_facts_of_no_rows_are_empty() -> None:
    assert facts_of([], Words()).shape == (0,)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), max_size=10),
    st.permutations(["a", "b", "c", "d", "e"]),
)
def test_translated_facts_have_the_same_texts(
    pairs: list[tuple[int, int]], order: list[str]
) -> None:
    words, into = Words(["a", "b", "c", "d", "e"]), Words(order[:2])
    facts = np.zeros(len(pairs), FACTS)
    facts["generator"], facts["label"] = [p[0] for p in pairs], [p[1] for p in pairs]
    facts["id"] = np.arange(len(pairs))
    out = translate(facts, words, into)
    for name, place in (("generator", 0), ("label", 1)):
        mine = [None if n == NO_WORD else into.texts()[n] for n in out[name]]
        assert mine == [None if p[place] == NO_WORD else words.texts()[p[place]] for p in pairs]
    assert out["id"].tolist() == facts["id"].tolist()
    assert facts["generator"].tolist() == [p[0] for p in pairs]
