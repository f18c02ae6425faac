"""Pictures are made ahead in order, and no more of them than fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.decoding.ahead import make_pictures_ahead
from embedder.decoding.picture import Picture, PictureOrder
from embedder.pictures.limits import ImageLimits
from tests.embedder.decoding.made_by_tests import PlantedDecoders

ORDER = PictureOrder(ImageLimits())  # whose results take nothing
THUMBNAIL = PictureOrder(ImageLimits(), thumbnail_pixels=10)  # 300 bytes
Make = Callable[[bytes, PictureOrder], Picture]


def name(data: bytes, _order: PictureOrder) -> Picture:
    return Picture(data.decode())


def items(count: int) -> Iterator[tuple[int, bytes, PictureOrder]]:
    return ((n, str(n).encode(), ORDER) for n in range(count))


@contextmanager
def decoding(make: Make = name, count: int = 2) -> Iterator[PlantedDecoders]:
    decoders = PlantedDecoders(make, count)
    try:
        yield decoders
    finally:
        decoders.close()


def test_pictures_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    def make(data: bytes, _order: PictureOrder) -> Picture:
        time.sleep(int(data) * 7 % 5 / 1000)
        return Picture(data.decode())

    with decoding(make, 6) as decoders:
        made = make_pictures_ahead(decoders, items(60), ahead=12, max_bytes=1000)
        assert [(key, future.result().format) for key, future in made] == [
            (n, str(n)) for n in range(60)
        ]


@given(
    sizes=st.lists(st.integers(1, 900), max_size=30),
    ahead=st.integers(1, 9),
    max_bytes=st.integers(1, 2000),
)
def test_no_more_is_taken_than_may_be_ahead_and_fits_or_is_alone(
    sizes: list[int], ahead: int, max_bytes: int
) -> None:
    taken: list[int] = []

    def source() -> Iterator[tuple[int, bytes, PictureOrder]]:
        for n, size in enumerate(sizes):
            taken.append(size)
            yield n, bytes(size), ORDER if n % 2 else THUMBNAIL

    with decoding(lambda data, _: Picture(str(len(data)))) as decoders:
        made = make_pictures_ahead(decoders, source(), ahead=ahead, max_bytes=max_bytes)
        for number, (key, future) in enumerate(made):
            assert (key, future.result().format) == (number, str(sizes[number]))
            held = [
                size + (0 if n % 2 else 300)
                for n, size in enumerate(taken[:-1] if len(taken) < len(sizes) else taken)
                if n >= number
            ]
            # One more is taken from the source to see that it does not fit.
            assert len(taken) - number <= ahead + 1
            assert len(held) <= 1 or sum(held) <= max_bytes or len(taken) == len(sizes)


def test_what_does_not_fit_is_made_alone() -> None:
    running = most = 0
    lock = threading.Lock()

    def make(_data: bytes, _order: PictureOrder) -> Picture:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return Picture("png")

    with decoding(make, 4) as decoders:
        made = make_pictures_ahead(decoders, items(8), ahead=8, max_bytes=0)
        assert [key for key, future in made if future.result()] == list(range(8))
    assert most == 1


def test_an_exception_of_the_source_comes_after_what_came_before_it() -> None:
    def source() -> Iterator[tuple[int, bytes, PictureOrder]]:
        yield from items(7)
        raise OSError("the disk is gone")

    with decoding() as decoders:
        made = make_pictures_ahead(decoders, source(), ahead=4, max_bytes=1000)
        assert [next(made)[0] for _ in range(7)] == list(range(7))
        with pytest.raises(OSError, match="the disk is gone"):
            next(made)


def test_an_error_of_one_picture_is_in_its_future_and_the_others_come() -> None:
    def make(data: bytes, _order: PictureOrder) -> Picture:
        return Picture(str(1 // (3 - int(data))))

    with decoding(make) as decoders:
        made = make_pictures_ahead(decoders, items(6), ahead=4, max_bytes=1000)
        failed = [key for key, future in made if future.exception() is not None]
    assert failed == [3]


def test_closing_cancels_what_has_not_started_and_does_not_wait() -> None:
    begun: list[bytes] = []
    release = threading.Event()

    def make(data: bytes, _order: PictureOrder) -> Picture:
        begun.append(data)
        if data != b"0":
            release.wait(20)
        return Picture("png")

    with decoding(make) as decoders:
        made = make_pictures_ahead(decoders, items(1000), ahead=50, max_bytes=1000)
        key, future = next(made)
        assert (key, future.result().format) == (0, "png")
        made.close()
        release.set()
    assert len(begun) <= 1 + 2, "only what had begun: one for each thread"


def test_no_items_are_no_pictures() -> None:
    with decoding() as decoders:
        assert list(make_pictures_ahead(decoders, items(0), ahead=2, max_bytes=1)) == []
