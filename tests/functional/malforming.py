"""Malformed image files, made from good ones of every format by a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

SEED = 20241130
SIDE = 176  # large enough for the built-in model


def make_good_files() -> list[bytes]:
    """One file of each format, and of variants that are decoded by other code."""
    rough = np.random.default_rng(SEED).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grey, palette, alpha = image.convert("L"), image.convert("P"), image.copy()
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(180)]}
    heic = BytesIO()
    pillow_heif.from_pillow(image).save(heic)
    return [
        _encode(image, "JPEG", exif=exif),
        _encode(image, "JPEG", progressive=True, icc_profile=bytes(400)),
        _encode(image.convert("CMYK"), "JPEG"),
        _encode(image, "PNG"),
        _encode(palette, "PNG", transparency=3),
        _encode(alpha, "PNG"),
        _encode(deep, "PNG"),
        _encode(image, "WEBP", exif=exif),
        _encode(alpha, "WEBP", lossless=True),
        _encode(image, "WEBP", **frames),
        _encode(image, "BMP"),
        _encode(image, "TIFF", compression="tiff_lzw"),
        _encode(image, "TIFF", compression="jpeg"),
        _encode(grey, "TIFF", compression="tiff_deflate"),
        _encode(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        _encode(image, "AVIF"),
        heic.getvalue(),
    ]


def malform(count: int) -> Iterator[bytes]:
    """Yield files, each a good one to which something was done."""
    chance = random.Random(SEED)
    good = make_good_files()
    for number in range(count):
        data = bytearray(good[number % len(good)])
        for _ in range(chance.choice((1, 1, 2, 5))):
            chance.choice(DAMAGES)(chance, data, good)
        yield bytes(data)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _cut(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _flip(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    for _each in range(min(len(data), chance.choice((1, 8, 64)))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _remove(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    begin = chance.randrange(len(data) + 1)
    del data[begin : begin + chance.randrange(1, 400)]


def _repeat(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    begin = chance.randrange(len(data) + 1)
    data[begin:begin] = data[begin : begin + chance.randrange(1, 400)] * chance.choice((1, 9))


def _insert(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    begin = chance.randrange(len(data) + 1)
    data[begin:begin] = chance.randbytes(chance.randrange(1, 200))


def _enlarge(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Overwrite a number, most likely of the header, with one of the largest."""
    begin = chance.randrange(min(len(data), 400) + 1)
    data[begin : begin + 4] = chance.choice(
        (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\xff\xff", b"\xff\xff\0\0")
    )


def _splice(chance: random.Random, data: bytearray, good: list[bytes]) -> None:
    other = chance.choice(good)
    data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other)) :]


DAMAGES: list[Callable[[random.Random, bytearray, list[bytes]], None]] = [
    _cut,
    _flip,
    _remove,
    _repeat,
    _insert,
    _enlarge,
    _splice,
]
