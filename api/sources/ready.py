"""Ready embeddings: vectors that the same model computed elsewhere, with facts about their images.

The location's suffix decides between three forms:

- Parquet with a column `vector` (or `embedding`) of lists of numbers, and the columns that
  `ready_rows` names. A table without `sha256` and `logit` that declares no embedding space is an
  ordinary table, whatever vectors it holds.
- `X.npy` with a table beside it: the first that exists of `X.parquet`, `X.csv`, `X.tsv`, `X.jsonl`
  and `X.ndjson`. Row i of the table describes vector i.
- `X.safetensors` with the tensors `vectors` and `logits`, and with a tensor `sha256`, a table as
  above, or both. The tensors take precedence over the table.

Only shapes and types are checked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from api.sources.access import Access
from api.sources.arrow_vectors import first_dimension, fixed_dimension, is_vectors, vectors_of
from api.sources.columns import (
    Columns,
    ColumnsSource,
    ParquetColumns,
    TextColumns,
    list_declared_columns,
    read_arrow_columns,
    read_declared,
)
from api.sources.item import Span, UnreadableItem, UnusableSource, make_printable
from api.sources.json_values import JSON
from api.sources.locations import folder_of, join_location, name_of
from api.sources.ready_rows import (
    COPY_VECTOR_COLUMN,
    DEVICE_KEY,
    FACT_COLUMNS,
    FREE_PROVENANCE_COLUMN,
    LOGIT_COLUMN,
    PDQ_HASH_COLUMN,
    PRECISION_KEY,
    PROVENANCE_COLUMNS,
    SHA256_COLUMN,
    SPACE_KEY,
    VECTOR_COLUMNS,
    ReadyRows,
    build_ready_rows,
)
from api.sources.rowgroups import RowGroups, Rows
from api.sources.sourcefile import SourceFile
from api.sources.tensors import StoredArray, open_npy_array, open_safetensors_arrays

__all__ = [
    "COPY_VECTOR_COLUMN",
    "DEVICE_KEY",
    "DEVICE_METADATA",
    "FACT_COLUMNS",
    "FREE_PROVENANCE_COLUMN",
    "LOGITS_TENSOR",
    "LOGIT_COLUMN",
    "PDQ_HASH_COLUMN",
    "PRECISION_KEY",
    "PRECISION_METADATA",
    "PROVENANCE_COLUMNS",
    "SHA256_COLUMN",
    "SHA256_TENSOR",
    "SPACE_KEY",
    "SPACE_METADATA",
    "VECTORS_TENSOR",
    "VECTOR_COLUMNS",
    "ReadyRows",
    "ReadySource",
    "open_ready",
]

VECTORS_TENSOR = "vectors"  # (n, d), float16, float32 or float64; norm 1
LOGITS_TENSOR = "logits"  # (n,)
SHA256_TENSOR = "sha256"  # (n, 32), uint8
SHA256_BYTES = 32
# keys in the metadata of a safetensors file
SPACE_METADATA = "embedding_space"
DEVICE_METADATA = "device"
PRECISION_METADATA = "precision"
TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
HASH_COLUMNS = (SHA256_COLUMN, PDQ_HASH_COLUMN)  # their values can be bytes


@runtime_checkable
class ReadySource(Protocol):
    """Ready embeddings in spans. Only one thread may use it at a time."""

    @property
    def location(self) -> str: ...

    @property
    def embedding_space(self) -> str | None:
        """The fingerprint that the file declares, unchanged; None if it declares none."""
        ...

    @property
    def computed_by(self) -> tuple[str, str] | None:
        """The device and the precision that the file declares; None if it does not declare both."""
        ...

    @property
    def dimension(self) -> int: ...

    def spans(self, size: int) -> Iterator[Span]:
        """See `Source.spans`.

        Raises `UnusableSource`; only at the end if the number of rows is not known before.
        """
        ...

    def rows(self, span: Span) -> ReadyRows:
        """Read the rows of a span. Raises `UnusableSource` if the file no longer holds them."""
        ...

    def narrow(self, span: Span, first: int, count: int) -> Span:
        """Return the span of `count` rows of a span from row `first` on, counted from 0.

        Raises `UnusableSource` if the file no longer holds them.
        """
        ...

    def close(self) -> None: ...


def open_ready(location: str, access: Access) -> ReadySource | None:
    """Open ready embeddings; None for an ordinary source.

    Raises `UnusableSource`, `SourceNotAllowed`.
    """
    match PurePosixPath(name_of(location)).suffix.lower():
        case ".npy":
            return _open_npy(location, access)
        case ".safetensors":
            return _open_safetensors(location, access)
        case ".parquet":
            return _open_table(location, access)
    return None


class ReadyTable:
    """Vectors in a column of a Parquet file."""

    def __init__(self, rows: RowGroups, vector_column: str) -> None:
        self.location = rows.location
        self.embedding_space = read_declared(rows, SPACE_KEY)
        self.computed_by = _both(
            read_declared(rows, DEVICE_KEY), read_declared(rows, PRECISION_KEY)
        )
        self._rows = rows
        self._vector_column = vector_column
        self._declared = list_declared_columns(rows, HASH_COLUMNS, VECTOR_COLUMNS)
        _require(self.location, self._declared, SHA256_COLUMN, LOGIT_COLUMN)
        self.dimension = (
            fixed_dimension(rows.schema.field(vector_column).type) or self._find_first_dimension()
        )
        rows.select([vector_column, *self._declared])

    def spans(self, size: int) -> Iterator[Span]:
        return self._rows.spans(size)

    def rows(self, span: Span) -> ReadyRows:
        batches = list(self._rows.batches(span))
        columns = read_arrow_columns(batches, self._declared)
        vectors, unfit = self._read_vectors(batches)
        return build_ready_rows(
            make_printable(name_of(self.location)), batches[0].first, columns, vectors, unfit=unfit
        )

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return self._rows.narrow(span, first, count)

    def close(self) -> None:
        self._rows.close()

    def _find_first_dimension(self) -> int:
        self._rows.select([self._vector_column])
        for span in self._rows.spans(self._rows.row_count):
            for rows in self._rows.batches(span):
                dimension = None if rows.batch is None else first_dimension(rows.batch.column(0))
                if dimension:
                    return dimension
        raise UnusableSource(self.location, "has no vectors")

    def _read_vectors(
        self, batches: Sequence[Rows]
    ) -> tuple[NDArray[np.float32], dict[int, UnreadableItem]]:
        parts = []
        unfit: dict[int, UnreadableItem] = {}
        count = 0
        for rows in batches:
            if rows.batch is None:
                parts.append(np.full((rows.count, self.dimension), np.nan, np.float32))
            else:
                part, places = vectors_of(rows.batch.column(self._vector_column), self.dimension)
                parts.append(part)
                misfit = UnreadableItem("malformed_row", f"no vector of {self.dimension} numbers")
                unfit.update((count + place, misfit) for place in places)
            count += rows.count
        return np.concatenate(parts), unfit  # (n, d)


class ReadyArrays:
    """Vectors in an array on disk. Facts about their images are in other arrays, in a table beside
    the file, or both.
    """

    def __init__(
        self,
        file: SourceFile,
        arrays: Mapping[str, StoredArray],
        table: ColumnsSource | None,
        space: str | None,
        computed_by: tuple[str, str] | None = None,
    ) -> None:
        self.location = file.location
        self._file = file
        self._arrays = arrays
        self._table = table
        self._count, self.dimension = _check_shapes(file.location, arrays)
        spaces = {space, table.embedding_space if table else None} - {None}
        if len(spaces) > 1:
            raise UnusableSource(
                self.location, "declares another embedding space than the table beside it"
            )
        self.embedding_space = next(iter(spaces), None)
        self.computed_by = computed_by
        if table is not None and table.row_count is not None:
            self._check_count(table.row_count)

    def spans(self, size: int) -> Iterator[Span]:
        """See `ReadySource.spans`. `where` is the first row, and the table's own `where`."""
        if self._table is None:
            for first in range(0, self._count, size):
                yield Span(min(size, self._count - first), [first, None])
            return
        first = 0
        for span in self._table.spans(size):
            yield Span(span.count, [first, span.where])
            first += span.count
        self._check_count(first)

    def rows(self, span: Span) -> ReadyRows:
        first, where = cast("tuple[int, JSON]", span.where)
        columns = Columns(span.count, {}, {})
        if self._table is not None:
            columns = self._table.columns(Span(span.count, where))
        logits, sha256s = (
            self._read_array(name, first, span.count) for name in (LOGITS_TENSOR, SHA256_TENSOR)
        )
        return build_ready_rows(
            make_printable(name_of(self.location)),
            first,
            columns,
            _to_float32(self._arrays[VECTORS_TENSOR].rows(first, span.count)),
            logits=None if logits is None else logits.astype(np.float64),
            sha256s=None if sha256s is None else _to_hex(sha256s),
        )

    def narrow(self, span: Span, first: int, count: int) -> Span:
        row, where = cast("tuple[int, JSON]", span.where)
        if self._table is not None:
            where = self._table.narrow(Span(span.count, where), first, count).where
        return Span(count, [row + first, where])

    def close(self) -> None:
        self._file.close()
        if self._table is not None:
            self._table.close()

    def _read_array(self, name: str, first: int, count: int) -> NDArray[Any] | None:
        return self._arrays[name].rows(first, count) if name in self._arrays else None

    def _check_count(self, count: int) -> None:
        if count != self._count:
            raise UnusableSource(
                self.location, f"has {self._count} vectors, the table beside it {count} rows"
            )


def _open_table(location: str, access: Access) -> ReadyTable | None:
    with ExitStack() as undo:
        rows = RowGroups(location, access=access)
        undo.callback(rows.close)
        found = [name for name in VECTOR_COLUMNS if name in rows.schema.names]
        vector_column = next(
            (name for name in found if is_vectors(rows.schema.field(name).type)), None
        )
        is_declared = {SHA256_COLUMN, LOGIT_COLUMN} <= set(rows.schema.names)
        if vector_column is None or not (is_declared or read_declared(rows, SPACE_KEY)):
            return None
        table = ReadyTable(rows, vector_column)
        undo.pop_all()
        return table


def _open_npy(location: str, access: Access) -> ReadyArrays:
    with ExitStack() as undo:
        file = SourceFile(location, access)
        undo.callback(file.close)
        arrays = {VECTORS_TENSOR: open_npy_array(file)}
        table = _open_companion(location, access)
        if table is None:
            raise UnusableSource(location, f"no table beside it ({', '.join(TABLE_SUFFIXES)})")
        undo.callback(table.close)
        _require(table.location, table.names, SHA256_COLUMN, LOGIT_COLUMN)
        ready = ReadyArrays(file, arrays, table, None)
        undo.pop_all()
        return ready


def _open_safetensors(location: str, access: Access) -> ReadyArrays:
    with ExitStack() as undo:
        file = SourceFile(location, access)
        undo.callback(file.close)
        arrays, metadata = open_safetensors_arrays(file)
        _require(location, list(arrays), VECTORS_TENSOR, LOGITS_TENSOR, what="tensor")
        table = _open_companion(location, access)
        if table is not None:
            undo.callback(table.close)
        if SHA256_TENSOR not in arrays:
            _require(
                table.location if table else location, table.names if table else (), SHA256_COLUMN
            )
        space, device, precision = (
            stated if isinstance(stated := metadata.get(key), str) else None
            for key in (SPACE_METADATA, DEVICE_METADATA, PRECISION_METADATA)
        )
        ready = ReadyArrays(file, arrays, table, space, _both(device, precision))
        undo.pop_all()
        return ready


def _open_companion(location: str, access: Access) -> ColumnsSource | None:
    stem = PurePosixPath(name_of(location)).stem
    for suffix in TABLE_SUFFIXES:
        beside = join_location(folder_of(location), stem + suffix)
        if access.kind_of(beside) == "file":
            if suffix != ".parquet":
                return TextColumns(beside, access)
            return ParquetColumns(
                beside, access, hashes=HASH_COLUMNS, vectors=VECTOR_COLUMNS, space_key=SPACE_KEY
            )
    return None


def _both(device: str | None, precision: str | None) -> tuple[str, str] | None:
    return None if device is None or precision is None else (device, precision)


def _require(location: str, names: Sequence[str], *wanted: str, what: str = "column") -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UnusableSource(
            location, f"has no {what} {missing[0]!r}; it has {', '.join(names) or 'none'}"
        )


def _check_shapes(location: str, arrays: Mapping[str, StoredArray]) -> tuple[int, int]:
    """Return the number of rows and the dimension of the vectors. Raises if another array does not
    fit them.
    """
    shape, dtype = arrays[VECTORS_TENSOR].shape, arrays[VECTORS_TENSOR].dtype
    if len(shape) != 2 or shape[1] == 0 or dtype.kind != "f":
        raise UnusableSource(location, f"not vectors: an array {shape} of {dtype}")
    count, dimension = shape
    fitting = {LOGITS_TENSOR: ((count,), "f"), SHA256_TENSOR: ((count, SHA256_BYTES), "u")}
    for name, expected in fitting.items():
        array = arrays.get(name)
        if array is not None and (array.shape, array.dtype.kind) != expected:
            raise UnusableSource(
                location, f"{name!r} is an array {array.shape} of {array.dtype}, not {expected[0]}"
            )
    return count, dimension


def _to_float32(vectors: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(
        over="ignore"
    ):  # a float64 that is too large becomes inf, and its row is refused later
        return np.asarray(vectors, np.float32)


def _to_hex(hashes: NDArray[np.uint8]) -> list[str]:
    digits, width = hashes.tobytes().hex(), 2 * hashes.shape[1]
    return [digits[place : place + width] for place in range(0, len(digits), width)]
