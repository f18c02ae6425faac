"""The provenance of one item, joined from every statement about it.

Nothing is overwritten: statements that contradict each other are recorded with their origins. The
order of precedence is: what comes with the item (its row of a manifest or table, files beside the
image), the pattern over its name, what the request states for all items, the file's own metadata.
The file comes last because anybody can write into it. Each column of an entry takes the first
statement; if another one differs, all of them are stored under `conflicts`. The original fields
stay verbatim under the name of their origin: `source`, `pattern`, `file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from api.ingest.patterns import Pattern
from api.sources.locations import encode_path
from index.errors import InvalidProvenance
from index.jsontext import JSON
from index.truth.instants import in_utc
from index.truth.provenance import MAX_INDEXED_CHARACTERS, Provenance, normalise_generator

NOTHING: Mapping[str, JSON] = MappingProxyType({})
# Names that sources use for the columns of an entry.
COLUMNS = {
    "generator": "generator",
    "label": "label",
    "class": "label",
    "licence": "licence",
    "license": "licence",
    "source": "source",
    "acquired_at": "acquired_at",
}


def join_provenance(
    name: str,
    declared: Mapping[str, JSON],
    for_all: Provenance,
    *,
    pattern: Pattern | None = None,
    location: str | None = None,
    file_fields: Mapping[str, JSON] = NOTHING,
    file_generator: tuple[str, str] | None = None,
) -> Provenance:
    """Return the provenance of an entry.

    `declared` comes with the item, `for_all` is stated for all items of a request, `file_fields`
    is the metadata of the file, and `file_generator` the generator named there with its field.
    Raises `InvalidProvenance` for text that cannot be stored.
    """
    extra: dict[str, JSON] = {**for_all.extra, "path": name}
    if location is not None:
        extra["location"] = encode_path(location)
    from_name = pattern.read(name) if pattern else None
    if pattern and from_name is None:
        extra["unmatched_pattern"] = pattern.text
    origins: tuple[tuple[str, Mapping[str, JSON]], ...] = (
        ("source", declared),
        ("pattern", from_name or {}),
        ("file", file_fields),
    )
    extra |= {origin: dict(stated) for origin, stated in origins if stated}
    statements = _statements(declared, from_name or {}, for_all, file_generator)
    columns = {column: next(iter(by_origin.values())) for column, by_origin in statements.items()}
    conflicts: dict[str, JSON] = {
        column: {origin: _as_text(value) for origin, value in by_origin.items()}
        for column, by_origin in statements.items()
        if len({_comparable(column, value) for value in by_origin.values()}) > 1
    }
    if (
        file_generator
        and columns.get("generator") == file_generator[0]
        and "generator" not in conflicts
    ):
        extra["generator_from"] = file_generator[1]
    if conflicts:
        extra["conflicts"] = conflicts
    for column in ("generator", "label"):
        if (length := len(str(columns.get(column, "")))) > MAX_INDEXED_CHARACTERS:
            del columns[column]
            extra[f"{column}_unread"] = f"{length:,} characters"
    acquired_at = columns.pop("acquired_at", None)
    if isinstance(acquired_at, str):
        extra["acquired_at_unread"] = acquired_at
    return Provenance(
        **{column: str(value) for column, value in columns.items()},
        acquired_at=acquired_at if isinstance(acquired_at, datetime) else None,
        extra=extra,
    )


def _statements(
    declared: Mapping[str, JSON],
    from_name: Mapping[str, str],
    for_all: Provenance,
    file_generator: tuple[str, str] | None,
) -> dict[str, dict[str, str | datetime]]:
    """Return what each origin states for a column, in the order of precedence."""
    found: dict[str, dict[str, str | datetime]] = {}
    for origin, stated in (("source", declared), ("pattern", from_name)):
        for name, value in stated.items():
            column = COLUMNS.get(name) or COLUMNS.get(name.lower())
            if column and is_word(value):
                found.setdefault(column, {}).setdefault(origin, value_of(column, str(value)))
    for column in ("generator", "label", "licence", "source", "acquired_at"):
        value = getattr(for_all, column)
        if value is not None:
            found.setdefault(column, {})["option"] = value
    if file_generator:
        found.setdefault("generator", {})["file"] = file_generator[0]
    return found


def is_word(value: JSON) -> bool:
    """Return whether a value can stand in a column: a number, or text that is not blank."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_of(column: str, text: str) -> str | datetime:
    """Return the text, or for `acquired_at` the instant.

    A text that is no date stays text, and so does a date outside of the years 1 to 9999 in UTC.
    """
    if column != "acquired_at":
        return text
    try:
        return in_utc(datetime.fromisoformat(text.strip()))
    except ValueError:
        return text


def _comparable(column: str, value: str | datetime) -> str | datetime:
    if isinstance(value, datetime):
        return value
    try:
        return normalise_generator(value) if column == "generator" else value.strip()
    except InvalidProvenance:
        return value


def _as_text(value: str | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else value
