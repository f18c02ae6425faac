"""Tests of where the features of a stored picture come from, and of what is broken on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from api.copies.stored_features import StoredFeatures
from api.images import BlobStores
from embedder.copies.features import LocalFeatures, extract_features
from embedder.decoding.picture import Picture, PictureOrder
from embedder.decoding.threads import ThreadDecoders
from embedder.pictures.limits import ImageLimits
from tests.api.modelless import encode, stores_in

LIMITS = ImageLimits()
ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


class CountingDecoders(ThreadDecoders):
    """Counts the pictures that are made."""

    made = 0

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        self.made += 1
        return super().submit(data, order, urgent=urgent)


@pytest.fixture
def decoders() -> Iterator[CountingDecoders]:
    decoders = CountingDecoders(2)
    yield decoders
    decoders.close()


@pytest.fixture
def stores(tmp_path: Path) -> BlobStores:
    return stores_in(tmp_path)


def noise(side: int, sigma: int = 60) -> Image.Image:
    return Image.effect_noise((side, side), sigma).convert("RGB")


def width_of(features: LocalFeatures | None) -> int | None:
    return None if features is None else features.width


def test_what_was_stored_comes_before_the_thumbnail_and_the_thumbnail_before_the_original(
    stores: BlobStores, decoders: CountingDecoders
) -> None:
    stored = extract_features(noise(30))
    assert stored is not None
    stores.features.put(ONE, stored.to_bytes())
    for sha256 in (ONE, TWO):
        stores.thumbnails.put(sha256, encode(noise(40), "WEBP"))
    for sha256 in (ONE, TWO, THREE):
        stores.originals.put(sha256, encode(noise(50), "PNG"))
    features = StoredFeatures(stores, decoders, LIMITS)

    found = list(features.find_all([ONE, TWO, THREE, "4" * 64, TWO]))

    assert [width_of(each) for each in found] == [30, 40, 50, None, 40]
    assert decoders.made == 2, "of the second and the third"
    assert list(features.find_all([THREE, TWO]))[1] is found[1]
    assert decoders.made == 2, "they are remembered"


def test_what_is_kept_later_is_compared_although_something_else_was_remembered(
    stores: BlobStores, decoders: CountingDecoders
) -> None:
    features = StoredFeatures(stores, decoders, LIMITS)

    def find_width() -> int | None:
        (found,) = features.find_all([ONE])
        (found_by_another,) = StoredFeatures(stores, decoders, LIMITS).find_all([ONE])
        assert width_of(found) == width_of(found_by_another)
        return width_of(found)

    stores.originals.put(ONE, encode(noise(50), "PNG"))
    assert find_width() == 50
    stores.thumbnails.put(ONE, encode(noise(40), "WEBP"))
    assert find_width() == 40
    stored = extract_features(noise(30))
    assert stored is not None
    stores.features.put(ONE, stored.to_bytes())
    assert find_width() == 30
    stores.features.remove(ONE)
    assert find_width() == 40
    made = decoders.made
    list(features.find_all([ONE]))
    assert decoders.made == made, "it is remembered"


def test_what_is_broken_is_passed_over_and_logged(
    stores: BlobStores, decoders: CountingDecoders, caplog: pytest.LogCaptureFixture
) -> None:
    stores.features.put(ONE, b"no features")
    stores.thumbnails.put(ONE, encode(noise(40), "WEBP"))
    stores.thumbnails.put(TWO, b"no picture")
    stores.originals.put(TWO, encode(noise(50), "PNG"))
    stores.thumbnails.put(THREE, encode(noise(40), "WEBP")[:200])
    stores.thumbnails.path("4" * 64).mkdir(parents=True)  # cannot be read as a file
    with caplog.at_level(logging.WARNING):
        found = list(StoredFeatures(stores, decoders, LIMITS).find_all([ONE, TWO, THREE, "4" * 64]))

    assert [width_of(each) for each in found] == [40, 50, None, None]
    for sha256 in (ONE, TWO, THREE):
        assert sha256 in caplog.text


def test_the_thumbnail_of_a_long_strip_can_be_compared(
    stores: BlobStores, decoders: CountingDecoders
) -> None:
    strip = Image.effect_noise((256, 7), 60).convert("RGB")
    stores.thumbnails.put(ONE, encode(strip, "WEBP"))

    (found,) = StoredFeatures(stores, decoders, LIMITS).find_all([ONE])
    assert width_of(found) == 256


def test_what_is_held_in_memory_is_bounded(stores: BlobStores, decoders: CountingDecoders) -> None:
    thumbnail = encode(noise(64), "WEBP")  # of as many bytes of features for each
    for sha256 in (ONE, TWO, THREE):
        stores.thumbnails.put(sha256, thumbnail)
    (one,) = StoredFeatures(stores, decoders, LIMITS).find_all([ONE])
    assert one is not None
    features = StoredFeatures(stores, decoders, LIMITS, max_held_bytes=one.held_bytes * 5 // 2)
    before = decoders.made
    list(features.find_all([ONE, TWO, THREE]))
    assert decoders.made == before + 3

    list(features.find_all([THREE, TWO]))
    assert decoders.made == before + 3
    list(features.find_all([ONE]))
    assert decoders.made == before + 4, "the first had to leave"


def test_a_search_that_is_given_up_leaves_nothing_waiting(
    stores: BlobStores, decoders: CountingDecoders
) -> None:
    for sha256 in (ONE, TWO):
        stores.thumbnails.put(sha256, encode(noise(64), "WEBP"))
    found = StoredFeatures(stores, decoders, LIMITS).find_all([ONE, TWO])

    assert next(found) is not None
    found.close()  # type: ignore[attr-defined]
    decoders.close()  # which waits for what runs
