"""The quantisation tables of a JPEG file -> the quality that libjpeg would have been asked for to
write them.

A file says nothing of the number that somebody chose; its tables do. libjpeg scales the tables of
ITU-T T.81, Annex K (K.1 and K.2), by the quality (`jcparam.c`: `jpeg_quality_scaling`,
`jpeg_add_quant_table`), so a table of its making is found exactly. Other makers (Photoshop,
cameras, mozjpeg) have tables of their own; for them the nearest is told, which says how coarse the
file is and not which number its program showed.

Nearest is by least squares over 1 / sqrt(step): the coarse steps of high frequencies, where a
picture has little, would outweigh all others. With Photoshop's nine pairs of tables (Pillow's
`JpegPresets`) seven photographs have the error of libjpeg's qualities 31 to 99; from those this is
2.9 off in the mean, 12 at most. By the steps themselves it would be 5.4 and 33, by their logarithms
3.2 and 24, by their reciprocals 6.2 and 19 (2026-11-25).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedder.errors import ImageError
from embedder.pictures.jpeg import iterate_segments

_DQT = 0xDB
# Tables that can be written are 8 bits wide in a baseline file; libjpeg clips to that
# (`force_baseline`).
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
    """The nearest quality of libjpeg, 1 to 100; None where `data` is no JPEG file or has no whole
    table.

    The picture itself is not read: a file that is cut within it still has a quality. Never raises.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        tables = _tables(data)
    except ImageError:
        return None
    return find_nearest_quality(tables)


def find_nearest_quality(tables: Mapping[int, tuple[int, ...]]) -> int | None:
    """Of tables by their number, each of 64 steps in zigzag order; of two that are as near, the
    lower quality.

    Number 0 is compared with the luminance table, 1 with the chrominance table where it differs
    from 0: that is how libjpeg and all who follow it number them (JFIF, and Exif 2.3, 4.5.4). Where
    there is no number 0, None.
    """
    if 0 not in tables:
        return None
    luminance, chrominance = _finenesses()  # (100, 64) each
    error = _squared_error(luminance, tables[0])  # (100,)
    if tables.get(1, tables[0]) != tables[0]:
        error = error + _squared_error(chrominance, tables[1])
    return int(np.argmin(error)) + 1


def _tables(data: bytes) -> dict[int, tuple[int, ...]]:
    """Those before the first scan (T.81, B.2.4.1).

    Raises ImageError where the segments are damaged.
    """
    found: dict[int, tuple[int, ...]] = {}
    for marker, start, end in iterate_segments(data, scans=False):
        if marker == _DQT:
            found.update(_tables_of(data[start + 4 : end]))
    return found


def _tables_of(body: bytes) -> dict[int, tuple[int, ...]]:
    """The tables of one segment, as far as they are whole."""
    found, at = {}, 0
    while at < len(body):
        width = 2 if body[at] >> 4 else 1
        steps = body[at + 1 : at + 1 + width * _COEFFICIENTS]
        if len(steps) == width * _COEFFICIENTS:
            found[body[at] & 15] = tuple(int(step) for step in np.frombuffer(steps, f">u{width}"))
        at += 1 + width * _COEFFICIENTS
    return found


def _squared_error(finenesses: NDArray[np.float64], table: tuple[int, ...]) -> NDArray[np.float64]:
    """Of each standard table `(100, 64)` against one from a file:

    `(100,)`; a step of 0, which is not valid, as 1.
    """
    steps = np.maximum(np.asarray(table, np.float64), 1.0)
    error: NDArray[np.float64] = np.square(finenesses - steps**-0.5).sum(axis=1)
    return error


@cache
def _finenesses() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """1 / sqrt(step) of both tables for the qualities 1 to 100, `(100, 64)` each, in zigzag
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
    """Place in the row-by-row table of each step as a file orders them (T.81, figure A.6):

    `(64,)`.
    """
    places = ((row, column) for row in range(8) for column in range(8))
    by_diagonal = sorted(
        places, key=lambda place: (sum(place), place[0] if sum(place) % 2 else place[1])
    )
    return np.array([8 * row + column for row, column in by_diagonal], np.intp)
