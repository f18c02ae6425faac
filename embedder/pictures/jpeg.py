"""The segments of a JPEG file: is it complete, and which bytes make the picture (ITU-T T.81, Annex
B)?

libjpeg fills missing data with grey and warns, but Pillow does not pass the warning on. So the file
is followed here. The end marker must be there, and the scans must cover every component to its last
bit. An end marker that comes before the end of the picture's data is found by decoding twice. Only
segments that the pixels depend on reach the decoder, so broken or hostile metadata cannot make an
image fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from embedder.errors import CorruptImage, TruncatedImage

# Matches the last of several fill bytes, not `\xff+`: the search is 20 times as fast for a pattern
# that starts with a plain byte.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# APP0 and APP14 give the colour space; the other APPn and the comment are metadata.
_METADATA = frozenset({0xE1, *range(0xE2, 0xEE), 0xEF, 0xFE})
# A file of 64 MiB holds 1,024 full segments, and encoders write at most a few dozen scans. Each
# scan of a progressive file costs a pass over the whole picture, so a small file with many scans
# could take minutes.
MAX_SEGMENTS = 20_000
MAX_SCANS = 100
# Contains no 0xFF, so it is data. It is longer than any row of blocks that the corner of the
# picture depends on.
_FILLER = bytes(range(1, 255)) * 256


@dataclass(slots=True)
class JpegFile:
    """A file that was followed to its end. `data` is what the pixels depend on, without the end
    marker.
    """

    width: int = 0
    height: int = 0
    progressive: bool = False
    adobe: bool = False
    exif: bytes | None = None
    data: bytes = b""
    scans: int = 0
    component_ids: tuple[int, ...] = ()
    # Component -> for each of the 64 coefficients, the lowest bit that was sent; 16 means "none".
    precision: dict[int, list[int]] = field(default_factory=dict)

    @property
    def whole(self) -> bytes:
        """The bytes for the decoder."""
        return self.data + b"\xff\xd9"

    @property
    def padded(self) -> bytes:
        """The same bytes with meaningless data before the end marker.

        It decodes to another picture exactly when data are missing.
        """
        return self.data + _FILLER + b"\xff\xd9"


def walk_jpeg(data: bytes) -> JpegFile:
    """Follow the segments of a file to its end marker.

    Raises TruncatedImage, CorruptImage.
    """
    jpeg = JpegFile()
    kept = [b"\xff\xd8"]
    for marker, start, end in iterate_segments(data):
        if marker in _FRAMES:
            _read_frame(jpeg, marker, data[start + 4 : end])
        elif marker == _SOS:
            length = int.from_bytes(data[start + 2 : start + 4], "big")
            _read_scan(jpeg, data[start + 4 : start + 2 + length])
        elif marker == 0xEE and data[start + 4 : start + 9] == b"Adobe":
            jpeg.adobe = True
        elif (
            marker == 0xE1 and jpeg.exif is None and data[start + 4 : start + 10] == b"Exif\x00\x00"
        ):
            jpeg.exif = data[start + 10 : end]
        if marker not in _METADATA:
            kept.append(data[start:end])
    if not jpeg.component_ids or not jpeg.scans:
        raise CorruptImage("jpeg", "the file has no picture")
    _require_all_scans(jpeg)
    jpeg.data = b"".join(kept)
    return jpeg


def iterate_segments(data: bytes, *, scans: bool = True) -> Iterator[tuple[int, int, int]]:
    """Yield `(marker, start, end)` of each segment before the end marker.

    A scan reaches to the end of its data. With `scans=False`, only the segments before the first
    scan are given, and the picture is not read.

    Raises TruncatedImage, CorruptImage.
    """
    at = 2
    for _ in range(MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        while 0 <= at < len(data) - 1 and data[at + 1] == 0xFF:
            at += 1
        if at < 0 or at + 1 >= len(data):
            raise TruncatedImage("jpeg", "the file has no end marker")
        marker = data[at + 1]
        if marker == _EOI or (marker == _SOS and not scans):
            return
        if marker in _STANDALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if max(end, at + 4) > len(data):
            raise TruncatedImage("jpeg", "the file ends within a segment")
        if length < 2:
            raise CorruptImage("jpeg", f"a segment of {length} bytes")
        end = _scan_end(data, end) if marker == _SOS else end
        yield marker, at, end
        at = end
    raise CorruptImage("jpeg", f"more than {MAX_SEGMENTS:,} segments")


def _scan_end(data: bytes, start: int) -> int:
    found = _END_OF_SCAN.search(data, start)
    if found is None:
        raise TruncatedImage("jpeg", "the file ends within the picture")
    return found.start()


def _read_frame(jpeg: JpegFile, marker: int, body: bytes) -> None:
    if jpeg.component_ids:
        raise CorruptImage("jpeg", "two frame headers")
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise CorruptImage("jpeg", "the frame header is too short")
    jpeg.height, jpeg.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if not jpeg.height or not jpeg.width:
        raise CorruptImage("jpeg", "the frame header gives no size")
    jpeg.progressive = marker in _PROGRESSIVE
    jpeg.component_ids = tuple(body[6 + 3 * n] for n in range(body[5]))
    jpeg.precision = {component: [16] * 64 for component in jpeg.component_ids}


def _read_scan(jpeg: JpegFile, body: bytes) -> None:
    jpeg.scans += 1
    if jpeg.scans > MAX_SCANS:
        raise CorruptImage("jpeg", f"more than {MAX_SCANS} scans")
    if not body or len(body) < 4 + 2 * body[0]:
        raise CorruptImage("jpeg", "a scan header is too short")
    first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
    for n in range(body[0]):
        sent = jpeg.precision.get(body[1 + 2 * n])
        if sent is None:
            raise CorruptImage("jpeg", "a scan of a component that the frame does not have")
        if jpeg.progressive:
            sent[first : last + 1] = [bits & 15] * (min(last, 63) + 1 - first)
        else:
            sent[:] = [0] * 64


def _require_all_scans(jpeg: JpegFile) -> None:
    """Check that no scan is missing.

    A progressive file that was cut between two scans and then closed is a blurred picture, not a
    complete one.
    """
    if any(bit for sent in jpeg.precision.values() for bit in sent):
        raise TruncatedImage("jpeg", "scans are missing")
