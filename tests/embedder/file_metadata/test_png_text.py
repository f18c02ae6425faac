from __future__ import annotations

import zlib

import pytest

from embedder.file_metadata.png_text import is_private, read_text_chunk
from embedder.file_metadata.statements import MAX_READ_BYTES, Statements


def read(kind: bytes, body: bytes) -> dict[str, object]:
    statements = Statements()
    read_text_chunk(kind, body, statements)
    return dict(statements.collected)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"tEXt", b"Software\x00a program"),
        (b"zTXt", b"Software\x00\x00" + zlib.compress(b"a program")),
        (b"iTXt", b"Software\x00\x00\x00en\x00Programm\x00a program"),
        (b"iTXt", b"Software\x00\x01\x00\x00\x00" + zlib.compress(b"a program")),
    ],
)
def test_each_kind_of_text_chunk_is_read(kind: bytes, body: bytes) -> None:
    assert read(kind, body) == {"png:Software": "a program"}


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (b"tEXt", b"\x00text", "a tEXt chunk has no keyword"),
        (b"tEXt", b"k" * 80 + b"\x00text", "a tEXt chunk has no keyword"),
        (b"tEXt", b"bell\x07\x00text", "a keyword is not printable"),
        (b"iTXt", b"Software\x00\x00\x00en\x00only", "iTXt ends before its text"),
    ],
)
def test_a_malformed_chunk_is_refused(kind: bytes, body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(kind, body)


def test_a_compressed_bomb_is_inflated_no_further_than_the_limit() -> None:
    bomb = zlib.compress(bytes(MAX_READ_BYTES + 1))
    with pytest.raises(ValueError, match="is not read"):
        read(b"zTXt", b"Comment\x00\x00" + bomb)
    with pytest.raises(zlib.error):
        read(b"zTXt", b"Comment\x00\x00no deflate")


@pytest.mark.parametrize(
    ("keyword", "private"),
    [
        ("Software", False),
        ("exif:Software", False),
        ("EXIF:Model", False),
        ("exif:GPSLatitude", True),
        ("exif:BodySerialNumber", True),
        ("exif:LensModel", True),
        ("Raw profile type exif", True),
        ("raw profile type APP1", True),
        ("Camera Owner", True),
        ("Serial", True),
    ],
)
def test_copies_of_private_exif_are_recognised(keyword: str, private: bool) -> None:
    assert is_private(keyword) is private
    says = read(b"tEXt", keyword.encode() + b"\x00text")
    assert says == ({} if private else {f"png:{keyword}": "text"})
