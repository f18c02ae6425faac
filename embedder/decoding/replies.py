"""The parent's doubts: what a worker answers is bytes from outside too.

A worker may be taken over by the file that it decodes. So types, ranges, lengths and the shape of
every array are checked against the order, and nothing is unpickled. What a liar can still do is to
answer another picture than the file's. `protocol` says what is sent.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder import errors
from embedder.copies.features import LocalFeatures
from embedder.decoding.picture import DeliveredPicture, Picture, PictureOrder
from embedder.decoding.protocol import ERRORS, MAX_DETAIL_CHARACTERS
from embedder.errors import ImageError
from embedder.file_metadata.statements import FileMetadata, Statement
from embedder.pictures.delivery import Condition
from embedder.pictures.perceptual import PerceptualHash
from embedder.pictures.reencodings import (
    ReEncoding,
    ReEncodings,
    RefusedReEncoding,
)
from embedder.pictures.sniff import FORMATS
from embedder.pictures.views import MAX_VIEWS, Box, Symmetry, View, ViewHash

MAX_TEXT_CHARACTERS = 2**17
_MAX_KEYS = 128
_MAX_MODE_CHARACTERS = 16  # Pillow's longest is "I;16B"
_MAX_SIDE = 2**31 - 1
# A WebP file of noise may be larger than the noise.
_MAX_THUMBNAIL_EXTRA = 64 * 2**10


class InvalidReplyError(Exception):
    """A worker answered what no worker of Lineup answers."""


@dataclass(frozen=True, slots=True)
class DecoderFailure:
    """The decoder raised what is no ImageError: `detail` is its name and message."""

    detail: str


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The decoder wanted more memory than the worker has."""


Reply = Picture | ImageError | DecoderFailure | OutOfMemory


def unpack(body: bytes) -> Mapping[str, Any]:
    """Read the JSON object of a message. Raises InvalidReplyError."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise InvalidReplyError("no JSON") from err
    if not isinstance(message, dict):
        raise InvalidReplyError("no object")
    return message


def read_reply(message: Mapping[str, Any], block: int, order: PictureOrder, at: int = 0) -> Reply:
    """Check and copy a reply. `block` is the file descriptor of the shared block, in which the
    parts of this reply begin at byte `at`.

    Raises InvalidReplyError.
    """
    try:
        match message:
            case {"error": {} as error}:
                return _read_error(error)
            case {"failure": str(detail)}:
                return DecoderFailure(_text(detail, MAX_DETAIL_CHARACTERS))
            case {"out_of_memory": True}:
                return OutOfMemory()
            case {"picture": {} as picture, "parts": [*lengths]}:
                return _read_picture(picture, _Parts(block, lengths, order, at), order)
    except (LookupError, TypeError, ValueError, OverflowError) as err:
        raise InvalidReplyError(f"{type(err).__name__}: {err}") from err
    raise InvalidReplyError("an unknown kind of reply")


def count_block_bytes(order: PictureOrder) -> int:
    """Return the most bytes that the parts of a picture take."""
    return order.result_bytes + _MAX_THUMBNAIL_EXTRA


@dataclass(slots=True)
class _Parts:
    """The parts of a reply in the block, taken one after the other."""

    block: int
    lengths: Sequence[Any]
    order: PictureOrder
    at: int
    taken: int = 0
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = count_block_bytes(self.order)

    def take(self, expected: int | None = None) -> bytearray:
        """Copy the next part. `expected` bytes, or any number that the order can give."""
        length = _integer(self.lengths[self.taken], 0, self.left)
        if expected is not None and length != expected:
            raise ValueError(f"a part of {length} bytes instead of {expected}")
        copied = bytearray(length)
        view, at = memoryview(copied), self.at
        while view:
            read = os.preadv(self.block, [view], at)
            if not read:
                raise ValueError("a part that is not there")
            at, view = at + read, view[read:]
        self.taken, self.at, self.left = self.taken + 1, at, self.left - length
        return copied

    def take_pixels(self) -> NDArray[np.uint8]:
        assert self.order.preprocessing is not None
        side = self.order.preprocessing.crop_size
        return self._take_pixels(side, side)

    def take_descriptor_pixels(self) -> NDArray[np.uint8] | None:
        wanted = self.order.descriptor
        return None if wanted is None else self._take_pixels(wanted.height, wanted.width)

    def _take_pixels(self, height: int, width: int) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = np.frombuffer(self.take(3 * height * width), np.uint8)
        return pixels.reshape(height, width, 3)  # (h, w, 3)


def _read_picture(message: Mapping[str, Any], parts: _Parts, order: PictureOrder) -> Picture:
    has_pixels = order.preprocessing is not None and order.pixels
    decoded = order.needs_decoding
    width, height = _size(message["size"], order) if decoded else (0, 0)
    metadata = _metadata(message["metadata"]) if order.file_metadata else None
    picture = Picture(
        format=_one_of(message["format"], FORMATS),
        mode=_mode(message["mode"]) if decoded else "",
        width=width,
        height=height,
        pixels=parts.take_pixels() if has_pixels else None,
        thumbnail=_thumbnail(parts) if order.thumbnail_pixels is not None else None,
        descriptor_pixels=parts.take_descriptor_pixels(),
        luminance_std=_luminance(message["luminance_std"]) if order.luminance else None,
        perceptual_hash=_hash(message["hash"]) if order.perceptual_hash else None,
        view_hashes=_views(message["views"]) if order.view_hashes else (),
        file_metadata=metadata,
        file_generator=None if metadata is None else _generator(message["generator"], metadata),
        condition=Condition(message["condition"]) if order.condition else None,
        deliveries=tuple(_read_deliveries(message["deliveries"], parts, order)),
        reencodings=_read_reencodings(message["reencodings"], parts, order)
        if order.reencodings
        else None,
        local_features=None
        if order.local_features is None
        else _read_features(message["local_features"], parts, order.local_features),
    )
    if parts.taken != len(parts.lengths):
        raise ValueError("more parts than were ordered")
    return picture


def _read_deliveries(
    messages: Any, parts: _Parts, order: PictureOrder
) -> Iterator[DeliveredPicture]:
    ordered = iter(order.deliveries)
    for message in _list(messages, len(order.deliveries)):
        condition = Condition(message["condition"])
        if condition not in ordered:  # goes on behind it: those that were refused are left out
            raise ValueError("deliveries that were not ordered, or in another order")
        yield DeliveredPicture(
            condition,
            *_size(message["size"], order),
            parts.take_pixels(),
            _hash(message["hash"]) if order.perceptual_hash else None,
            _luminance(message["luminance_std"]) if order.luminance else None,
        )


def _read_reencodings(message: Any, parts: _Parts, order: PictureOrder) -> ReEncodings:
    ordered = order.reencodings
    usable = [
        (_one_of(name, ordered), Condition(condition))
        for name, condition in _list(message["usable"], len(ordered))
    ]
    refused = [
        RefusedReEncoding(
            _one_of(name, ordered),
            _one_of(reason, tuple(ERRORS)),
            _text(detail, MAX_DETAIL_CHARACTERS),
        )
        for name, reason, detail in _list(message["refused"], len(ordered))
    ]
    names = [name for name, _ in usable] + [each.name for each in refused]
    if sorted(names) != sorted(ordered):
        raise ValueError("re-encodings that are not those of the order")
    return ReEncodings(
        tuple(ReEncoding(name, parts.take_pixels(), condition) for name, condition in usable),
        tuple(refused),
        None if message["part"] is None else _size(message["part"], order),
    )


def _read_features(is_there: Any, parts: _Parts, most: int) -> LocalFeatures | None:
    if is_there is not True:
        return None
    features = LocalFeatures.from_bytes(bytes(parts.take()))
    if features.count > most:
        raise ValueError("more features than were ordered")
    return features


def _read_error(message: Mapping[str, Any]) -> ImageError:
    error, fields = ERRORS[message["reason"]]
    values: list[str | int] = []
    for name, kind in fields:
        value = message[name]
        values.append(
            _text(value, MAX_DETAIL_CHARACTERS) if kind is str else _integer(value, 0, 2**63)
        )
    if error is errors.ImageTooLarge:
        _one_of(values[0], ("bytes", "pixels"))
    return error(*values)


def _thumbnail(parts: _Parts) -> bytes:
    """A file that calls itself WebP. Whoever shows it decodes it again."""
    data = bytes(parts.take())
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("a thumbnail that is no WebP file")
    return data


def _metadata(message: Any) -> FileMetadata:
    if not isinstance(message, dict) or len(message) > _MAX_KEYS:
        raise ValueError("metadata that are no small object")
    return {_text(key, 500): _statement(value) for key, value in message.items()}


def _statement(value: Any) -> Statement:
    if isinstance(value, str):
        return _text(value)
    if sorted(value) != ["characters", "cut", "sha256", "text"] or value["cut"] is not True:
        raise ValueError("a statement of another kind")
    return {
        "text": _text(value["text"]),
        "characters": _integer(value["characters"], 0, 2**40),
        "sha256": _text(value["sha256"], 64),
        "cut": True,
    }


def _generator(message: Any, metadata: FileMetadata) -> tuple[str, str] | None:
    if message is None:
        return None
    name, key = message
    return _text(name, 1_000), _one_of(key, tuple(metadata))


def _hash(message: Any) -> PerceptualHash:
    bits, quality = message
    raw = bytes.fromhex(_text(bits, 64))
    if len(raw) != 32:
        raise ValueError("a perceptual hash of another length")
    return PerceptualHash(raw, _integer(quality, 0, 100))


def _views(message: Any) -> tuple[ViewHash, ...]:
    """Views, each of them once, of which the first is the whole picture as it is."""
    views = tuple(
        ViewHash(View(Symmetry(symmetry), _box(part), _box(kept)), _hash(hashed))
        for symmetry, part, kept, hashed in _list(message, MAX_VIEWS)
    )
    if not views or views[0].view != View() or len({each.view for each in views}) < len(views):
        raise ValueError("views that begin with another one, or that come twice")
    return views


def _box(message: Any) -> Box | None:
    if message is None:
        return None
    edges = _list(message, 4)
    if any(isinstance(edge, bool) or not isinstance(edge, int | float) for edge in edges):
        raise ValueError("edges that are no numbers")
    return Box(*map(float, edges))  # refuses what is not finite, or not within the picture


def _size(message: Any, order: PictureOrder) -> tuple[int, int]:
    width, height = (_integer(side, 1, _MAX_SIDE) for side in message)
    if width * height > order.limits.max_image_pixels:
        raise ValueError("a picture that is larger than the limit")
    return width, height


def _luminance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a deviation that is no number")
    if not 0 <= value <= 255:
        raise ValueError("a deviation out of range")
    return float(value)


def _mode(value: Any) -> str:
    mode = _text(value, _MAX_MODE_CHARACTERS)
    if not mode.isascii() or not mode.isprintable():
        raise ValueError("a mode that Pillow does not have")
    return mode


def _text(value: Any, most: int = MAX_TEXT_CHARACTERS) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"no text of at most {most} characters")
    value.encode()  # half a surrogate pair is no text
    return value


def _integer(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"no integer from {least} to {most}")
    return value


def _one_of(value: Any, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError("none of the values that are possible")
    return value


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"no list of at most {most}")
    return value
