"""Find the bytes of an ingested image again: the kept original, else the file it came from.

A client can state any location in the provenance of an entry. So the bytes count only if they have
the image's digest, the web is read only at public addresses, and what was wrong with a location is
in the log alone: the answer would tell which files and hosts there are.
"""

from __future__ import annotations

import hashlib
import logging

from api.sources.access import Access
from api.sources.item import UnreadableItem
from api.sources.locations import decode_path
from index.blobs import BlobStore
from index.truth.coverage import ImageSource

log = logging.getLogger(__name__)


def find_bytes(
    source: ImageSource, originals: BlobStore, max_image_bytes: int
) -> tuple[bytes | None, str]:
    """Return exactly the bytes that were ingested, or None and the reason.

    A file that holds other bytes now is not returned.
    """
    original = originals.find(source.image.sha256)
    if original is not None:
        return original, ""
    if not source.locations:
        return None, "no original is kept, and the image did not come from a file of its own"
    access = Access(only_public=True)
    try:
        for location in map(decode_path, source.locations):
            try:
                data = access.read_bytes(location, max_image_bytes)
            except UnreadableItem as err:
                log.info("%s: %s", location, err)
                continue
            if hashlib.sha256(data).hexdigest() == source.image.sha256:
                return data, ""
            log.info("%s: now holds other bytes", location)
    finally:
        access.close()
    return None, (
        "no original is kept, and the file that it came from is gone, changed or cannot be read"
    )
