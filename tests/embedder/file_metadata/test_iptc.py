from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.file_metadata.iptc import MAX_DATA_SETS, PHOTOSHOP, read_iptc, read_photoshop
from embedder.file_metadata.statements import Statements

CREDIT, CAPTION = 110, 120


def record(number: int, text: bytes, *, of: int = 2) -> bytes:
    return struct.pack(">BBBH", 0x1C, of, number, len(text)) + text


def read(records: bytes) -> dict[str, object]:
    statements = Statements()
    read_iptc(records, statements)
    return dict(statements.collected)


def test_only_data_sets_of_the_application_record_that_describe_the_origin_are_read() -> None:
    records = record(CREDIT, b"agency") + record(CAPTION, b"a street") + record(65, b"x", of=1)
    assert read(records) == {"iptc:Credit": "agency"}


def test_a_long_data_set_has_its_length_in_four_bytes() -> None:
    extended = struct.pack(">BBBHI", 0x1C, 2, CREDIT, 0x8004, 6) + b"agency"
    assert read(extended + record(115, b"source")) == {
        "iptc:Credit": "agency",
        "iptc:Source": "source",
    }


def test_padding_ends_the_records_and_a_cut_record_is_an_error() -> None:
    whole = record(CREDIT, b"agency")
    assert read(whole + bytes(20)) == {"iptc:Credit": "agency"}
    with pytest.raises(ValueError, match="a record lies beyond the end"):
        read(whole[:-1])


def test_no_more_data_sets_are_read_than_the_limit() -> None:
    many = record(CAPTION, b"") * MAX_DATA_SETS
    assert read(many + record(CREDIT, b"agency")) == {}
    assert read(many[5:] + record(CREDIT, b"agency")) == {"iptc:Credit": "agency"}


def test_records_are_found_among_photoshop_resources_of_any_name_length() -> None:
    iptc = record(CREDIT, b"agency")
    for name in (b"", b"a", b"ab"):
        padded = bytes([len(name)]) + name + b"\x00" * ((len(name) + 1) % 2)
        other = b"8BIM\x04\x25" + padded + b"\x00\x00\x00\x03abc\x00"
        own = b"8BIM\x04\x04" + padded + struct.pack(">I", len(iptc)) + iptc
        statements = Statements()
        read_photoshop(PHOTOSHOP + other + own, statements)
        assert statements.collected == {"iptc:Credit": "agency"}


def test_a_resource_beyond_the_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="a resource lies beyond the end"):
        read_photoshop(PHOTOSHOP + b"8BIM\x04\x04\x00\x00\x00\x00\x00\x09abc", Statements())


@given(st.binary(max_size=200))
def test_damaged_records_raise_nothing_but_a_value_error(damaged: bytes) -> None:
    for read_bytes in (read_iptc, read_photoshop):
        with Statements().reading("iptc"):
            read_bytes(PHOTOSHOP + b"8BIM" + damaged, Statements())
            read_bytes(b"\x1c\x02" + damaged, Statements())
