"""What a worker and its parent say to each other.

A message is its length (four bytes, big endian) and JSON. A request is the orders for one file, and
each order has a reply of its own, sent as soon as its picture is made. Bytes and pixels lie in a
block of memory that both can read and write: first the file, then, over it, the parts of the
replies, one behind the other. The block is a file without a name, and it is only read and written,
never mapped: a worker that shortens it cannot hurt its parent. Nothing is pickled; `replies` reads
what a worker answers.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder import errors
from embedder.decoding.picture import Picture, PictureOrder
from embedder.errors import ImageError
from embedder.pictures.perceptual import PerceptualHash
from embedder.pictures.views import Box, ViewHash

LENGTH = struct.Struct(">I")
# All texts of a file's metadata are 256 KiB of UTF-8; JSON writes a control character in six bytes.
MAX_MESSAGE_BYTES = 4 * 2**20
MAX_DETAIL_CHARACTERS = 2_000

# The errors that a decoder may report, with the types of what they are made of.
ERRORS: Mapping[str, tuple[type[ImageError], tuple[tuple[str, type], ...]]] = MappingProxyType(
    {
        error.reason: (error, fields)
        for error, fields in (
            (errors.NotAnImage, (("detail", str),)),
            (errors.UnsupportedFormat, (("format", str), ("detail", str))),
            (errors.TruncatedImage, (("format", str), ("detail", str))),
            (errors.CorruptImage, (("format", str), ("detail", str))),
            (errors.ImageTooLarge, (("unit", str), ("actual", int), ("limit", int))),
            (errors.ImageTooSmall, (("width", int), ("height", int), ("min_side", int))),
        )
    }
)


def pack(message: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def pack_orders(orders: Sequence[PictureOrder], size: int, number: int) -> bytes:
    """Return the message that asks for pictures of the first `size` bytes in the block.

    The replies repeat `number`, so that no reply is taken for that to another request.
    """
    body = b'{"size":%d,"number":%d,"orders":%b}' % (size, number, _orders_json(tuple(orders)))
    return LENGTH.pack(len(body)) + body


def read_orders(body: bytes) -> tuple[Sequence[PictureOrder], int, int]:
    """Read what `pack_orders` wrote: orders, size and number."""
    start, _, rest = body.partition(b',"orders":')
    size, _, number = start.removeprefix(b'{"size":').partition(b',"number":')
    return _parse_orders(rest[:-1]), int(size), int(number)


def write_picture(picture: Picture, block: int, at: int = 0) -> Mapping[str, Any]:
    """Write the parts of a picture into the block, from byte `at` on, and return the message."""
    parts: list[memoryview] = []
    message = _describe(picture, parts)
    for part in parts:
        view = part
        while view:
            written = os.pwrite(block, view, at)
            at, view = at + written, view[written:]
    return {"picture": message, "parts": [part.nbytes for part in parts]}


def describe_error(err: ImageError) -> Mapping[str, Any]:
    """Return the message for an ImageError."""
    _, fields = ERRORS[err.reason]
    values = {name: getattr(err, name) for name, _ in fields}
    texts = {name: make_sendable(value) for name, value in values.items() if isinstance(value, str)}
    return {"error": {"reason": err.reason, **values, **texts}}


def make_sendable(text: str) -> str:
    """Return a text that UTF-8 can write, not longer than the other side takes."""
    return text.encode(errors="backslashreplace").decode()[:MAX_DETAIL_CHARACTERS]


@lru_cache(maxsize=256)
def _orders_json(orders: tuple[PictureOrder, ...]) -> bytes:
    return json.dumps([each.to_json() for each in orders], separators=(",", ":")).encode()


@lru_cache(maxsize=256)
def _parse_orders(body: bytes) -> Sequence[PictureOrder]:
    return tuple(PictureOrder.from_json(each) for each in json.loads(body))


def _describe(picture: Picture, parts: list[memoryview]) -> dict[str, Any]:
    if picture.pixels is not None:
        parts.append(_view(picture.pixels))
    if picture.thumbnail is not None:
        parts.append(memoryview(picture.thumbnail))
    if picture.descriptor_pixels is not None:
        parts.append(_view(picture.descriptor_pixels))
    message: dict[str, Any] = {
        "format": picture.format,
        "mode": picture.mode,
        "size": [picture.width, picture.height],
        "luminance_std": picture.luminance_std,
        "hash": _describe_hash(picture.perceptual_hash),
        "views": [_describe_view(each) for each in picture.view_hashes],
        "metadata": picture.file_metadata,
        "generator": picture.file_generator,
        "condition": picture.condition,
        "deliveries": [],
    }
    for delivered in picture.deliveries:
        parts.append(_view(delivered.pixels))
        message["deliveries"].append(
            {
                "condition": delivered.condition,
                "size": [delivered.width, delivered.height],
                "hash": _describe_hash(delivered.perceptual_hash),
                "luminance_std": delivered.luminance_std,
            }
        )
    if picture.reencodings is not None:
        parts.extend(_view(each.pixels) for each in picture.reencodings.usable)
        message["reencodings"] = {
            "usable": [[each.name, each.condition] for each in picture.reencodings.usable],
            "refused": [
                [each.name, each.reason, each.detail] for each in picture.reencodings.refused
            ],
            "part": picture.reencodings.part,
        }
    if picture.local_features is not None:
        parts.append(memoryview(picture.local_features.to_bytes()))
    message["local_features"] = picture.local_features is not None
    return message


def _view(pixels: NDArray[np.uint8]) -> memoryview:
    return np.ascontiguousarray(pixels).data.cast("B")


def _describe_hash(hashed: PerceptualHash | None) -> list[Any] | None:
    return None if hashed is None else [hashed.bits.hex(), hashed.quality]


def _describe_view(hashed: ViewHash) -> list[Any]:
    view = hashed.view
    boxes = [_describe_box(view.part), _describe_box(view.kept)]
    return [view.symmetry, *boxes, _describe_hash(hashed.hash)]


def _describe_box(box: Box | None) -> list[float] | None:
    return None if box is None else [box.left, box.top, box.right, box.bottom]
