"""Canonical JSON text (RFC 8785 in spirit): sorted keys, no spaces, UTF-8, no NaN; equal values
give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


@dataclass(frozen=True, slots=True)
class CanonicalText:
    """The text of a value, which `canonical_json` made before: it stands for the value where that
    is written.
    """

    text: str


def canonical_json(value: JSON | CanonicalText) -> str:
    """Return the one text of a value.

    Raises:
        ValueError: a number that is NaN or infinite, which JSON cannot say.
        TypeError: a value that is not JSON.

    """
    return value.text if isinstance(value, CanonicalText) else _ENCODER.encode(value)
