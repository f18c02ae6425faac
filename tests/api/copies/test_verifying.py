"""Tests of the verification of candidates: which, how many, and what is said of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from api.copies.stored_features import StoredFeatures
from api.copies.verifying import MAX_CANDIDATES, NoFeatures, choose_candidates, take_turns, verify
from api.images import BlobStores
from embedder.copies.features import LocalFeatures, extract_features
from embedder.decoding.threads import ThreadDecoders
from embedder.pictures.limits import ImageLimits
from index.cache.searching.questions import Neighbour
from index.copies import CopyEvidence
from index.truth.corpora import CorpusKind
from tests.api.modelless import encode, stores_in
from tests.embedder.copies.drawn import photograph, thumbnail
from tests.index.assessing import neighbour


@pytest.fixture
def stores(tmp_path: Path) -> BlobStores:
    return stores_in(tmp_path)


@pytest.fixture
def stored(stores: BlobStores) -> Iterator[StoredFeatures]:
    decoders = ThreadDecoders(2)
    yield StoredFeatures(stores, decoders, ImageLimits())
    decoders.close()


def near(number: int, **parts: object) -> Neighbour:
    return neighbour(number, 0.5)._replace(**parts)  # type: ignore[arg-type]


def also_in(other: Neighbour, number: int) -> Neighbour:
    """The same image in another corpus."""
    again = near(number)
    return again._replace(entry=replace(again.entry, image=other.entry.image))


def extract(image: Image.Image) -> LocalFeatures:
    features = extract_features(image)
    assert features is not None
    return features


def keep(stores: BlobStores, candidate: Neighbour, image: Image.Image) -> Neighbour:
    stores.thumbnails.put(candidate.entry.sha256, encode(thumbnail(image), "WEBP"))
    return candidate


def test_the_descriptor_has_every_second_turn_until_it_has_no_more() -> None:
    described, hashed, similar = range(10, 15), range(20, 22), range(30, 33)
    assert [*take_turns(described, hashed, similar)] == [10, 11, 20, 30, 12, 13, 21, 31, 14, 32]
    assert [*take_turns([], hashed, [0])] == [20, 0, 21]  # row 0 counts
    assert [*take_turns([], [], [])] == []


def test_lists_take_turns_and_each_image_comes_once_with_all_its_entries() -> None:
    one, two, three, four = (near(number) for number in range(1, 5))
    again = also_in(one, 9)
    identical = near(5, identical=True)

    chosen = choose_candidates([one, two, again], [], [identical, three, one], [four])
    assert [each.entry.id for each in chosen] == [1, 9, 4, 2, 3]
    few = choose_candidates([one, two, again], [three], most=2)
    assert [each.entry.id for each in few] == [1, 9, 3]
    assert choose_candidates() == []


def test_each_candidate_is_told_apart(stores: BlobStores, stored: StoredFeatures) -> None:
    astronaut = photograph("astronaut")
    broken, missing = near(1), near(2)
    stores.thumbnails.put(broken.entry.sha256, b"no picture")
    other = keep(stores, near(3, copy=CopyEvidence(hamming_distance=40)), photograph("coffee"))
    copied = keep(stores, near(4, copy=CopyEvidence(descriptor_similarity=0.7)), astronaut)
    again = also_in(copied, 5)
    edited = ImageOps.mirror(astronaut.crop((100, 50, 450, 400)))

    found = verify(stored, lambda: extract(edited), [broken, missing, other, copied, again])

    assert [found[number].verified for number in range(1, 6)] == [None, None, False, True, True]
    assert found[3] == CopyEvidence(hamming_distance=40, verified=False)
    assert found[4].descriptor_similarity == 0.7
    correspondence = found[4].correspondence
    assert correspondence is not None
    assert correspondence == found[5].correspondence
    assert correspondence.mirrored
    assert correspondence.entry_covered == pytest.approx((350 / 512) ** 2, abs=0.05)
    assert len(correspondence.homography) == 9


def test_without_features_of_the_probe_nothing_is_compared(
    stores: BlobStores, stored: StoredFeatures
) -> None:
    candidate = keep(stores, near(1, copy=CopyEvidence(hamming_distance=40)), photograph("coffee"))

    with pytest.raises(NoFeatures):
        verify(stored, lambda: None, [candidate])
    assert verify(stored, lambda: None, []) == {}


def test_no_more_than_so_many_images_are_compared(
    stores: BlobStores, stored: StoredFeatures
) -> None:
    flat = Image.new("RGB", (64, 64), (90, 120, 30))
    many = [keep(stores, near(number), flat) for number in range(1, MAX_CANDIDATES + 3)]

    found = verify(stored, lambda: extract(photograph("coffee", 128)), many)

    assert [found[each.entry.id].verified for each in many] == [False] * MAX_CANDIDATES + [None] * 2


def test_known_reals_are_compared_like_fakes(stores: BlobStores, stored: StoredFeatures) -> None:
    image = photograph("chelsea", 300)
    real = keep(stores, neighbour(1, 0.4, CorpusKind.KNOWN_REAL), image)

    assert verify(stored, lambda: extract(image), [real])[1].verified
