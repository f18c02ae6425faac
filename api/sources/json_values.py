"""JSON values as sources read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


def require_storable(value: JSON) -> None:
    """Raise ValueError for a value that UTF-8 text cannot hold: NaN, or half a surrogate pair."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
