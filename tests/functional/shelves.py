"""Sources of many small images with bad ones between them, and what must come of each; and a second
model.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from embedder.network.references import REFERENCES_FILE
from embedder.network.registry import get_builtin_directory

SIDE = 160  # the least that the built-in model takes


def picture(seed: int) -> Image.Image:
    """A picture with structure, so that its perceptual hash is reliable and unlike that of any
    other seed.
    """
    rough = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jpeg(seed: int) -> bytes:
    return encoded(picture(seed), "JPEG", quality=85)


def _bomb(seed: int) -> bytes:
    """A PNG whose header announces ten thousand million pixels."""
    png = bytearray(encoded(picture(seed), "PNG"))
    png[16:24] = (100_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    return bytes(png)


def _flipped(seed: int) -> bytes:
    png = bytearray(encoded(picture(seed), "PNG"))
    png[len(png) // 2] ^= 0xFF
    return bytes(png)


# Each kind of bad file by its name, how it is made, and the reason that it must be refused with.
BAD: dict[str, tuple[Callable[[int], bytes], str]] = {
    "empty": (lambda _: b"", "not_an_image"),
    "text": (lambda seed: b"not an image %d" % seed, "not_an_image"),
    "noise": (lambda seed: np.random.default_rng(seed).bytes(500), "not_an_image"),
    "video": (lambda seed: b"\x00\x00\x00\x18ftypisom" + b"%12d" % seed, "not_an_image"),
    "pdf": (lambda seed: b"%%PDF-1.7 %d" % seed, "unsupported_format"),
    "svg": (lambda seed: b"<svg><!-- %d --></svg>" % seed, "unsupported_format"),
    "psd": (lambda seed: b"8BPS%d" % seed, "unsupported_format"),
    "cut-jpeg": (lambda seed: jpeg(seed)[:-100], "truncated"),
    "cut-png": (lambda seed: encoded(picture(seed), "PNG")[:-40], "truncated"),
    "cut-webp": (lambda seed: encoded(picture(seed), "WEBP")[:-30], "truncated"),
    "cut-gif": (lambda seed: encoded(picture(seed), "GIF")[:-50], "truncated"),
    "cut-bmp": (lambda seed: encoded(picture(seed), "BMP")[:-200], "truncated"),
    "flipped-png": (_flipped, "corrupt"),
    "small": (lambda seed: encoded(picture(seed).resize((40, 40)), "PNG"), "too_small"),
    "tiny": (lambda seed: encoded(picture(seed).resize((9, 9)), "PNG"), "too_small"),
    "bomb": (_bomb, "too_large"),
}


@dataclass
class Expected:
    """What an ingest of a shelf must count."""

    found: int = 0
    added: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)


def shelf(count: int, seed: int = 0) -> Iterator[tuple[str, bytes, str]]:
    """So many (name, bytes, fate): of a hundred, three are bad, one repeats bytes and one repeats a
    picture.
    """
    kinds = list(BAD)
    first = seed * 10_000_000
    for number in range(count):
        own = first + number
        folder = f"gen{number % 3}"
        match number % 100:
            case 7 | 41 | 83:
                kind = kinds[(number // 100 * 3 + (number % 100) // 40) % len(kinds)]
                make, reason = BAD[kind]
                yield f"{folder}/{number:06}-{kind}.jpg", make(own), reason
            case 60:
                yield f"{folder}/{number:06}-again.jpg", jpeg(first + number - 5), "duplicate"
            case 90:
                repeated = encoded(picture(first + number - 5), "JPEG", quality=60)
                yield f"{folder}/{number:06}-near.jpg", repeated, "near_duplicate"
            case _:
                yield f"{folder}/{number:06}.jpg", jpeg(own), "added"


def write_tar(path: Path, count: int, seed: int = 0) -> Expected:
    """A shelf as a tar file, written as a stream; what must come of it."""
    expected = Expected()
    with tarfile.open(path, "w|") as tar:
        for name, data, fate in shelf(count, seed):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            _expect(expected, name, fate)
    return expected


def write_folder(path: Path, count: int, seed: int = 0) -> Expected:
    """A shelf as a folder."""
    expected = Expected()
    for name, data, fate in shelf(count, seed):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
        _expect(expected, name, fate)
    return expected


def _expect(expected: Expected, name: str, fate: str) -> None:
    expected.found += 1
    match fate:
        case "added":
            expected.added += 1
        case "duplicate":
            expected.duplicates += 1
        case "near_duplicate":
            expected.added += 1
            expected.near_duplicates += 1
        case reason:
            expected.failed[reason] += 1
            expected.failures[name] = reason


def other_model(folder: Path) -> Path:
    """The built-in weights under another preprocessing: another embedding space, of which there
    are no reference vectors.
    """
    shutil.copytree(get_builtin_directory(), folder, ignore=shutil.ignore_patterns(REFERENCES_FILE))
    path = folder / "preprocessor_config.json"
    config = json.loads(path.read_text())
    config["image_mean"] = [0.5, 0.4, 0.3]
    path.write_text(json.dumps(config))
    return folder
