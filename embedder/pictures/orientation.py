"""The EXIF orientation of an image, and turning its pixels upright (Exif 3.0, tag 0x0112).

The tag is read here, in a few lines that cannot fail, and not by a complete EXIF parser: everything
else in the block may be broken. Only EXIF turns an image, as in browsers; the orientation in XMP
does not.
"""

from __future__ import annotations

import struct

from PIL import Image

_TAG, _SHORT, _LONG = 0x0112, 3, 4
# How to turn the stored pixels; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes | None) -> int:
    """Return 1 to 8; also 1 where there is no EXIF, no orientation, or any of it is broken."""
    if not exif:
        return 1
    block = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == _TAG and values == 1 and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(
                    f"{order}{'H' if kind == _SHORT else 'I'}", block, entry + 8
                )
                return value if value in _TURNS else 1
    except struct.error:  # an offset that points out of the block
        return 1
    return 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as its EXIF orientation (1 to 8) says."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
