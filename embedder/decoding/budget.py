"""How much memory a picture takes while it is decoded, and how much all of them may take at once.

What is counted is what a decoding process takes beyond its own modules, from the size that the
file declares (`declared`), its bytes and what is ordered. The figures are the most that was
measured of any file of its format, and a quarter more; docs/security.md has them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from embedder.decoding.declared import count_declared_pixels
from embedder.decoding.picture import PictureOrder
from embedder.errors import ImageError
from embedder.pictures.preprocess import MAX_RESIZED_PIXELS
from embedder.pictures.sniff import ImageFormat, sniff

# A machine that does not say how much memory it has.
_UNKNOWN_MACHINE_BYTES = 4 * 2**30
_SHARE = 4
# With less, not even a photograph of 12 megapixels could be decoded.
LEAST_BUDGET_BYTES = 256 * 2**20

_BYTES_PER_PIXEL: Mapping[ImageFormat, int] = MappingProxyType(
    {
        ImageFormat.JPEG: 20,
        ImageFormat.PNG: 20,
        ImageFormat.GIF: 20,
        ImageFormat.BMP: 20,
        ImageFormat.WEBP: 20,
        ImageFormat.TIFF: 30,
        ImageFormat.AVIF: 24,
        ImageFormat.HEIC: 24,
    }
)
# What any picture takes: intermediate results of its hash, its thumbnail, its condition.
_BASE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Need:
    """`expected` bytes by what the file declares; `most` bytes if it takes all that the limits
    allow.
    """

    expected: int
    most: int


def estimate_need(data: bytes, order: PictureOrder) -> Need:
    """Estimate what a file takes while it is decoded. Never raises.

    A file that declares more pixels than the limit is refused by its decoder before it decodes a
    pixel. So it needs as little as one that is no image.
    """
    most_pixels = order.limits.max_image_pixels
    file_bytes = 3 * len(data)  # the block, the worker's copy, and what a decoder keeps of it
    highest = max(_BYTES_PER_PIXEL.values()) * most_pixels + _BASE_BYTES + file_bytes
    if not order.needs_decoding:
        return Need(_BASE_BYTES + file_bytes, highest)
    try:
        image_format, declared = sniff(data), count_declared_pixels(data)
    except ImageError:
        return Need(_BASE_BYTES + file_bytes, highest)
    pixels = most_pixels if declared is None else declared if declared <= most_pixels else 0
    per_pixel = _BYTES_PER_PIXEL[image_format]
    resized = 4 * min(MAX_RESIZED_PIXELS, pixels) if order.preprocessing is not None else 0
    return Need(per_pixel * pixels + resized + _BASE_BYTES + file_bytes, highest)


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
