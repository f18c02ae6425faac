"""Text chunks of PNG files (W3C PNG, third edition, 11.3.3): every keyword, except copies of
private EXIF.
"""

from __future__ import annotations

import zlib

from embedder.file_metadata.exif import TEXT_TAGS
from embedder.file_metadata.statements import Statements, as_text
from embedder.file_metadata.xmp import read_xmp

TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_MAX_KEYWORD_BYTES = 79
# ImageMagick copies EXIF into text: single tags as `exif:GPSLatitude`, the whole block as
# `Raw profile type exif`.
_COPIED_EXIF, _COPIED_PROFILE = "exif:", "raw profile type"
_PUBLIC_COPIES = frozenset(f"exif:{name}".lower() for name in TEXT_TAGS.values())
_PRIVATE_WORDS = ("gps", "owner", "serial")


def read_text_chunk(kind: bytes, body: bytes, statements: Statements) -> None:
    """Collect the text of one chunk, or the fields of its XMP.

    Raises ValueError, zlib.error.
    """
    statements.require_readable(len(body))
    keyword, _, _ = body[: _MAX_KEYWORD_BYTES + 1].partition(b"\x00")
    if not keyword or len(keyword) > _MAX_KEYWORD_BYTES:
        raise ValueError(f"a {kind.decode()} chunk has no keyword")
    name = keyword.decode("latin-1")
    if not name.isprintable():
        raise ValueError("a keyword is not printable")
    if is_private(name):
        return
    compressed, raw = _read_content(kind, body[len(keyword) + 1 :])
    if compressed:
        raw = _inflate(raw, statements)
    if keyword == _XMP_KEYWORD:
        with statements.reading("xmp"):
            read_xmp(raw, statements)
    else:
        statements.put(f"png:{name}", as_text(raw))


def is_private(keyword: str) -> bool:
    """Whether the text may reveal a place, an owner or a device."""
    name = keyword.lower()
    if name.startswith(_COPIED_EXIF):
        return name not in _PUBLIC_COPIES
    return name.startswith(_COPIED_PROFILE) or any(word in name for word in _PRIVATE_WORDS)


def _read_content(kind: bytes, rest: bytes) -> tuple[bool, bytes]:
    """Return whether the text behind a keyword is compressed, and the text."""
    match kind:
        case b"tEXt":
            return False, rest
        case b"zTXt":
            return True, rest[1:]  # after the method
        case _:  # iTXt: flag, method, language, translated keyword
            _, language_ended, after = rest[2:].partition(b"\x00")
            _, keyword_ended, text = after.partition(b"\x00")
            if not (language_ended and keyword_ended):
                raise ValueError("iTXt ends before its text")
            return rest[:1] == b"\x01", text


def _inflate(compressed: bytes, statements: Statements) -> bytes:
    """Inflate a text, but no further than a text may be long.

    What was inflated also counts where the text is a decompression bomb.
    """
    inflater = zlib.decompressobj()
    raw = inflater.decompress(compressed, statements.readable + 1)  # 0 would mean no bound
    statements.require_readable(len(raw))
    return raw
