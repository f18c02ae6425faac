"""Opening of what makes pictures of bytes from outside, from the settings.

`api` decodes nothing itself: it submits bytes with an order and receives a `Picture`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from api.settings import Settings
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.decoding.threads import ThreadDecoders, count_threads
from embedder.pictures.limits import ImageLimits


def make_image_limits(settings: Settings) -> ImageLimits:
    """Return the limits on images, as `embedder` takes them."""
    return ImageLimits(
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        min_image_side=settings.min_image_side,
    )


@contextmanager
def open_decoders(settings: Settings) -> Iterator[Decoders]:
    """Open the decoders of this process; close them at the end of the block."""
    limits = make_image_limits(settings)
    decoders = ThreadDecoders(count_threads(limits, os.cpu_count() or 1))
    try:
        yield decoders
    finally:
        decoders.close()


def make_picture_now(decoders: Decoders, data: bytes, order: PictureOrder) -> Picture:
    """Make a picture that somebody waits for. Raises `ImageError`."""
    return decoders.submit(data, order, urgent=True).result()
