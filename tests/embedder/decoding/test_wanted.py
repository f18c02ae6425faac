"""Those who wait for the pictures of one file hear of each of them once."""

from __future__ import annotations

from concurrent.futures import CancelledError

import pytest

from embedder.decoding.picture import Picture, PictureOrder
from embedder.decoding.wanted import Wanted
from embedder.errors import NotAnImage
from tests.embedder.decoding.test_picture import LIMITS

PLAIN, HASHED = PictureOrder(LIMITS), PictureOrder(LIMITS, perceptual_hash=True)


def test_what_nobody_waits_for_is_not_begun() -> None:
    wanted = Wanted(b"", [PLAIN, HASHED])
    wanted.futures[0].cancel()
    assert not wanted.is_cancelled
    wanted.futures[1].cancel()
    assert wanted.is_cancelled
    assert not wanted.begin()
    assert wanted.orders == []


def test_what_was_cancelled_is_left_out_and_the_rest_cannot_be() -> None:
    wanted = Wanted(b"", [PLAIN, HASHED])
    wanted.futures[0].cancel()
    assert wanted.begin()
    assert wanted.orders == [HASHED]
    wanted.cancel()
    assert wanted.futures[1].running()
    assert wanted.begin(), "as when it is tried again"
    with pytest.raises(CancelledError):
        wanted.futures[0].result(0)


def test_each_gets_its_own_picture_and_a_failure_reaches_those_that_are_left() -> None:
    wanted, picture = Wanted(b"", [PLAIN, HASHED, PLAIN]), Picture("png")
    assert wanted.begin()
    wanted.deliver(picture)
    assert wanted.futures[0].result(0) is picture
    assert wanted.orders == [HASHED, PLAIN]
    wanted.deliver(NotAnImage("one order"))
    wanted.fail(RuntimeError("the rest"))
    assert [type(each.exception(0)) for each in wanted.futures] == [
        type(None),
        NotAnImage,
        RuntimeError,
    ]
