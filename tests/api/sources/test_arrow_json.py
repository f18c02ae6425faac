from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from api.sources.arrow_json import convert_columns, holds_binary
from index.jsontext import JSON, canonical_json

NOON = datetime(2024, 5, 1, 12, 30, 15, 123456)
EAST = timezone(timedelta(hours=2))
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(),
    3,
    [None, pa.py_buffer(np.array([0, 1, 2, 3], np.int32).tobytes()), pa.py_buffer(b"a\xffb")],
)


def declared(values: list[object], kind: pa.DataType) -> list[JSON]:
    columns, without_value = convert_columns([pa.array(values, kind)])
    assert not without_value
    assert canonical_json(columns[0])
    return columns[0]


@pytest.mark.parametrize(
    "column",
    [
        NOT_UTF8,
        pa.StructArray.from_arrays([NOT_UTF8], ["inner"]),
        pa.array([0, 2**50, 1], pa.timestamp("s")),
        pa.array([0, 2**50, 1], pa.timestamp("ms", "Europe/Berlin")),
    ],
)
def test_a_value_that_cannot_be_told_costs_its_own_row_only(column: pa.Array) -> None:
    columns, without_value = convert_columns([column, pa.array([1, 2, 3])])

    assert without_value == {1}
    assert columns[0][1] is None
    assert None not in (columns[0][0], columns[0][2])
    assert columns[1] == [1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.float64(), float("nan"), "nan"),
        (pa.float32(), float("-inf"), "-inf"),
        (pa.float16(), np.float16(1.5), 1.5),
        (pa.uint64(), 2**64 - 1, 2**64 - 1),
        (pa.bool_(), True, True),
        (pa.decimal128(20, 3), Decimal("12345678901234567.890"), "12345678901234567.890"),
        (pa.date32(), date(2024, 5, 1), "2024-05-01"),
        (pa.time64("ns"), time(1, 2, 3, 4), "01:02:03.000004"),
        (pa.timestamp("us"), NOON, "2024-05-01T12:30:15.123456"),
        (pa.timestamp("ns"), NOON, "2024-05-01T12:30:15.123456"),
        (
            pa.timestamp("s", "Europe/Berlin"),
            datetime(2024, 5, 1, 14, tzinfo=EAST),
            "2024-05-01T12:00:00+00:00",
        ),
        (pa.timestamp("ns", "UTC"), NOON.replace(tzinfo=UTC), "2024-05-01T12:30:15.123456+00:00"),
        (pa.duration("ns"), timedelta(minutes=1, microseconds=5), 60.000005),
        (pa.binary(), b"\x01\xff", "01ff"),
        (pa.dictionary(pa.int8(), pa.string()), "sdxl", "sdxl"),
        (pa.list_(pa.float32()), [1.0, float("inf")], [1.0, "inf"]),
        (pa.list_(pa.timestamp("ns"), 1), [NOON], ["2024-05-01T12:30:15.123456"]),
        (pa.large_list(pa.duration("ns")), [timedelta(seconds=1)], [1.0]),
        (
            pa.struct([("a", pa.struct([("b", pa.timestamp("ns"))]))]),
            {"a": {"b": None}},
            {"a": {"b": None}},
        ),
        (
            pa.map_(pa.string(), pa.timestamp("ns")),
            [("k", NOON)],
            [["k", "2024-05-01T12:30:15.123456"]],
        ),
        (pa.null(), None, None),
    ],
)
def test_values_become_json(kind: pa.DataType, value: object, expected: JSON) -> None:
    assert declared([None, value], kind) == [None, expected]


def test_what_is_finer_than_a_microsecond_is_cut_off() -> None:
    assert declared([1_714_566_615_123_456_789], pa.timestamp("ns")) == [
        "2024-05-01T12:30:15.123456"
    ]


def test_a_uuid_is_text() -> None:
    value = uuid.UUID(int=7)
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([value.bytes], pa.binary(16)))

    assert convert_columns([column])[0] == [[str(value)]]
    assert not holds_binary(column.type)


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary(4),
        pa.binary_view(),
        pa.list_(pa.binary()),
        pa.struct([("a", pa.list_(pa.struct([("b", pa.binary())])))]),
        pa.map_(pa.string(), pa.binary()),
        pa.dictionary(pa.int8(), pa.binary()),
    ],
)
def test_bytes_are_seen_at_any_depth(kind: pa.DataType) -> None:
    assert holds_binary(kind)
    assert not holds_binary(pa.struct([("a", pa.list_(pa.string()))]))
