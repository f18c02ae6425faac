"""Filters on free provenance: the value at one place in the JSON object of an entry.

A place is a JSON pointer (RFC 6901) such as `/camera/model`, or one plain key. Values are JSON
scalars and are compared as JSON: true is not 1, 1 equals 1.0, null is not a missing key. SQLite and
PostgreSQL need different SQL for the same meaning. Every key and value is a bound parameter.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from index.errors import InvalidFilter, InvalidProvenance
from index.jsontext import canonical_json
from index.truth.provenance import storable_text
from index.truth.schema import entries

Scalar = str | int | float | bool | None
MOST_KEYS = 16
# Larger integers would differ: SQLite compares the nearest doubles, PostgreSQL exact numbers.
LARGEST_INTEGER = 2**53
ARRAY_INDEX = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class ProvenanceIs:
    """The criterion that the value at a place is one of `values`.

    `values` are canonical JSON, because True and 1 are equal in Python.
    """

    keys: tuple[str, ...]
    values: frozenset[str]

    @classmethod
    def at(cls, place: str, values: Iterable[Scalar]) -> ProvenanceIs:
        """Return the criterion for a place.

        Raises:
            InvalidFilter: the place is malformed, or a value is not a scalar.

        """
        return cls(_keys(place), frozenset(_canonical(value) for value in values))


def provenance_criteria(
    dialect: str, criteria: Iterable[ProvenanceIs]
) -> list[ColumnElement[bool]]:
    """Return one condition on `entries` for each criterion."""
    compose = _on_postgresql if dialect == "postgresql" else _on_sqlite
    return [compose(criterion) for criterion in criteria]


def _keys(place: str) -> tuple[str, ...]:
    if not place:
        raise InvalidFilter("a place in the provenance must not be empty")
    keys = [place]
    if place.startswith("/"):
        keys = place[1:].split("/")
        if any(re.search(r"~(?![01])", key) for key in keys):
            raise InvalidFilter(
                "a place in the provenance is not a JSON pointer: '~' must be followed by 0 or 1"
            )
        keys = [key.replace("~1", "/").replace("~0", "~") for key in keys]
    if len(keys) > MOST_KEYS:
        raise InvalidFilter(f"a place in the provenance has more than {MOST_KEYS} keys")
    try:
        for key in keys:
            storable_text(key)
    except InvalidProvenance as err:
        raise InvalidFilter(err.reason) from err
    return tuple(keys)


def _canonical(value: Scalar) -> str:
    match value:
        case None | bool():
            pass
        case str():
            try:
                storable_text(value)
            except InvalidProvenance as err:
                raise InvalidFilter(err.reason) from err
        case int() if abs(value) <= LARGEST_INTEGER:
            pass
        case float() if math.isfinite(value):
            value = int(value) if value.is_integer() and abs(value) <= LARGEST_INTEGER else value
        case _:
            raise InvalidFilter(
                "a value of the provenance must be text, true, false, null or a number up to 2**53"
            )
    return canonical_json(value)


def _on_postgresql(criterion: ProvenanceIs) -> ColumnElement[bool]:
    keys = criterion.keys
    conditions = []
    for depth, key in enumerate(keys):
        # PostgreSQL accepts '-1' and '01' as places in an array; JSON pointers do not.
        if not ARRAY_INDEX.fullmatch(key):
            parent = (
                func.jsonb_extract_path(entries.c.provenance, *keys[:depth])
                if depth
                else entries.c.provenance
            )
            conditions.append(func.jsonb_typeof(parent) == "object")
    found = func.jsonb_extract_path(entries.c.provenance, *keys)
    wanted = [cast(bindparam(None, value, Text), JSONB) for value in sorted(criterion.values)]
    # If every level is an object, containment follows, and the index on the documents answers it.
    if len(conditions) == len(keys):
        holding = [
            cast(bindparam(None, _document(keys, value), Text), JSONB)
            for value in sorted(criterion.values)
        ]
        conditions.append(
            or_(false(), *(entries.c.provenance.op("@>")(document) for document in holding))
        )
    return and_(*conditions, found.in_(wanted))


def _document(keys: tuple[str, ...], value: str) -> str:
    """Return the canonical JSON of an object that has only a value at a place."""
    for key in reversed(keys):
        value = f"{{{canonical_json(key)}:{value}}}"
    return value


def _on_sqlite(criterion: ProvenanceIs) -> ColumnElement[bool]:
    source: ColumnElement[str] = entries.c.provenance
    joined: FromClause | None = None
    conditions: list[ColumnElement[bool]] = []
    for depth, key in enumerate(criterion.keys):
        level = func.json_each(source).table_valued(
            "key", "value", "type", "atom", name=f"level_{depth}"
        )
        joined = level if joined is None else joined.join(level, true())
        conditions.append(cast(level.c.key, Text) == key)
        inside = level.c.type.in_(("object", "array"))
        source = case((inside, level.c.value), else_="{}")
    assert joined is not None
    conditions.append(
        or_(
            false(),
            *(_sqlite_value(level, json.loads(value)) for value in sorted(criterion.values)),
        )
    )
    return select(literal(1)).select_from(joined).where(*conditions).exists()


def _sqlite_value(level: FromClause, value: Scalar) -> ColumnElement[bool]:
    match value:
        case None:
            return level.c.type == "null"
        case bool():
            return level.c.type == ("true" if value else "false")
        case str():
            return and_(level.c.type == "text", level.c.atom == literal(value))
        case _:
            return and_(level.c.type.in_(("integer", "real")), level.c.atom == literal(value))
