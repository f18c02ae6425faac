"""JSON from clients, read strictly: what two programs could read differently is refused.

RFC 8259 leaves open what a name that occurs twice means, and knows no NaN and no Infinity; I-JSON
(RFC 7493) forbids both, and lone surrogates. The databases cannot store a NUL in a text, nor an
integer beyond 64 bits. Every body and every form field with JSON is read here, so that no such
value comes any further.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from api.errors import InvalidRequest
from api.fields import MAX_LEVELS, find_fault
from api.visible import show

TOO_DEEP = f"more than {MAX_LEVELS} levels of JSON"
# The largest body that means something has an embedding of 65,536 numbers, or 10,000 sources. A
# body of megabytes can have millions of values, which take seconds each time they are looked at.
MAX_VALUES = 100_000
# Names of one object. Free provenance has the most, and at most 64 KiB.
MAX_NAMES = 10_000


def read_json(text: str | bytes | bytearray) -> Any:  # noqa: ANN401 - any JSON
    """Read JSON. Raises `InvalidRequest`, which says what is wrong with it."""
    # Commas in texts count too: none of the texts that mean something has so many.
    if (text.count(",") if isinstance(text, str) else text.count(b",")) >= MAX_VALUES:
        raise InvalidRequest(f"the JSON has more than {MAX_VALUES:,} values")
    try:
        value = json.loads(
            text.decode() if isinstance(text, bytes | bytearray) else text,
            object_pairs_hook=_make_object,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None
    except UnicodeDecodeError as err:
        raise InvalidRequest(f"the JSON is not UTF-8: {err.reason} at {err.start}") from err
    except ValueError as err:  # also of a number of thousands of digits
        raise InvalidRequest(f"this is not JSON: {err}") from err
    _check(value)
    return value


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:
        raise InvalidRequest(f"a JSON object has more than {MAX_NAMES:,} names")
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidRequest(f"the name {twice[:50]!r} occurs twice in one JSON object")
    return made


def _refuse_constant(word: str) -> NoReturn:
    raise InvalidRequest(f"{word} is not a number of JSON")


def _check(value: Any) -> None:  # noqa: ANN401 - any JSON
    """Check every value. Raises `InvalidRequest`, which names the field."""
    if fault := find_fault(value):
        field, reason = fault
        raise InvalidRequest(
            f"the JSON cannot be stored: {' '.join(fault).lstrip()}",
            [{"field": show(field), "detail": reason}],
        )


def check_text(text: str) -> None:
    """Check that a text can be stored and sent. Raises `InvalidRequest`."""
    if "\0" in text:
        raise InvalidRequest("a text contains U+0000")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidRequest("a text contains half of a surrogate pair") from None
