"""The picture of an image that was ingested, from what its corpora keep of it."""

from __future__ import annotations

import logging
from dataclasses import replace

from api.decoding import make_picture_now
from api.images import BlobStores
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageError
from index.errors import BlobCorrupt

log = logging.getLogger(__name__)


def find_kept_picture(
    stores: BlobStores, decoders: Decoders, order: PictureOrder, sha256: str
) -> Picture | None:
    """Make the picture of a stored image again: of its original, else of its thumbnail. None if
    neither is kept, or can be read.
    """
    # The thumbnail of a long strip is narrower than what a model reads.
    order = replace(order, limits=replace(order.limits, min_image_side=1))
    for store in (stores.originals, stores.thumbnails):
        try:
            data = store.find(sha256)
            if data is not None:
                return make_picture_now(decoders, data, order)
        except (BlobCorrupt, ImageError) as err:
            log.warning("a stored picture of %s cannot be compared: %s", sha256, err)
    return None


def is_kept(stores: BlobStores, sha256: str) -> bool:
    """Whether an original or a thumbnail of an image is kept."""
    return sha256 in stores.originals or sha256 in stores.thumbnails
