"""Provenance in the names of files:

`{generator}/{split}/*` reads `sdxl/train/1.png` as two statements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from api.errors import InvalidRequest

_TOKEN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}|(\*\*)|(\*)|(\?)|([^{}*?]+)")


class Pattern:
    """A pattern over the whole of an item's name.

    A placeholder takes one part of a path, at least one character.
    """

    def __init__(self, text: str) -> None:
        """Raises `InvalidRequest`, which says what is wrong with it."""
        self.text = text
        expression, at, names = "", 0, set()
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise InvalidRequest(
                    f"pattern {text!r}: a brace at position {at} belongs to no {{name}}"
                )
            name, anything, within, one, literal = token.groups()
            if name in names:
                raise InvalidRequest(f"pattern {text!r}: {{{name}}} is there twice")
            names.add(name) if name else None
            expression += (
                f"(?P<{name}>[^/]+?)"
                if name
                else ".*"
                if anything
                else "[^/]*"
                if within
                else "[^/]"
                if one
                else re.escape(literal)
            )
            at = token.end()
        if not names:
            raise InvalidRequest(f"pattern {text!r}: it has no {{name}}")
        self._expression = re.compile(expression, re.DOTALL)

    def read(self, name: str) -> Mapping[str, str] | None:
        """What a name says; None where the pattern does not fit it."""
        found = self._expression.fullmatch(name)
        return None if found is None else found.groupdict()
