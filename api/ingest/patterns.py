"""Read provenance from the names of items: `{generator}/{split}/*` finds two values in
`sdxl/train/1.png`.

Patterns and names come from outside, so nothing here backtracks. A name is read from its end: the
set of places where the rest of the pattern fits the rest of the name is a number with a bit for
each place, and a token turns one set into the next with a few operations on whole numbers
("MatchStar" in Cameron et al. 2014, "Bitwise data parallelism in regular expression matching").
Then the name is read from its start, and each token takes the longest or shortest part after which
the rest still fits. That is what a regular expression finds by trying. The time grows with the
length of the pattern times the length of the name, 64 characters of it at once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum

from api.errors import InvalidRequest

# A pattern describes a path. Linux takes paths of 4096 characters, and people write 50.
MAX_PATTERN_CHARACTERS = 1000
# A pattern fits no longer name: what is kept for each token takes an eighth of its length in bytes.
MAX_NAME_CHARACTERS = 2**16
_TOKEN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}|(\*\*)|(\*)|(\?)|([^{}*?]+)")


class _Wildcard(Enum):
    """What a token takes, if it is not a character that must be there."""

    ANYTHING = "**"  # as much as possible
    WITHIN = "*"  # as much as possible of one part of a path
    ONE = "?"
    NAMED = "{}"  # as little as possible, at least one character of one part of a path


class Pattern:
    """A pattern that must fit the whole name of an item.

    A name in braces takes at least one character within one part of a path.
    """

    def __init__(self, text: str) -> None:
        """Parse a pattern. Raises `InvalidRequest`, which says what is wrong with it."""
        if len(text) > MAX_PATTERN_CHARACTERS:
            raise InvalidRequest(
                f"the pattern has {len(text):,} characters, more than {MAX_PATTERN_CHARACTERS:,}"
            )
        self.text = text
        self._names: list[str] = []  # of the named tokens, in their order
        self._tokens: list[_Wildcard | str] = []  # a str is one character that must be there
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise InvalidRequest(
                    f"pattern {text!r}: the brace at position {at} is not part of a {{name}}"
                )
            name, anything, within, one, literal = token.groups()
            if name in self._names:
                raise InvalidRequest(f"pattern {text!r}: {{{name}}} occurs twice")
            if name:
                self._names.append(name)
                self._tokens.append(_Wildcard.NAMED)
            elif anything:
                self._tokens.append(_Wildcard.ANYTHING)
            elif within:
                self._tokens.append(_Wildcard.WITHIN)
            elif one:
                self._tokens.append(_Wildcard.ONE)
            else:
                self._tokens.extend(literal)
            at = token.end()
        if not self._names:
            raise InvalidRequest(f"pattern {text!r}: it contains no {{name}}")
        self._characters = frozenset(each for each in self._tokens if isinstance(each, str)) | {"/"}

    def read(self, name: str) -> Mapping[str, str] | None:
        """Return the values in a name; None if the pattern does not fit it."""
        if len(name) > MAX_NAME_CHARACTERS:
            return None
        fitting = self._fit_from_end(name)
        return None if fitting is None else self._take_from_start(name, fitting)

    def _fit_from_end(self, name: str) -> list[int] | None:
        """Return for each token the places from which it and all after it fit; None if none do.

        A place is the number of characters from there to the end of the name. The list has one
        more member than the pattern has tokens: after the last one only place 0 fits.
        """
        every_place = (1 << (len(name) + 1)) - 1
        at = _places_before(name, self._characters)
        inside = every_place >> 1 & ~at["/"]  # the character before the place is not a slash
        places = 1
        found = [places]
        for token in reversed(self._tokens):
            match token:
                case _Wildcard.ANYTHING:
                    places = every_place & -(places & -places)
                case _Wildcard.WITHIN:
                    places = _spread(places, inside)
                case _Wildcard.ONE:
                    places = (places & inside) << 1
                case _Wildcard.NAMED:
                    places = _spread((places & inside) << 1, inside)
                case character:
                    places = (places & at[character]) << 1
            if not places:
                return None
            found.append(places)
        if not places >> len(name):
            return None
        return found[::-1]

    def _take_from_start(self, name: str, fitting: list[int]) -> dict[str, str]:
        values: list[str] = []
        place = len(name)
        for token, after in zip(self._tokens, fitting[1:], strict=True):
            begin = len(name) - place
            match token:
                case _Wildcard.ANYTHING:
                    place = _lowest(after)
                case _Wildcard.WITHIN:
                    slash = name.find("/", begin)
                    end = 0 if slash < 0 else len(name) - slash
                    place = end + _lowest(after >> end)
                case _Wildcard.NAMED:
                    place = (after & ((1 << place) - 1)).bit_length() - 1
                    values.append(name[begin : len(name) - place])
                case _:
                    place -= 1
        return dict(zip(self._names, values, strict=True))


def _spread(places: int, inside: int) -> int:
    """Return the places and all that lie before them in the same part of a path."""
    return (((places & inside) + inside) ^ inside) | places


def _lowest(places: int) -> int:
    return (places & -places).bit_length() - 1


def _places_before(name: str, characters: Iterable[str]) -> Mapping[str, int]:
    """Return for each character the places that it stands before: bit 0 is the end of the name."""
    found: defaultdict[str, int] = defaultdict(int)
    for character in characters:
        at = name.find(character)
        if at < 0:
            continue
        bits = bytearray(len(name) // 8 + 1)
        while at >= 0:
            place = len(name) - 1 - at
            bits[place >> 3] |= 1 << (place & 7)
            at = name.find(character, at + 1)
        found[character] = int.from_bytes(bits, "little")
    return found
