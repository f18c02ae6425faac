"""Arrow's columns as JSON.

Dates, times and timestamps are ISO 8601 text, those with a zone in UTC; durations are seconds;
decimals, UUIDs and the numbers that JSON lacks (nan, inf) are text; bytes are hex digits; a map is
a list of pairs, as Arrow has it. What is finer than a microsecond is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, time, timedelta

import pyarrow as pa

from api.sources.json_values import JSON

UTC = "+00:00"  # by its name a zone is looked up in a database that not every machine has


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type that an extension type is stored as, any other type itself."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def is_binary(kind: pa.DataType) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_binary(kind)
        or kinds.is_large_binary(kind)
        or kinds.is_binary_view(kind)
        or kinds.is_fixed_size_binary(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def holds_binary(kind: pa.DataType) -> bool:
    """Whether there are bytes in it, at any depth."""
    if isinstance(kind, pa.UuidType):  # sixteen bytes, and told as text
        return False
    kind = kind.value_type if pa.types.is_dictionary(kind) else storage_type(kind)
    return is_binary(kind) or any(
        holds_binary(kind.field(place).type) for place in range(kind.num_fields)
    )


def json_columns(columns: Sequence[pa.Array]) -> tuple[list[list[JSON]], frozenset[int]]:
    """The values of some columns, and the rows of which one has no value that can be told: there it
    is None.
    """
    declared: list[list[JSON]] = []
    without_value: set[int] = set()
    for column in columns:
        try:
            values = _values(column)
        except (ValueError, OverflowError):  # text that is no UTF-8, a date beyond the year 9999
            values, lost = _one_by_one(column)
            without_value |= lost
        declared.append(values)
    return declared, frozenset(without_value)


def _one_by_one(column: pa.Array) -> tuple[list[JSON], set[int]]:
    values: list[JSON] = []
    lost = set()
    for row in range(len(column)):
        try:
            values += _values(column.slice(row, 1))
        except (ValueError, OverflowError):
            values.append(None)
            lost.add(row)
    return values, lost


def _values(column: pa.Array) -> list[JSON]:
    kind = column.type
    microseconds = _in_microseconds(kind)
    if microseconds != kind:
        column = column.cast(microseconds, safe=False)
    values: list[JSON] = column.to_pylist()
    is_json = is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    return values if is_json else [_json(value) for value in values]


def _json(value: object) -> JSON:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value.hex()
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case list() | tuple():
            return [_json(each) for each in value]
        case dict():
            return {str(name): _json(each) for name, each in value.items()}
        case _:
            return str(value)


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """The type with the finest times that Python has; pyarrow does not make nanoseconds of Python's
    own.
    """
    types = pa.types
    if types.is_timestamp(
        kind
    ):  # seconds stay, for a cast that allows truncation allows an overflow too
        return pa.timestamp(
            "us" if kind.unit == "ns" else kind.unit, None if kind.tz is None else UTC
        )
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us" if kind.unit == "ns" else kind.unit)
    if types.is_struct(kind):
        return pa.struct([_field(kind.field(place)) for place in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(
            _in_microseconds(kind.key_type), _field(kind.item_field), keys_sorted=kind.keys_sorted
        )
    if types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    return pa.list_(_field(kind.value_field)) if types.is_list(kind) else kind


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(_in_microseconds(field.type))
