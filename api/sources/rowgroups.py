"""The rows of a Parquet file: spans over its row groups, and batches that are read when needed.

Parquet can only be read from the beginning of a row group. So one open iterator is continued where
possible, and opened again where necessary. Memory holds one page of each column and one batch,
whatever the size of the row group. Knows nothing about the meaning of columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from api.sources.access import Access
from api.sources.item import Span, UnusableSource
from api.sources.locations import describe_error
from api.sources.sourcefile import SourceFile

BATCH_BYTES = (
    8 * 2**20
)  # target size of a batch; the average row size comes from the footer of the row group
BUFFER_BYTES = 2**16  # for each column, the least that pyarrow reads from the file
MAX_BATCH_ROWS = 8192

_DAMAGE = (
    pa.ArrowException,
    OSError,
    ValueError,
)  # what pyarrow raises for damaged pages and footers


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Consecutive rows; `first` is counted from 0 in the file. `batch` is None if they cannot be
    read.
    """

    first: int
    count: int
    batch: pa.RecordBatch | None


class RowGroups:
    """An open Parquet file. Raises `UnusableSource` if it is missing or not a Parquet file.

    A row is always in the same batch, whichever span is read. So a damaged batch always makes the
    same rows unreadable: its own and those after it in its row group.
    """

    def __init__(
        self,
        location: str,
        max_batch_rows: int = MAX_BATCH_ROWS,
        access: Access | None = None,
    ) -> None:
        self.location = location
        self._max_batch_rows = max_batch_rows
        self._file = SourceFile(location, access)
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
        """Read only these columns from now on."""
        self._columns = columns
        self._cursor = None

    def spans(self, size: int) -> Iterator[Span]:
        """List every row: whole row groups while they fit into a span, else parts of one.

        A span is [row group, first row in it, count].
        """
        first_group = held = 0
        for group, (start, end) in enumerate(pairwise(self._starts)):
            rows = end - start
            if held and held + rows > size:
                yield Span(held, [first_group, 0, held])
                held = 0
            if rows > size:
                for first in range(0, rows, size):
                    count = min(size, rows - first)
                    yield Span(count, [group, first, count])
            else:
                first_group = first_group if held else group
                held += rows
        if held:
            yield Span(held, [first_group, 0, held])

    def batches(self, span: Span) -> Iterator[Rows]:
        """Read the rows of a span. Raises `UnusableSource` if the file no longer holds them."""
        group, first, count = cast("tuple[int, int, int]", span.where)
        while count > 0:
            if group + 1 >= len(self._starts) or first > self._count_rows(group):
                raise UnusableSource(self.location, "has changed since it was listed")
            end = min(first + count, self._count_rows(group))
            count -= end - first
            while first < end:
                rows = self._read(group, first, end - first)
                yield rows
                first += rows.count
            group, first = group + 1, 0

    def narrow(self, span: Span, first: int, count: int) -> Span:
        """Return the span of `count` rows of a span from row `first` on, counted from 0.

        Raises `UnusableSource` if the file no longer holds them.
        """
        group, row, _ = cast("tuple[int, int, int]", span.where)
        row += first
        while group + 1 < len(self._starts) and row >= self._count_rows(group):
            row -= self._count_rows(group)
            group += 1
        if group + 1 >= len(self._starts):
            raise UnusableSource(self.location, "has changed since it was listed")
        return Span(count, [group, row, count])

    def close(self) -> None:
        self._cursor = None
        self._parquet.close()
        self._file.close()
        # pyarrow keeps what pages have taken, which can be gigabytes for a file of some kilobytes.
        pa.default_memory_pool().release_unused()

    def _open(self) -> None:
        try:
            self._parquet = pq.ParquetFile(
                self._file,
                pre_buffer=False,
                buffer_size=BUFFER_BYTES,
                page_checksum_verification=True,
            )
            self.schema = self._parquet.schema_arrow
            self.schema.to_string()  # raises if a name at any depth is not text
            self._metadata = self._parquet.metadata
            groups = range(self._metadata.num_row_groups)
            sizes = [self._metadata.row_group(group).num_rows for group in groups]
        except _DAMAGE as err:
            problem = f"not a readable Parquet file: {describe_error(err)}"
            raise self._file.failure or UnusableSource(self.location, problem) from err
        counts = Counter(self.schema.names)
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            raise UnusableSource(self.location, f"two of its columns are named {twice!r}")
        if min(sizes, default=0) < 0:
            raise UnusableSource(self.location, "a row group has a negative number of rows")
        self._starts: list[int] = list(accumulate(sizes, initial=0))

    def _count_rows(self, group: int) -> int:
        return self._starts[group + 1] - self._starts[group]

    def _read(self, group: int, first: int, most: int) -> Rows:
        """Read rows from `first` on, at least one and at most `most`."""
        cursor = self._move_cursor(group, first)
        batch = cursor.read(most)
        return Rows(self._starts[group] + first, cursor.row - first, batch)

    def _move_cursor(self, group: int, row: int) -> _Cursor:
        is_broken = self._file.failure is not None
        if (
            is_broken
            or self._cursor is None
            or self._cursor.group != group
            or self._cursor.row > row
        ):
            self._file.failure = None
            batches = self._parquet.iter_batches(
                self._choose_batch_rows(group),
                row_groups=[group],
                columns=self._columns,
                use_threads=False,
            )
            self._cursor = _Cursor(group, batches, self._file)
        while self._cursor.row < row:
            self._cursor.read(row - self._cursor.row)
        return self._cursor

    def _choose_batch_rows(self, group: int) -> int:
        # The size of all columns, selected or not: asked for a single column of a hostile footer,
        # pyarrow ends the process.
        size: int = max(1, self._metadata.row_group(group).total_byte_size)
        return min(max(1, BATCH_BYTES * self._count_rows(group) // size), self._max_batch_rows)


class _Cursor:
    """The open iterator of a row group, and its position."""

    def __init__(self, group: int, batches: Iterator[pa.RecordBatch], file: SourceFile) -> None:
        self.group = group
        self.row = 0
        self._batches = batches
        self._file = file
        self._rest: pa.RecordBatch | None = None

    def read(self, most: int) -> pa.RecordBatch | None:
        """Read at most `most` of the next rows; None if that many rows cannot be read."""
        batch = self._next() if self._rest is None else self._rest
        if batch is None:
            self.row += most
            return None
        given = batch.slice(0, most)
        self._rest = batch.slice(most) if batch.num_rows > most else None
        self.row += given.num_rows
        return given

    def _next(self) -> pa.RecordBatch | None:
        """Return the next batch; None if the pages are damaged, and from then on.

        Callers never ask for more rows than the footer states, so it is never the end of the file.
        """
        try:
            return next((batch for batch in self._batches if batch.num_rows), None)
        except _DAMAGE as err:
            if self._file.failure is not None:
                raise self._file.failure from err
            return None
