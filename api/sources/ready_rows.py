"""Rows of ready embeddings from any file format: the names of their columns, and their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from api.sources.columns import Columns
from api.sources.item import UnreadableItem, make_printable
from api.sources.json_values import JSON
from api.sources.manifest import find_path_column
from api.sources.records import parse_json_object

# key in a Parquet schema's metadata: the fingerprint of the embedding space, 64 hex digits
SPACE_KEY = "lineup.embedding_space"
# keys beside it: what computed the vectors, if all of them were computed in one way
DEVICE_KEY = "lineup.device"
PRECISION_KEY = "lineup.precision"
VECTOR_COLUMNS = (
    "vector",
    "embedding",
)  # list or fixed-size list of float16, float32 or float64; norm 1
# What an export writes beside them where it was asked to: float16. An ingest does not read it.
COPY_VECTOR_COLUMN = "copy_vector"
LOGIT_COLUMN = "logit"
SHA256_COLUMN = "sha256"  # of the image file: 64 hex digits or 32 bytes
PDQ_HASH_COLUMN = "pdq_hash"  # 64 hex digits or 32 bytes
NUMBER_COLUMNS = ("byte_size", "width", "height", "pdq_quality")
FACT_COLUMNS = (*NUMBER_COLUMNS, "format", PDQ_HASH_COLUMN)
PROVENANCE_COLUMNS = ("generator", "label", "licence", "source", "acquired_at")
FREE_PROVENANCE_COLUMN = "provenance"  # the text of a JSON object

NOTHING: Mapping[str, JSON] = {}  # shared by all rows without facts


@dataclass(frozen=True, slots=True, eq=False)
class ReadyRows:
    """Consecutive rows of ready embeddings.

    A missing value is None or NaN; the ingest refuses such a row. `unreadable` maps damaged or
    malformed rows, counted from 0 within these, to their errors; their other values mean nothing.
    """

    names: Sequence[str]  # for people: the row's path, or `vectors.npy, row 17`, counted from 0
    vectors: NDArray[np.float32]  # (n, d)
    logits: NDArray[np.float64]  # (n,)
    sha256s: Sequence[str | None]
    facts: Sequence[Mapping[str, JSON]]  # known FACT_COLUMNS; the hash as hex digits
    declared: Sequence[Mapping[str, JSON]]  # every other known column, unchanged, by its name
    unreadable: Mapping[int, UnreadableItem] = field(default_factory=dict)


def build_ready_rows(
    file_name: str,
    first: int,
    columns: Columns,
    vectors: NDArray[np.float32],
    logits: NDArray[np.float64] | None = None,
    sha256s: Sequence[str] | None = None,
    unfit: Mapping[int, UnreadableItem] | None = None,
) -> ReadyRows:
    """Build rows, starting at row `first`, from the columns of a table.

    `logits` and `sha256s` replace the table's columns if they are given.
    """
    known = dict(columns.values)
    for name in (*VECTOR_COLUMNS, COPY_VECTOR_COLUMN):
        known.pop(name, None)
    declared_logits = known.pop(LOGIT_COLUMN, [None] * columns.count)
    declared_sha256s = known.pop(SHA256_COLUMN, [None] * columns.count)
    facts = {name: known.pop(name) for name in FACT_COLUMNS if name in known}
    for name in facts.keys() & NUMBER_COLUMNS:
        facts[name] = [_to_whole(value) for value in facts[name]]
    if FREE_PROVENANCE_COLUMN in known:
        known[FREE_PROVENANCE_COLUMN] = [
            _to_object(value) for value in known[FREE_PROVENANCE_COLUMN]
        ]
    return ReadyRows(
        _name_rows(file_name, first, columns),
        vectors,
        np.array([_to_number(value) for value in declared_logits], np.float64)
        if logits is None
        else logits,
        [value if isinstance(value, str) else None for value in declared_sha256s]
        if sha256s is None
        else sha256s,
        _split_rows(facts, columns.count),
        _split_rows(known, columns.count),
        {**(unfit or {}), **columns.unreadable},
    )


def _name_rows(file_name: str, first: int, columns: Columns) -> list[str]:
    column = find_path_column(list(columns.values))
    paths: Sequence[JSON] = [None] * columns.count if column is None else columns.values[column]
    return [
        make_printable(path) if isinstance(path, str) and path else f"{file_name}, row {row}"
        for row, path in enumerate(paths, first)
    ]


def _split_rows(columns: Mapping[str, Sequence[JSON]], count: int) -> Sequence[Mapping[str, JSON]]:
    """Return the known values, row by row. There are millions, so it does little for each."""
    there = {name: values for name, values in columns.items() if values.count(None) < count}
    if not there:
        return [NOTHING] * count
    rows = zip(*there.values(), strict=True)
    if any(None in values for values in there.values()):
        return [
            {name: value for name, value in zip(there, row, strict=True) if value is not None}
            for row in rows
        ]
    return [dict(zip(there, row, strict=True)) for row in rows]


def _to_number(value: JSON) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _to_whole(value: JSON) -> JSON:
    """Convert the text of a whole number, as in CSV files; return anything else unchanged."""
    is_whole = isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 19
    return int(str(value)) if is_whole else value


def _to_object(value: JSON) -> JSON:
    """Parse the text of a JSON object; return anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json_object(value)
    except ValueError:
        return value
