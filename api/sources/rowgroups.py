"""The rows of a Parquet file: spans over its row groups, and batches that are read as they are
needed.

Parquet is read from the beginning of a row group only, so the one iterator that is open goes on
where it can and is opened again where it must. Memory is a page of each column and a batch,
whatever the size of the row group. Owns no meaning of a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from api.sources.item import Span, UnusableSource
from api.sources.sourcefile import SourceFile, first_line

BATCH_BYTES = (
    8 * 2**20
)  # what a batch should have; its rows follow from the average that the row group's footer tells
BUFFER_BYTES = 2**16  # of each column that is read, the least that pyarrow asks the file for
MAX_BATCH_ROWS = 8192

_DAMAGE = (
    pa.ArrowException,
    OSError,
    ValueError,
)  # what pyarrow raises on pages and footers that are not as they must be


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Consecutive rows, the first one counted from 0 in the file;

    `batch` is None where they cannot be read.
    """

    first: int
    count: int
    batch: pa.RecordBatch | None


class RowGroups:
    """An open Parquet file. Raises `UnusableSource` on one that is not there or is none.

    The same row is always in the same batch, whichever span is read: a batch that is damaged makes
    the same rows unreadable, which are its own and those behind it in its row group.
    """

    def __init__(self, location: str, max_batch_rows: int = MAX_BATCH_ROWS) -> None:
        self.location = location
        self._max_batch_rows = max_batch_rows
        self._file = SourceFile(location)
        self._columns: Sequence[str] | None = None
        self._cursor: _Cursor | None = None
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    @property
    def row_count(self) -> int:
        return self._starts[-1]

    def select(self, columns: Sequence[str]) -> None:
        """Read these columns only, from now on."""
        self._columns = columns
        self._cursor = None

    def spans(self, size: int) -> Iterator[Span]:
        """Every row: whole row groups while they fit into a span, else a part of one.

        A span is [row group, first row in it, count].
        """
        begun = held = 0
        for group, (start, end) in enumerate(pairwise(self._starts)):
            rows = end - start
            if held and held + rows > size:
                yield Span(held, [begun, 0, held])
                held = 0
            if rows > size:
                for first in range(0, rows, size):
                    count = min(size, rows - first)
                    yield Span(count, [group, first, count])
            else:
                begun = begun if held else group
                held += rows
        if held:
            yield Span(held, [begun, 0, held])

    def batches(self, span: Span) -> Iterator[Rows]:
        """Read the rows of a span. Raises `UnusableSource` when they are not there any more."""
        group, first, count = cast("tuple[int, int, int]", span.where)
        while count > 0:
            if group + 1 >= len(self._starts) or first > self._rows_of(group):
                raise UnusableSource(self.location, "has changed since it was listed")
            end = min(first + count, self._rows_of(group))
            count -= end - first
            while first < end:
                rows = self._read(group, first, end - first)
                yield rows
                first += rows.count
            group, first = group + 1, 0

    def close(self) -> None:
        self._cursor = None
        self._parquet.close()
        self._file.close()

    def _open(self) -> None:
        try:
            self._parquet = pq.ParquetFile(
                self._file,
                pre_buffer=False,
                buffer_size=BUFFER_BYTES,
                page_checksum_verification=True,
            )
            self.schema = self._parquet.schema_arrow
            self.schema.to_string()  # raises where a name at any depth is no text
            self._metadata = self._parquet.metadata
            groups = range(self._metadata.num_row_groups)
            sizes = [self._metadata.row_group(group).num_rows for group in groups]
        except _DAMAGE as err:
            problem = f"no Parquet file that can be read: {first_line(err)}"
            raise self._file.failure or UnusableSource(self.location, problem) from err
        twice = [
            name
            for place, name in enumerate(self.schema.names)
            if name in self.schema.names[:place]
        ]
        if twice:
            raise UnusableSource(self.location, f"two of its columns are named {twice[0]!r}")
        if min(sizes, default=0) < 0:
            raise UnusableSource(self.location, "a row group of fewer rows than none")
        self._starts: list[int] = list(accumulate(sizes, initial=0))

    def _rows_of(self, group: int) -> int:
        return self._starts[group + 1] - self._starts[group]

    def _read(self, group: int, first: int, most: int) -> Rows:
        """Some rows from `first` on, at least one."""
        cursor = self._cursor_at(group, first)
        batch = cursor.read(most)
        return Rows(self._starts[group] + first, cursor.row - first, batch)

    def _cursor_at(self, group: int, row: int) -> _Cursor:
        is_broken = self._file.failure is not None
        if (
            is_broken
            or self._cursor is None
            or self._cursor.group != group
            or self._cursor.row > row
        ):
            self._file.failure = None
            batches = self._parquet.iter_batches(
                self._batch_rows(group),
                row_groups=[group],
                columns=self._columns,
                use_threads=False,
            )
            self._cursor = _Cursor(group, batches, self._file)
        while self._cursor.row < row:
            self._cursor.read(row - self._cursor.row)
        return self._cursor

    def _batch_rows(self, group: int) -> int:
        # Of all columns, selected or not: pyarrow ends the process when it is asked for a column of
        # a hostile footer.
        size: int = max(1, self._metadata.row_group(group).total_byte_size)
        return min(max(1, BATCH_BYTES * self._rows_of(group) // size), self._max_batch_rows)


class _Cursor:
    """Where in a row group the open iterator stands."""

    def __init__(self, group: int, batches: Iterator[pa.RecordBatch], file: SourceFile) -> None:
        self.group = group
        self.row = 0
        self._batches = batches
        self._file = file
        self._rest: pa.RecordBatch | None = None

    def read(self, most: int) -> pa.RecordBatch | None:
        """The next rows, at most so many; None for as many that cannot be read."""
        batch = self._next() if self._rest is None else self._rest
        if batch is None:
            self.row += most
            return None
        given = batch.slice(0, most)
        self._rest = batch.slice(most) if batch.num_rows > most else None
        self.row += given.num_rows
        return given

    def _next(self) -> pa.RecordBatch | None:
        """None is damage, for nobody asks for more rows than the footer promises; it is None from
        then on.
        """
        try:
            return next((batch for batch in self._batches if batch.num_rows), None)
        except _DAMAGE as err:
            if self._file.failure is not None:
                raise self._file.failure from err
            return None
