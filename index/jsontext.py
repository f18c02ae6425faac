"""Canonical JSON text (RFC 8785 in spirit): sorted keys, no spaces, UTF-8, no NaN; equal values give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


def canonical_json(value: JSON) -> str:
    """Return the one text of a value.

    Raises:
        ValueError: a number that is NaN or infinite, which JSON cannot say.
        TypeError: a value that is not JSON.

    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
