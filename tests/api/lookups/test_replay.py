from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api.errors import NotReplayable
from api.lineup import Lineup
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.replay import ReplayAnswer, replay
from api.lookups.request import LookupQuery, LookupRequest, SearchFilter
from api.lookups.stored import in_earlier_words
from index.errors import ForeignSpace, UnknownLookup
from index.truth.entries import remove_entry
from index.truth.lookups import digest_evidence, get_lookup, take_evidence
from index.truth.schema import embedding_spaces, lookups
from tests.api.small_lineup import FAKE, REAL, add, calibrate, encoded, fill, open_small, picture
from tests.index.assessing import false_matches

KNOWN, NEW = encoded(picture(0)), encoded(picture(800))


def look_up(lineup: Lineup, data: bytes = NEW, **query: Any) -> str:
    return look_up_image(lineup, data, LookupQuery(**query)).id


def stored_answer(lineup: Lineup, lookup_id: str) -> Any:
    with lineup.database.read() as conn:
        return json.loads(get_lookup(conn, lookup_id).answer_json)


def store(lineup: Lineup, lookup_id: str, answer: Any, **columns: Any) -> None:
    values = {"answer": json.dumps(answer), **columns}
    with lineup.database.write() as conn:
        conn.execute(update(lookups).where(lookups.c.id == lookup_id).values(**values))


def digest_of(answer: Any) -> str:
    """The digest that a release stored with an answer."""
    return digest_evidence(take_evidence(answer))


def assert_equal(replayed: ReplayAnswer) -> None:
    assert replayed.differences == []
    assert replayed.equal
    assert replayed.replayed_sha256 == replayed.evidence_sha256


def test_an_unknown_look_up_cannot_be_replayed(filled: Lineup) -> None:
    with pytest.raises(UnknownLookup):
        replay(filled, "nothing")


def test_a_look_up_of_another_space_is_refused(own: Lineup) -> None:
    lookup_id = look_up(own)
    with own.database.write() as conn:
        conn.execute(update(embedding_spaces).values(fingerprint="f" * 64))
    with pytest.raises(ForeignSpace):
        replay(own, lookup_id)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"k": 2},
        {"k": 50, "exact": True},
        {"filter": SearchFilter(kind=REAL)},
        {"filter": SearchFilter(kind=None), "false_match_rate": 0.2},
        {"filter": SearchFilter(generators=["sdxl"])},
        {"stability": True},
        {"stability": True, "filter": SearchFilter(kind=REAL)},
    ],
)
@pytest.mark.parametrize("data", [KNOWN, NEW], ids=["known", "new"])
def test_a_look_up_says_the_same_after_the_corpora_have_changed(
    own: Lineup, query: dict[str, Any], data: bytes
) -> None:
    calibrate(own)
    answer = look_up_image(own, data, LookupQuery(**query))
    nearest = answer.similarity.neighbours[0].entry.id
    with own.database.write() as conn:
        remove_entry(conn, nearest)
    add(own, "fakes", FAKE, encoded(picture(900)), "dalle")
    calibrate(own)

    replayed = replay(own, answer.id)
    assert_equal(replayed)
    assert replayed.generation == answer.method.generation
    assert replayed.replayed.id != answer.id
    now = look_up_image(own, data, LookupQuery(**query))
    assert now.evidence_sha256 != answer.evidence_sha256


def test_an_embedding_without_its_image_is_replayed(own: Lineup) -> None:
    calibrate(own)
    vector = [0.0] * 11 + [1.0]
    request = LookupRequest(embedding=vector, embedding_space=own.space.fingerprint, logit=-3.0)
    assert_equal(replay(own, look_up_request(own, request).id))


def test_other_limits_of_today_change_nothing(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        # With this upper bound a threshold at 1 % is not supported, and one at 50 % is.
        calibrate(lineup, false_matches=false_matches(corpus_size=8, high=0.06))
        lookup_id = look_up(lineup)
    with open_small(tmp_path, similarity_threshold=-1.0, false_match_rate=0.5) as lineup:
        used = look_up_image(lineup, NEW, LookupQuery()).similarity.calibration
        assert used is not None
        assert used.supports_threshold
        replayed = replay(lineup, lookup_id)
    assert_equal(replayed)
    assert replayed.replayed.similarity.calibration is not None
    assert not replayed.replayed.similarity.calibration.supports_threshold


def test_every_value_that_differs_is_pointed_at(filled: Lineup) -> None:
    lookup_id = look_up(filled)
    answer = stored_answer(filled, lookup_id)
    first = answer["similarity"]["neighbours"][0]
    was = first["cosine_similarity"]
    first["cosine_similarity"] = 0.125
    answer["classifier"]["verdict"] = "no_traces"
    answer["similarity"]["explanation"] = "in other words"
    answer["statements"] = []
    answer["timings"]["total_ms"] = 1e6
    answer["method"]["pending_changes"] = 9
    store(filled, lookup_id, answer)

    replayed = replay(filled, lookup_id)
    assert not replayed.equal
    assert {each.place: (each.then, each.now) for each in replayed.differences} == {
        "/similarity/neighbours/0/cosine_similarity": (0.125, pytest.approx(was)),
        "/classifier/verdict": ("no_traces", replayed.replayed.classifier.verdict),
    }


def test_a_list_of_another_length_is_one_difference(filled: Lineup) -> None:
    lookup_id = look_up(filled)
    answer = stored_answer(filled, lookup_id)
    removed = answer["similarity"]["neighbours"].pop()
    store(filled, lookup_id, answer)
    (difference,) = replay(filled, lookup_id).differences
    assert difference.place == "/similarity/neighbours"
    assert difference.now[-1] == removed


def test_fifty_differences_are_enough(filled: Lineup) -> None:
    lookup_id = look_up(filled, k=12, filter=SearchFilter(kind=None))
    answer = stored_answer(filled, lookup_id)
    for each in answer["similarity"]["neighbours"]:
        wrong = {"rank": 100, "cosine_similarity": 0.125, "hamming_distance": 256}
        each.update(wrong, relation="identical", perceptual_hash="missing")
    store(filled, lookup_id, answer)
    replayed = replay(filled, lookup_id)
    assert not replayed.equal
    assert len(answer["similarity"]["neighbours"]) * 5 > len(replayed.differences) == 50


def test_an_answer_in_earlier_words_is_equal_and_has_its_own_digest(own: Lineup) -> None:
    calibrate(own)
    lookup_id = look_up(own, stability=True)
    answer = stored_answer(own, lookup_id)
    earlier = in_earlier_words(answer)
    assert earlier != answer
    store(own, lookup_id, earlier)

    replayed = replay(own, lookup_id)
    assert (replayed.equal, replayed.differences) == (True, [])
    assert replayed.replayed_sha256 == digest_of(earlier)
    assert replayed.replayed_sha256 != replayed.replayed.evidence_sha256
    assert replayed.replayed.evidence_sha256 == answer["evidence_sha256"]


def test_other_sentences_of_an_earlier_release_leave_the_digest_as_it_was(own: Lineup) -> None:
    calibrate(own)
    lookup_id = look_up(own)
    answer = stored_answer(own, lookup_id)
    answer["classifier"]["explanation"] = answer["similarity"]["explanation"] = "in other words"
    answer["similarity"]["likelihood_ratio"]["words"] = "some support"
    answer["statements"] = [{"topic": "rate", "words": "rarely"}]
    digest = digest_of(answer)
    store(own, lookup_id, answer | {"evidence_sha256": digest})
    assert_equal(replay(own, lookup_id))

    answer["similarity"]["searched"] += 1
    store(own, lookup_id, answer | {"evidence_sha256": digest_of(answer)})
    replayed = replay(own, lookup_id)
    assert [each.place for each in replayed.differences] == ["/similarity/searched"]
    assert (replayed.equal, replayed.replayed_sha256) == (False, digest)


def as_before_schema_0004(answer: Any) -> Any:
    """An answer of then had fewer fields, and of its limits it named the source only. Without a
    threshold it said so.
    """
    classifier, similarity = answer["classifier"], answer["similarity"]
    kept = ("verdict", "reason", "threshold", "neighbours", "searched", "filter")
    method = {name: value for name, value in answer["method"].items() if name != "rules"}
    whole = {name: answer[name] for name in ("id", "created_at", "probe", "timings")}
    reason = similarity["reason"].replace("not_calibrated", "no_threshold")
    return whole | {
        "method": method,
        "classifier": {
            "verdict": classifier["verdict"],
            "reason": classifier["reason"],
            "logit": classifier["logit"],
            "limits_source": classifier["limits_source"],
            "probability": 0.5,
            "calibration": "uncalibrated",
            "explanation": "in other words",
        },
        "similarity": {name: similarity[name] for name in kept}
        | {"explanation": "in other words", "reason": reason},
    }


def test_a_look_up_stored_before_schema_0004_is_replayed_where_its_probe_is_known(
    own: Lineup,
) -> None:
    known, unknown = look_up(own, KNOWN), look_up(own, NEW)
    for lookup_id in (known, unknown):
        answer = as_before_schema_0004(stored_answer(own, lookup_id))
        store(own, lookup_id, answer, request='{"k": 10}', probe_vector=None)

    replayed = replay(own, known)
    assert (replayed.equal, replayed.differences, replayed.evidence_sha256) == (True, [], None)
    with pytest.raises(NotReplayable):
        replay(own, unknown)


def test_a_look_up_that_compared_codes_says_so(filled: Lineup) -> None:
    lookup_id = look_up(filled)
    assert replay(filled, lookup_id).exact
    answer = stored_answer(filled, lookup_id)
    answer["method"]["exact"] = False
    store(filled, lookup_id, answer)
    assert not replay(filled, lookup_id).exact
