"""Tests of the local features of a probe."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from PIL import Image

from api.copies.probe_features import ProbeFeatures
from embedder.copies.features import extract_features
from embedder.decoding.picture import Picture, PictureOrder
from embedder.decoding.threads import ThreadDecoders
from embedder.errors import NotAnImage
from embedder.pictures.limits import ImageLimits
from tests.api.modelless import encode

LIMITS = ImageLimits()


class Counted(ThreadDecoders):
    """Counts the orders."""

    orders = 0

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        self.orders += 1
        return super().submit(data, order, urgent=urgent)


def test_a_file_that_is_no_picture_raises() -> None:
    with pytest.raises(NotAnImage):
        ProbeFeatures(ThreadDecoders(1), b"no picture", LIMITS).find()


def test_what_nobody_asks_for_is_not_made() -> None:
    decoders = Counted(1)
    ProbeFeatures(decoders, encode(Image.new("RGB", (64, 64)), "PNG"), LIMITS).cancel()
    assert decoders.orders == 0


def test_they_are_made_once_and_are_those_of_the_picture() -> None:
    image = Image.linear_gradient("L").resize((160, 160)).convert("RGB")
    decoders = Counted(1)
    features = ProbeFeatures(decoders, encode(image, "PNG"), LIMITS)
    features.begin()
    found, again, expected = features.find(), features.find(), extract_features(image)
    assert decoders.orders == 1
    assert found is again
    assert found is None if expected is None else found.to_bytes() == expected.to_bytes()


def test_a_file_that_is_read_when_it_is_needed_is_read_once() -> None:
    read = list[int]()

    def read_file() -> bytes:
        read.append(1)
        return encode(Image.new("RGB", (64, 64)), "PNG")

    features = ProbeFeatures(ThreadDecoders(1), read_file, LIMITS)
    assert not read
    features.find()
    features.find()
    assert len(read) == 1
