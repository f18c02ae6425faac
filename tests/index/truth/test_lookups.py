import json
from typing import Any

import pytest

from index.errors import UnknownLookup
from index.jsontext import canonical_json
from index.truth.databases.database import Database
from index.truth.lookups import (
    NewLookup,
    digest_evidence,
    get_lookup,
    new_lookup_id,
    save_lookups,
    seal_answer,
    take_evidence,
)


def test_a_lookup_that_is_not_there_is_unknown(database: Database) -> None:
    for lookup_id in ("", "nowhere", "x" * 1000):
        with pytest.raises(UnknownLookup), database.read() as conn:
            get_lookup(conn, lookup_id)


def test_an_answer_that_json_cannot_say_is_refused(database: Database, material: Any) -> None:
    for answer in (float("nan"), float("inf"), {"a": object()}):
        with pytest.raises((ValueError, TypeError)), database.write() as conn:
            save_lookups(conn, material.space, [NewLookup(0, {}, answer)])


def test_a_lookup_comes_back_as_it_was_saved_with_the_same_bytes(
    database: Database, material: Any
) -> None:
    answer = {"b": [1, 2.5, None], "a": {"ü": "ä", "similarity": 0.1 + 0.2}, "n": 10**15}
    with database.write() as conn:
        new = NewLookup(7, {"k": 10}, answer, probe_sha256=material.sha256("probe"))
        save_lookups(conn, material.space, [new])
    with database.read() as conn:
        lookup = get_lookup(conn, new.id)
    assert (lookup.id, lookup.generation, lookup.probe_sha256) == (
        new.id,
        7,
        material.sha256("probe"),
    )
    assert lookup.space_fingerprint == material.space.fingerprint
    assert lookup.request == {"k": 10}
    assert lookup.answer == answer
    assert lookup.answer_json == canonical_json(answer)
    assert lookup.created_at.tzinfo is not None


def test_a_lookup_may_be_saved_under_an_id_chosen_before(database: Database, material: Any) -> None:
    chosen = new_lookup_id()
    with database.write() as conn:
        save_lookups(conn, material.space, [NewLookup(0, None, {"id": chosen}, id=chosen)])
        assert get_lookup(conn, chosen).probe_sha256 is None


def test_ids_of_lookups_are_not_repeated() -> None:
    assert len({new_lookup_id() for _ in range(1000)}) == 1000


def test_equal_values_have_one_canonical_text() -> None:
    assert (
        canonical_json({"b": 1, "a": "ü"})
        == canonical_json({"a": "ü", "b": 1})
        == '{"a":"ü","b":1}'
    )
    assert json.loads(canonical_json([0.1 + 0.2]))[0] == 0.1 + 0.2


def test_a_sealed_answer_states_the_digest_of_its_evidence() -> None:
    answer: dict[str, Any] = {
        "id": "1",
        "evidence_sha256": None,
        "timings": {"total_ms": 1.5},
        "method": {"k": 3, "pending_changes": 2, "a": "ü"},
        "probe": {"b": 0.1 + 0.2, "a": [None, True]},
    }
    digest, text = seal_answer(answer)
    assert digest == digest_evidence(take_evidence(answer))
    assert text.text == canonical_json(answer | {"evidence_sha256": digest})
    for other in (
        {"id": "2"},
        {"timings": {}},
        {"method": answer["method"] | {"pending_changes": 0}},
    ):
        assert seal_answer(answer | other)[0] == digest
    for other in ({"probe": {}}, {"method": {"k": 4}}):
        assert seal_answer(answer | other)[0] != digest
