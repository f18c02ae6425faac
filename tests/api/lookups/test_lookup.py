from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api.errors import InvalidRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.lookup import (
    list_left_out,
    look_up_all,
    look_up_image,
    look_up_request,
    prepare_image,
)
from api.lookups.probe import take_probe
from api.lookups.replays.replay import replay
from api.lookups.request import LookupQuery, LookupRequest, SearchFilter
from api.lookups.stored import find_answer
from embedder.errors import ImageError
from embedder.network.panel import PanelCheck
from embedder.pictures.reencodings import REENCODING_NAMES, ReEncodings, RefusedReEncoding
from index.errors import InvalidVector
from index.truth.lookups import get_lookup
from tests.api.small_lineup import FAKE, REAL, add, calibrate, encoded, open_small, picture

KNOWN, NEW = encoded(picture(0)), encoded(picture(700))


def look_up(lineup: Lineup, data: bytes = NEW, **query: Any) -> LookupAnswer:
    return look_up_image(lineup, data, LookupQuery(**query))


def test_a_known_fake_is_found_with_similarity_one(filled: Lineup) -> None:
    answer = look_up(filled, KNOWN)
    first, *others = answer.similarity.neighbours
    assert (first.relation, first.cosine_similarity) == ("identical", pytest.approx(1.0))
    assert (first.entry.corpus, first.entry.generator) == ("fakes", "sdxl")
    assert (answer.similarity.verdict, answer.similarity.reason) == (
        "similar_to_known_fakes",
        "identical_image",
    )
    assert answer.probe.embedding == "stored"
    assert (answer.similarity.searched, len(others)) == (8, 7)
    assert answer.similarity.nearest_known_real is not None
    assert answer.similarity.nearest_known_real.entry.corpus == "photographs"


def test_an_answer_is_stored_with_all_that_a_replay_needs(filled: Lineup) -> None:
    answer = look_up(filled, k=3, exact=True)
    assert find_answer(filled.database, answer.id) == answer
    with filled.database.read() as conn:
        stored = get_lookup(conn, answer.id)
    assert stored.request == {
        "k": 3,
        "exact": True,
        "stability": False,
        "false_match_rate": 0.01,  # the operator's, as it is now
        "filter": SearchFilter().model_dump(mode="json"),
    }
    assert stored.generation == answer.method.generation
    assert stored.probe_sha256 == answer.probe.sha256
    assert stored.space_fingerprint == answer.method.embedding_space == filled.space.fingerprint
    assert stored.calibration_id is None
    assert stored.probe_vector is not None
    assert stored.probe_vector.shape == (12,)
    assert answer.method.exact
    assert (answer.method.k, answer.method.model, answer.method.device) == (3, "tiles", "cpu")


def in_bfloat16(lineup: Lineup, cosine: float = 0.999996) -> None:
    """Let the rest of the process embed in another precision."""
    model = lineup.embedder
    model.precision = "bfloat16"
    model.precision_check = PanelCheck("bfloat16", "cpu", 27, cosine, 0.012, accepted=True)


def test_what_computed_probe_and_corpora_is_in_the_answer(own: Lineup) -> None:
    alike = look_up_image(own, NEW, LookupQuery())
    in_bfloat16(own)
    other = look_up_image(own, NEW, LookupQuery())
    known = look_up_image(own, KNOWN, LookupQuery())

    def computed_by(answer: LookupAnswer) -> list[str | None]:
        computed = answer.method.computed
        assert computed is not None
        assert computed.probe is not None
        return [computed.probe.precision, *(each.precision for each in computed.corpora)]

    assert computed_by(alike) == computed_by(known) == ["float32", "float32"]
    assert computed_by(other) == ["bfloat16", "float32"]
    assert alike.method.precision_check is None
    assert other.method.precision_check is not None
    assert other.method.precision_check.images == 27
    assert [each.words for each in other.statements if each.topic == "precision"] == [
        "the probe was embedded in bfloat16 on cpu, these corpora in float32 on cpu, which may "
        f"move the similarity {other.similarity.nearest_similarity:.4f} by up to "
        f"{other.method.computed.similarity_moves_by:.4f} (compared with float32 on a CPU, "
        "bfloat16 on cpu: cosine at least 0.999996 and logit within 0.012 on 27 pictures)"
    ]
    assert all(each.topic != "precision" for each in (*alike.statements, *known.statements))
    sent = LookupRequest(embedding=[1.0] + [0.0] * 11, embedding_space=own.space.fingerprint)
    assert look_up_request(own, sent).method.computed.probe is None


def test_only_the_corpora_that_are_named_and_their_generation_count(own: Lineup) -> None:
    in_bfloat16(own)
    add(own, "others", FAKE, encoded(picture(701)))

    def precisions(names: list[str] | None) -> list[str | None]:
        query = LookupQuery(filter=SearchFilter(corpora=names))
        computed = look_up_image(own, NEW, query).method.computed
        assert computed is not None
        return [each.precision for each in computed.corpora]

    assert precisions(None) == ["bfloat16", "float32"]
    assert precisions(["others"]) == ["bfloat16"]
    assert precisions(["fakes"]) == ["float32"]


def test_an_image_that_cannot_be_decoded_is_refused_and_nothing_stored(filled: Lineup) -> None:
    with pytest.raises(ImageError):
        look_up(filled, b"no image")


def test_an_embedding_is_looked_up_like_its_image(filled: Lineup) -> None:
    image = look_up(filled)
    with filled.database.read() as conn:
        vector = get_lookup(conn, image.id).probe_vector
    assert vector is not None
    request = LookupRequest(embedding=vector.tolist(), embedding_space=filled.space.fingerprint)
    sent = look_up_request(filled, request)
    assert sent.classifier is None
    assert [each.entry.id for each in sent.similarity.neighbours] == [
        each.entry.id for each in image.similarity.neighbours
    ]
    with pytest.raises(InvalidVector):
        look_up_request(filled, request.model_copy(update={"embedding": [2.0] * 12}))


def test_among_known_real_images_nothing_is_compared(own: Lineup) -> None:
    calibrate(own)
    similarity = look_up(own, filter=SearchFilter(kind=REAL)).similarity
    assert (similarity.verdict, similarity.reason) == ("inconclusive", "nothing_compared")
    assert (similarity.searched, similarity.nearest_similarity) == (4, None)
    assert (similarity.calibration, similarity.uncalibrated_corpora) == (None, [])


def test_a_calibration_of_the_searched_corpora_speaks(own: Lineup) -> None:
    before = look_up(own)
    calibration_id = calibrate(own)
    after = look_up(own)

    assert (before.similarity.calibration, before.similarity.false_match_rate) == (None, None)
    used, threshold = after.similarity.calibration, after.similarity.threshold
    assert used is not None
    assert (used.id, used.applies, used.entries_since) == (calibration_id, "exact", 0)
    assert after.similarity.false_match_rate is not None
    nearest = after.similarity.nearest_similarity
    assert nearest is not None
    assert after.similarity.false_match_rate.estimate == pytest.approx(
        1 - (1 - (1 - nearest) / 2) ** (8 / 100), abs=1e-6
    )
    assert threshold is not None
    assert "by calibration" in threshold.source
    with own.database.read() as conn:
        assert get_lookup(conn, after.id).calibration_id == calibration_id


@pytest.mark.parametrize(
    ("query", "applies"),
    [
        ({"filter": {"generators": ["sdxl"]}}, "upper_bound"),
        ({"filter": {"corpora": ["fakes"]}}, "exact"),
        ({"filter": {"kind": None}}, "exact"),
    ],
)
def test_a_part_of_what_was_calibrated_is_an_upper_bound(
    own: Lineup, query: dict[str, Any], applies: str
) -> None:
    calibrate(own)
    used = look_up(own, **query).similarity.calibration
    assert used is not None
    assert used.applies == applies


def test_a_corpus_that_the_newest_calibration_has_not_seen_is_named(own: Lineup) -> None:
    calibrate(own)
    add(own, "more", FAKE, encoded(picture(50)))
    similarity = look_up(own).similarity
    assert (similarity.calibration, similarity.uncalibrated_corpora) == (None, ["more"])
    elsewhere = look_up(own, filter=SearchFilter(corpora=["fakes"])).similarity
    assert elsewhere.calibration is not None
    assert elsewhere.uncalibrated_corpora == []


def test_a_provisional_calibration_says_nothing_of_the_logit_where_there_is_another(
    own: Lineup,
) -> None:
    measured = calibrate(own)
    add(own, "more", FAKE, encoded(picture(50)))
    provisional = calibrate(own, "fakes", "more", own_photographs=0)
    found = look_up(own)

    assert found.similarity.calibration is not None
    assert found.similarity.calibration.id == provisional
    assert found.classifier is not None
    assert found.classifier.calibration_id == measured
    assert replay(own, found.id).equal


def test_a_provisional_calibration_says_something_of_the_logit_where_there_is_no_other(
    own: Lineup,
) -> None:
    provisional = calibrate(own, own_photographs=0)
    found = look_up(own)
    assert found.classifier is not None
    assert found.classifier.calibration_id == provisional


def test_the_rate_that_is_asked_for_moves_the_threshold(own: Lineup) -> None:
    calibrate(own)
    strict, lenient = (
        look_up(own, false_match_rate=rate).similarity.threshold for rate in (0.05, 0.3)
    )
    assert strict is not None
    assert lenient is not None
    assert strict.cosine_similarity > lenient.cosine_similarity


def test_the_operators_threshold_wins_over_a_calibration(tmp_path: Path) -> None:
    with open_small(tmp_path, similarity_threshold=0.123) as lineup:
        add(lineup, "fakes", FAKE, KNOWN)
        add(lineup, "photographs", REAL, encoded(picture(1)))
        calibrate(lineup)
        similarity = look_up(lineup, stability=True).similarity
    assert similarity.threshold is not None
    assert similarity.threshold.cosine_similarity == 0.123
    assert similarity.calibration is not None


def test_re_encodings_are_looked_up_with_the_probe(own: Lineup) -> None:
    calibrate(own)
    before = own.embedder.embedded
    answer = look_up(own, stability=True)
    assert own.embedder.embedded == before + 1 + len(REENCODING_NAMES)
    stability = answer.stability
    assert stability is not None
    assert [each.name for each in stability.reencodings] == list(REENCODING_NAMES)
    assert stability.left_out == []
    assert all(each.nearest_similarity is not None for each in stability.reencodings)
    assert all(each.generator in {"sdxl", "flux"} for each in stability.reencodings)
    assert all(each.threshold is not None for each in stability.reencodings)
    assert look_up(own).stability is None


def test_re_encodings_too_small_for_the_model_are_left_out(filled: Lineup) -> None:
    stability = look_up(filled, encoded(picture(701, side=40)), stability=True).stability
    assert stability is not None
    assert {each.name: each.reason for each in stability.left_out} == {
        "scaled75": "too_small",
        "scaled50": "too_small",
    }
    assert len(stability.reencodings) == len(REENCODING_NAMES) - 2


def test_re_encodings_are_made_without_known_fakes_too(filled: Lineup) -> None:
    stability = look_up(filled, stability=True, filter=SearchFilter(kind=REAL)).stability
    assert stability is not None
    assert {each.nearest_similarity for each in stability.reencodings} == {None}
    assert (stability.logit_low is None, stability.similarity_low) == (False, None)


def test_without_pixels_there_is_nothing_to_re_encode(filled: Lineup) -> None:
    answer = look_up(filled, KNOWN)
    request = LookupRequest(sha256=answer.probe.sha256)
    probe = take_probe(request, filled.database, filled.space)
    assert probe.reencodings is None


def test_a_request_without_an_image_cannot_ask_for_re_encodings(filled: Lineup) -> None:
    with pytest.raises(InvalidRequest, match="needs its image"):
        look_up_request(filled, LookupRequest(sha256="1" * 64, stability=True))


def test_what_was_left_out_is_listed_with_its_reason() -> None:
    refused = RefusedReEncoding("half", "too_small", "48 x 48 pixels")
    (listed,) = list_left_out(ReEncodings((), (refused,)))
    assert (listed.name, listed.reason) == ("half", "too_small")


def test_a_flat_picture_has_no_figures(own: Lineup) -> None:
    calibrate(own)
    answer = look_up(own, encoded(Image.new("RGB", (90, 90), (90, 90, 90))))
    assert answer.quality is not None
    assert answer.quality.issue == "flat"
    assert answer.similarity.reason == "poor_quality"
    assert answer.similarity.false_match_rate is None
    assert answer.similarity.calibration is not None


def test_several_probes_are_answered_like_each_alone_and_stored_together(own: Lineup) -> None:
    calibrate(own)
    queries = [LookupQuery(), LookupQuery(k=2, stability=True), LookupQuery(filter={"kind": REAL})]
    alone = [look_up_image(own, NEW, query) for query in queries]
    together = look_up_all(own, [prepare_image(own, NEW, query) for query in queries])
    assert [each.evidence_sha256 for each in together] == [each.evidence_sha256 for each in alone]
    assert [find_answer(own.database, each.id) for each in together] == together
    assert look_up_all(own, []) == []
