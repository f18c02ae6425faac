"""The picture of an image that was ingested, from what its corpora keep of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from api.copies.probe_features import ProbeFeatures
from api.decoding import make_picture_now
from api.images import BlobStores
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageError
from index.errors import BlobCorrupt

log = logging.getLogger(__name__)


def find_kept_picture(
    stores: BlobStores, decoders: Decoders, make_order: Callable[[], PictureOrder], sha256: str
) -> tuple[Picture, ProbeFeatures] | None:
    """Make the picture of a stored image again: of its original, else of its thumbnail. None if
    neither is kept, or can be read. Its local features are not made yet.

    `make_order` returns what is wanted of it; it is called only if something is kept.
    """
    for store in (stores.originals, stores.thumbnails):
        try:
            data = store.find(sha256)
            if data is not None:
                order = make_order()
                # The thumbnail of a long strip is narrower than what a model reads.
                order = replace(order, limits=replace(order.limits, min_image_side=1))
                picture = make_picture_now(decoders, data, order)
                # A batch has many pictures: a file that geometry asks for is read again.
                read = partial(store.get, sha256)
                return picture, ProbeFeatures(decoders, read, order.limits)
        except (BlobCorrupt, ImageError) as err:
            log.warning("a stored picture of %s cannot be compared: %s", sha256, err)
    return None


def is_kept(stores: BlobStores, sha256: str) -> bool:
    """Whether an original or a thumbnail of an image is kept."""
    return sha256 in stores.originals or sha256 in stores.thumbnails
