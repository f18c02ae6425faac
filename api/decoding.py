"""Opening of what makes pictures of bytes from outside, from the settings.

`api` decodes nothing itself: it submits bytes with an order and receives a `Picture`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from api.settings import Settings
from embedder.decoding.confinement import (
    UNCONFINED,
    UNSUPPORTED,
    Confinement,
    ConfinementLevel,
)
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.decoding.process import CAN_RUN_PROCESSES
from embedder.decoding.processes import ProcessDecoders
from embedder.decoding.threads import ThreadDecoders, count_cores, count_threads
from embedder.errors import DecodersUnavailable
from embedder.pictures.limits import ImageLimits

# A worker is 45 MB, and more than these would wait for the one process that they work for.
MAX_PROCESSES = 64


def make_image_limits(settings: Settings) -> ImageLimits:
    """Return the limits on images, as `embedder` takes them."""
    return ImageLimits(
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        min_image_side=settings.min_image_side,
    )


@contextmanager
def open_decoders(settings: Settings) -> Iterator[Decoders]:
    """Open the decoders of this process; close them at the end of the block.

    Nothing is started before the first picture.
    """
    decoders = make_decoders(settings)
    try:
        yield decoders
    finally:
        decoders.close()


def make_decoders(settings: Settings) -> Decoders:
    """Make the decoders that the settings name. The caller closes them."""
    cores = count_cores()
    if settings.decoding == "threads" or not CAN_RUN_PROCESSES:
        return ThreadDecoders(
            settings.decoders or count_threads(make_image_limits(settings), cores),
            UNCONFINED if settings.decoding == "threads" else UNSUPPORTED,
        )
    return ProcessDecoders(
        settings.decoders or min(cores, MAX_PROCESSES),
        timeout_seconds=settings.decoding_timeout_seconds,
        budget_bytes=settings.memory_budget_bytes,
        max_image_bytes=settings.max_image_bytes,
    )


def find_confinement(decoders: Decoders) -> Confinement | None:
    """Return how far decoding is confined; None where nothing can decode."""
    try:
        return decoders.confinement
    except DecodersUnavailable:
        return None


def log_confinement(decoders: Decoders, log: logging.Logger) -> None:
    """Say how far decoding is confined; this starts the first process that decodes."""
    try:
        confinement = decoders.confinement
    except DecodersUnavailable as err:
        log.error("images cannot be decoded: %s", err)  # noqa: TRY400 -- the reason is there
        return
    level = logging.INFO if confinement.level is ConfinementLevel.FULL else logging.WARNING
    log.log(level, "confinement of decoding: %s: %s", confinement.level, confinement.detail)


def make_picture_now(decoders: Decoders, data: bytes, order: PictureOrder) -> Picture:
    """Make a picture that somebody waits for. Raises `ImageError`."""
    return decoders.submit(data, order, urgent=True).result()
