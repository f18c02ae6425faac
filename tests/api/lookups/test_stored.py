from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lineup import Lineup
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.lookups.stored import find_answer, in_earlier_words, in_words_of_today
from index.errors import UnknownLookup
from index.truth.lookups import get_lookup, save_lookup
from index.verdict import Relation
from tests.api.small_lineup import encoded, picture

EARLIER = ["identical", "near_duplicate", "similar", "unrelated", None]
TODAY = [*(str(each) for each in Relation), None]


def answers(relations: list[str | None], reencodings: str) -> Any:
    """The parts of an answer that have been reworded, and one that has not."""
    neighbour = st.fixed_dictionaries(
        {"relation": st.sampled_from(relations), "entry": st.just({"generator": "unrelated"})}
    )
    similarity = st.fixed_dictionaries(
        {"neighbours": st.lists(neighbour, max_size=3), "verdict": st.just("not_similar")},
        optional={"nearest_known_real": st.none() | neighbour},
    )
    stability = st.none() | st.just({reencodings: [{"name": "views"}], "left_out": []})
    return st.fixed_dictionaries({"similarity": similarity}, optional={"stability": stability})


@given(stored=answers(EARLIER, "views"))
def test_an_earlier_answer_is_read_in_the_words_of_today_and_can_be_put_back(stored: Any) -> None:
    before = copy.deepcopy(stored)
    read = in_words_of_today(stored)
    assert stored == before  # what is stored is not touched
    assert in_earlier_words(read) == stored
    assert in_words_of_today(read) == read
    similarity = read["similarity"]
    relations = [each["relation"] for each in similarity["neighbours"]]
    assert set(relations) <= set(TODAY)
    assert "views" not in (read.get("stability") or {})
    for each in similarity["neighbours"]:
        assert each["entry"] == {"generator": "unrelated"}  # a name is not a word of ours


@given(stored=answers(TODAY, "reencodings"))
def test_an_answer_of_today_is_read_as_it_is(stored: Any) -> None:
    assert in_words_of_today(stored) == stored


@pytest.mark.parametrize("broken", [None, [], "text"])
def test_what_is_no_answer_is_refused(broken: Any) -> None:
    with pytest.raises(TypeError, match="JSON object"):
        in_words_of_today(broken)


def test_an_unknown_look_up_is_not_found(filled: Lineup) -> None:
    with pytest.raises(UnknownLookup):
        find_answer(filled.database, "nothing")


def test_a_stored_answer_is_found_whatever_its_words(filled: Lineup) -> None:
    answer = look_up_image(
        filled, encoded(picture(600)), LookupQuery(filter={"kind": None}, stability=True)
    )
    assert find_answer(filled.database, answer.id) == answer
    with filled.database.write() as conn:
        stored = get_lookup(conn, answer.id)
        earlier = in_earlier_words(stored.answer)
        assert earlier != stored.answer
        lookup_id = save_lookup(
            conn,
            space=filled.space,
            generation=stored.generation,
            request=stored.request,
            answer=earlier,
        )
    assert find_answer(filled.database, lookup_id) == answer
