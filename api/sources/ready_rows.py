"""What a row of ready embeddings holds, whichever file it comes from: the names of its columns, and
their values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from api.sources.columns import Columns
from api.sources.item import UnreadableItem, printable
from api.sources.json_values import JSON
from api.sources.manifest import find_path_column
from api.sources.records import json_object

# of a Parquet schema's metadata: the space's fingerprint, 64 hex digits
SPACE_KEY = "lineup.embedding_space"
VECTOR_COLUMNS = (
    "vector",
    "embedding",
)  # list or fixed-size list of float16, float32 or float64; norm 1
LOGIT_COLUMN = "logit"
SHA256_COLUMN = "sha256"  # of the image file: 64 hex digits or 32 bytes
PDQ_HASH_COLUMN = "pdq_hash"  # 64 hex digits or 32 bytes
NUMBER_COLUMNS = ("byte_size", "width", "height", "pdq_quality")
FACT_COLUMNS = (*NUMBER_COLUMNS, "format", PDQ_HASH_COLUMN)
PROVENANCE_COLUMNS = ("generator", "label", "licence", "source", "acquired_at")
FREE_PROVENANCE_COLUMN = "provenance"  # the text of a JSON object, told as that object

NOTHING: Mapping[str, JSON] = {}  # shared by the rows of which nothing is known


@dataclass(frozen=True, slots=True, eq=False)
class ReadyRows:
    """Consecutive rows of ready embeddings.

    A value that is missing is None or NaN; whoever takes the row refuses it. `unreadable` are the
    rows, counted from 0 within these, that are damaged or malformed, and how; what else is here of
    them means nothing.
    """

    names: Sequence[
        str
    ]  # for a person: the path that the row tells, else `vectors.npy, row 17`, counted from 0
    vectors: NDArray[np.float32]  # (n, d)
    logits: NDArray[np.float64]  # (n,)
    sha256s: Sequence[str | None]
    facts: Sequence[Mapping[str, JSON]]  # FACT_COLUMNS where they are known, the hash in hex digits
    declared: Sequence[
        Mapping[str, JSON]
    ]  # every other column where it is known, verbatim, by its name
    unreadable: Mapping[int, UnreadableItem] = field(default_factory=dict)


def ready_rows(
    file_name: str,
    first: int,
    columns: Columns,
    vectors: NDArray[np.float32],
    logits: NDArray[np.float64] | None = None,
    sha256s: Sequence[str] | None = None,
    unfit: Mapping[int, UnreadableItem] | None = None,
) -> ReadyRows:
    """Rows from `first` on, of what a table tells of them;

    `logits` and `sha256s` hold where they are given.
    """
    known = dict(columns.values)
    for name in VECTOR_COLUMNS:
        known.pop(name, None)
    declared_logits = known.pop(LOGIT_COLUMN, [None] * columns.count)
    declared_sha256s = known.pop(SHA256_COLUMN, [None] * columns.count)
    facts = {name: known.pop(name) for name in FACT_COLUMNS if name in known}
    for name in facts.keys() & NUMBER_COLUMNS:
        facts[name] = [_whole(value) for value in facts[name]]
    if FREE_PROVENANCE_COLUMN in known:
        known[FREE_PROVENANCE_COLUMN] = [_object(value) for value in known[FREE_PROVENANCE_COLUMN]]
    return ReadyRows(
        _names(file_name, first, columns),
        vectors,
        np.array([_number(value) for value in declared_logits], np.float64)
        if logits is None
        else logits,
        [value if isinstance(value, str) else None for value in declared_sha256s]
        if sha256s is None
        else sha256s,
        _by_row(facts, columns.count),
        _by_row(known, columns.count),
        {**(unfit or {}), **columns.unreadable},
    )


def _names(file_name: str, first: int, columns: Columns) -> list[str]:
    column = find_path_column(list(columns.values))
    paths: Sequence[JSON] = [None] * columns.count if column is None else columns.values[column]
    return [
        printable(path) if isinstance(path, str) and path else f"{file_name}, row {row}"
        for row, path in enumerate(paths, first)
    ]


def _by_row(columns: Mapping[str, Sequence[JSON]], count: int) -> Sequence[Mapping[str, JSON]]:
    """The values that are there, row by row.

    Made for millions: as little for each row as can be.
    """
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


def _number(value: JSON) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _whole(value: JSON) -> JSON:
    """The number that a text says, as CSV files have them; anything else as it is."""
    is_whole = isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 19
    return int(str(value)) if is_whole else value


def _object(value: JSON) -> JSON:
    """The JSON object that a text says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json_object(value)
    except ValueError:
        return value
