"""Pictures made in threads: the same as without, failures of one are not those of another."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from embedder.decoding.confinement import ConfinementLevel
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.decoding.threads import MAX_DECODED_BYTES, ThreadDecoders, count_threads
from embedder.errors import ImageError, NotAnImage
from embedder.pictures.limits import ImageLimits
from tests.embedder.decoding.test_picture import LIMITS, MODEL, encode

ORDER = PictureOrder(LIMITS, MODEL, perceptual_hash=True)


def test_there_must_be_a_thread() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ThreadDecoders(0)


def test_there_are_two_threads_for_each_core_then_one_as_far_as_images_fit() -> None:
    limits = ImageLimits(max_image_pixels=40_000_000)
    cores = (1, 2, 4, 6, 8, 16, 64)
    assert [count_threads(limits, each) for each in cores] == [2, 4, 8, 8, 8, 16, 32]
    huge = ImageLimits(max_image_pixels=1_000_000_000)
    assert 3 * huge.max_image_pixels * count_threads(huge, 64) <= MAX_DECODED_BYTES
    assert count_threads(ImageLimits(max_image_pixels=10**12), 64) == 1


def test_it_says_that_nothing_is_confined() -> None:
    decoders = ThreadDecoders(1)
    assert decoders.confinement.level is ConfinementLevel.NONE
    assert "threads of this process" in decoders.confinement.detail


def test_nothing_starts_before_the_first_picture() -> None:
    before = threading.active_count()
    ThreadDecoders(4).close()
    assert threading.active_count() == before


def test_after_close_nothing_is_taken_and_nothing_runs() -> None:
    before = threading.active_count()
    decoders = ThreadDecoders(2)
    futures = [decoders.submit(encode(seed=seed), ORDER) for seed in range(50)]
    decoders.close()
    decoders.close()
    assert threading.active_count() == before
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError):
        decoders.submit(encode(), ORDER)


def test_an_urgent_picture_does_not_wait_for_the_others() -> None:
    decoders = ThreadDecoders(1)
    try:
        data = encode(600, 600)
        others = [decoders.submit(data, ORDER) for _ in range(60)]
        decoders.submit(encode(), ORDER, urgent=True).result()
        assert not all(other.done() for other in others)
    finally:
        decoders.close()


def test_one_that_fails_is_alone() -> None:
    decoders = ThreadDecoders(2)
    try:
        files = [encode(seed=seed) for seed in range(6)]
        futures = [decoders.submit(data, ORDER) for data in (*files[:3], b"nothing", *files[3:])]
        wait(futures)
        assert isinstance(futures.pop(3).exception(), NotAnImage)
        for data, future in zip(files, futures, strict=True):
            expected, made = make_picture(data, ORDER), future.result()
            assert made.perceptual_hash == expected.perceptual_hash
            assert np.array_equal(np.asarray(made.pixels), np.asarray(expected.pixels))
    finally:
        decoders.close()


def test_several_orders_of_one_file_are_one_piece_of_work() -> None:
    decoders = ThreadDecoders(1)
    try:
        data, orders = encode(), [ORDER, PictureOrder(LIMITS, view_hashes=True)]
        first, second = (each.result() for each in decoders.submit_all(data, orders))
        assert first.perceptual_hash == make_picture(data, ORDER).perceptual_hash
        assert second.view_hashes == make_picture(data, orders[1]).view_hashes
        failed = decoders.submit_all(b"nothing", orders, urgent=True)
        assert [type(each.exception()) for each in failed] == [NotAnImage] * 2
    finally:
        decoders.close()


def test_a_native_decoder_writes_nothing_to_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The TIFF library does, for codes of LZW that do not exist, beside the error of Pillow."""
    stored = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(noise).save(stored, "TIFF", compression="tiff_lzw")
    decoders = ThreadDecoders(2)
    try:
        reasons = set()
        for seed in range(20):
            data = bytearray(stored.getvalue())
            data[100:400] = np.random.default_rng(seed).bytes(300)
            for urgent in (False, True):
                try:
                    decoders.submit(bytes(data), ORDER, urgent=urgent).result()
                except ImageError as err:
                    reasons.add(err.reason)
    finally:
        decoders.close()
    assert reasons  # Pillow's own error is not lost
    assert capfd.readouterr() == ("", "")
