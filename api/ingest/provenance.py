"""What everybody says of one item, joined: nothing is overwritten, a contradiction is recorded with
who said what.

Who speaks of one item is heard before who speaks of many: a manifest's row, a table's row or a file
beside the image; then the pattern over its name; then what was told of all; the file itself last,
for anybody can write into it. The columns of an entry take the first statement; if another one
differs, all of them are under `conflicts`. The words of each stay verbatim under its name:
`source`, `pattern`, `file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from api.ingest.patterns import Pattern
from api.sources.item import Item
from api.sources.locations import as_text
from index.errors import InvalidProvenance
from index.jsontext import JSON
from index.truth.provenance import Provenance, normalise_generator

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


def joined(
    item: Item,
    told: Provenance,
    pattern: Pattern | None,
    stated: Mapping[str, JSON],
    made_by: tuple[str, str] | None,
) -> Provenance:
    """The provenance of an entry. `stated` is what its file says, `made_by` the generator that it
    names, and where.

    Raises `InvalidProvenance` for text that cannot be stored.
    """
    extra: dict[str, JSON] = {**told.extra, "path": item.name}
    if item.location is not None:
        extra["location"] = as_text(item.location)
    read = pattern.read(item.name) if pattern else None
    if pattern and read is None:
        extra["unmatched_pattern"] = pattern.text
    for origin, words in (("source", item.declared), ("pattern", read or {}), ("file", stated)):
        if words:
            extra[origin] = dict(words)
    columns, conflicts = {}, {}
    for column, statements in _statements(item, told, read or {}, made_by).items():
        columns[column] = next(iter(statements.values()))
        if (
            len(statements) > 1
            and len({_comparable(column, value) for value in statements.values()}) > 1
        ):
            conflicts[column] = {origin: _plain(value) for origin, value in statements.items()}
    if made_by and columns.get("generator") == made_by[0] and "generator" not in conflicts:
        extra["generator_from"] = made_by[1]
    if conflicts:
        extra["conflicts"] = conflicts
    acquired_at = columns.pop("acquired_at", None)
    if isinstance(acquired_at, str):
        extra["acquired_at_unread"] = acquired_at
    return Provenance(
        **{column: str(value) for column, value in columns.items()},
        acquired_at=acquired_at if isinstance(acquired_at, datetime) else None,
        extra=extra,
    )


def _statements(
    item: Item, told: Provenance, read: Mapping[str, str], made_by: tuple[str, str] | None
) -> dict[str, dict[str, str | datetime]]:
    """By column, who says what, in the order in which they are heard."""
    found: dict[str, dict[str, str | datetime]] = {}
    for origin, words in (("source", item.declared), ("pattern", read)):
        for name, value in words.items():
            column = COLUMNS.get(name) or COLUMNS.get(name.lower())
            if column and is_word(value):
                found.setdefault(column, {}).setdefault(origin, value_of(column, str(value)))
    for column in ("generator", "label", "licence", "source", "acquired_at"):
        value = getattr(told, column)
        if value is not None:
            found.setdefault(column, {})["option"] = value
    if made_by:
        found.setdefault("generator", {})["file"] = made_by[0]
    return found


def is_word(value: JSON) -> bool:
    """Whether a value can stand in a column: text or a number, not blank."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_of(column: str, text: str) -> str | datetime:
    """The text, or the instant it says; text that says none stays text."""
    if column != "acquired_at":
        return text
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _comparable(column: str, value: str | datetime) -> str | datetime:
    if isinstance(value, datetime):
        return value
    try:
        return normalise_generator(value) if column == "generator" else value.strip()
    except InvalidProvenance:
        return value


def _plain(value: str | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else value
