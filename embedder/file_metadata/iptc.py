"""IPTC-IIM 4.2 records, bare or in the Photoshop resources that JPEG's APP13 holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from embedder.file_metadata.statements import Statements, as_text

PHOTOSHOP = b"Photoshop 3.0\x00"
# Data sets of record 2, the application record.
DATA_SETS: Mapping[int, str] = {
    65: "OriginatingProgram",
    110: "Credit",
    115: "Source",
    116: "CopyrightNotice",
}
_IPTC_RESOURCE = 0x0404
# Press agencies write a few dozen.
MAX_DATA_SETS = 1_000


def read_photoshop(segment: bytes, statements: Statements) -> None:
    """Collect the IPTC records among the resources of an APP13 segment.

    Raises ValueError.
    """
    statements.require_readable(len(segment))
    at = len(PHOTOSHOP)
    while segment[at : at + 4] == b"8BIM":
        resource = int.from_bytes(segment[at + 4 : at + 6], "big")
        # A Pascal string of even length follows.
        at += 6 + (segment[at + 6] + 2) // 2 * 2 if at + 6 < len(segment) else 6
        size = int.from_bytes(segment[at : at + 4], "big")
        if at + 4 + size > len(segment):
            raise ValueError("a resource lies beyond the end of the segment")
        if resource == _IPTC_RESOURCE:
            read_iptc(segment[at + 4 : at + 4 + size], statements)
        at += 4 + (size + 1) // 2 * 2


def read_iptc(records: bytes, statements: Statements) -> None:
    """Collect the records that describe the origin.

    Raises ValueError.
    """
    for record, data_set, start, end in _iterate_data_sets(records):
        if record == 2 and data_set in DATA_SETS:
            statements.put(f"iptc:{DATA_SETS[data_set]}", as_text(records[start:end]))


def _iterate_data_sets(records: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield `(record, data set, start, end)` of each. Padding after the last one is no error."""
    at = 0
    for _ in range(MAX_DATA_SETS):
        if records[at : at + 1] != b"\x1c" or at + 5 > len(records):
            return
        size, start = int.from_bytes(records[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # an extended data set: these bits are the length of its length
            length = size & 0x7FFF
            size, start = (
                int.from_bytes(records[start : start + min(length, 8)], "big"),
                start + length,
            )
        if start + size > len(records):
            raise ValueError("a record lies beyond the end of the block")
        yield records[at + 1], records[at + 2], start, start + size
        at = start + size
