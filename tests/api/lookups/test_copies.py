"""Edited copies in whole look-ups: what is found, what it rests on, and what a replay repeats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from api.copies.spaces import Copies
from api.copies.stages import CopyStage, StageOutcome, StageReport
from api.ingest.single import add_image
from api.lineup import Lineup, make_index_config
from api.lookups.answers.json import LookupAnswer, NeighbourAnswer
from api.lookups.copies import report_descriptor
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.questions import Found
from api.lookups.replays.comparing import find_differences
from api.lookups.replays.replay import replay
from api.lookups.request import LookupQuery, LookupRequest
from api.lookups.stored import find_answer
from embedder.copies.features import can_extract
from embedder.errors import ImageTooSmall
from index.cache.searching.questions import Question
from index.calibration.copies import CopyCurve, CopyRates
from index.copies import NO_LEADS
from index.truth.corpora import Keep, create_corpus
from index.truth.filters import EVERYTHING
from index.truth.lookups import get_lookup
from index.truth.provenance import Provenance
from tests.api.copies.colours import Colours, Shop
from tests.api.small_lineup import (
    FAKE,
    REAL,
    SIDE,
    TilesModel,
    add,
    calibrate,
    encoded,
    open_small,
)
from tests.index.assessing import false_matches

needs_opencv = pytest.mark.skipif(not can_extract(), reason="OpenCV is not installed")
NEWEST = 5  # the seed of the last known fake


def scene(seed: int, side: int = 256) -> Image.Image:
    """A picture with edges and corners, as local features need; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    blots = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    return blots.resize((side, side), Image.Resampling.BICUBIC)


def cut(image: Image.Image, share: float) -> Image.Image:
    """The middle of a picture: this share of each side."""
    edge, far = (1 - share) / 2 * image.width, (1 + share) / 2 * image.width
    return image.crop((round(edge), round(edge), round(far), round(far)))


def keep(lineup: Lineup, corpus: str, kind: Any, image: Image.Image) -> int:
    """Add an image to a corpus that keeps its original."""
    data = encoded(image)
    lineup.blob_stores.originals.put(hashlib.sha256(data).hexdigest(), data)
    return add(lineup, corpus, kind, data, "flux" if kind is FAKE else None)


def fill_with_scenes(lineup: Lineup) -> None:
    for seed in range(NEWEST + 1):
        keep(lineup, "fakes", FAKE, scene(seed))
    for seed in range(100, 103):
        keep(lineup, "photographs", REAL, scene(seed))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineup]:
    """Known fakes and known-real images with their originals, which no test changes."""
    folder = tmp_path_factory.mktemp("scenes") / "data"
    with open_small(folder, similarity_threshold=0.9999) as lineup:
        fill_with_scenes(lineup)
        yield lineup


def look_up(lineup: Lineup, image: Image.Image | bytes, **query: Any) -> LookupAnswer:
    data = image if isinstance(image, bytes) else encoded(image, "JPEG", quality=90)
    return look_up_image(lineup, data, LookupQuery(**query))


def first(answer: LookupAnswer) -> NeighbourAnswer:
    return answer.similarity.neighbours[0]


def outcomes(answer: LookupAnswer) -> dict[str, str]:
    assert answer.copies is not None
    return {each.stage: each.outcome for each in answer.copies.stages}


def verdict(answer: LookupAnswer) -> tuple[str, str]:
    return answer.similarity.verdict, answer.similarity.reason


@needs_opencv
def test_a_crop_of_a_known_fake_is_an_edited_copy(scenes: Lineup) -> None:
    answer = look_up(scenes, cut(scene(2), 0.6))
    assert verdict(answer) == ("similar_to_known_fakes", "edited_copy")
    found = first(answer)
    assert (found.relation, found.entry.id) == ("edited_copy", 3)
    assert found.copy_evidence is not None
    assert found.copy_evidence.verified
    assert found.copy_evidence.words.startswith("cut to at most 3")
    assert found.copy_evidence.correspondence is not None
    assert found.copy_evidence.correspondence.entry_covered == pytest.approx(0.36, abs=0.05)
    assert answer.similarity.nearest_known_fake == found
    assert answer.similarity.rests_on is not None
    assert answer.similarity.rests_on.entry_ids == [3]
    assert not answer.similarity.rests_on.stands
    assert answer.similarity.attribution is not None
    assert answer.similarity.attribution.candidates == ["flux"]
    assert outcomes(answer)["geometry"] == "ran"
    assert answer.timings.verify_ms is not None
    assert 0 < answer.timings.verify_ms < answer.timings.total_ms


@needs_opencv
def test_another_picture_is_no_copy_and_the_answer_says_what_was_not_looked_for(
    scenes: Lineup,
) -> None:
    answer = look_up(scenes, scene(700))
    assert verdict(answer) == ("not_similar", "below_threshold")
    assert not any(each.copy_evidence for each in answer.similarity.neighbours)
    assert answer.copies is not None
    geometry = answer.copies.stages[-1]
    assert (geometry.stage, geometry.found, geometry.not_comparable) == ("geometry", 0, 0)
    assert geometry.compared == NEWEST + 1 + 3
    assert answer.copies.not_looked_for is not None
    assert answer.copies.not_looked_for.startswith("the copy descriptor is switched off")
    assert answer.similarity.explanation.endswith(
        "no copy of one was found, as far as copies were looked for (no copy descriptor)"
    )
    assert ("copies", answer.copies.not_looked_for) in [
        (each.topic, each.words) for each in answer.statements
    ]


@needs_opencv
def test_a_crop_of_both_kinds_says_that_nothing_tells_which_it_is(own: Lineup) -> None:
    both = scene(50)
    fake = keep(own, "fakes", FAKE, both)
    keep(own, "photographs", REAL, ImageOps.autocontrast(both, cutoff=2))
    answer = look_up(own, cut(both, 0.7))
    assert verdict(answer) == ("inconclusive", "also_known_real")
    assert first(answer).entry.id == fake
    assert answer.similarity.nearest_known_real is not None


@needs_opencv
def test_a_copy_of_a_known_real_image_alone_does_not_acquit(own: Lineup) -> None:
    keep(own, "photographs", REAL, scene(51))
    assert verdict(look_up(own, cut(scene(51), 0.7))) == ("inconclusive", "not_calibrated")


@needs_opencv
def test_candidates_of_which_nothing_is_kept_are_counted(own: Lineup) -> None:
    answer = look_up(own, scene(700))
    assert answer.copies is not None
    geometry = answer.copies.stages[-1]
    assert (geometry.outcome, geometry.compared, geometry.not_comparable) == ("ran", 0, 12)
    assert answer.copies.not_looked_for is not None
    assert "12 of 12 candidates could not be verified" in answer.copies.not_looked_for


@needs_opencv
def test_stored_features_verify_what_a_corpus_keeps_no_picture_of(own: Lineup) -> None:
    image = scene(800)
    with own.database.write() as conn:
        create_corpus(conn, "shapes", FAKE, keep=Keep.NONE, features=True)
    added = add_image(own, encoded(image), "shapes", Provenance())
    assert len(list(own.blob_stores.features)) == 1
    assert not list(own.blob_stores.thumbnails)

    answer = look_up(own, ImageOps.mirror(cut(image, 0.8)))
    assert answer.copies is not None
    assert answer.copies.stages[-1].compared == 1
    assert (first(answer).entry.id, first(answer).relation) == (added.entry.id, "edited_copy")


@needs_opencv
def test_a_stage_that_fails_is_said_and_ends_no_look_up(own: Lineup) -> None:
    class Broken:
        def can_compare(self) -> bool:
            return True

        def find_all(self, sha256s: Any) -> Any:
            raise RuntimeError(f"no features of {len(sha256s)} pictures")

    own.stored_features = Broken()  # type: ignore[assignment]
    answer = look_up(own, scene(700))
    assert outcomes(answer)["geometry"] == "failed"
    assert answer.copies is not None
    assert "the local features failed" in (answer.copies.not_looked_for or "")
    assert len(answer.similarity.neighbours) == 8


@needs_opencv
@pytest.mark.parametrize("share", [0.6, 1.0])
def test_a_replay_takes_what_geometry_found_and_compares_hashes_again(
    tmp_path: Any, share: float
) -> None:
    with open_small(tmp_path / "data", similarity_threshold=0.9999) as lineup:
        fill_with_scenes(lineup)
        answer = look_up(lineup, ImageOps.mirror(cut(scene(2), share)), k=2)
        assert verdict(answer)[0] == "similar_to_known_fakes"
        for seed in range(100, 103):  # what was compared is gone
            data = encoded(scene(seed))
            lineup.blob_stores.originals.remove(hashlib.sha256(data).hexdigest())
        keep(lineup, "fakes", FAKE, cut(scene(2), 0.9))
        again = replay(lineup, answer.id)
        assert (again.equal, again.differences) == (True, [])
        assert again.replayed_sha256 == answer.evidence_sha256
        assert again.replayed.similarity.neighbours == answer.similarity.neighbours


def test_a_stored_answer_is_read_again_with_its_copies(scenes: Lineup) -> None:
    answer = look_up(scenes, cut(scene(2), 0.6))
    assert find_answer(scenes.database, answer.id) == answer


def test_a_changed_sentence_is_no_difference_and_a_changed_number_is_one(own: Lineup) -> None:
    answer = look_up(own, encoded(scene(700)))
    with own.database.read() as conn:
        stored = json.loads(get_lookup(conn, answer.id).answer_json)
    other = json.loads(json.dumps(stored))
    other["copies"]["stages"][0]["words"] = "said in another way"
    other["copies"]["not_looked_for"] = "nothing"
    assert find_differences(stored, other) == []
    other["copies"]["stages"][0]["compared"] += 1
    assert [each.place for each in find_differences(stored, other)] == ["/copies/stages/0/compared"]


# Probes that are too small for the model.


@pytest.fixture
def strict(tmp_path: Any) -> Iterator[Lineup]:
    """A Lineup whose model refuses what is smaller than 32 pixels, and whose limits do not."""
    model = TilesModel()
    model.limits = replace(model.limits, min_image_side=8)
    with open_small(tmp_path / "data", model) as lineup:
        fill_with_scenes(lineup)
        yield lineup


def test_a_thumbnail_of_a_known_fake_is_found_by_its_hash(strict: Lineup) -> None:
    data = encoded(scene(2).resize((SIDE - 4, SIDE - 4), Image.Resampling.LANCZOS))
    answer = look_up(strict, data)
    assert answer.probe.embedding == "none"
    assert answer.classifier is None
    assert verdict(answer) == ("similar_to_known_fakes", "near_duplicate_image")
    found = first(answer)
    assert (found.entry.id, found.relation, found.cosine_similarity) == (3, "near_duplicate", None)
    assert answer.quality is not None
    assert answer.quality.issue == "too_small"
    assert (answer.similarity.nearest_similarity, answer.similarity.false_match_rate) == (
        None,
        None,
    )
    assert answer.timings.embed_ms == 0
    again = replay(strict, answer.id, data)
    assert (again.equal, again.differences, again.reembedded) == (True, [], None)
    assert again.replayed_sha256 == answer.evidence_sha256


def test_a_small_probe_without_a_copy_is_inconclusive(strict: Lineup) -> None:
    calibrate(strict)
    answer = look_up(strict, scene(700, 24), stability=True)
    assert verdict(answer) == ("inconclusive", "poor_quality")
    assert answer.similarity.explanation.startswith("the picture does not show enough")
    assert "24 pixels" in answer.similarity.explanation
    assert answer.similarity.neighbours == []
    assert answer.similarity.searched == NEWEST + 1
    assert (answer.classifier, answer.stability) == (None, None)
    assert replay(strict, answer.id).equal


def test_what_the_limits_refuse_is_still_refused(strict: Lineup) -> None:
    with pytest.raises(ImageTooSmall) as refused:
        look_up(strict, scene(700, 7))
    assert refused.value.min_side == 8


# Probes without their image.


@needs_opencv
def test_an_ingested_image_is_compared_by_what_is_kept_of_it(own: Lineup) -> None:
    crop = cut(scene(52), 0.6)
    keep(own, "fakes", FAKE, scene(52))
    keep(own, "photographs", REAL, crop)
    sha256 = hashlib.sha256(encoded(crop)).hexdigest()
    answer = look_up_request(own, LookupRequest(sha256=sha256))
    assert first(answer).relation == "edited_copy"
    assert verdict(answer) == ("inconclusive", "also_known_real")
    own.blob_stores.originals.remove(sha256)
    without = look_up_request(own, LookupRequest(sha256=sha256))
    assert outcomes(without)["geometry"] == "no_image"
    assert without.copies is not None
    assert without.copies.not_looked_for is not None
    assert without.copies.not_looked_for.startswith("the probe came without its image")


def test_views_that_a_client_sends_are_compared(own: Lineup) -> None:
    seen = look_up(own, scene(53))
    assert seen.copies is not None
    views = [each.model_dump(mode="json") for each in seen.copies.views]
    keep(own, "fakes", FAKE, ImageOps.mirror(scene(53)))
    vector = np.zeros(12)
    vector[0] = 1
    mirrored = {**views[0], "symmetry": "mirrored", "pdq_hash": hash_of_newest(own)}
    request = {
        "embedding": vector.tolist(),
        "embedding_space": own.space.fingerprint,
        "pdq_hash": views[0]["pdq_hash"],
        "pdq_quality": views[0]["pdq_quality"],
    }
    alone = look_up_request(own, LookupRequest(**request))
    assert outcomes(alone) == {
        "perceptual_hash": "ran",
        "descriptor": outcomes(alone)["descriptor"],
        "geometry": "no_image" if can_extract() else "not_installed",
    }
    answer = look_up_request(own, LookupRequest(**request, view_hashes=[mirrored]))
    found = first(answer)
    assert found.relation == "near_duplicate"
    assert found.copy_evidence is not None
    assert found.copy_evidence.symmetry == "mirrored"
    assert replay(own, answer.id).equal


def hash_of_newest(lineup: Lineup) -> str:
    answer = look_up(lineup, ImageOps.mirror(scene(53)))
    assert answer.probe.pdq_hash is not None
    return answer.probe.pdq_hash


# With a copy descriptor.


@pytest.fixture
def described(tmp_path: Any) -> Iterator[Lineup]:
    """The same known fakes, with the vectors of a copy descriptor."""
    settings = {"similarity_threshold": 0.9999, "copy_descriptor": "auto"}
    with open_small(tmp_path / "data", **settings) as lineup:
        lineup.copies.close()
        config = make_index_config(lineup.settings)
        lineup.copies = Copies(
            lineup.settings, lineup.database, config, background=False, choose=Shop().choose
        )
        with lineup.database.write() as conn:
            create_corpus(conn, "fakes", FAKE, keep=Keep.NONE)
            create_corpus(conn, "photographs", REAL, keep=Keep.NONE)
        describer = lineup.copies.find_describer()
        for seed in range(NEWEST + 1):
            add_image(lineup, encoded(scene(seed)), "fakes", Provenance(), describer)
        yield lineup


def test_entries_without_a_vector_are_counted_among_those_that_were_searched(
    described: Lineup,
) -> None:
    add_image(described, encoded(scene(90)), "fakes", Provenance())
    for corpora, missing in ((None, 1), (["fakes"], 1), (["photographs"], 0)):
        answer = look_up(described, scene(700), filter={"corpora": corpora})
        assert answer.copies is not None
        _, descriptor, _ = answer.copies.stages
        assert (descriptor.stage, descriptor.not_comparable) == ("descriptor", missing)
        assert descriptor.compared == (0 if corpora == ["photographs"] else NEWEST + 1)
        said = answer.copies.not_looked_for or ""
        assert ("1 entry has no copy descriptor yet" in said) == bool(missing)


def test_two_searches_of_different_generations_claim_no_vector_that_may_be_there(
    described: Lineup,
) -> None:
    listed = described.index.search_all([Question(None, 1, EVERYTHING)])[0]
    found = Found(listed, None, listed, ())
    report = StageReport(
        CopyStage.DESCRIPTOR,
        StageOutcome.RAN,
        compared=listed.searched - 3,
        generation=listed.generation - 2,
    )
    assert report_descriptor(report, found, NO_LEADS).not_comparable == 1
    failed = replace(report, outcome=StageOutcome.FAILED)
    assert report_descriptor(failed, found, NO_LEADS).not_comparable == 0


def lead_at(similarity: float) -> CopyRates:
    """Rates by which 1 % of unrelated pictures reach a similarity of copy descriptors."""
    rates = replace(
        false_matches(),
        similarities=(-1.0, similarity, 1.0),
        estimates=(1.0, 0.01, 0.0),
        lows=(1.0, 0.01, 0.0),
        highs=(1.0, 0.01, 0.0),
    )
    return CopyRates(descriptors={Colours().fingerprint: CopyCurve(rates, "test")})


def stir(image: Image.Image) -> Image.Image:
    """The pixels of each quarter in another order: only the colours of the quarters stay."""
    rng, half = np.random.default_rng(5), image.width // 2
    pixels = np.array(image)
    for quarter in (
        np.s_[:half, :half],
        np.s_[:half, half:],
        np.s_[half:, :half],
        np.s_[half:, half:],
    ):
        pixels[quarter] = rng.permutation(pixels[quarter].reshape(-1, 3)).reshape(half, half, 3)
    return Image.fromarray(pixels)


def test_what_a_descriptor_alone_finds_is_a_lead(described: Lineup) -> None:
    calibrate(described, copies=lead_at(0.9))
    answer = look_up(described, encoded(stir(scene(2))), false_match_rate=0.01)
    assert outcomes(answer)["descriptor"] == "ran"
    found = first(answer)
    assert (found.entry.id, found.relation) == (3, "possible_copy")
    assert found.copy_evidence is not None
    assert found.copy_evidence.verified is None
    assert found.copy_evidence.words.startswith("not verified: the copy descriptors have")
    assert verdict(answer) == ("inconclusive", "possible_copy")
    assert answer.similarity.nearest_known_fake == found
    assert answer.copies is not None
    assert answer.copies.leads.source.endswith("calibration 1")
    assert answer.timings.describe_ms is not None
    described.copies.close()
    again = replay(described, answer.id)
    assert (again.equal, again.differences) == (True, [])
    assert again.replayed.similarity == answer.similarity


def test_a_probe_without_a_descriptor_leaves_the_limits_of_others_as_they_are(
    described: Lineup,
) -> None:
    """Both probes say nothing of their delivery, and only the picture of one is kept."""
    keep(described, "photographs", REAL, scene(60))
    calibrate(described, copies=lead_at(0.9))
    vector = [1.0] + [0.0] * 11
    sent = LookupRequest(embedding=vector, embedding_space=described.space.fingerprint)
    kept = LookupRequest(sha256=hashlib.sha256(encoded(scene(60))).hexdigest())
    answers = [look_up_request(described, each) for each in (sent, kept, sent)]
    assert [outcomes(each)["descriptor"] for each in answers] == ["no_image", "ran", "no_image"]
    limits = [each.copies.leads.least_similarity for each in answers if each.copies is not None]
    assert [each is None for each in limits] == [True, False, True]


@pytest.mark.parametrize(
    ("edited", "relation"),
    [
        (encoded(scene(2)), "identical"),
        (encoded(scene(2), "JPEG", quality=80), "near_duplicate"),
        (encoded(ImageOps.mirror(scene(2)), "JPEG", quality=80), "near_duplicate"),
    ],
    ids=["identical", "compressed", "mirrored"],
)
def test_a_replay_states_the_descriptor_similarity_of_what_geometry_did_not_look_at(
    described: Lineup, edited: bytes, relation: str
) -> None:
    answer = look_up(described, edited)
    found = first(answer)
    assert (found.entry.id, found.relation) == (3, relation)
    assert found.copy_evidence is not None
    assert found.copy_evidence.verified is None
    assert found.copy_evidence.descriptor_similarity is not None
    described.copies.close()
    again = replay(described, answer.id)
    assert (again.equal, again.differences) == (True, [])
    assert again.replayed.similarity == answer.similarity
