"""Provenance of an entry: generator, label, licence, source, date, and free JSON."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from index.errors import InvalidProvenance
from index.jsontext import JSON, CanonicalText, canonical_json
from index.truth.instants import in_utc

# Of a generator or a label. They are names: requests take 200 characters. PostgreSQL's index on
# them holds 2,704 bytes, and the normalisation of a megabyte of accents takes minutes.
MAX_INDEXED_CHARACTERS = 500

# Of free provenance as JSON. A row and three files beside an image may have 1 MiB each; the same
# text can stand there twice, or be escaped. A cell of a Parquet table has no limit of its own, and
# every look-up that finds the entry repeats and stores all of it.
MAX_EXTRA_CHARACTERS = 8 * 2**20
# NUL as JSON writes it: not behind a backslash that is itself escaped.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an entry came from. Every field is optional.

    `acquired_at` needs a time zone. `extra` is any JSON object. `stored` is the canonical JSON of
    `extra`, which `normalise` sets; it is None until the provenance is checked.
    """

    generator: str | None = None
    label: str | None = None
    licence: str | None = None
    source: str | None = None
    acquired_at: datetime | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict)
    stored: CanonicalText | None = field(
        default=None, init=False, repr=False, compare=False
    )  # `replace` forgets it

    def normalise(self) -> Provenance:
        """Return the provenance in its stored form: text trimmed or None, generator normalised.

        Raises:
            InvalidProvenance: a text has a NUL character or half of a surrogate pair, generator or
                label is too long, the date has no time zone or is not in the years 1 to 9999 in
                UTC, or `extra` is not JSON or has more than `MAX_EXTRA_CHARACTERS`.

        """
        if self.stored is not None:
            return self
        acquired_at = _storable_instant(self.acquired_at)
        generator = normalise_generator(self.generator or "") or None
        label, licence, source = map(storable_text, (self.label, self.licence, self.source))
        require_indexable("label", label or "")
        stored = _storable_object(self.extra)
        normalised = Provenance(generator, label, licence, source, acquired_at, dict(self.extra))
        object.__setattr__(normalised, "stored", stored)
        return normalised


@lru_cache(1024)  # a corpus of millions of rows has few generators
def normalise_generator(name: str) -> str:
    """Return the normal spelling of a generator: NFKC, lower case, a hyphen for blanks.

    For example `SD  XL` becomes `sd-xl`.

    Raises:
        InvalidProvenance: the databases cannot store the text, or it is too long.

    """
    require_indexable("generator", name)  # the normalisation takes time with the length squared
    normal = "-".join((storable_text(unicodedata.normalize("NFKC", name)) or "").casefold().split())
    require_indexable("generator", normal)
    return normal


def require_indexable(column: str, text: str) -> None:
    """Require a text that an index of both databases can hold.

    Raises:
        InvalidProvenance: it is longer than `MAX_INDEXED_CHARACTERS`.

    """
    if len(text) > MAX_INDEXED_CHARACTERS:
        raise InvalidProvenance(
            f"the {column} has {len(text):,} characters, more than {MAX_INDEXED_CHARACTERS:,}"
        )


def storable_text(text: str | None) -> str | None:
    """Return trimmed text, or None if nothing is left.

    Raises:
        InvalidProvenance: PostgreSQL would refuse the text.

    """
    if text is None:
        return None
    trimmed = text.strip()
    _check_text(trimmed)
    return trimmed or None


def _storable_instant(instant: datetime | None) -> datetime | None:
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise InvalidProvenance("acquired_at has no time zone")
    try:
        return in_utc(instant)
    except ValueError as err:
        raise InvalidProvenance(f"acquired_at {err}") from err


def _storable_object(extra: Mapping[str, JSON]) -> CanonicalText:
    try:
        text = canonical_json(extra)
    except (TypeError, ValueError, RecursionError) as err:
        raise InvalidProvenance("the provenance is not a JSON object") from err
    if len(text) > MAX_EXTRA_CHARACTERS:
        raise InvalidProvenance(
            f"the provenance has {len(text):,} characters as JSON; the limit is "
            f"{MAX_EXTRA_CHARACTERS:,}"
        )
    _check_text(text)
    if _NUL.search(text):
        raise InvalidProvenance("the provenance has a NUL character, which PostgreSQL cannot store")
    return CanonicalText(text)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise InvalidProvenance("a text has a NUL character, which PostgreSQL cannot store")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise InvalidProvenance(
            "a text is not valid Unicode: it has half of a surrogate pair"
        ) from err
