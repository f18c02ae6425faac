from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegPresets import presets

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.decode import decode
from embedder.pictures.jpeg_quality import estimate_jpeg_quality, find_nearest_quality

Encoder = Callable[..., bytes]


def difference(one: Image.Image, other: Image.Image) -> float:
    """RMS in levels of 255."""
    return float(
        np.sqrt(np.square(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())
    )


def standard_tables(picture: Image.Image, encoder: Encoder, quality: int) -> dict[int, list[int]]:
    """As Pillow takes them: row by row."""
    with Image.open(BytesIO(encoder(picture, "JPEG", quality=quality))) as image:
        return {number: list(table) for number, table in image.quantization.items()}


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xdb\x00\x43\x00\x10", b"no"]
)
def test_what_is_no_whole_jpeg_has_no_quality(data: bytes) -> None:
    assert estimate_jpeg_quality(data) is None


def test_files_of_other_formats_have_no_quality(samples: dict[str, bytes]) -> None:
    for name, data in samples.items():
        assert (estimate_jpeg_quality(data) is None) == (not name.startswith("jpeg")), name


def test_a_table_that_is_cut_short_has_no_quality(samples: dict[str, bytes]) -> None:
    data = samples["jpeg"]
    at = data.index(b"\xff\xdb")
    assert estimate_jpeg_quality(data[: at + 40]) is None
    shorter = data[:at] + b"\xff\xdb\x00\x13\x00" + data[at + 5 : at + 21] + b"\xff\xd9"
    assert estimate_jpeg_quality(shorter) is None


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=200), cut=st.integers(0, 700), data=st.data())
def test_damaged_bytes_never_raise(
    samples: dict[str, bytes], body: bytes, cut: int, data: st.DataObject
) -> None:
    damaged = bytearray(samples["jpeg"][:cut] + body)
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    quality = estimate_jpeg_quality(bytes(damaged))
    assert quality is None or 1 <= quality <= 100


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_quality_that_pillow_writes_is_found_exactly(encoder: Encoder, mode: str) -> None:
    small = Image.new(mode, (8, 8))
    for quality in range(1, 101):
        assert estimate_jpeg_quality(encoder(small, "JPEG", quality=quality)) == quality


def test_a_progressive_file_with_metadata_before_its_tables_has_the_same_quality(
    picture: Image.Image, encoder: Encoder
) -> None:
    thumbnail = encoder(picture.resize((16, 16)), "JPEG", quality=20)
    data = encoder(picture, "JPEG", quality=83, progressive=True, comment=thumbnail)
    assert estimate_jpeg_quality(data) == 83


@pytest.mark.parametrize("quality", [30, 55, 75, 92])
def test_tables_that_are_a_little_off_have_nearly_the_same_quality(
    picture: Image.Image, encoder: Encoder, quality: int
) -> None:
    random = np.random.default_rng(quality)
    tables = [
        [int(np.clip(round(step * random.uniform(0.85, 1.15)), 1, 255)) for step in table]
        for table in standard_tables(picture, encoder, quality).values()
    ]
    estimated = estimate_jpeg_quality(encoder(picture, "JPEG", qtables=tables))
    assert estimated is not None
    assert abs(estimated - quality) <= 3


@pytest.mark.parametrize("name", sorted(presets))
def test_photoshops_tables_have_the_quality_that_costs_a_photograph_as_much(
    encoder: Encoder, name: str
) -> None:
    """See `jpeg_quality`: 12 at most."""
    image = load_bundled_photographs()[1].image.crop((100, 50, 260, 210))
    data = encoder(image, "JPEG", qtables=presets[name]["quantization"])
    error = difference(decode(data).image, image)
    costs = {
        q: difference(decode(encoder(image, "JPEG", quality=q)).image, image)
        for q in range(20, 101, 2)
    }
    estimated = estimate_jpeg_quality(data)
    assert estimated is not None
    assert abs(estimated - min(costs, key=lambda quality: abs(costs[quality] - error))) <= 13


def test_tables_of_sixteen_bits_are_read(picture: Image.Image, encoder: Encoder) -> None:
    data = encoder(picture.convert("L"), "JPEG", quality=40)
    at = data.index(b"\xff\xdb")
    steps = data[at + 5 : at + 69]
    wide = b"\xff\xdb\x00\x83\x10" + b"".join(bytes([0, step]) for step in steps)
    assert estimate_jpeg_quality(data[:at] + wide + data[at + 69 :]) == 40


def test_without_a_luminance_table_there_is_no_quality() -> None:
    assert find_nearest_quality({}) is None
    assert find_nearest_quality({1: (16,) * 64}) is None
    assert find_nearest_quality({0: (0,) * 64}) == 100
