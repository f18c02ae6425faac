"""Find the bytes of an ingested image again: the kept original, else the file it came from."""

from __future__ import annotations

import hashlib

from api.sources.access import read_any_file
from api.sources.item import UnreadableItem
from api.sources.locations import decode_path
from index.blobs import BlobStore
from index.truth.coverage import ImageSource


def find_bytes(
    source: ImageSource, originals: BlobStore, max_image_bytes: int
) -> tuple[bytes | None, str]:
    """Return exactly the bytes that were ingested, or None and the reason.

    A file that holds other bytes now is not returned.
    """
    original = originals.find(source.image.sha256)
    if original is not None:
        return original, ""
    reason = "no original is kept, and the image did not come from a file of its own"
    for location in source.locations:
        try:
            data = read_any_file(decode_path(location), max_image_bytes)
        except UnreadableItem as err:
            reason = f"{location}: {err}"
            continue
        if hashlib.sha256(data).hexdigest() == source.image.sha256:
            return data, ""
        reason = f"{location} now holds other bytes"
    return None, reason
