"""Parquet tables with a column of images, as image data sets are published.

An image is a binary value, or a struct of `bytes` and `path` as the Hugging Face libraries write
it. If only the path is given, it names a file in or under the table's folder. Other binary columns
are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from api.sources.access import Access
from api.sources.arrow_json import convert_columns, holds_binary, is_binary, is_text, storage_type
from api.sources.item import Item, Span, UnreadableItem, UnusableSource, make_printable
from api.sources.json_values import JSON
from api.sources.locations import folder_of, join_location, name_of
from api.sources.manifest import stays_beneath
from api.sources.rowgroups import RowGroups, Rows

# In order of preference if several columns could hold the images.
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "data", "content", "image_bytes")
# A dictionary page can give the same large image to every row of a batch, whatever sizes the footer
# states.
MAX_BATCH_ROWS = 32


class ParquetSource:
    """One item per row, named `table.parquet, row 17` (counted from 0), with the path of its struct
    if there is one.

    `Item.declared` holds the row's other values that are not null, by the names of their columns,
    converted by `arrow_json`. `left_out` names the columns that hold bytes, which are not read.
    """

    def __init__(
        self, location: str, image_column: str | None = None, access: Access | None = None
    ) -> None:
        self.location = location
        self._access = access or Access()
        self._folder = folder_of(location)
        self._table_name = make_printable(name_of(location))
        self._rows = RowGroups(location, MAX_BATCH_ROWS, self._access)
        try:
            schema = self._rows.schema
            self.image_column = _choose_image_column(location, schema, image_column)
        except UnusableSource:
            self.close()
            raise
        others = [field for field in schema if field.name != self.image_column]
        self.left_out = tuple(field.name for field in others if holds_binary(field.type))
        self._declared = [field.name for field in others if field.name not in self.left_out]
        self._rows.select([self.image_column, *self._declared])

    def spans(self, size: int) -> Iterator[Span]:
        """See `Source.spans`. A span is whole row groups or a part of one."""
        return self._rows.spans(size)

    def items(self, span: Span) -> Iterator[Item]:
        """See `Source.items`. Rows of a damaged row group are `corrupt_table`."""
        for rows in self._rows.batches(span):
            yield from (
                self._refuse_rows(rows)
                if rows.batch is None
                else self._read_items(rows.first, rows.batch)
            )

    def narrow(self, span: Span, first: int, count: int) -> Span:
        """See `Source.narrow`."""
        return self._rows.narrow(span, first, count)

    def close(self) -> None:
        self._rows.close()
        self._access.close()

    def _refuse_rows(self, rows: Rows) -> Iterator[Item]:
        for row in range(rows.first, rows.first + rows.count):
            yield Item(
                self._name_row(row), partial(_refuse, "corrupt_table", "its row group is damaged")
            )

    def _read_items(self, first: int, batch: pa.RecordBatch) -> Iterator[Item]:
        contents, paths = _split_images(batch.column(self.image_column))
        columns, without_value = convert_columns(
            [paths, *(batch.column(name) for name in self._declared)]
        )
        for place, (content, path, *values) in enumerate(zip(contents, *columns, strict=True)):
            row = first + place
            if place in without_value:
                yield Item(
                    self._name_row(row),
                    partial(
                        _refuse, "corrupt_table", "a value is not valid text or not a valid date"
                    ),
                )
                continue
            declared = {
                name: value
                for name, value in zip(self._declared, values, strict=True)
                if value is not None
            }
            yield self._build_item(row, content, str(path or ""), declared)

    def _build_item(
        self, row: int, content: pa.Scalar, path: str, declared: Mapping[str, JSON]
    ) -> Item:
        name = self._name_row(row, path)
        if content.is_valid or not path:
            return Item(name, partial(_read_content, content), declared)
        if not stays_beneath(path):
            return Item(
                name,
                partial(_refuse, "outside_source", "its path leads out of the table's folder"),
                declared,
            )
        location = join_location(self._folder, path)
        return Item(name, partial(self._access.read_bytes, location), declared, location)

    def _name_row(self, row: int, path: str = "") -> str:
        return f"{self._table_name}, row {row}" + (f": {make_printable(path)}" if path else "")


def _choose_image_column(location: str, schema: pa.Schema, named: str | None) -> str:
    """Return the named column, else the only struct with bytes, else the only binary column, else
    one with a usual name.
    """
    structs: list[str] = [field.name for field in schema if _is_image_struct(field.type)]
    binaries: list[str] = [field.name for field in schema if is_binary(storage_type(field.type))]
    if named is not None:
        if named in (*structs, *binaries):
            return named
        problem = (
            f"no column {named!r}"
            if named not in schema.names
            else f"no images in column {named!r}"
        )
        raise UnusableSource(location, f"{problem}; {_describe_columns(schema)}")
    candidates = structs or binaries
    if len(candidates) == 1:
        return candidates[0]
    for name in IMAGE_COLUMNS:
        if name in candidates:
            return name
    problem = (
        f"several columns may hold its images: {', '.join(candidates)}"
        if candidates
        else "no column of images"
    )
    raise UnusableSource(location, f"{problem}; {_describe_columns(schema)}")


def _describe_columns(schema: pa.Schema) -> str:
    return "its columns are " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _is_image_struct(kind: pa.DataType) -> bool:
    kind = storage_type(kind)
    return pa.types.is_struct(kind) and any(
        kind.field(place).name == "bytes" and is_binary(kind.field(place).type)
        for place in range(kind.num_fields)
    )


def _split_images(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Split a column into the bytes and the path of each row. The path is null if there is none."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if not pa.types.is_struct(column.type):
        return column, pa.nulls(len(column), pa.string())
    # Unlike `StructArray.field`, this is also null if the whole struct is null.
    contents = pc.struct_field(column, "bytes")
    place = column.type.get_field_index("path")
    has_path = place >= 0 and is_text(column.type.field(place).type)
    return contents, pc.struct_field(column, "path") if has_path else pa.nulls(
        len(column), pa.string()
    )


def _read_content(content: pa.Scalar, max_bytes: int) -> bytes:
    if not content.is_valid or not len(content.as_buffer()):
        raise UnreadableItem("no_image", "the row has no image")
    read: bytes = content.as_buffer()[: max_bytes + 1].to_pybytes()
    return read


def _refuse(reason: str, message: str, _max_bytes: int) -> bytes:
    raise UnreadableItem(reason, message)
