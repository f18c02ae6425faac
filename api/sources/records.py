"""CSV, TSV and JSON Lines files as rows, each with its position in the file.

The first row of a CSV or TSV file is its header. Empty lines are not rows; everything else is one,
malformed or not. A quote that is never closed would swallow the rows after it. So a malformed CSV
row of several lines is read again line by line, and the damage stays where it is. No row is longer
than `MAX_ROW_BYTES`.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple, cast

from api.sources.access import Access
from api.sources.item import Span, UnusableSource
from api.sources.json_values import JSON, require_storable
from api.sources.locations import describe_error, name_of
from api.sources.sourcefile import SourceFile

MAX_ROW_BYTES = 2**20
# of nested JSON: Python's parser recurses, to a depth that depends on its caller
MAX_DEPTH = 100
FIRST_ROWS = 100  # of a JSON Lines file; one of them must be an object, which names the columns
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")

_BOM = b"\xef\xbb\xbf"
_MALFORMED = (csv.Error, ValueError)


class Record(NamedTuple):
    """A row: its number from 0 without the header, the byte where it begins, and its values or its
    fault.

    `values` does not contain the empty cells of a CSV file.
    """

    number: int
    offset: int
    values: Mapping[str, JSON]
    fault: str | None = None


class _Place(NamedTuple):
    """Where a row begins. Up to the byte `single_until`, each line is a row by itself."""

    offset: int
    number: int
    single_until: int = 0


class _Raw(NamedTuple):
    place: _Place
    content: Sequence[str] | bytes  # the cells of a CSV row, a line of JSON
    fault: str | None


class Records:
    """An open file of rows.

    Raises `UnusableSource` if it is missing, or its columns cannot be determined.
    """

    def __init__(self, location: str, access: Access | None = None) -> None:
        self.location = location
        suffix = PurePosixPath(name_of(location)).suffix.lower()
        if suffix not in DELIMITERS and suffix not in JSON_LINES:
            raise UnusableSource(location, "its name is not that of a CSV, TSV or JSON Lines file")
        self._delimiter = DELIMITERS.get(suffix)
        self._place = self._begin = _Place(0, 0)
        self._offset = 0  # the file's position; after `_place` while a row is read
        self._reader: Iterator[list[str]] = iter(())
        self._file = SourceFile(location, access)
        try:
            self._jump(_Place(len(_BOM) if self._file.read(len(_BOM)) == _BOM else 0, 0))
            self.columns = self._read_header() if self._delimiter else self._read_first_keys()
        except BaseException:
            self.close()
            raise

    def spans(self, size: int) -> Iterator[Span]:
        """List every row, also malformed ones. `where` is the `_Place` of the first row."""
        begun, count, place = self._begin, 0, self._begin
        while True:
            self._goto(place)
            if self._read_next() is None:
                break
            count, place = count + 1, self._place
            if count == size:
                yield Span(count, list(begun))
                begun, count = place, 0
        if count:
            yield Span(count, list(begun))

    def rows(self, span: Span) -> Iterator[Record]:
        """Read the rows of a span. Raises `UnusableSource` if the file no longer holds them."""
        place = _Place(*cast("Sequence[int]", span.where))
        for _ in range(span.count):
            raw, place = self._read_at(place)
            yield self._build_record(raw)

    def narrow(self, span: Span, first: int, count: int) -> Span:
        """Return the span of `count` rows of a span from row `first` on, counted from 0.

        Raises `UnusableSource` if the file no longer holds them.
        """
        place = _Place(*cast("Sequence[int]", span.where))
        for _ in range(first):
            _, place = self._read_at(place)
        return Span(count, list(place))

    def close(self) -> None:
        self._file.close()

    def _read_header(self) -> tuple[str, ...]:
        """Read the names of the columns. A column without a name gets its position as name."""
        self._sniff()
        try:
            names = next(filter(None, self._reader), None)
        except _MALFORMED as err:
            raise UnusableSource(
                self.location, f"its header cannot be read: {describe_error(err)}"
            ) from err
        if names is None:
            raise UnusableSource(self.location, "is empty")
        columns = tuple(
            name if name.strip() else f"column {place}" for place, name in enumerate(names, 1)
        )
        name, times = Counter(columns).most_common(1)[0]
        if times > 1:
            raise UnusableSource(self.location, f"two of its columns are named {name!r}")
        self._begin = self._place = _Place(self._offset, 0)
        return columns

    def _sniff(self) -> None:
        """Detect semicolons, which many spreadsheets write between comma-separated values."""
        header = next(
            (
                line
                for line in iter(lambda: self._file.readline(MAX_ROW_BYTES), b"")
                if line.strip()
            ),
            b"",
        )
        if self._delimiter == "," and header.count(b";") > header.count(b","):
            self._delimiter = ";"
        self._jump(self._place)

    def _read_first_keys(self) -> tuple[str, ...]:
        self._begin = self._place
        first = (self._build_record(raw) for raw in islice(iter(self._read_next, None), FIRST_ROWS))
        columns = next((tuple(record.values) for record in first if record.fault is None), None)
        if columns is None:
            raise UnusableSource(self.location, "no JSON object in its first rows")
        return columns

    def _goto(self, place: _Place) -> None:
        if place != self._place or self._file.failure is not None:
            self._jump(place)

    def _read_at(self, place: _Place) -> tuple[_Raw, _Place]:
        """Return the row at a place, and the place after it."""
        self._goto(place)
        raw = self._read_next()
        if raw is None:
            raise UnusableSource(self.location, "has changed since it was listed")
        return raw, self._place

    def _jump(self, place: _Place) -> None:
        self._file.failure = None
        self._place = place
        self._offset = self._file.seek(place.offset)
        self._reader = self._parse_cells(self._read_lines())

    def _read_next(self) -> _Raw | None:
        """Read the next row that is not blank; None at the end of the file."""
        while True:
            place, single_until = self._place, self._place.single_until
            content: Sequence[str] | bytes = b""
            fault = None
            try:
                content = self._read(place)
            except _MALFORMED as err:
                fault = describe_error(err)
                single_until = max(single_until, self._offset)
                self._jump(place)
                self._skip_line()
            if self._offset == place.offset:
                return None
            is_row = bool(content) or fault is not None
            single_until = single_until if single_until > self._offset else 0
            self._place = _Place(self._offset, place.number + is_row, single_until)
            if is_row:
                return _Raw(place, content, fault)

    def _read(self, place: _Place) -> Sequence[str] | bytes:
        """Read the row at `place`; empty for a blank line. Raises ValueError."""
        if self._delimiter is None:
            return self._read_line().strip()
        is_single = place.offset < place.single_until
        cells = next(
            self._parse_cells(iter([self._read_line().decode()])) if is_single else self._reader, []
        )
        if cells and len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells where the header has {len(self.columns)}")
        return cells

    def _parse_cells(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter or ",", strict=True)

    def _read_lines(self) -> Iterator[str]:
        while line := self._read_line():
            yield line.decode()

    def _read_line(self) -> bytes:
        """Read a line; empty at the end of the file. Raises ValueError if its row is too long."""
        remaining = MAX_ROW_BYTES - (self._offset - self._place.offset)
        line = self._file.readline(remaining + 1)
        self._offset += len(line)
        if len(line) > remaining:
            raise ValueError(f"a row of more than {MAX_ROW_BYTES:,} bytes")
        return line

    def _skip_line(self) -> None:
        while piece := self._file.readline(MAX_ROW_BYTES):
            self._offset += len(piece)
            if piece.endswith(b"\n"):
                break

    def _build_record(self, raw: _Raw) -> Record:
        values: Mapping[str, JSON] = {}
        fault = raw.fault
        if isinstance(raw.content, bytes):
            try:
                values = {} if fault else parse_json_object(raw.content.decode())
            except ValueError as err:
                fault = describe_error(err)
        else:
            values = {
                name: cell for name, cell in zip(self.columns, raw.content, strict=True) if cell
            }
        return Record(raw.place.number, raw.place.offset, values, fault)


def parse_json_object(text: str) -> Mapping[str, JSON]:
    """Parse a JSON object.

    Raises ValueError, also for numbers and characters that cannot be stored.
    """
    try:
        value = _DECODER.decode(text)
        is_deep = (
            text.count("[") + text.count("{") > MAX_DEPTH and _measure_depth(value) > MAX_DEPTH
        )
    except RecursionError:
        is_deep = True
    if is_deep:
        raise ValueError("JSON nested too deeply")
    if not isinstance(value, dict):
        raise ValueError("JSON, but not an object")  # noqa: TRY004 -- it is the text that is wrong
    if "\\u" in text:
        require_storable(value)  # half a surrogate pair cannot be encoded
    return value


def _measure_depth(value: JSON) -> int:
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(_measure_depth, inner), default=0)


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that JSON can express")
    return number


_DECODER = json.JSONDecoder(
    parse_float=_parse_finite, parse_constant=_parse_finite
)  # faster than encoding the value to check it
