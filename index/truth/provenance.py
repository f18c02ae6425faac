"""Where an entry came from: what made it, who says so, under which licence; plus free JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from index.errors import InvalidProvenance
from index.jsontext import JSON, CanonicalText, canonical_json


@dataclass(frozen=True, slots=True)
class Provenance:
    """All of it is optional. `acquired_at` needs a time zone; `extra` is any JSON object.

    `stored` is what `normalise` made of `extra`; None: nobody has checked this provenance yet.
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
        """Return it as it is stored: text trimmed, nothing where it was blank, the generator
        normalised.

        Raises:
            InvalidProvenance: text with NUL or half a surrogate pair, a date without a zone,
            `extra` that is not JSON.

        """
        if self.stored is not None:
            return self
        if self.acquired_at is not None and self.acquired_at.tzinfo is None:
            raise InvalidProvenance("acquired_at has no time zone")
        generator = normalise_generator(self.generator or "") or None
        label, licence, source = map(storable_text, (self.label, self.licence, self.source))
        stored = _storable_object(self.extra)
        normalised = Provenance(
            generator, label, licence, source, self.acquired_at, dict(self.extra)
        )
        object.__setattr__(normalised, "stored", stored)
        return normalised


@lru_cache(1024)  # a corpus has few, in millions of rows
def normalise_generator(name: str) -> str:
    """Return the one spelling of a generator: NFKC, lower case, runs of blanks as one hyphen (`SD
    XL` is `sd-xl`).

    Raises:
        InvalidProvenance: text that cannot be stored.

    """
    return "-".join((storable_text(unicodedata.normalize("NFKC", name)) or "").casefold().split())


def storable_text(text: str | None) -> str | None:
    """Return text trimmed, None where nothing is left.

    Raises InvalidProvenance on what PostgreSQL would refuse.
    """
    if text is None:
        return None
    trimmed = text.strip()
    _check_text(trimmed)
    return trimmed or None


def _storable_object(extra: Mapping[str, JSON]) -> CanonicalText:
    try:
        text = canonical_json(extra)
    except (TypeError, ValueError, RecursionError) as err:
        raise InvalidProvenance("provenance is not a JSON object") from err
    _check_text(text)
    if "\\u0000" in text:
        raise InvalidProvenance("provenance holds a NUL character, which PostgreSQL cannot store")
    return CanonicalText(text)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise InvalidProvenance("text holds a NUL character, which PostgreSQL cannot store")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise InvalidProvenance("text is not Unicode: it holds half of a surrogate pair") from err
