"""Pictures of a probe that nobody needs any more are not made."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from api.batcher import Pixels, VectorAndLogit
from api.errors import Overloaded
from api.lookups.making import Making
from embedder.decoding.confinement import UNCONFINED
from embedder.decoding.picture import Picture, PictureOrder
from embedder.errors import ImageTooSmall
from embedder.pictures.limits import ImageLimits
from embedder.pictures.preprocess import Preprocessing
from embedder.pictures.reencodings import REENCODING_GROUPS

READING = PictureOrder(ImageLimits(), Preprocessing(None, None, 32))


class LateDecoders:
    """Makes nothing by itself. Implements `Decoders`."""

    confinement = UNCONFINED

    def __init__(self) -> None:
        self.ordered: list[list[PictureOrder]] = []
        self.futures: list[Future[Picture]] = []

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        (future,) = self.submit_all(data, [order], urgent=urgent)
        return future

    def submit_all(
        self, data: bytes, orders: Sequence[PictureOrder], *, urgent: bool = False
    ) -> list[Future[Picture]]:
        assert (data, urgent) == (b"file", True)
        self.ordered.append(list(orders))
        futures: list[Future[Picture]] = [Future() for _ in orders]
        self.futures += futures
        return futures

    def prepare(self) -> None: ...

    def close(self) -> None: ...


class BusyForward:
    def embed_all(self, pictures: Sequence[Pixels]) -> list[VectorAndLogit]:
        raise Overloaded(len(pictures), 1)


def begin(decoders: LateDecoders, *, is_known: bool = False, stability: bool = False) -> Making:
    making = Making(
        decoders, b"file", READING, is_known=is_known, stability=stability, descriptor=None
    )
    making.begin()
    return making


def test_a_making_that_fails_can_be_cancelled_as_a_whole() -> None:
    decoders = LateDecoders()
    making = begin(decoders, stability=True)
    decoders.futures[0].set_result(Picture("png", pixels=np.zeros((32, 32, 3), np.uint8)))
    with pytest.raises(Overloaded):
        making.finish(BusyForward())
    making.cancel()
    assert all(each.cancelled() for each in decoders.futures[1:])


def test_a_picture_that_is_too_small_for_the_model_is_made_without_its_pixels() -> None:
    decoders = LateDecoders()
    making = begin(decoders)
    decoders.futures[0].set_exception(ImageTooSmall(9, 9, 32))
    decoders.futures[1].set_running_or_notify_cancel()
    rest = Picture("png", width=9, height=9)
    decoders.futures[1].set_result(rest)
    made = making.finish(BusyForward())
    assert (made.picture, made.embedding, made.reencoded) == (rest, None, ())


def test_what_the_model_reads_comes_first_and_webp_beside_all() -> None:
    quick, slow = REENCODING_GROUPS
    for is_known in (False, True):
        decoders = LateDecoders()
        begin(decoders, is_known=is_known, stability=True)
        first, beside = decoders.ordered
        assert [each.pixels and each.preprocessing is not None for each in first] == (
            [False, False] if is_known else [True, False, False]
        )
        assert [each.reencodings for each in first[-2:]] == [quick, ()]
        assert first[-1].view_hashes
        assert [each.reencodings for each in beside] == [slow]
