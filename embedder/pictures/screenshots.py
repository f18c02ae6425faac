"""What shows that a lossless picture is a screenshot, or part of one. The format shows nothing: a
generator's own file is a PNG without camera data too.

Three kinds of evidence, each with its own source:

1. The file says so (`names_screenshot`). Apple's telephones and computers write "Screenshot" as
   the user comment of EXIF and XMP. Android writes "Android" and its build as the software, and no
   maker of a camera (`ImageExporter.java` of its SystemUI). gnome-screenshot and Greenshot write
   their names as the software.
2. The pixels show an interface (`has_uniform_lines`): lines of one colour from edge to edge, above
   and below bars, between lines of text, beside a picture that is fitted into a window. Of 36
   screens that Chromium showed (posts, chats, galleries, articles, a viewer), 30 have such lines in
   3 % or more of their rows or columns. The other six show one picture from edge to edge, and have
   at most 0.02 %. But 6 of 138 PNG files of known origin have them too, as drawings and framed
   pictures do. So this evidence counts only where the picture has the size of a screen.
3. The pixels were sampled anew (`is_resampled`). A page shows a picture larger or smaller than it
   is, so each pixel is a mean of its neighbours, with weights that repeat. The second difference is
   weaker where one pixel has most of the weight than where two share it, so it varies with that
   period across the picture (A. C. Gallagher, "Detection of linear and cubic interpolation in JPEG
   compressed images", CRV 2005). What repeats every 16 pixels, or a whole fraction of that, does
   not count: block codecs and generators with patches leave such traces of their own.

A picture that was shown at its own size, or at half or a quarter of it, has no such trace, and is a
PNG without camera data like any other. A PNG that somebody resized is not told from a part of a
screenshot: both were sampled anew and lost nothing since, which is what matters for the figures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Keys of `embedder.file_metadata`, which gives a second text of the same key a number.
_COMMENTS = ("exif:UserComment", "xmp:UserComment")
_SOFTWARE = ("png:Software", "exif:Software")
_TOOLS = ("gnome-screenshot", "greenshot")
_CAMERA = ("exif:Make", "exif:Model")

# Between the 0.02 % of pictures from edge to edge and the 3 % of interfaces.
_LEAST_UNIFORM_LINES = 0.02

# Whole screens, shorter side first: the most frequent of StatCounter's screen resolutions, and
# those of telephones, tablets and laptops from their makers' data sheets. 1024 x 768, 1280 x 720
# and 2048 x 1536 are left out, because generators and cameras make them too.
_DESKTOPS = (
    "768x1366 800x1280 864x1536 900x1440 900x1600 1024x1280 1050x1680 1080x1920 1080x2560 "
    "1152x2048 1200x1920 1440x2304 1440x2560 1440x3440 1440x5120 1504x2256 1600x2560 1600x3840 "
    "1664x2560 1800x2880 1800x3200 1824x2736 1864x2880 1920x2880 1920x3072 1964x3024 2000x3000 "
    "2160x3840 2234x3456 2400x3840 2520x4480 2880x5120 3384x6016"
)
_TELEPHONES = (
    "640x1136 720x1440 720x1520 720x1560 720x1600 720x1612 750x1334 828x1792 1008x2244 1080x2160 "
    "1080x2220 1080x2280 1080x2310 1080x2316 1080x2340 1080x2376 1080x2400 1080x2408 1080x2412 "
    "1080x2424 1125x2436 1170x2532 1179x2556 1206x2622 1220x2712 1242x2208 1242x2688 1280x2856 "
    "1284x2778 1290x2796 1320x2868 1344x2992 1440x2880 1440x2960 1440x3040 1440x3088 1440x3120 "
    "1440x3200"
)
_TABLETS = (
    "1200x2000 1488x2266 1620x2160 1640x2360 1668x2224 1668x2388 1668x2420 1848x2960 2048x2732"
)
_SCREENS = frozenset(f"{_DESKTOPS} {_TELEPHONES} {_TABLETS}".split())

# The middle of a picture, in pixels: a longer one gives no clearer period.
_LONGEST_SIDE = 1024
# A shorter side has too few periods to be told from the rest of its spectrum.
_SHORTEST_SIDE = 128
_SPECTRUM = 1024  # bins for the frequencies 0 to 1 of a pixel; shorter profiles are padded
# Second differences in levels of 255: edges are cut off here, or a few would outweigh all others.
_STRONGEST_DIFFERENCE = 16
# Slower variation is the picture itself.
_LOWEST_FREQUENCY = 0.04
# What repeats with the blocks of codecs (4, 8, 16) and with the patches of generators (8, 16).
_PATCH = 16
_PATCH_BINS = 4  # on each side of such a frequency: what a window of half the spectrum spreads
_NEIGHBOURS = 24  # bins on each side that a peak is compared with
# Noise has a Rayleigh distribution: one bin in 10^10 is six times the median. Of 138 PNG files of
# known origin, five have such a peak on both axes, and all five have sizes that no camera or
# generator makes: they were resized before they were collected.
_LEAST_PEAK = 6.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


def names_screenshot(metadata: Mapping[str, object]) -> bool:
    """Whether the texts of a file say that it is a screenshot.

    `metadata` is what `embedder.file_metadata` reads.
    """
    if any(_read(metadata, key).casefold() == "screenshot" for key in _COMMENTS):
        return True
    software = [_read(metadata, key) for key in _SOFTWARE]
    if any(each.casefold().startswith(_TOOLS) for each in software):
        return True
    is_android = any(each.startswith("Android ") for each in software)
    return is_android and not any(_read(metadata, key) for key in _CAMERA)


def has_screen_size(width: int, height: int) -> bool:
    """Whether a whole screen has this size, upright or turned."""
    return f"{min(width, height)}x{max(width, height)}" in _SCREENS


def has_uniform_lines(image: Image.Image) -> bool:
    """Whether enough rows or columns of an RGB image have one colour from edge to edge."""
    pixels = np.asarray(image)  # (h, w, 3)
    rows = (pixels == pixels[:, :1]).all(axis=(1, 2))  # (h,)
    columns = (pixels == pixels[:1]).all(axis=(0, 2))  # (w,)
    return bool(max(rows.mean(), columns.mean()) >= _LEAST_UNIFORM_LINES)


def is_resampled(image: Image.Image) -> bool:
    """Whether an RGB image shows one period of interpolation across and down.

    False where the image is too small to tell.
    """
    luma = _take_middle(image)  # (h, w)
    if min(luma.shape) < _SHORTEST_SIDE:
        return False
    across = 2 * luma[:, 1:-1] - luma[:, :-2] - luma[:, 2:]
    down = 2 * luma[1:-1] - luma[:-2] - luma[2:]
    peaks = np.minimum(_find_peaks(across, axis=0), _find_peaks(down, axis=1))  # (513,)
    return bool((peaks[_COUNTED] >= _LEAST_PEAK).any())


def _choose_frequencies() -> NDArray[np.bool_]:
    frequency = np.arange(_SPECTRUM // 2 + 1) / _SPECTRUM
    from_patch = np.abs(frequency - np.round(frequency * _PATCH) / _PATCH)
    return (frequency > _LOWEST_FREQUENCY) & (from_patch > _PATCH_BINS / _SPECTRUM)


_COUNTED = _choose_frequencies()


def _take_middle(image: Image.Image) -> NDArray[np.float32]:
    width, height = min(image.width, _LONGEST_SIDE), min(image.height, _LONGEST_SIDE)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    middle = image.crop((left, top, left + width, top + height))
    return np.asarray(middle, np.float32) @ _LUMA


def _find_peaks(differences: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Return the spectrum of the mean difference along one axis, over the median around each bin:
    (513,).
    """
    profile = np.minimum(np.abs(differences), _STRONGEST_DIFFERENCE).mean(axis, dtype=np.float64)
    window = np.hanning(len(profile))
    spectrum: NDArray[np.float64] = np.abs(
        np.fft.rfft((profile - profile.mean()) * window, _SPECTRUM)
    )
    padded = np.pad(spectrum, _NEIGHBOURS, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1)  # (513, 49)
    # A flat picture has no spectrum. A thousandth of a level keeps its rounding from being a peak.
    level: NDArray[np.float64] = np.median(around, axis=1) + 1e-3 * float(window.sum())
    return spectrum / level


def _read(metadata: Mapping[str, object], key: str) -> str:
    text = metadata.get(key)
    return text.strip() if isinstance(text, str) else ""
