"""The quality of a JPEG file, estimated from its quantisation tables.

A file does not store the number that somebody chose; its tables show it. libjpeg scales the tables
of ITU-T T.81, Annex K (K.1 and K.2), by the quality (`jcparam.c`: `jpeg_quality_scaling`,
`jpeg_add_quant_table`), so the quality of a table that libjpeg wrote is found exactly. Other
programs (Photoshop, cameras, mozjpeg) have tables of their own. For them the nearest quality is
returned: it says how coarse the file is, not which number the program showed.

The nearest quality has the least squared difference of 1 / sqrt(step). Otherwise the coarse steps
of high frequencies, where a picture has little, would outweigh all others. With Photoshop's nine
pairs of tables (Pillow's `JpegPresets`), seven photographs have the errors of libjpeg's qualities
31 to 99; this estimate differs from those by 2.9 on average and 12 at most. With the steps
themselves it would be 5.4 and 33, with their logarithms 3.2 and 24, with their reciprocals 6.2 and
19 (2026-11-25).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedder.errors import ImageError
from embedder.pictures.jpeg import iterate_segments

_DQT = 0xDB
# A baseline file has tables of 8 bits; libjpeg clips to that (`force_baseline`).
_LARGEST_STEP = 255
_COEFFICIENTS = 64

# fmt: off
_LUMINANCE = (  # T.81, table K.1, row by row
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMINANCE = (  # T.81, table K.2, row by row
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)
# fmt: on


def estimate_jpeg_quality(data: bytes) -> int | None:
    """Return the nearest quality of libjpeg, 1 to 100; None where `data` is no JPEG or has no whole
    table.

    The picture itself is not read: a file that is cut within the picture still has a quality. Never
    raises.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        tables = _tables(data)
    except ImageError:
        return None
    return find_nearest_quality(tables)


def find_nearest_quality(tables: Mapping[int, tuple[int, ...]]) -> int | None:
    """Return the nearest quality for tables by their number, each of 64 steps in zigzag order.

    Of two qualities that are equally near, the lower one is returned. Table 0 is compared with the
    luminance table, and table 1 with the chrominance table where it differs from table 0: libjpeg
    and the programs that follow it number them in this way (JFIF; Exif 2.3, 4.5.4). Without a table
    0 the result is None.
    """
    if 0 not in tables:
        return None
    luminance, chrominance = _finenesses()  # (100, 64) each
    error = _squared_error(luminance, tables[0])  # (100,)
    if tables.get(1, tables[0]) != tables[0]:
        error = error + _squared_error(chrominance, tables[1])
    return int(np.argmin(error)) + 1


def _tables(data: bytes) -> dict[int, tuple[int, ...]]:
    """Read the tables before the first scan (T.81, B.2.4.1).

    Raises ImageError where the segments are damaged.
    """
    found: dict[int, tuple[int, ...]] = {}
    for marker, start, end in iterate_segments(data, scans=False):
        if marker == _DQT:
            found.update(_tables_of(data[start + 4 : end]))
    return found


def _tables_of(body: bytes) -> dict[int, tuple[int, ...]]:
    """Read the whole tables of one segment."""
    found, at = {}, 0
    while at < len(body):
        width = 2 if body[at] >> 4 else 1
        steps = body[at + 1 : at + 1 + width * _COEFFICIENTS]
        if len(steps) == width * _COEFFICIENTS:
            found[body[at] & 15] = tuple(int(step) for step in np.frombuffer(steps, f">u{width}"))
        at += 1 + width * _COEFFICIENTS
    return found


def _squared_error(finenesses: NDArray[np.float64], table: tuple[int, ...]) -> NDArray[np.float64]:
    """Compare each standard table `(100, 64)` with one from a file: `(100,)`.

    A step of 0, which is not valid, counts as 1.
    """
    steps = np.maximum(np.asarray(table, np.float64), 1.0)
    error: NDArray[np.float64] = np.square(finenesses - steps**-0.5).sum(axis=1)
    return error


@cache
def _finenesses() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 1 / sqrt(step) of both tables for qualities 1 to 100, `(100, 64)` each, in zigzag
    order.
    """
    quality = np.arange(1, 101)[:, None]  # (100, 1)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    order = _zigzag()

    def finenesses(table: tuple[int, ...]) -> NDArray[np.float64]:
        steps = (np.asarray(table)[order] * percent + 50) // 100  # (100, 64)
        fine: NDArray[np.float64] = np.clip(steps, 1, _LARGEST_STEP) ** -0.5
        return fine

    return finenesses(_LUMINANCE), finenesses(_CHROMINANCE)


def _zigzag() -> NDArray[np.intp]:
    """Return the place `(64,)` in the row-by-row table of each step in a file (T.81, A.6)."""
    places = ((row, column) for row in range(8) for column in range(8))
    by_diagonal = sorted(
        places, key=lambda place: (sum(place), place[0] if sum(place) % 2 else place[1])
    )
    return np.array([8 * row + column for row, column in by_diagonal], np.intp)
