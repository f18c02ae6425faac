from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from PIL import Image

from embedder.errors import (
    CorruptImage,
    ImageError,
    ImageTooLarge,
    TruncatedImage,
)
from embedder.pictures.decode import decode
from tests.work import count_calls

Encoder = Callable[..., bytes]


def sub_blocks(data: bytes) -> bytes:
    return b"".join(
        bytes([len(part)]) + part
        for part in (data[at : at + 255] for at in range(0, len(data), 255))
    )


def frame_position(data: bytes | bytearray) -> int:
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while data[at : at + 1] == b"!":
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    assert data[at : at + 1] == b","
    return at


def test_a_gif_whose_coded_picture_stops_early_is_truncated(samples: dict[str, bytes]) -> None:
    data = samples["gif"]
    frame = frame_position(data)
    start = frame + 10 + (3 << ((data[frame + 9] & 7) + 1) if data[frame + 9] & 0x80 else 0)
    blocks = []
    at = start + 1
    while data[at]:
        blocks.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    assert len(blocks) > 10
    for kept in (1, len(blocks) // 2, len(blocks) - 2):
        shortened = data[: start + 1] + sub_blocks(b"".join(blocks[:kept])) + b"\x00;"
        with pytest.raises((TruncatedImage, CorruptImage)):
            decode(shortened)


def test_a_gif_without_a_frame_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="no picture"):
        decode(b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0, 0, 0) + b";")


def test_a_gif_of_tiny_blocks_is_refused_before_all_are_read() -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0, 0, 0)
    data = head + b"!\xfe" + b"\x01a" * 3_000_000 + b"\x00;"
    with count_calls() as work, pytest.raises(CorruptImage, match="blocks"):
        decode(data)
    assert work.calls < 1_500_000  # a call for each of the 3,000,000 blocks would be more


def test_a_gif_frame_that_is_larger_than_its_canvas_is_measured_too(
    samples: dict[str, bytes],
) -> None:
    data = bytearray(samples["gif"])
    frame = frame_position(data)
    data[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ImageTooLarge):
        decode(bytes(data))


def test_a_webp_cut_short_is_truncated_whatever_length_it_claims(
    samples: dict[str, bytes],
) -> None:
    for name in ("webp", "webp-lossless"):
        half = bytearray(samples[name][: len(samples[name]) // 2 * 2 // 2])
        with pytest.raises(TruncatedImage):
            decode(bytes(half))
        half[4:8] = struct.pack("<I", len(half) - 8)
        with pytest.raises(TruncatedImage):
            decode(bytes(half))
        if half[12:16] in (b"VP8 ", b"VP8L"):
            half[16:20] = struct.pack("<I", len(half) - 20)
            with pytest.raises(ImageError):
                decode(bytes(half))


def test_a_webp_canvas_bomb_is_refused_by_its_header() -> None:
    body = b"VP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + b"\xff\xff\x00" * 2
    with pytest.raises(ImageTooLarge):
        decode(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)


def test_a_bmp_whose_last_row_lacks_only_padding_is_truncated(
    encoder: Encoder, picture: Image.Image
) -> None:
    data = encoder(picture.crop((0, 0, 65, 40)), "BMP")
    with pytest.raises(TruncatedImage):
        decode(data[:-1])
    assert decode(data).width == 65


def test_an_avif_and_a_heic_without_their_coded_data_are_truncated(
    samples: dict[str, bytes],
) -> None:
    for name in ("avif", "heic"):
        data = samples[name]
        at = data.index(b"mdat") - 4
        with pytest.raises(TruncatedImage):
            decode(data[:at])
