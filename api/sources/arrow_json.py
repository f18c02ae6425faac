"""Arrow's columns as JSON.

Dates, times and timestamps become ISO 8601 text, with a zone in UTC. Durations become seconds.
Decimals, UUIDs and the numbers that JSON lacks (nan, inf) become text. Bytes become hex digits. A
map becomes a list of pairs, as in Arrow. Times are cut off after microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, time, timedelta

import pyarrow as pa

from api.sources.json_values import JSON

UTC = "+00:00"  # a zone's name would need a time zone database, which not every machine has


def storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that an extension type is stored as; any other type unchanged."""
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
    """Whether the type contains bytes, at any depth."""
    if isinstance(kind, pa.UuidType):  # sixteen bytes, but converted to text
        return False
    kind = kind.value_type if pa.types.is_dictionary(kind) else storage_type(kind)
    return is_binary(kind) or any(
        holds_binary(kind.field(place).type) for place in range(kind.num_fields)
    )


def convert_columns(columns: Sequence[pa.Array]) -> tuple[list[list[JSON]], frozenset[int]]:
    """Return the values of the columns, and the rows with a value that cannot be converted, which
    is None.
    """
    declared: list[list[JSON]] = []
    without_value: set[int] = set()
    for column in columns:
        try:
            values = _convert(column)
        except (ValueError, OverflowError):  # text that is not UTF-8, or a date after the year 9999
            values, lost = _convert_one_by_one(column)
            without_value |= lost
        declared.append(values)
    return declared, frozenset(without_value)


def _convert_one_by_one(column: pa.Array) -> tuple[list[JSON], set[int]]:
    values: list[JSON] = []
    lost = set()
    for row in range(len(column)):
        try:
            values += _convert(column.slice(row, 1))
        except (ValueError, OverflowError):
            values.append(None)
            lost.add(row)
    return values, lost


def _convert(column: pa.Array) -> list[JSON]:
    kind = column.type
    microseconds = _cut_to_microseconds(kind)
    if microseconds != kind:
        column = column.cast(microseconds, safe=False)
    values: list[JSON] = column.to_pylist()
    is_json = is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    return values if is_json else [_to_json(value) for value in values]


def _to_json(value: object) -> JSON:
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
            return [_to_json(each) for each in value]
        case dict():
            return {str(name): _to_json(each) for name, each in value.items()}
        case _:
            return str(value)


def _cut_to_microseconds(kind: pa.DataType) -> pa.DataType:
    """Return the type with times in microseconds, the finest that Python has."""
    types = pa.types
    if types.is_timestamp(
        kind
    ):  # seconds stay: a cast that allows truncation also allows an overflow
        return pa.timestamp(
            "us" if kind.unit == "ns" else kind.unit, None if kind.tz is None else UTC
        )
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us" if kind.unit == "ns" else kind.unit)
    if types.is_struct(kind):
        return pa.struct([_cut_field(kind.field(place)) for place in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(
            _cut_to_microseconds(kind.key_type),
            _cut_field(kind.item_field),
            keys_sorted=kind.keys_sorted,
        )
    if types.is_fixed_size_list(kind):
        return pa.list_(_cut_field(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_cut_field(kind.value_field))
    return pa.list_(_cut_field(kind.value_field)) if types.is_list(kind) else kind


def _cut_field(field: pa.Field) -> pa.Field:
    return field.with_type(_cut_to_microseconds(field.type))
