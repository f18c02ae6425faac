"""Any mode that Pillow decodes to -> RGB, 8 bits, opaque. One written rule for each.

| stored as | rule | |---|---| | RGB | as it is | | L, 1 | grey: red = green = blue; 1 bit becomes 0
and 255 | | P | through its palette | | LA, PA, RGBA, La, RGBa; L, P, RGB, 1, I;16 with a
transparent colour | laid on white | | I;16 (any byte order), I | divided by 257 and rounded, so
that 65535 is 255 and nothing is clipped; (1) | | RGB of 16 bits (PNG, TIFF) | the high byte, which
is what Pillow's decoder gives: at most one level from rounding | | F | 0 is black and 1 is white,
as TIFF has it; (1) | | CMYK | red = (255 - C)(255 - K) / 255 and so on; (2) | | YCbCr, HSV |
Pillow's conversion (JFIF, full range) | | LAB | through LittleCMS, D50, relative colorimetric, to
sRGB | | everything else | UnsupportedFormat |

(1) Integers outside 0..65535 and floats outside 0..1 have no defined white: UnsupportedFormat,
never clipped. (2) A JPEG with Adobe's marker stores CMYK inverted, one without does not; Pillow
inverts both, so one is turned back.

White, because that is what people saw: a viewer, a page and a print lay a transparent picture on
white. A pixel that is fully transparent becomes white whatever colour it hides, for nobody saw that
colour either. ICC profiles and gamma are not applied: the reference pipelines of the models do not
apply them.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from embedder.errors import UnsupportedFormat

_WHITE = (255, 255, 255, 255)
_WITH_ALPHA = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_STEP_16_TO_8 = 257  # 65535 / 255


def convert_to_rgb(image: Image.Image, *, inverted_cmyk: bool = True) -> Image.Image:
    """A loaded image of any mode as opaque RGB.

    `inverted_cmyk` false undoes the inversion that Pillow always does.
    """
    mode = image.mode
    if mode in _SIXTEEN_BITS or mode == "I":
        return _from_integers(image)
    if mode == "F":
        return _from_floats(image)
    if mode in _WITH_ALPHA or (mode in {"1", "L", "P", "RGB"} and image.has_transparency_data):
        return _on_white(image)
    if mode == "CMYK":
        return (image if inverted_cmyk else ImageChops.invert(image)).convert("RGB")
    if mode == "LAB":
        return _from_lab(image)
    if mode in {"RGB", "RGBX", "L", "1", "P", "YCbCr", "HSV"}:
        # Not `image` itself: a plugin's class keeps the file's bytes alive as long as the picture.
        return image.convert("RGB") if mode != "RGB" else image.copy()
    raise UnsupportedFormat(f"pixel mode {mode}")


def _on_white(image: Image.Image) -> Image.Image:
    over = (image.convert("LA") if image.mode == "La" else image).convert(
        "RGBA"
    )  # Pillow knows no way La -> RGBA
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
