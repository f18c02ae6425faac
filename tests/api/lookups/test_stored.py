from __future__ import annotations

import copy
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lineup import Lineup
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.lookups.stored import find_answer, in_words_of_today, name_paths, take_stored_paths
from index.errors import UnknownLookup
from index.truth.databases.database import Database
from index.truth.lookups import NewLookup, get_lookup, save_lookups
from index.truth.spaces import ensure_space_id
from index.verdict import RULES, Relation
from tests.api.lookups.earlier import as_schema_0004
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
def test_an_earlier_answer_is_read_in_the_words_of_today(stored: Any) -> None:
    before = copy.deepcopy(stored)
    read = in_words_of_today(stored)
    assert stored == before  # what is stored is not touched
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
        earlier = as_schema_0004(stored.answer)
        new = NewLookup(stored.generation, stored.request, earlier)
        save_lookups(conn, filled.space, [new])
    found = find_answer(filled.database, new.id)
    assert found.similarity.neighbours == answer.similarity.neighbours
    assert found.stability is not None
    assert answer.stability is not None
    assert found.stability.reencodings == answer.stability.reencodings
    assert (found.method.rules, answer.method.rules) == (1, RULES)
    assert found.classifier is not None
    assert found.classifier.no_traces_logit is not None


def test_the_word_authentic_is_shown_as_what_it_means() -> None:
    explanation = "the logit is at or below the limit for authentic (authentic up to -1.00, ...)"
    stored = {
        "similarity": {"neighbours": []},
        "classifier": {
            "verdict": "authentic",
            "reason": "authentic_limit_reached",
            "explanation": explanation,
            "authentic_logit": -1.0,
            "calibration": "authentic",  # no word of a verdict
        },
    }

    assert in_words_of_today(stored)["classifier"] == {
        "verdict": "no_traces",
        "reason": "no_traces_limit_reached",
        "explanation": "the logit is at or below the limit for no synthetic traces "
        "(no traces up to -1.00, ...)",
        "no_traces_logit": -1.0,
        "calibration": "authentic",
    }


def document(provenance: dict[str, Any]) -> dict[str, Any]:
    neighbour = {"relation": "similar", "entry": {"id": 7, "provenance": provenance}}
    nearest = {"nearest_known_fake": neighbour, "nearest_known_real": neighbour}
    return {"similarity": {"neighbours": [neighbour], **nearest}, "id": "x"}


def test_a_stored_answer_is_read_without_the_paths_of_its_machine() -> None:
    """Earlier releases stored where each image lay."""
    stored = document({"path": "a.png", "location": "/srv/case/a.png"})
    before = copy.deepcopy(stored)

    assert name_paths(stored) == document({"path": "a.png"})
    assert stored == before
    without = {"similarity": {"neighbours": [], "nearest_known_real": None}}
    assert name_paths(without) == without


def test_a_replay_digests_the_provenance_that_was_stored_if_nothing_else_differs() -> None:
    then = {"path": "/srv/a.png", "location": "/srv/a.png", "n": 1}
    assert take_stored_paths(document({"path": "a.png", "n": 1}), document(then)) == document(then)
    other = document({"path": "a.png", "n": 2})
    assert take_stored_paths(other, document(then)) == other


def test_no_entry_of_an_answer_is_forgotten(filled: Lineup) -> None:
    """Wherever an answer names an entry: it is read without its path, and can be replayed."""
    answer = look_up_image(filled, encoded(picture(600)), LookupQuery(filter={"kind": None}))
    with filled.database.read() as conn:
        today = dict(get_lookup(conn, answer.id).answer)
    earlier = copy.deepcopy(today)
    provenances = list(provenances_in(earlier))
    assert len(provenances) > len(answer.similarity.neighbours)  # also the nearest ones
    for each in provenances:
        each["location"] = "/srv/case/a.png"

    assert name_paths(earlier) == today
    assert take_stored_paths(today, earlier) == earlier


def provenances_in(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        if isinstance(document.get("provenance"), dict):
            yield document["provenance"]
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from provenances_in(each)


def test_a_look_up_after_a_restore_is_one_of_its_own_space(own: Lineup, tmp_path: Path) -> None:
    """The row ids of embedding spaces are those of the database, which was another one before."""
    look_up_image(own, encoded(picture(1)), LookupQuery())
    url = f"sqlite:///{tmp_path}/backup.db"
    with Database.open(url, migrate=True) as backup, backup.write() as conn:
        ensure_space_id(conn, replace(own.space, fingerprint="5" * 64))
    with (
        closing(sqlite3.connect(tmp_path / "backup.db")) as restored,
        closing(sqlite3.connect(own.settings.data_dir / "lineup.db")) as served,
    ):
        restored.backup(served)
    answer = look_up_image(own, encoded(picture(1)), LookupQuery())
    with own.database.read() as conn:
        assert get_lookup(conn, answer.id).space_fingerprint == own.space.fingerprint
