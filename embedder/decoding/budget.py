"""How much memory a picture takes while it is decoded, and how much all of them may take at once.

What is counted is what a decoding process takes beyond its own modules, from the size that the
file declares (`declared`) and its bytes. The figures are the most that was measured for any kind of
file of a format, 35 kinds in all, and a seventh more (2026-11-30, Pillow 13.0, pillow-heif 1.8). An
estimate that is too low refuses no image: the pool tries again with more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from embedder.copies.features import WORKING_PIXELS
from embedder.decoding.declared import count_declared_pixels
from embedder.decoding.picture import PictureOrder
from embedder.errors import ImageError
from embedder.pictures.delivery import Condition
from embedder.pictures.reencodings import MAX_REENCODED_PIXELS
from embedder.pictures.sniff import ImageFormat, sniff

# A machine that does not say how much memory it has.
_UNKNOWN_MACHINE_BYTES = 4 * 2**30
_SHARE = 4
# With less, not even a photograph of 12 megapixels could be decoded.
LEAST_BUDGET_BYTES = 256 * 2**20

_BYTES_PER_PIXEL: Mapping[ImageFormat, int] = MappingProxyType(
    {
        ImageFormat.JPEG: 14,  # 12.2, progressive CMYK
        ImageFormat.PNG: 22,  # 19.0, of 16 bits
        ImageFormat.GIF: 18,  # 16.0, transparent
        ImageFormat.BMP: 18,  # 9.7; 16 with transparency, as in other formats
        ImageFormat.WEBP: 29,  # 25.1, animated; 24.1 with transparency, 16.1 without
        ImageFormat.TIFF: 24,  # 21.0, integers of 32 bits
        ImageFormat.AVIF: 24,  # 21.4, with transparency
        ImageFormat.HEIC: 20,  # 17.5, with transparency
    }
)
# Encoding and decoding again, whatever the format was: 30.0, at WebP.
_REENCODED_BYTES = 34
_RGB_BYTES = 4  # as Pillow holds it
# SIFT compares a picture at twice its size, in eleven layers of float32 and smaller ones: 236.
_FEATURE_BYTES = 270
# PNG files are most of the large ones, and their first bytes say of which kind they are.
_OPAQUE_PNG_BYTES, _TRANSPARENT_PNG_BYTES = 14, 18  # 12.1 and 16.1
_PNG_DEPTH, _PNG_COLOUR, _PNG_WITH_ALPHA = 24, 25, (b"\x04", b"\x06")
_TRANSPARENCY_WITHIN = 4_096  # bytes: tRNS comes before the picture
# What any picture takes: intermediate results of its hash, its thumbnail, its condition.
_BASE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Need:
    """`expected` bytes by what the file declares; `most` bytes if it takes all that the limits
    allow. They are the same where the file does not say.
    """

    expected: int
    most: int

    @property
    def is_declared(self) -> bool:
        """Whether it rests on what the file declares."""
        return self.expected < self.most


def estimate_need(data: bytes, *orders: PictureOrder) -> Need:
    """Estimate what a file takes while pictures of it are made, one after the other. Never raises.

    A file that declares more pixels than the limit is refused by its decoder before it decodes a
    pixel. So it needs as little as one that is no image.
    """
    most_pixels = orders[0].limits.max_image_pixels
    file_bytes = 3 * len(data)  # the block, the worker's copy, and what a decoder keeps of it
    most_per_pixel = max(_REENCODED_BYTES, *_BYTES_PER_PIXEL.values())
    highest = most_per_pixel * most_pixels + _BASE_BYTES + file_bytes
    nothing = Need(_BASE_BYTES + file_bytes, highest)
    if not any(each.needs_decoding for each in orders):
        return nothing
    try:
        image_format, declared = sniff(data), count_declared_pixels(data)
    except ImageError:
        return nothing
    if declared is not None and declared > most_pixels:
        return nothing
    if declared is None:
        return Need(highest, highest)
    expected = _per_pixel(data, image_format) * declared
    for order in orders:
        if order.deliveries or order.delivery is not Condition.AS_IS:
            expected = max(expected, _REENCODED_BYTES * declared)
        if order.reencodings:
            part = min(declared, MAX_REENCODED_PIXELS)
            expected = max(expected, _RGB_BYTES * (declared - part) + _REENCODED_BYTES * part)
        if order.local_features is not None:
            compared = min(declared, WORKING_PIXELS**2)
            expected = max(expected, _RGB_BYTES * declared + _FEATURE_BYTES * compared)
    return Need(min(expected + _BASE_BYTES + file_bytes, highest), highest)


def _per_pixel(data: bytes, image_format: ImageFormat) -> int:
    depth, colour = (data[at : at + 1] for at in (_PNG_DEPTH, _PNG_COLOUR))
    if image_format is not ImageFormat.PNG or depth > b"\x08":
        return _BYTES_PER_PIXEL[image_format]
    is_transparent = colour in _PNG_WITH_ALPHA or b"tRNS" in data[:_TRANSPARENCY_WITHIN]
    return _TRANSPARENT_PNG_BYTES if is_transparent else _OPAQUE_PNG_BYTES


def choose_budget() -> int:
    """Return a quarter of the memory of this machine or of its control group, in bytes."""
    return max(LEAST_BUDGET_BYTES, count_memory() // _SHARE)


def count_memory() -> int:
    """Return the memory that this process and its children may take, in bytes."""
    limits = [each for each in (_read_machine(), *_read_groups()) if each]
    return min(limits, default=_UNKNOWN_MACHINE_BYTES)


def _read_machine() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _read_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Return the limits of this process's control groups and of those above (Linux, versions 1
    and 2).
    """
    limits = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = folder / path.lstrip("/")
        for each in (group, *group.parents):
            if not each.is_relative_to(folder):
                break
            limits += _read_limit(each / name)
    return limits


def _read_limit(path: Path) -> list[int]:
    try:
        return [int(path.read_text())]
    except (OSError, ValueError):  # not there, or "max"
        return []
