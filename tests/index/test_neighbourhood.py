from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.searching.questions import Neighbour, neighbour_order
from index.copies import CopyEvidence, LeadLimits, View
from index.leads import is_edited_copy, is_lead
from index.neighbourhood import join_candidates
from tests.index.assessing import correspondence, found, neighbour, verified

seeded = settings(settings.get_profile("index"))
LIMITS = LeadLimits(most_bits=44, least_similarity=0.6, source="test")


def hashed(bits: int) -> CopyEvidence:
    return CopyEvidence(view=View(), hamming_distance=bits)


def join(
    listed: Any, candidates: Any, compared: Any = None, most_leads: int = 10
) -> tuple[Neighbour, ...]:
    in_order = sorted(listed, key=neighbour_order)  # as a search returns them
    result = replace(found(*in_order), candidates=tuple(candidates))
    joined = join_candidates(result, compared or {}, LIMITS, most_leads)
    assert joined.candidates == ()
    assert (joined.generation, joined.searched) == (result.generation, result.searched)
    return joined.neighbours


def ids(neighbours: Any) -> list[int]:
    return [each.entry.id for each in neighbours]


def test_relations_stand_in_their_order() -> None:
    identical = neighbour(1, 0.1, identical=True)
    same_pixels = neighbour(2, 0.99995)
    near = neighbour(3, 0.2, near_duplicate=True)._replace(hamming_distance=12)
    few, many = neighbour(4, 0.9), neighbour(5, 0.1)
    described = neighbour(6, 0.1, copy=CopyEvidence(descriptor_similarity=0.7))
    nearer, further = neighbour(7, 0.9, copy=hashed(34)), neighbour(8, 0.95, copy=hashed(36))
    similar, other = neighbour(9, 0.97), neighbour(10, 0.96)
    listed = (further, similar, few, near, other, same_pixels)
    compared = {
        4: CopyEvidence(verified=True, correspondence=correspondence(20)),
        5: CopyEvidence(verified=True, correspondence=correspondence(30)),
    }
    joined = join(listed, (nearer, identical, many, described), compared)
    assert ids(joined) == [1, 2, 3, 5, 4, 6, 7, 8, 9, 10]


def test_without_copies_a_search_has_the_order_of_an_answer() -> None:
    identical, same_pixels = neighbour(4, 0.1, identical=True), neighbour(3, 0.99995)
    near = neighbour(2, 0.2, near_duplicate=True)._replace(hamming_distance=12)
    listed = (identical, same_pixels, near, neighbour(9, 0.97), neighbour(1, 0.96))
    unlike = neighbour(10, 0.5)
    of_no_copy = {10: CopyEvidence(verified=False)}
    assert join(listed, ()) == listed
    assert join((*listed, unlike), (), of_no_copy)[:-1] == listed


def test_a_candidate_that_is_neither_copy_nor_lead_is_left_out() -> None:
    candidates = (
        neighbour(2, 0.1, copy=hashed(60)),
        neighbour(3, 0.1),
        neighbour(4, 0.1, copy=hashed(40)),
    )
    refuted = {4: CopyEvidence(verified=False)}
    assert ids(join([neighbour(1, 0.5)], candidates, refuted)) == [1]


def test_the_nearest_leads_join_and_every_copy_does() -> None:
    leads = [neighbour(number, 0.1, copy=hashed(32 + 2 * number)) for number in range(1, 7)]
    copies = [neighbour(number, 0.1, copy=verified()) for number in range(11, 15)]
    assert ids(join([], [*leads, *copies], most_leads=2)) == [11, 12, 13, 14, 1, 2]


def test_what_geometry_found_joins_what_the_hash_said() -> None:
    listed = [neighbour(1, 0.5, copy=hashed(50)), neighbour(2, 0.4, copy=hashed(40))]
    compared = {
        1: CopyEvidence(
            verified=True, correspondence=correspondence(25), false_match_probability=0.001
        ),
        2: CopyEvidence(),  # it could not be compared
    }
    first, second = join(listed, [], compared)
    assert first.copy == CopyEvidence(
        view=View(),
        hamming_distance=50,
        verified=True,
        correspondence=correspondence(25),
        false_match_probability=0.001,
    )
    assert second.copy == hashed(40)


evidence = st.one_of(
    st.none(),
    st.builds(CopyEvidence, st.just(View()), st.integers(32, 60).map(lambda half: half)),
    st.builds(CopyEvidence, descriptor_similarity=st.floats(-1, 1)),
    st.integers(5, 300).map(verified),
)


def some(first_id: int) -> Any:
    return st.lists(st.tuples(st.floats(-1, 1), evidence), max_size=6).map(
        lambda drawn: [neighbour(first_id + n, at, copy=copy) for n, (at, copy) in enumerate(drawn)]
    )


@seeded
@given(listed=some(1), candidates=some(4), most=st.integers(0, 3))
def test_nothing_that_was_listed_is_lost_and_nothing_comes_twice(
    listed: Any, candidates: Any, most: int
) -> None:
    joined = join(listed, candidates, most_leads=most)
    assert len(set(ids(joined))) == len(joined)
    assert set(ids(listed)) <= set(ids(joined))
    came = [each for each in joined if each.entry.id not in set(ids(listed))]
    assert all(is_edited_copy(each) or is_lead(each, LIMITS) for each in came)
    assert len([each for each in came if not is_edited_copy(each)]) <= most
    again = join(list(reversed(listed)), list(reversed(candidates)), most_leads=most)
    assert again == joined
