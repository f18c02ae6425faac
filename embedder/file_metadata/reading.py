"""Where each format keeps its metadata.

They are read from the bytes as they are: no pixel is decoded, and the file need not be complete.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from io import BytesIO

from PIL.AvifImagePlugin import AvifImageFile

from embedder.errors import ImageError
from embedder.file_metadata.exif import IPTC_TAG, XMP_TAG, read_exif, read_tiff_value
from embedder.file_metadata.iptc import PHOTOSHOP, read_iptc, read_photoshop
from embedder.file_metadata.png_text import TEXT_CHUNKS, read_text_chunk
from embedder.file_metadata.statements import FileMetadata, Statements, as_text
from embedder.file_metadata.xmp import read_xmp
from embedder.pictures.containers import iterate_webp_chunks
from embedder.pictures.jpeg import iterate_segments
from embedder.pictures.png import iterate_chunks
from embedder.pictures.quiet import ignore_pillow_warnings
from embedder.pictures.sniff import ImageFormat, sniff

_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
_APP1, _APP13, _COM = 0xE1, 0xED, 0xFE


def read_file_metadata(data: bytes) -> FileMetadata:
    """Return what the file says about its origin, by key. Thread-safe; never raises.

    A text of more than 64 KiB becomes `{"text", "characters", "sha256", "cut": True}`: its
    beginning, and the length and hash of the whole text as UTF-8. All texts together are at most
    256 KiB, and there are at most 64 keys.
    """
    statements = Statements()
    try:
        image_format = sniff(data)
    except ImageError:  # decoding reports it
        return {}
    with statements.reading(image_format.value):
        reader = _READERS.get(image_format)
        if reader is not None:
            reader(data, statements)
    return statements.collected


def _read_jpeg(data: bytes, statements: Statements) -> None:
    for marker, start, end in iterate_segments(data, scans=False):
        if marker not in (_APP1, _APP13, _COM):
            continue
        statements.require_room()
        if marker == _COM:
            statements.require_readable(end - start)
            statements.put("jpeg:Comment", as_text(data[start + 4 : end]))
        elif data.startswith(_EXIF, start + 4):
            _read_first(read_exif, data[start + 4 : end], "exif", statements)
        elif data.startswith(_XMP, start + 4):
            _read_first(read_xmp, data[start + 4 + len(_XMP) : end], "xmp", statements)
        elif data.startswith(PHOTOSHOP, start + 4):
            with statements.reading("iptc"):
                read_photoshop(data[start + 4 : end], statements)


def _read_png(data: bytes, statements: Statements) -> None:
    for kind, start, end in iterate_chunks(data):
        if kind == b"eXIf":
            _read_first(read_exif, data[start:end], "exif", statements)
        elif kind in TEXT_CHUNKS:
            statements.require_room()
            with statements.reading("png"):
                read_text_chunk(kind, data[start:end], statements)


def _read_webp(data: bytes, statements: Statements) -> None:
    for kind, start, end in iterate_webp_chunks(data):
        if kind == b"EXIF":
            _read_first(read_exif, data[start:end], "exif", statements)
        elif kind == b"XMP ":
            _read_first(read_xmp, data[start:end], "xmp", statements)


def _read_tiff(data: bytes, statements: Statements) -> None:
    if data[2:4] in (b"+\x00", b"\x00+"):  # BigTIFF: no known generator writes it
        return
    _read_first(read_exif, data, "exif", statements)
    for tag, read, origin in ((XMP_TAG, read_xmp, "xmp"), (IPTC_TAG, read_iptc, "iptc")):
        with statements.reading(origin):
            value = read_tiff_value(data, tag, statements)
            if value is not None:
                read(value, statements)


def _read_avif(data: bytes, statements: Statements) -> None:
    _read_with_pillow(AvifImageFile, data, statements)


def _read_heic(data: bytes, statements: Statements) -> None:
    if importlib.util.find_spec("pillow_heif") is not None:
        pillow_heif = importlib.import_module("pillow_heif")  # late: the package is optional
        _read_with_pillow(pillow_heif.HeifImageFile, data, statements)


def _read_with_pillow(
    plugin: Callable[[BytesIO], object], data: bytes, statements: Statements
) -> None:
    """Read AVIF and HEIC with Pillow, which opens them without decoding a pixel."""
    with ignore_pillow_warnings():
        try:
            info = getattr(plugin(BytesIO(data)), "info", {})
        except Exception as err:  # a decoder may raise anything when it reads hostile bytes
            raise ValueError(f"{type(err).__name__}: {err}") from err
    for name, read in (("exif", read_exif), ("xmp", read_xmp)):
        if isinstance(info.get(name), bytes):
            _read_first(read, info[name], name, statements)


def _read_first(
    read: Callable[[bytes, Statements], None], block: bytes, origin: str, statements: Statements
) -> None:
    if statements.is_first(origin):
        with statements.reading(origin):
            read(block, statements)


_READERS: Mapping[ImageFormat, Callable[[bytes, Statements], None]] = {
    ImageFormat.JPEG: _read_jpeg,
    ImageFormat.PNG: _read_png,
    ImageFormat.WEBP: _read_webp,
    ImageFormat.TIFF: _read_tiff,
    ImageFormat.AVIF: _read_avif,
    ImageFormat.HEIC: _read_heic,
}
