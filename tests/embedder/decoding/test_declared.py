"""A declared size is never less than what decoding then reports, and is read in little time."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.decoding.declared import count_declared_pixels
from embedder.errors import ImageError, NotAnImage, UnsupportedFormat
from embedder.pictures.decode import ImageLimits, decode
from embedder.pictures.sniff import FORMATS
from tests.embedder.conftest import encode, encoded_samples, make_picture
from tests.work import count_calls, measure_memory

LIMITS = ImageLimits(min_image_side=1)
QUICK = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]  # those that are encoded in no time


def test_every_format_declares_exactly_its_size() -> None:
    found = {name.partition("-")[0] for name in encoded_samples(make_picture(90, 70))}
    assert found == set(FORMATS)
    for name, data in encoded_samples(make_picture(90, 70)).items():
        assert count_declared_pixels(data) == 90 * 70, name


@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from(QUICK))
@settings(max_examples=60)
def test_any_size_is_declared(width: int, height: int, image_format: str) -> None:
    data = encode(make_picture(width, height), image_format)
    decoded = decode(data, LIMITS)
    assert count_declared_pixels(data) == decoded.width * decoded.height


@given(st.data())
@settings(max_examples=200)
def test_of_a_damaged_file_that_decodes_no_less_is_declared(data: st.DataObject) -> None:
    samples = _samples()
    file = bytearray(samples[data.draw(st.sampled_from(sorted(samples)))])
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, min(len(file), 400) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(file), LIMITS)
    except ImageError:
        return
    declared = count_declared_pixels(bytes(file))
    assert declared is None or declared >= decoded.width * decoded.height


@given(st.binary(max_size=300), st.sampled_from(range(22)))
@settings(max_examples=200)
def test_any_bytes_have_a_size_or_none(tail: bytes, sample: int) -> None:
    start = list(_samples().values())[sample]
    for data in (start[:12] + tail, start[:40] + tail, tail):
        try:
            declared = count_declared_pixels(data)
        except (NotAnImage, UnsupportedFormat):
            continue
        assert declared is None or declared > 0


def test_a_frame_that_is_larger_than_its_screen_counts() -> None:
    gif = bytearray(encode(make_picture(40, 30).convert("P"), "GIF"))
    gif[6:10] = struct.pack("<HH", 10, 10)
    assert count_declared_pixels(bytes(gif)) == decode(bytes(gif), LIMITS).width * 30


HOSTILE = {
    "fill": b"\xff\xd8" + b"\xff" * 2**22,
    "markers": b"\xff\xd8" + b"\xff\x01" * 2**20,
    "segments": b"\xff\xd8" + b"\xff\xe1\x00\x02" * 2**20,
    "zeros": b"GIF89a\1\0\1\0\0\0\0" + b"\x00" * 2**22,
    "sub-blocks": b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\x01x" * 2**20,
    "chunks": b"RIFF\xff\xff\xff\x01WEBP" + b"ABCD\0\0\0\0" * 2**20,
    "bigtiff": b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 2**22,
    "entries": b"II*\0\x08\0\0\0\xff\xff" + b"\0\1\4\0\xff\xff\xff\xff\0\0\0\0" * 65_535,
    "boxes": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\0\0\0\x08free" * 2**20,
    "nested": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0\0\0\0meta\0\0\0\0" * 2**20,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_read_in_few_steps(name: str) -> None:
    with count_calls() as work:
        count_declared_pixels(HOSTILE[name])
    assert work.calls < 400_000
    with measure_memory() as memory:
        count_declared_pixels(HOSTILE[name])
    assert memory.peak_bytes < 2**23


_CACHE: dict[str, bytes] = {}


def _samples() -> dict[str, bytes]:
    if not _CACHE:
        _CACHE.update(encoded_samples(make_picture(40, 30)))
    return _CACHE
