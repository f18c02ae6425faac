from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.copies.probe_features import ProbeFeatures
from api.errors import InvalidRequest
from api.images import hash_of, view_hashes_of
from api.lineup import Lineup
from api.lookups.answers.json import ProbeAnswer
from api.lookups.probe import Probe, embed_probe, milliseconds, take_probe
from api.lookups.request import LookupRequest
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.errors import ImageError
from embedder.pictures.delivery import Condition
from embedder.pictures.reencodings import REENCODING_NAMES
from index.copies import AS_SEEN, ViewHash
from index.errors import ForeignSpace, UnknownImage
from index.truth.perceptual import PerceptualHash
from index.truth.schema import images
from tests.api.small_lineup import encoded, picture

KNOWN = encoded(picture(0))  # which `fill` adds
HASH = "0f" * 32


def of_bytes(lineup: Lineup, data: bytes) -> Probe:
    return embed_probe(data, lineup.database, lineup.space, lineup.embedder, lineup.batcher)


def of_request(lineup: Lineup, **request: Any) -> Probe:
    return take_probe(LookupRequest(**request), lineup.database, lineup.space)


def probe(**facts: Any) -> Probe:
    answer = ProbeAnswer(sha256=None, embedding="sent", **facts.pop("answer", {}))
    return Probe(answer, np.zeros(2, np.float32), facts.pop("logit", None), **facts)


def test_what_is_no_image_is_refused(filled: Lineup) -> None:
    with pytest.raises(ImageError):
        of_bytes(filled, b"no image")


def test_an_image_is_decoded_hashed_and_embedded(filled: Lineup) -> None:
    data = encoded(picture(500, side=120), "JPEG", quality=75)
    before = filled.embedder.embedded
    found = of_bytes(filled, data)

    assert filled.embedder.embedded == before + 1
    answer = found.answer
    assert answer.sha256 == hashlib.sha256(data).hexdigest()
    assert (answer.format, answer.width, answer.height, answer.byte_size) == (
        "jpeg",
        120,
        120,
        len(data),
    )
    assert answer.embedding == "computed"
    assert found.perceptual_hash is not None
    assert answer.pdq_hash == found.perceptual_hash.bits.hex()
    assert answer.pdq_quality == found.pdq_quality == found.perceptual_hash.quality
    assert found.condition is Condition.JPEG75
    assert found.reencodings is None, "nobody asked for them"
    assert np.linalg.norm(found.vector) == pytest.approx(1.0)
    assert found.luminance_std is not None
    assert found.decode_ms > 0


def test_bytes_that_were_ingested_are_not_embedded_again(filled: Lineup) -> None:
    before = filled.embedder.embedded
    found = of_bytes(filled, KNOWN)

    assert filled.embedder.embedded == before
    assert found.answer.embedding == "stored"
    assert found.reencodings is None
    assert found.condition is Condition.AS_IS
    assert found.luminance_std is None
    named = of_request(filled, sha256=found.answer.sha256)
    assert named.answer == found.answer
    assert np.array_equal(named.vector, found.vector)
    assert named.logit == found.logit
    assert (named.reencodings, named.condition) == (None, None)


@pytest.mark.parametrize("side", [120, 760])
def test_a_probe_has_all_that_one_order_makes(filled: Lineup, side: int) -> None:
    """A small picture is decoded for what the model reads and for its views at the same time."""
    data = encoded(picture(501, side=side), "JPEG", quality=75)
    found = embed_probe(
        data, filled.database, filled.space, filled.embedder, filled.batcher, stability=True
    )

    order = replace(
        filled.embedder.picture_order,
        condition=True,
        perceptual_hash=True,
        luminance=True,
        view_hashes=True,
        reencodings=REENCODING_NAMES,
    )
    made = make_picture(data, order)
    assert found.views == view_hashes_of(made)
    assert found.perceptual_hash == hash_of(made)
    assert (found.condition, found.luminance_std) == (made.condition, made.luminance_std)
    vector, logit = filled.batcher.embed(made.pixels)
    assert (found.vector.tobytes(), found.logit) == (vector.tobytes(), logit)
    again = filled.batcher.embed_all([each.pixels for each in made.reencodings.usable])
    assert [each.name for each in found.reencodings.usable] == [
        each.name for each in made.reencodings.usable
    ]
    assert len(again) > 0
    for (vector, logit), (expected, expected_logit) in zip(found.reencoded, again, strict=True):
        assert (vector.tobytes(), logit) == (expected.tobytes(), expected_logit)


def test_a_stored_image_without_a_hash_is_compared_by_that_of_its_kept_picture(own: Lineup) -> None:
    hashed = of_bytes(own, KNOWN).perceptual_hash
    sha256 = hashlib.sha256(KNOWN).hexdigest()
    with own.database.write() as connection:  # as a row that came ready, without a hash
        forgotten = images.update().where(images.c.sha256 == sha256)
        connection.execute(forgotten.values(pdq_hash=None, pdq_quality=None))
    kept = make_picture(KNOWN, PictureOrder(own.limits, view_hashes=True))
    features = ProbeFeatures(own.decoders, KNOWN, own.limits)
    request = LookupRequest(sha256=sha256)

    for found in (
        of_bytes(own, KNOWN),
        take_probe(request, own.database, own.space, lambda _: (kept, features)),
    ):
        assert found.perceptual_hash == hashed
        assert found.views[0] == ViewHash(AS_SEEN, hashed)
        assert found.answer.pdq_hash == hashed.bits.hex()
    assert take_probe(request, own.database, own.space).perceptual_hash is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "send an image"),
        ({"embedding": [1.0]}, "needs its embedding_space"),
    ],
)
def test_an_incomplete_request_is_refused(
    filled: Lineup, request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        of_request(filled, **request_)


def test_a_hash_alone_is_a_probe_without_an_embedding(filled: Lineup) -> None:
    probe = of_request(filled, pdq_hash="ab" * 32, pdq_quality=80)
    assert (probe.vector, probe.answer.embedding, probe.answer.sha256) == (None, "none", None)
    assert [each.hash.bits.hex() for each in probe.views] == ["ab" * 32]


def test_an_unknown_image_or_space_is_refused(filled: Lineup) -> None:
    with pytest.raises(UnknownImage):
        of_request(filled, sha256="1" * 64)
    with pytest.raises(ForeignSpace):
        of_request(filled, embedding=[1.0], embedding_space="2" * 64)


def test_a_sent_embedding_is_taken_as_it_is(filled: Lineup) -> None:
    space, sha256 = filled.space.fingerprint, "1" * 64
    found = of_request(
        filled,
        embedding=[0.6, 0.8],
        embedding_space=space,
        logit=1.5,
        sha256=sha256,
        pdq_hash=HASH,
        pdq_quality=80,
    )
    assert found.vector.tolist() == pytest.approx([0.6, 0.8])
    assert (found.logit, found.answer.embedding, found.answer.sha256) == (1.5, "sent", sha256)
    assert found.perceptual_hash == PerceptualHash(bytes.fromhex(HASH), 80)
    bare = of_request(filled, embedding=[1.0], embedding_space=space, pdq_hash=HASH)
    assert (bare.logit, bare.perceptual_hash, bare.pdq_quality) == (None, None, None)


def test_an_embedding_too_large_for_float32_is_left_to_the_search(filled: Lineup) -> None:
    found = of_request(filled, embedding=[1e300], embedding_space=filled.space.fingerprint)
    assert np.isinf(found.vector).all()


@pytest.mark.parametrize(
    ("facts", "is_flat"),
    [
        ({"perceptual_hash": PerceptualHash(bytes(32), 49)}, True),
        ({"perceptual_hash": PerceptualHash(bytes(32), 50)}, False),
        ({"luminance_std": 3.9}, True),
        ({"luminance_std": 4.0}, False),
        ({}, False),
    ],
)
def test_a_flat_picture_is_known_by_its_hash_or_by_what_the_model_reads(
    facts: dict[str, Any], is_flat: bool
) -> None:
    assert probe(**facts).facts(224).is_flat is is_flat


def test_the_facts_of_a_probe() -> None:
    sides = {"width": 640, "height": 480}
    found = probe(answer=sides, logit=0.5, condition=Condition.HALF).facts(224)
    assert (found.shortest_side, found.model_side) == (480, 224)
    assert (found.logit, found.condition) == (0.5, "half")
    assert probe().facts(224).shortest_side is None


def test_a_flat_image_is_flat(filled: Lineup) -> None:
    grey = encoded(Image.new("RGB", (100, 100), (120, 120, 120)))
    assert of_bytes(filled, grey).facts(32).is_flat


def test_milliseconds_are_those_between_two_readings() -> None:
    assert milliseconds(1.0, 1.25) == 250.0
