"""Read provenance from the names of items: `{generator}/{split}/*` finds two values in
`sdxl/train/1.png`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from api.errors import InvalidRequest

_TOKEN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}|(\*\*)|(\*)|(\?)|([^{}*?]+)")


class Pattern:
    """A pattern that must fit the whole name of an item.

    A name in braces takes at least one character within one part of a path.
    """

    def __init__(self, text: str) -> None:
        """Parse a pattern. Raises `InvalidRequest`, which says what is wrong with it."""
        self.text = text
        expression, at, names = "", 0, set()
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise InvalidRequest(
                    f"pattern {text!r}: the brace at position {at} is not part of a {{name}}"
                )
            name, anything, within, one, literal = token.groups()
            if name in names:
                raise InvalidRequest(f"pattern {text!r}: {{{name}}} occurs twice")
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
            raise InvalidRequest(f"pattern {text!r}: it contains no {{name}}")
        self._expression = re.compile(expression, re.DOTALL)

    def read(self, name: str) -> Mapping[str, str] | None:
        """Return the values in a name; None if the pattern does not fit it."""
        found = self._expression.fullmatch(name)
        return None if found is None else found.groupdict()
