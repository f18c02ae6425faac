from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import CorruptImage, ImageError, NotAnImage, UnsupportedFormat
from embedder.pictures.decode import decode
from embedder.pictures.sniff import FORMATS, sniff


def media_file(major: bytes, *compatible: bytes) -> bytes:
    body = major + b"\x00\x00\x00\x00" + b"".join(compatible)
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body


def test_a_general_brand_is_decided_by_the_compatible_ones() -> None:
    assert sniff(media_file(b"mif1", b"mif1", b"heic")) == "heic"
    assert sniff(media_file(b"mif1", b"miaf", b"avif")) == "avif"
    with pytest.raises(UnsupportedFormat, match="HEIF"):
        sniff(media_file(b"mif1", b"mif1", b"jpeg"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\x00\x00", "JPEG XL"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "camera raw"),
        (media_file(b"crx ", b"crx "), "camera raw"),
        (b"P6\n2 2\n255\n", "PNM"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a drawing -->\n<svg/>", "SVG"),
    ],
)
def test_known_images_of_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        sniff(data)
    assert refused.value.format == name


def test_xml_and_media_that_are_no_images_are_not_images() -> None:
    for data in (
        b"<?xml version='1.0'?><html/>",
        media_file(b"mp42", b"isom"),
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
    ):
        with pytest.raises(NotAnImage):
            sniff(data)


@given(st.binary(max_size=400))
def test_no_bytes_escape_the_error_tree(data: bytes) -> None:
    for start in (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\x00\x08\x00\x00\x00",
        b"RIFF",
        b"BM",
    ):
        try:
            decode(start + data)
        except ImageError as err:
            assert err.reason  # noqa: PT017 (that it is an ImageError is the point)


def test_the_list_of_formats_is_the_documented_one() -> None:
    assert set(FORMATS) == {"jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic"}
    assert CorruptImage.reason == "corrupt"
