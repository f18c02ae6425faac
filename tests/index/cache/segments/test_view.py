"""A view moved to another sealed segment has the same members, whatever that segment contains and
however it numbers its words.
"""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.segments.facts import FACTS, NO_WORD, Words, facts_of, translate
from index.cache.segments.sealed import SealedSegment
from index.cache.segments.view import View
from index.cache.vectors.rows import HeldRows
from index.truth.changes import MemberRow
from index.truth.digest import EMPTY, add_member, add_members
from index.truth.vectors import to_bytes

DIMENSION = 4
TEXTS = [None, "sdxl", "flux.1", "stylegan2"]


def member(entry_id: int) -> MemberRow:
    vector = np.random.default_rng(entry_id).standard_normal(DIMENSION).astype(np.float32)
    text = TEXTS[entry_id % len(TEXTS)]
    return MemberRow(entry_id, to_bytes(vector), entry_id % 3, text, TEXTS[entry_id % 2], None)


def sealed_of(ids: list[int]) -> SealedSegment:
    words = Words()
    rows = [member(i) for i in ids]
    stored = np.array([np.frombuffer(row.vector, "<f4") for row in rows], np.float32).reshape(
        -1, DIMENSION
    )
    return SealedSegment(HeldRows(stored), facts_of(rows, words), words)


def view_of(ids: list[int], growing: list[int], removed: set[int]) -> View:
    sealed = sealed_of(ids)
    rows = [member(i) for i in ids]
    digest = add_members(EMPTY, (row.entry_id for row in rows), (row.vector for row in rows))
    view = View.of_sealed(sealed, None, len(ids), digest, DIMENSION).add(
        [member(i) for i in growing]
    )
    return view.remove(sorted(removed)).at_generation(100)


def members_of(view: View) -> dict[int, Any]:
    """Every member with its vector and what its facts say, in texts."""
    found = {}
    for part, facts in zip(view.parts, (view.sealed.facts, view.growing.facts), strict=True):
        texts = part.segment.words.texts()
        for position in part.positions():
            fact = facts[position]
            words = [None if n == NO_WORD else texts[n] for n in (fact["generator"], fact["label"])]
            vector = part.segment.vectors(np.array([position]))[0]
            found[int(fact["id"])] = (to_bytes(vector), int(fact["corpus_id"]), *words)
    return found


ids = st.lists(st.integers(1, 40), unique=True, max_size=20)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    old=ids, added=ids, new=st.lists(st.integers(1, 60), unique=True, max_size=30), data=st.data()
)
def test_a_view_moved_to_any_sealed_segment_has_the_same_members(
    old: list[int], added: list[int], new: list[int], data: st.DataObject
) -> None:
    growing = [i for i in added if i not in old]
    removed = data.draw(st.sets(st.sampled_from([*old, *growing]))) if old or growing else set()
    view = view_of(old, growing, removed)
    moved = view.move_to(sealed_of(new))
    assert (
        members_of(moved)
        == members_of(view)
        == {i: members_of(view)[i] for i in {*old, *growing} - removed}
    )
    assert (moved.generation, moved.count) == (view.generation, view.count)
    assert moved.digest == view.digest == moved.compute_digest()
    assert moved.growing.size == len({*old, *growing} - removed - set(new))
    assert members_of(moved.add([member(100)])).keys() == members_of(view).keys() | {100}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    old=ids,
    added=ids,
    later=ids,
    new=st.lists(st.integers(1, 60), unique=True, max_size=30),
    data=st.data(),
)
def test_a_moved_view_can_take_over_later_changes(
    old: list[int], added: list[int], later: list[int], new: list[int], data: st.DataObject
) -> None:
    growing = [i for i in added if i not in old]
    removed = data.draw(st.sets(st.sampled_from([*old, *growing]))) if old or growing else set()
    view = view_of(old, growing, removed)
    more = [i for i in later if i not in {*old, *growing}]
    left = sorted({*old, *growing, *more} - removed)
    gone = data.draw(st.sets(st.sampled_from(left))) if left else set()
    after = view.add([member(i) for i in more]).remove(sorted(gone)).at_generation(200)
    moved = view.move_to(sealed_of(new)).apply_difference(view, after)
    assert members_of(moved) == members_of(after)
    assert (moved.generation, moved.count) == (200, after.count)
    assert moved.digest == after.digest == moved.compute_digest()
    assert members_of(view).keys() == {*old, *growing} - removed  # the first view has not changed


def test_facts_are_translated_by_their_texts() -> None:
    words, into = Words(["a", "b", "c"]), Words(["c"])
    facts = np.zeros(3, FACTS)
    facts["generator"], facts["label"] = [2, NO_WORD, 0], [0, 0, 1]
    out = translate(facts, words, into)
    assert into.texts() == ["c", "a", "b"]
    assert (out["generator"].tolist(), out["label"].tolist()) == ([0, NO_WORD, 1], [1, 1, 2])
    assert facts["generator"].tolist() == [2, NO_WORD, 0]


def test_a_digest_of_many_members_is_that_of_one_after_another() -> None:
    members = [(i, to_bytes(np.full(3, i, np.float32))) for i in range(50)]
    one_by_one = EMPTY
    for entry_id, vector in members:
        one_by_one = add_member(one_by_one, entry_id, vector)
    assert add_members(EMPTY, [i for i, _ in members], [v for _, v in members]) == one_by_one
