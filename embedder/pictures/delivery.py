"""How a picture was delivered: simulating the usual ways (`deliver`), and recognising one from a
file (`condition_of`).

A detector gives another result after a messenger, a web page or a screenshot has changed the
picture. So figures are calibrated for each of a few conditions, and a look-up uses those of the
condition that is nearest to its probe. The condition is recognised from what the file shows: its
format, its size and its quantisation tables. What happened before the last encoding is not visible:
a picture that was halved from 4,000 pixels to 2,000, or compressed twice, is recognised by its last
quality.

A lossless picture is a screenshot only where something shows it: the file's own words, a whole
screen with the lines of an interface, or the traces of sampling anew (`screenshots`, with the
figures). Format and size do not show it: nearly all generators write PNG files without camera data,
people cut them to any size, and a drawing of any size is a PNG too. Of 138 PNG files of known
origin, 19 were called screenshots when an unusual size was enough. With these rules five are, all
of them resized before they were collected (2026-11-30). The opposite error remains: a part of a
screenshot that shows its picture at its own size is reported as it is. None of its pixels was
changed, so this is what it is for the figures too. And a part that was sampled anew without a trace
gets figures that are too cautious: of 658 photographs that `deliver` shows at 0.8 of their size,
5.9 % are as near to a fake as the nearest 10 % of the photographs themselves (model builtin,
leaving out what is of the same picture, 2026-11-30).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from types import MappingProxyType

from PIL import Image

from embedder.errors import ImageError, ImageTooLarge
from embedder.pictures.containers import iterate_webp_chunks
from embedder.pictures.decode import DecodedImage
from embedder.pictures.jpeg_quality import estimate_jpeg_quality
from embedder.pictures.screenshots import (
    has_screen_size,
    has_uniform_lines,
    is_resampled,
    names_screenshot,
)
from embedder.pictures.sniff import ImageFormat


class Condition(StrEnum):
    """A kind of delivery: how an image was re-encoded before it arrived."""

    AS_IS = "as_is"
    JPEG90 = "jpeg90"
    JPEG75 = "jpeg75"
    JPEG50 = "jpeg50"
    WEBP80 = "webp80"
    HALF = "half"
    SCREENSHOT = "screenshot"


# The conditions that change the picture.
RE_ENCODINGS: tuple[Condition, ...] = tuple(
    each for each in Condition if each is not Condition.AS_IS
)
# Ordered by how much they change a picture, the least first. A coarse quality changes more than
# halving.
_BY_LOSS = (
    Condition.AS_IS,
    Condition.JPEG90,
    Condition.SCREENSHOT,
    Condition.WEBP80,
    Condition.JPEG75,
    Condition.HALF,
    Condition.JPEG50,
)

# ImageMagick, libvips and with them WordPress, sharp and most image servers shrink with Lanczos.
# WordPress writes JPEG at 82; Twitter was seen at 85. Pillow's JPEG has 4:2:0 colour, like theirs.
_HALF_QUALITY = 85
# A screenshot of a picture that a page shows a little smaller than it is. Chromium 156 takes the
# next larger of the picture and its repeated halves and samples it with plain bilinear
# interpolation (`cc/tiles/mipmap_util.h`), without the wider filter of Pillow's `resize`. The RMS
# difference from its real screenshots at 0.8 is 0.0 to 0.7 levels of 255; that of `resize` is 1.4
# to 2.3 with BILINEAR, 1.2 to 1.9 with BICUBIC and 1.7 to 2.9 with LANCZOS (four photographs,
# 2026-11-25).
_SCREENSHOT_SCALE = 0.8

# The formats of files that lose nothing, beside WebP, which may.
_LOSSLESS = frozenset({ImageFormat.PNG, ImageFormat.BMP, ImageFormat.TIFF, ImageFormat.GIF})
_NOTHING: Mapping[str, object] = MappingProxyType({})

# The longest side that a format can store: libjpeg's JPEG_MAX_DIMENSION, and 14 bits (RFC 9649).
_MAX_SIDES = {"JPEG": 65_500, "WEBP": 16_383}

# Boundaries lie halfway between the qualities of the conditions. From 95 on, a JPEG is what a
# camera writes at its best quality.
_AS_IS_QUALITY = 95
_JPEG90_FROM, _JPEG75_FROM = (90 + 75) / 2, (75 + 50) / 2
# libjpeg's default (`jcparam.c`, `jpeg_set_defaults`), for a JPEG whose tables were not read.
_UNKNOWN_QUALITY = 75
# Half of 512, the smallest size of diffusion models. VGA, the smallest that cameras write, is 240
# when halved.
_HALVED_SIDE = 256


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a file shows about its delivery.

    `format` is one of `sniff.FORMATS`. `width` and `height` are pixels of the upright image.
    `jpeg_quality` is the nearest quality of libjpeg (1 to 100), None for other formats and where it
    was not read. `webp_lossless` matters for WebP only. `names_screenshot`: the file says that it
    is one. `shows_screen` (a whole screen with an interface) and `is_resampled` are looked for in
    lossless pictures only: compression leaves traces of its own.
    """

    format: str
    width: int
    height: int
    jpeg_quality: int | None = None
    webp_lossless: bool = False
    names_screenshot: bool = False
    shows_screen: bool = False
    is_resampled: bool = False


def delivery_of(
    data: bytes, decoded: DecodedImage, metadata: Mapping[str, object] = _NOTHING
) -> Delivery:
    """Read what `data` shows; `decoded` is the image in it.

    `metadata` is what `embedder.file_metadata` reads from `data`.
    """
    webp_lossless = decoded.format == ImageFormat.WEBP and _is_lossless_webp(data)
    is_lossless = webp_lossless or decoded.format in _LOSSLESS
    return Delivery(
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        jpeg_quality=estimate_jpeg_quality(data),
        webp_lossless=webp_lossless,
        names_screenshot=names_screenshot(metadata),
        shows_screen=is_lossless
        and has_screen_size(decoded.width, decoded.height)
        and has_uniform_lines(decoded.image),
        is_resampled=is_lossless and is_resampled(decoded.image),
    )


def condition_of(delivery: Delivery) -> Condition:
    """Return the condition whose pictures are nearest to this one. Total; never raises."""
    stored_as = _condition_of_format(delivery)
    is_screenshot = delivery.names_screenshot or delivery.shows_screen or delivery.is_resampled
    return coarser_of(stored_as, Condition.SCREENSHOT) if is_screenshot else stored_as


def coarser_of(one: Condition, other: Condition) -> Condition:
    """Return which of two successive deliveries of a picture remains visible."""
    return max(one, other, key=_BY_LOSS.index)


def deliver(image: Image.Image, condition: Condition) -> Image.Image:
    """Deliver an upright RGB image: encode and decode it where that loses anything, without
    metadata.

    The result is the same on each call. It may be smaller than a model accepts.

    Raises ImageTooLarge, with the side in pixels, where a side is longer than the format can store.
    """
    match condition:
        case Condition.AS_IS:
            return strip_metadata(image)
        case Condition.JPEG90:
            return recompress_as_jpeg(image, 90)
        case Condition.JPEG75:
            return recompress_as_jpeg(image, 75)
        case Condition.JPEG50:
            return recompress_as_jpeg(image, 50)
        case Condition.WEBP80:
            return recompress_as_webp(image, 80)
        case Condition.HALF:
            return recompress_as_jpeg(scale(image, 0.5), _HALF_QUALITY)
        case Condition.SCREENSHOT:
            return _as_on_a_page(image, _SCREENSHOT_SCALE)  # PNG loses nothing


def recompress_as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Encode as JPEG and decode, with libjpeg's standard tables and 4:2:0 colour.

    Raises ImageTooLarge.
    """
    return _recompress(image, "JPEG", quality=quality)


def recompress_as_webp(image: Image.Image, quality: int) -> Image.Image:
    """Encode as lossy WebP and decode.

    Raises ImageTooLarge.
    """
    return _recompress(image, "WEBP", quality=quality)


def scale(image: Image.Image, factor: float) -> Image.Image:
    """Resize as image servers do; no side becomes shorter than one pixel."""
    return strip_metadata(image).resize(_scaled_size(image, factor), Image.Resampling.LANCZOS)


def strip_metadata(image: Image.Image) -> Image.Image:
    """Copy an image without metadata and colour profile, which Pillow would write into a file
    again.
    """
    copy = image.copy()
    copy.info = {}
    return copy


def _recompress(image: Image.Image, format: str, **options: int) -> Image.Image:
    longest, limit = max(image.size), _MAX_SIDES[format]
    if longest > limit:
        raise ImageTooLarge("pixels", longest, limit)
    buffer = BytesIO()
    strip_metadata(image).save(buffer, format, **options)
    with Image.open(buffer, formats=[format]) as stored:
        return strip_metadata(stored.convert("RGB"))


def _as_on_a_page(image: Image.Image, factor: float) -> Image.Image:
    """Sample each pixel from the four nearest, for any factor; see `_SCREENSHOT_SCALE`."""
    width, height = _scaled_size(image, factor)
    steps = (image.width / width, 0, 0, 0, image.height / height, 0)
    return strip_metadata(image).transform(
        (width, height), Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR
    )


def _scaled_size(image: Image.Image, factor: float) -> tuple[int, int]:
    return max(1, round(image.width * factor)), max(1, round(image.height * factor))


def _condition_of_format(delivery: Delivery) -> Condition:
    match delivery.format:
        case ImageFormat.JPEG:
            return _condition_of_jpeg(delivery)
        case ImageFormat.WEBP if not delivery.webp_lossless:
            return Condition.WEBP80
        case ImageFormat.AVIF:  # made for the web and, like WebP, a frame of a video codec
            return Condition.WEBP80
        case ImageFormat.HEIC:  # what telephones write
            return Condition.HALF if _shorter_side(delivery) <= _HALVED_SIDE else Condition.AS_IS
        case _:
            return Condition.AS_IS


def _condition_of_jpeg(delivery: Delivery) -> Condition:
    """A coarse quality changes more than halving does, so it is tested first."""
    quality = _UNKNOWN_QUALITY if delivery.jpeg_quality is None else delivery.jpeg_quality
    if quality < _JPEG75_FROM:
        return Condition.JPEG50
    if quality < _JPEG90_FROM:
        return Condition.JPEG75
    if _shorter_side(delivery) <= _HALVED_SIDE:
        return Condition.HALF
    return Condition.JPEG90 if quality < _AS_IS_QUALITY else Condition.AS_IS


def _shorter_side(delivery: Delivery) -> int:
    return min(delivery.width, delivery.height)


def _is_lossless_webp(data: bytes) -> bool:
    """Whether the picture's chunk is lossless; of an animation, that of the first frame.

    The chunks of a frame begin after 16 bytes (RFC 9649).
    """
    try:
        for kind, start, _ in iterate_webp_chunks(data):
            if kind in (b"VP8 ", b"VP8L", b"ANMF"):
                return (data[start + 16 : start + 20] if kind == b"ANMF" else kind) == b"VP8L"
    except ImageError:
        return False
    return False
