"""The bytes of an image that was ingested: from its kept original, else from where it came from."""

from __future__ import annotations

import hashlib

from api.lineup import Lineup
from api.sources.item import UnreadableItem
from api.sources.locations import from_text, read_bytes
from index.truth.coverage import ImageSource


def bytes_of(lineup: Lineup, source: ImageSource) -> tuple[bytes | None, str]:
    """The very bytes that were ingested, or why they cannot be had; other bytes at their place will
    not do.
    """
    limit = lineup.embedder.limits.max_image_bytes
    original = lineup.originals.find(source.image.sha256)
    if original is not None:
        return original, ""
    why = "no original is kept, and it did not come from a file of its own"
    for location in source.locations:
        try:
            data = read_bytes(from_text(location), limit)
        except UnreadableItem as err:
            why = f"{location}: {err}"
            continue
        if hashlib.sha256(data).hexdigest() == source.image.sha256:
            return data, ""
        why = f"{location} holds other bytes now"
    return None, why
