from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from api.errors import InvalidRequest, NotReplayable
from api.lineup import Lineup
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.replays.json import ReplayAnswer, VerdictsAnswer
from api.lookups.replays.reembedding import ROUNDED_COSINE, ROUNDED_LOGIT, find_tolerance
from api.lookups.replays.replay import replay
from api.lookups.request import LookupQuery, LookupRequest, SearchFilter
from embedder.network.panel import MAXIMUM_LOGIT_DIFFERENCE, MINIMUM_COSINE, PanelCheck
from embedder.network.results import Embeddings
from index.errors import ForeignSpace, UnknownLookup
from index.truth.computations import Computation
from index.truth.entries import remove_entry
from index.truth.lookups import digest_evidence, get_lookup, take_evidence
from index.truth.schema import embedding_spaces, lookups
from index.verdict import RULES
from tests.api.lookups.earlier import as_rules_1, as_rules_2, as_schema_0004
from tests.api.small_lineup import (
    FAKE,
    REAL,
    TilesModel,
    add,
    calibrate,
    encoded,
    fill,
    open_small,
    picture,
)
from tests.index.assessing import false_matches

CPU, GPU = Computation("cpu", "float32"), Computation("cuda", "float16")
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


def test_the_values_of_earlier_rules_are_equal_and_have_their_own_digest(own: Lineup) -> None:
    calibrate(own)
    lookup_id = look_up(own, stability=True)
    answer = stored_answer(own, lookup_id)
    for earlier, rules in (
        (as_rules_2(answer), 2),
        (as_rules_1(answer), 1),
        (as_schema_0004(answer), 1),
    ):
        assert earlier != answer
        store(own, lookup_id, earlier | {"evidence_sha256": digest_of(earlier)})

        replayed = replay(own, lookup_id)
        assert_equal(replayed)
        assert replayed.replayed_sha256 != replayed.replayed.evidence_sha256
        assert replayed.replayed.method.rules == RULES
        assert replayed.rules is not None
        assert (replayed.rules.then, replayed.rules.now) == (rules, RULES)
    assert replay(own, look_up(own)).rules is None


def test_verdicts_of_earlier_rules_are_no_values_and_stand_beside_those_of_today(
    own: Lineup,
) -> None:
    """What a release judged otherwise, with the limits, reasons and figures of its own rules."""
    calibrate(own)
    lookup_id = look_up(own)
    answer = as_rules_1(stored_answer(own, lookup_id))
    was = VerdictsAnswer.of(replay(own, lookup_id).replayed)
    answer["similarity"] |= {
        "verdict": "similar_to_known_fakes",
        "reason": "above_threshold",
        "threshold": {"cosine_similarity": -0.5, "source": "the model's"},
        "likelihood_ratio": None,
        "attribution": None,
        "rests_on": None,
        "explanation": "in other words",
    }
    answer["quality"]["issue"] = None
    answer["classifier"] |= {"verdict": "authentic", "reason": "authentic_limit_reached"}
    answer["similarity"]["neighbours"].reverse()  # their order is a rule
    store(own, lookup_id, answer | {"evidence_sha256": digest_of(answer)})

    replayed = replay(own, lookup_id)
    assert_equal(replayed)
    assert replayed.rules is not None
    assert replayed.rules.verdicts_now == VerdictsAnswer.of(replayed.replayed) == was
    assert replayed.rules.verdicts_then == VerdictsAnswer(
        similarity="similar_to_known_fakes",
        similarity_reason="above_threshold",
        classifier="no_traces",
        classifier_reason="no_traces_limit_reached",
    )
    assert f"similarity was similar_to_known_fakes (above_threshold) and is {was.similarity}" in (
        replayed.rules.words
    )


def test_equal_verdicts_of_other_rules_are_called_the_same(own: Lineup) -> None:
    lookup_id = look_up(own, KNOWN)  # the same bytes are similar by any rules
    answer = as_rules_1(stored_answer(own, lookup_id))
    store(own, lookup_id, answer)
    rules = replay(own, lookup_id).rules
    assert rules is not None
    assert rules.verdicts_then.similarity == "similar_to_known_fakes"
    assert rules.verdicts_then.similarity == rules.verdicts_now.similarity


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("/similarity/neighbours/0/cosine_similarity", 0.125),
        ("/similarity/neighbours/1/hamming_distance", 7),
        ("/similarity/neighbours/1/entry/generator", "another"),
        ("/similarity/nearest_known_real/cosine_similarity", 0.125),
        ("/similarity/nearest_similarity", 0.125),
        ("/similarity/searched", 77),
        ("/similarity/false_match_rate/estimate", 0.125),
        ("/similarity/calibration/entries_since", 5),
        ("/method/index_digest", "0" * 64),
    ],
)
def test_a_value_of_earlier_rules_that_is_not_the_same_is_pointed_at(
    own: Lineup, place: str, value: Any
) -> None:
    calibrate(own)
    lookup_id = look_up(own)
    answer = as_rules_1(stored_answer(own, lookup_id))
    *path, last = place.strip("/").split("/")
    part = answer
    for key in path:
        part = part[int(key)] if isinstance(part, list) else part[key]
    was, part[last] = part[last], value
    store(own, lookup_id, answer | {"evidence_sha256": digest_of(answer)})

    replayed = replay(own, lookup_id)
    assert [(each.place, each.then, each.now) for each in replayed.differences] == [
        (place, value, was)
    ]
    assert (replayed.equal, replayed.within) == (False, None)
    assert replayed.replayed_sha256 != replayed.evidence_sha256


def test_another_list_of_neighbours_is_a_difference_under_any_rules(own: Lineup) -> None:
    lookup_id = look_up(own)
    answer = as_rules_1(stored_answer(own, lookup_id))
    answer["similarity"]["neighbours"].pop()
    store(own, lookup_id, answer)
    (difference,) = replay(own, lookup_id).differences
    assert difference.place == "/similarity/neighbours"


@pytest.mark.parametrize("earlier", [as_rules_1, dict])
def test_what_rounding_explains_is_equal_within_its_size(own: Lineup, earlier: Any) -> None:
    lookup_id = look_up(own)
    answer = earlier(stored_answer(own, lookup_id))
    first = answer["similarity"]["neighbours"][0]
    was = first["cosine_similarity"]
    for moved, within in ((1e-12, 1e-12), (1e-6, None)):
        first["cosine_similarity"] = was - moved
        store(own, lookup_id, answer)
        replayed = replay(own, lookup_id)
        assert len(replayed.differences) == 1
        assert not replayed.equal
        assert replayed.within == (None if within is None else pytest.approx(within, rel=1e-3))
        assert replayed.words == (
            "1 value differs"
            if within is None
            else "every value is the same within 1.0e-12, which is rounding"
        )
    first["cosine_similarity"] = was
    store(own, lookup_id, answer)
    assert replay(own, lookup_id).within == 0.0


class Turned(TilesModel):
    """A model in another precision, which turns every embedding by the same small angle."""

    def __init__(self, angle: float, logit: float, precision: str = "bfloat16") -> None:
        super().__init__()
        self.angle, self.logit = angle, logit
        self.precision = precision
        if precision != "float32":
            self.precision_check = PanelCheck(precision, "cpu", 27, 0.9999, 0.01, accepted=True)

    def embed_pixels(self, pixels: Any) -> Embeddings:
        exact = super().embed_pixels(pixels)
        other = np.roll(exact.vectors, 1, axis=1)
        along = np.sum(exact.vectors * other, axis=1, keepdims=True)
        across = other - along * exact.vectors
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        vectors = math.cos(self.angle) * exact.vectors + math.sin(self.angle) * across
        return Embeddings(vectors.astype(np.float32), exact.logits + np.float32(self.logit))


def embed_again(folder: Path, model: TilesModel, data: bytes = NEW) -> ReplayAnswer:
    with open_small(folder) as lineup:
        fill(lineup)
        lookup_id = look_up(lineup, data)
    with open_small(folder, model) as lineup:
        return replay(lineup, lookup_id, data)


def test_only_the_image_that_was_looked_up_is_embedded_again(filled: Lineup) -> None:
    lookup_id = look_up(filled)
    with pytest.raises(InvalidRequest, match="sha256"):
        replay(filled, lookup_id, KNOWN)
    request = LookupRequest(embedding=[1.0] + [0.0] * 11, embedding_space=filled.space.fingerprint)
    with pytest.raises(InvalidRequest, match="names no image"):
        replay(filled, look_up_request(filled, request).id, NEW)


@pytest.mark.parametrize("data", [KNOWN, NEW], ids=["known", "new"])
def test_an_image_embedded_again_alike_is_equal(filled: Lineup, data: bytes) -> None:
    replayed = replay(filled, look_up(filled, data), data)
    assert_equal(replayed)
    again = replayed.reembedded
    assert again is not None
    assert again.equal_within
    assert again.cosine_similarity == pytest.approx(1.0, abs=1e-6)
    assert again.logit_difference == pytest.approx(0.0, abs=1e-5)
    assert again.verdicts == VerdictsAnswer.of(replayed.replayed)
    assert "equal within the tolerance (float32 on cpu then, float32 on cpu now)" in again.words
    assert again.words.endswith("the verdicts are the same")


def test_another_precision_is_equal_within_the_limits_that_accept_it(tmp_path: Path) -> None:
    replayed = embed_again(tmp_path, Turned(angle=0.02, logit=0.05))
    assert_equal(replayed)  # from what is stored
    again = replayed.reembedded
    assert again is not None
    assert again.equal_within
    assert again.cosine_similarity == pytest.approx(math.cos(0.02), abs=1e-6)
    assert again.logit_difference == pytest.approx(0.05, abs=1e-5)
    assert 0.0 < again.similarity_difference < 0.02
    assert (again.allowed_cosine, again.allowed_logit_difference) == (
        pytest.approx(MINIMUM_COSINE),
        MAXIMUM_LOGIT_DIFFERENCE,
    )
    assert (again.then.precision, again.now.precision) == ("float32", "bfloat16")
    assert "(float32 on cpu then, bfloat16 on cpu now)" in again.words


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Turned(angle=0.04, logit=0.0), "float32 on cpu then, bfloat16 on cpu now explains"),
        (Turned(angle=0.0, logit=0.2), "float32 on cpu then, bfloat16 on cpu now explains"),
        (Turned(0.01, 0.0, "float32"), "float32 on cpu then, float32 on cpu now explains"),
    ],
    ids=["vector", "logit", "alike"],
)
def test_more_than_a_precision_explains_is_said(
    tmp_path: Path, model: TilesModel, words: str
) -> None:
    replayed = embed_again(tmp_path, model)
    assert_equal(replayed)
    again = replayed.reembedded
    assert again is not None
    assert not again.equal_within
    assert words in again.words


def test_verdicts_that_the_new_embedding_changes_are_said(tmp_path: Path) -> None:
    again = embed_again(tmp_path, Turned(angle=0.0, logit=9.0)).reembedded
    assert again is not None
    assert again.verdicts.classifier == "synthetic"
    assert "; the verdicts are similarity " in again.words
    assert "classifier synthetic instead of" in again.words


@pytest.mark.parametrize(
    ("then", "now", "sides"),
    [
        (CPU, CPU, 0),
        (GPU, GPU._replace(device="cuda:1"), 0),
        (CPU, GPU, 1),
        (GPU, CPU, 1),
        (None, CPU, 1),
        (GPU, None, 2),
        (GPU, Computation("cpu", "bfloat16"), 2),
    ],
)
def test_each_side_that_is_not_exact_adds_to_the_tolerance(
    then: Computation | None, now: Computation | None, sides: int
) -> None:
    cosine, logit = find_tolerance(then, now)
    if not sides:
        assert (cosine, logit) == (ROUNDED_COSINE, ROUNDED_LOGIT)
        return
    assert math.acos(cosine) == pytest.approx(sides * math.acos(MINIMUM_COSINE))
    assert logit == pytest.approx(sides * MAXIMUM_LOGIT_DIFFERENCE)


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
    answer = as_rules_1(answer)
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
