"""The columns of a table of ready embeddings, in any of its formats: Parquet, CSV or JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from api.sources.access import Access
from api.sources.arrow_json import convert_columns, holds_binary
from api.sources.item import Span, UnreadableItem
from api.sources.json_values import JSON
from api.sources.records import Record, Records
from api.sources.rowgroups import RowGroups, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The values of consecutive rows, by column. None is a missing value.

    `unreadable` maps damaged rows to their errors.
    """

    count: int
    values: Mapping[str, Sequence[JSON]]
    unreadable: Mapping[int, UnreadableItem]


class ColumnsSource(Protocol):
    """A table that is read by spans. `row_count` is None if only a listing can count the rows."""

    location: str
    names: Sequence[str]
    row_count: int | None
    embedding_space: str | None

    def spans(self, size: int) -> Iterator[Span]: ...
    def columns(self, span: Span) -> Columns: ...
    def narrow(self, span: Span, first: int, count: int) -> Span: ...
    def close(self) -> None: ...


class ParquetColumns:
    """A Parquet table, without its columns of vectors, and without columns of bytes other than
    hashes.
    """

    def __init__(
        self,
        location: str,
        access: Access | None = None,
        *,
        hashes: Sequence[str],
        vectors: Sequence[str],
        space_key: str,
    ) -> None:
        self.location = location
        self._rows = RowGroups(location, access=access)
        self.names: Sequence[str] = list_declared_columns(self._rows, hashes, vectors)
        self.row_count: int | None = self._rows.row_count
        self.embedding_space = read_declared(self._rows, space_key)
        self._rows.select(self.names)

    def spans(self, size: int) -> Iterator[Span]:
        return self._rows.spans(size)

    def columns(self, span: Span) -> Columns:
        return read_arrow_columns(self._rows.batches(span), self.names)

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return self._rows.narrow(span, first, count)

    def close(self) -> None:
        self._rows.close()


class TextColumns:
    """A CSV, TSV or JSON Lines file.

    JSON rows can have columns that the first row lacks.
    """

    row_count: int | None = None
    embedding_space: str | None = None

    def __init__(self, location: str, access: Access | None = None) -> None:
        self.location = location
        self._records = Records(location, access)
        self.names: Sequence[str] = self._records.columns

    def spans(self, size: int) -> Iterator[Span]:
        return self._records.spans(size)

    def columns(self, span: Span) -> Columns:
        return _collect_columns(list(self._records.rows(span)))

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return self._records.narrow(span, first, count)

    def close(self) -> None:
        self._records.close()


def read_declared(rows: RowGroups, key: str) -> str | None:
    """Return what a Parquet file declares in its schema's metadata."""
    declared: bytes | None = (rows.schema.metadata or {}).get(key.encode())
    return None if declared is None else declared.decode("utf-8", "backslashreplace")


def list_declared_columns(
    rows: RowGroups, hashes: Sequence[str], vectors: Sequence[str]
) -> list[str]:
    """Return the columns of a Parquet file that declare something about its rows."""
    declared = (field for field in rows.schema if field.name not in vectors)
    return [
        field.name for field in declared if field.name in hashes or not holds_binary(field.type)
    ]


def read_arrow_columns(batches: Iterable[Rows], names: Sequence[str]) -> Columns:
    count = 0
    values: dict[str, list[JSON]] = {name: [] for name in names}
    unreadable: dict[int, UnreadableItem] = {}
    for rows in batches:
        if rows.batch is None:
            declared: list[list[JSON]] = [[None] * rows.count for _ in names]
            damage = UnreadableItem("corrupt_table", "its row group is damaged")
            unreadable.update(dict.fromkeys(range(count, count + rows.count), damage))
        else:
            declared, without_value = convert_columns([rows.batch.column(name) for name in names])
            damage = UnreadableItem(
                "corrupt_table", "a value is not valid text or not a valid date"
            )
            unreadable.update((count + row, damage) for row in without_value)
        for name, some in zip(names, declared, strict=True):
            values[name] += some
        count += rows.count
    return Columns(count, values, unreadable)


def _collect_columns(records: Sequence[Record]) -> Columns:
    names = {name: None for record in records for name in record.values}
    values = {name: [record.values.get(name) for record in records] for name in names}
    unreadable = {
        place: UnreadableItem("malformed_row", f"{record.fault} (at byte {record.offset:,})")
        for place, record in enumerate(records)
        if record.fault is not None
    }
    return Columns(len(records), values, unreadable)
