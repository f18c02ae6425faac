from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from embedder.errors import CorruptImage, TruncatedImage
from embedder.pictures.decode import decode
from embedder.pictures.jpeg import MAX_SCANS, walk_jpeg
from tests.work import count_calls, count_images

Encoder = Callable[..., bytes]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def start_of_scan(data: bytes) -> int:
    return data.index(b"\xff\xda")


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("name", ["jpeg", "jpeg-grey", "jpeg-cmyk", "jpeg-restarts"])
def test_half_a_picture_with_an_end_marker_put_after_it_is_truncated(
    samples: dict[str, bytes], name: str, share: float
) -> None:
    data = samples[name]
    start = start_of_scan(data) + 20
    cut = start + int((len(data) - 2 - start) * share)
    with pytest.raises(TruncatedImage, match="end marker comes before"):
        decode(data[:cut].rstrip(b"\xff") + b"\xff\xd9")


def test_an_end_marker_made_by_damage_in_the_middle_is_truncated(samples: dict[str, bytes]) -> None:
    data = samples["jpeg"]
    middle = (start_of_scan(data) + len(data)) // 2
    with pytest.raises(TruncatedImage):
        decode(data[:middle] + b"\xff\xd9" + data[middle + 2 :])


def test_a_progressive_picture_that_lacks_its_last_scans_is_truncated(
    samples: dict[str, bytes],
) -> None:
    data = samples["jpeg-progressive"]
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for cut in scans[1:]:
        with pytest.raises(TruncatedImage, match="scans are missing"):
            decode(data[:cut] + b"\xff\xd9")
    assert decode(data).format == "jpeg"


def test_a_picture_that_really_ends_in_middle_grey_is_whole(
    encoder: Encoder, picture: Image.Image
) -> None:
    plain = Image.new("RGB", picture.size, (128, 128, 128))
    assert decode(encoder(plain, "JPEG")).image.getpixel((119, 89)) == (128, 128, 128)
    half = picture.copy()
    half.paste((128, 128, 128), (0, 48, 120, 90))
    assert decode(encoder(half, "JPEG", quality=95)).height == 90


def test_bytes_after_the_end_marker_are_ignored(samples: dict[str, bytes]) -> None:
    whole = np.asarray(decode(samples["jpeg"]).image)
    assert np.array_equal(np.asarray(decode(samples["jpeg"] + b"trailer" * 100).image), whole)


def test_broken_and_hostile_metadata_cannot_fail_a_picture(samples: dict[str, bytes]) -> None:
    data = samples["jpeg"]
    junk = [
        segment(0xE1, b"Exif\x00\x00II*\x00\xff\xff\xff\xff"),
        segment(0xE2, b"ICC_PROFILE\x00\x09\x01" + bytes(50)),
    ]
    junk += [
        segment(0xED, b"Photoshop 3.0\x008BIM\x04"),
        segment(0xE2, b"MPF\x00II*\x00"),
        segment(0xFE, b"\x00" * 99),
    ]
    dirty = data[:2] + b"".join(junk) + data[2:]
    assert np.array_equal(np.asarray(decode(dirty).image), np.asarray(decode(data).image))


def test_a_thumbnail_inside_the_metadata_does_not_end_the_file(
    samples: dict[str, bytes], encoder: Encoder
) -> None:
    small = encoder(Image.new("RGB", (16, 16)), "JPEG")
    data = samples["jpeg"][:2] + segment(0xE1, b"Exif\x00\x00" + small) + samples["jpeg"][2:]
    assert decode(data).width == 120
    with pytest.raises(TruncatedImage):
        decode(data[: len(data) // 2])


def test_a_scan_bomb_is_refused_at_once(samples: dict[str, bytes]) -> None:
    data = samples["jpeg-progressive"]
    first = start_of_scan(data)
    scan = data[first : data.index(b"\xff\xc4", first)]
    bomb = data[:first] + scan * 5_000 + data[first:]
    refused = pytest.raises(CorruptImage, match=f"more than {MAX_SCANS} scans")
    with count_calls() as work, count_images() as made, refused:
        decode(bomb)
    assert work.calls < 50 * MAX_SCANS
    assert made.blocks == 0


def test_a_million_tiny_segments_are_refused_at_once(samples: dict[str, bytes]) -> None:
    data = samples["jpeg"][:2] + segment(0xE5, b"") * 1_000_000 + samples["jpeg"][2:]
    with count_calls() as work, pytest.raises(CorruptImage, match="segments"):
        decode(data)
    assert work.calls < 200_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff\xd9", "no picture"),
        (segment(0xC0, b"\x08\x00\x20\x00\x20\x01\x01") + b"\xff\xd9", "too short"),
        (segment(0xC0, b"\x08\x00\x00\x00\x20\x01\x01\x11\x00") + b"\xff\xd9", "no size"),
        (segment(0xC0, b"\x08\x00\x20\x00\x20\x01\x01\x11\x00") * 2 + b"\xff\xd9", "two frame"),
        (segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x00\xff\xd9", "component"),
    ],
)
def test_structures_that_hold_no_picture_are_corrupt(body: bytes, message: str) -> None:
    with pytest.raises(CorruptImage, match=message):
        walk_jpeg(b"\xff\xd8" + body)
