"""The image format of a file, from its first bytes.

The content decides, never the file's name. Nothing is decoded here.
"""

from __future__ import annotations

from enum import StrEnum

from embedder.errors import NotAnImage, UnsupportedFormat


class ImageFormat(StrEnum):
    """The formats that are accepted."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    BMP = "bmp"
    TIFF = "tiff"
    GIF = "gif"
    AVIF = "avif"
    HEIC = "heic"


FORMATS: tuple[str, ...] = tuple(ImageFormat)

_STARTS = (
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"GIF87a", ImageFormat.GIF),
    (b"GIF89a", ImageFormat.GIF),
    (b"II*\x00", ImageFormat.TIFF),
    (b"MM\x00*", ImageFormat.TIFF),
    (b"II+\x00", ImageFormat.TIFF),  # BigTIFF
    (b"MM\x00+", ImageFormat.TIFF),
)

# Images, by the IANA registry and the makers' documents, that are not accepted: vector graphics,
# documents, raw sensor data, formats without a maintained decoder in Pillow's wheels, and formats
# that hold several pictures of equal rank.
_REFUSED_STARTS = (
    (b"8BPS", "Photoshop document"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "CUR"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"icns", "ICNS"),
    (b"DDS ", "DDS"),
    (b"BLP", "BLP"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"\x8bJNG\r\n\x1a\n", "JNG"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"IIRO", "camera raw"),
    (b"IIRS", "camera raw"),
    (b"IIU\x00", "camera raw"),
    (b"MMOR", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"BPG\xfb", "BPG"),
    (b"gimp xcf", "XCF"),
    *((b"P" + digit, "PNM") for digit in (b"1\n", b"2\n", b"3\n", b"4\n", b"5\n", b"6\n", b"7\n")),
)

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_SVG_WINDOW_BYTES = 1024


def sniff(data: bytes) -> ImageFormat:
    """Return the format that the first bytes announce.

    Raises NotAnImage; UnsupportedFormat for an image of another kind.
    """
    for start, image_format in _STARTS:
        if data.startswith(start):
            if data[8:10] == b"CR" and image_format is ImageFormat.TIFF:
                raise UnsupportedFormat("camera raw", "convert it with the camera maker's program")
            return image_format
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return ImageFormat.BMP
    if data[4:8] == b"ftyp":
        return _sniff_brands(data)
    for start, name in _REFUSED_STARTS:
        if data.startswith(start):
            raise UnsupportedFormat(name)
    if _is_svg(data):
        raise UnsupportedFormat("SVG", "vector graphics have no pixels to compare")
    raise NotAnImage(
        "the file is empty" if not data else "the bytes start like no known image format"
    )


def _sniff_brands(data: bytes) -> ImageFormat:
    """Decide by the brands of ISO/IEC 14496-12's `ftyp` box.

    The major brand comes first, then a minor version, then the compatible brands.
    """
    size = int.from_bytes(data[:4], "big")
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(size, len(data), 256), 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return ImageFormat.AVIF
        if brand in _HEIC_BRANDS:
            return ImageFormat.HEIC
    if {b"mif1", b"msf1"} & set(brands):
        raise UnsupportedFormat("HEIF", "its coding is neither AV1 nor HEVC")
    if b"crx " in brands:
        raise UnsupportedFormat("camera raw")
    raise NotAnImage("the bytes are a video or another ISO media file")


def _is_svg(data: bytes) -> bool:
    window = data[:_SVG_WINDOW_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return window.startswith(b"<svg") or (
        window.startswith((b"<?xml", b"<!doctype", b"<!--")) and b"<svg" in window
    )
