"""Conversion of every pixel mode that Pillow decodes to opaque 8-bit RGB, one rule for each mode.

| stored as | rule |
|---|---|
| RGB | unchanged |
| L, 1 | grey: red = green = blue; 1 bit becomes 0 and 255 |
| P | through its palette |
| LA, PA, RGBA, La, RGBa | laid on white |
| L, P, RGB, 1, I;16 with a transparent colour | laid on white |
| I;16 (any byte order), I | divided by 257 and rounded: 65535 becomes 255; (1) |
| RGB of 16 bits (PNG, TIFF) | the high byte, as in Pillow: at most one level from rounding |
| F | 0 is black and 1 is white, as in TIFF; (1) |
| CMYK | red = (255 - C)(255 - K) / 255 and so on; (2) |
| YCbCr, HSV | Pillow's conversion (JFIF, full range) |
| LAB | through LittleCMS, D50, relative colorimetric, to sRGB |
| everything else | UnsupportedFormat |

(1) Integers outside 0..65535 and floats outside 0..1 have no defined white. They are never clipped:
they raise UnsupportedFormat. (2) A JPEG file with Adobe's marker stores CMYK inverted; one without
it does not. Pillow inverts both, so the second kind is inverted back.

White is the background because viewers, web pages and prints lay a transparent picture on white:
that is what people saw. A fully transparent pixel becomes white whatever colour it hides, because
nobody saw that colour. ICC profiles and gamma are not applied, because the reference pipelines of
the models do not apply them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from embedder.errors import UnsupportedFormat

_WHITE = (255, 255, 255, 255)
_WITH_ALPHA = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_STEP_16_TO_8 = 257  # 65535 / 255
# Rows of a band: four copies of it with 4 bytes a pixel are 16 MB.
_BAND_PIXELS = 1_000_000


def convert_to_rgb(image: Image.Image, *, inverted_cmyk: bool = True) -> Image.Image:
    """Convert a loaded image of any mode to opaque RGB.

    `inverted_cmyk=False` undoes the inversion that Pillow always applies.

    Raises UnsupportedFormat.
    """
    mode = image.mode
    if mode in _SIXTEEN_BITS or mode == "I":
        return _convert_in_bands(image, _from_integers)
    if mode == "F":
        return _convert_in_bands(image, _from_floats)
    if mode in _WITH_ALPHA or (mode in {"1", "L", "P", "RGB"} and image.has_transparency_data):
        return _convert_in_bands(image, _on_white)
    if mode == "CMYK":
        return (image if inverted_cmyk else ImageChops.invert(image)).convert("RGB")
    if mode == "LAB":
        return _from_lab(image)
    if mode in {"RGB", "RGBX", "L", "1", "P", "YCbCr", "HSV"}:
        # A copy, because the object of a Pillow plugin keeps the bytes of its file in memory.
        return image.convert("RGB") if mode != "RGB" else image.copy()
    raise UnsupportedFormat(f"pixel mode {mode}")


def _convert_in_bands(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert some rows at a time; every pixel comes out as from the whole image.

    These conversions need several copies of what they convert: of 100 megapixels 1.2 GB more than
    the image and its result.
    """
    rows = max(1, _BAND_PIXELS // image.width)
    if image.height <= rows:
        return convert(image)
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        converted.paste(convert(band), (0, top))
    return converted


def _on_white(image: Image.Image) -> Image.Image:
    # Pillow cannot convert La to RGBA directly.
    over = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, _WHITE), over).convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)  # (h, w)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise UnsupportedFormat("32-bit integer samples", "no value is defined as white")
    grey = ((values + _STEP_16_TO_8 // 2) // _STEP_16_TO_8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return _grey(grey)


def _from_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)  # (h, w) float32
    if not (
        np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1
    ):
        raise UnsupportedFormat(
            "floating-point samples outside 0..1", "no value is defined as white"
        )
    return _grey(np.rint(values * 255).astype(np.uint8))


def _grey(values: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(values).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(
        lab, srgb, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    return cast(Image.Image, ImageCms.applyTransform(image, transform))
