"""Everything that is made of bytes from outside, by one pure function: `make_pictures`.

A caller writes one or more orders for a file and receives a `Picture` for each. Orders and pictures
hold plain values, bytes and arrays only, so the function can run in any process. No PIL image
leaves this room. `Decoders` runs the function: `threads` in this process, `processes` in confined
ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.copies.features import MAX_KEYPOINTS, LocalFeatures, count_bytes, extract_features
from embedder.copies.inputs import DescriptorInput, make_descriptor_pixels
from embedder.decoding.confinement import Confinement
from embedder.errors import ImageError
from embedder.file_metadata.generator import find_generator
from embedder.file_metadata.reading import read_file_metadata
from embedder.file_metadata.statements import MAX_FILE_BYTES, FileMetadata
from embedder.pictures.decode import DecodedImage, decode, make_thumbnail
from embedder.pictures.delivery import Condition, condition_of, deliver, delivery_of
from embedder.pictures.legibility import measure_luminance_std
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import PerceptualHash, compute_perceptual_hash
from embedder.pictures.preprocess import Preprocessing, Resample, preprocess
from embedder.pictures.reencodings import REENCODING_NAMES, ReEncodings, reencode
from embedder.pictures.sniff import sniff
from embedder.pictures.view_hashes import make_view_hashes
from embedder.pictures.views import ViewHash

THUMBNAIL_PIXELS = 256  # the longer side of a stored thumbnail


@dataclass(frozen=True, slots=True)
class PictureOrder:
    """What to make of a file. Without `preprocessing`, no pixels are made for the model; with
    `pixels` False, it is for re-encodings and deliveries alone.

    With a `delivery`, pixels, hash and thumbnail are those of the picture after that delivery. For
    each of `deliveries`, pixels and hash are made beside those of the picture itself.
    `thumbnail_pixels` is the longer side of the thumbnail. `file_metadata` are what the file says
    about its origin. `condition` is how the file seems to have been delivered. `luminance` is the
    deviation of what the model reads. `reencodings` are some of REENCODING_NAMES. `local_features`
    is the most keypoints. `view_hashes` are those of `make_view_hashes`. With a `descriptor`,
    pixels are made for that copy descriptor. An order for the file's metadata alone decodes
    nothing.
    """

    limits: ImageLimits
    preprocessing: Preprocessing | None = None
    pixels: bool = True
    delivery: Condition = Condition.AS_IS
    deliveries: tuple[Condition, ...] = ()
    perceptual_hash: bool = False
    thumbnail_pixels: int | None = None
    file_metadata: bool = False
    condition: bool = False
    luminance: bool = False
    reencodings: tuple[str, ...] = ()
    local_features: int | None = None
    view_hashes: bool = False
    descriptor: DescriptorInput | None = None

    def __post_init__(self) -> None:
        if self.preprocessing is None and (self.deliveries or self.luminance or self.reencodings):
            raise ValueError("deliveries, luminance and reencodings need a preprocessing")
        if self.luminance and not self.pixels:
            raise ValueError("luminance is measured on pixels")
        if not set(self.reencodings) <= set(REENCODING_NAMES):
            raise ValueError(f"reencodings must be some of {', '.join(REENCODING_NAMES)}")
        if self.thumbnail_pixels is not None and self.thumbnail_pixels < 1:
            raise ValueError("thumbnail_pixels must be at least 1")
        if self.local_features is not None and not 1 <= self.local_features <= MAX_KEYPOINTS:
            raise ValueError(f"local_features must be from 1 to {MAX_KEYPOINTS:,}")

    @property
    def needs_decoding(self) -> bool:
        """Whether the picture must be decoded. The file's metadata are read without that."""
        asked = self.perceptual_hash or self.condition or self.thumbnail_pixels is not None
        asked = asked or self.view_hashes or self.local_features is not None
        asked = asked or self.preprocessing is not None or self.descriptor is not None
        return asked or not self.file_metadata

    @property
    def result_bytes(self) -> int:
        """The most bytes that a result takes, where a thumbnail counts as if uncompressed."""
        arrays = self.pixels + len(self.deliveries) + len(self.reencodings)
        side = 0 if self.preprocessing is None else self.preprocessing.crop_size
        edge = self.thumbnail_pixels or 0
        texts = MAX_FILE_BYTES if self.file_metadata else 0
        features = 0 if self.local_features is None else count_bytes(self.local_features)
        described = 0 if self.descriptor is None else self.descriptor.byte_size
        return 3 * arrays * side * side + 3 * edge * edge + texts + features + described

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PictureOrder:
        """Read what `to_json` returned, after it was JSON. Raises KeyError, TypeError, ValueError
        for anything else.
        """
        fields = dict(values)
        fields["limits"] = ImageLimits(**fields["limits"])
        if fields["preprocessing"] is not None:
            fields["preprocessing"] = _read_preprocessing(fields["preprocessing"])
        if fields["descriptor"] is not None:
            fields["descriptor"] = DescriptorInput.from_json(fields["descriptor"])
        fields["delivery"] = Condition(fields["delivery"])
        fields["deliveries"] = tuple(Condition(each) for each in fields["deliveries"])
        fields["reencodings"] = tuple(fields["reencodings"])
        return cls(**fields)


@dataclass(frozen=True, slots=True, eq=False)
class DeliveredPicture:
    """A picture after one kind of delivery: `width` and `height` in pixels, the `pixels` `(h, w,
    3)` uint8 that the model reads, and what was ordered besides.
    """

    condition: Condition
    width: int
    height: int
    pixels: NDArray[np.uint8]
    perceptual_hash: PerceptualHash | None = None
    luminance_std: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What was made of a file; None where it was not ordered.

    `format` is one of `sniff.FORMATS`, `mode` the mode in which the file stores the picture, as
    Pillow names it. `width` and `height` are those of the upright picture in the file. An order for
    metadata alone leaves `mode` empty and the sides 0.

    `pixels` `(h, w, 3)` uint8 are what the model reads; `luminance_std` is their deviation in
    levels of 255. `thumbnail` is a WebP file. `file_generator` is the generator that the metadata
    name and the key of the text, None if they name none. `deliveries` has those after which the
    model and the limits accept the picture, in the order that was asked for. `local_features` is
    also None where OpenCV is not installed. `view_hashes` begin with the upright and whole picture.
    `descriptor_pixels` `(h, w, 3)` uint8 are what the copy descriptor reads.
    """

    format: str
    mode: str = ""
    width: int = 0
    height: int = 0
    pixels: NDArray[np.uint8] | None = None
    luminance_std: float | None = None
    perceptual_hash: PerceptualHash | None = None
    view_hashes: tuple[ViewHash, ...] = ()
    thumbnail: bytes | None = None
    file_metadata: FileMetadata | None = None
    file_generator: tuple[str, str] | None = None
    condition: Condition | None = None
    deliveries: tuple[DeliveredPicture, ...] = ()
    reencodings: ReEncodings | None = None
    local_features: LocalFeatures | None = None
    descriptor_pixels: NDArray[np.uint8] | None = None

    @property
    def held_bytes(self) -> int:
        """The bytes of its arrays, its features and its thumbnail."""
        arrays = [self.pixels, self.descriptor_pixels, *(each.pixels for each in self.deliveries)]
        arrays += [each.pixels for each in (self.reencodings.usable if self.reencodings else ())]
        features = 0 if self.local_features is None else self.local_features.held_bytes
        others = features + len(self.thumbnail or b"")
        return sum(each.nbytes for each in arrays if each is not None) + others


class Decoders(Protocol):
    """Runs `make_pictures` for bytes from outside. Thread-safe; one serves look-ups and ingests."""

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        """Make a picture of `data`; see `submit_all`."""
        ...

    def submit_all(
        self, data: bytes, orders: Sequence[PictureOrder], *, urgent: bool = False
    ) -> list[Future[Picture]]:
        """Make a picture of `data` for each order, one after the other; `data` is decoded once.

        A future is done as soon as its picture is there, and raises leaves of ImageError. It can
        be cancelled while the file waits. An urgent file comes before all that are not: somebody
        waits for it. Raises RuntimeError after `close`.
        """
        ...

    def prepare(self) -> None:
        """Start what the first picture would wait for, and wait for nothing.

        For a command that will decode and has something else to load first.
        """
        ...

    @property
    def confinement(self) -> Confinement:
        """What bytes from outside are kept from."""
        ...

    def close(self) -> None:
        """Cancel what waits, wait for what runs, and release everything."""
        ...


def make_picture(data: bytes, order: PictureOrder) -> Picture:
    """Make what is ordered of the file in `data`. Thread-safe; the same on each call.

    Raises a leaf of ImageError and nothing else.
    """
    (made,) = make_pictures(data, [order])
    if isinstance(made, ImageError):
        raise made
    return made


def make_pictures(data: bytes, orders: Sequence[PictureOrder]) -> Iterator[Picture | ImageError]:
    """Yield what each order makes of the file in `data`, or why that cannot be made.

    The orders have their limits in common. The file is decoded once. Thread-safe; the same on each
    call.
    """
    file = _File(data, orders[0].limits)
    for order in orders:
        try:
            yield _make(file, order)
        except ImageError as err:
            yield err


class _File:
    """A file, and what is read of it once for all orders."""

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.data = data
        self._limits = limits
        self._decoded: DecodedImage | ImageError | None = None

    @property
    def decoded(self) -> DecodedImage:
        """The picture. Raises ImageError."""
        if self._decoded is None:
            try:
                self._decoded = decode(self.data, self._limits)
            except ImageError as err:
                self._decoded = err
        if isinstance(self._decoded, ImageError):
            raise self._decoded
        return self._decoded

    @cached_property
    def metadata(self) -> FileMetadata:
        """What the file says about its origin."""
        return read_file_metadata(self.data)

    @cached_property
    def condition(self) -> Condition:
        """How the file seems to have been delivered. Raises ImageError."""
        return condition_of(delivery_of(self.data, self.decoded, self.metadata))


def _make(file: _File, order: PictureOrder) -> Picture:
    """Raises ImageError."""
    if not order.needs_decoding:
        return _add_statements(Picture(sniff(file.data).value), file.metadata)
    decoded = file.decoded
    shown = _deliver(decoded, order)
    pixels = None
    if order.preprocessing is not None and order.pixels:
        pixels = preprocess(shown.image, order.preprocessing)
    condition = file.condition if order.condition else None
    views = make_view_hashes(shown.image) if order.view_hashes else ()
    picture = Picture(
        format=decoded.format,
        mode=decoded.mode,
        width=decoded.width,
        height=decoded.height,
        pixels=pixels,
        luminance_std=_measure_luminance(pixels, order),
        perceptual_hash=views[0].hash if views and order.perceptual_hash else _hash(shown, order),
        view_hashes=views,
        thumbnail=None
        if order.thumbnail_pixels is None
        else make_thumbnail(shown.image, order.thumbnail_pixels),
        condition=condition,
        deliveries=tuple(_make_deliveries(shown, order)),
        reencodings=_reencode(shown, order, condition),
        local_features=None
        if order.local_features is None
        else extract_features(shown.image, order.local_features),
        descriptor_pixels=None
        if order.descriptor is None
        else make_descriptor_pixels(shown.image, order.descriptor),
    )
    return _add_statements(picture, file.metadata) if order.file_metadata else picture


def _add_statements(picture: Picture, metadata: FileMetadata) -> Picture:
    return replace(picture, file_metadata=metadata, file_generator=find_generator(metadata))


def _deliver(decoded: DecodedImage, order: PictureOrder) -> DecodedImage:
    """Return the picture after the delivery of the order. Raises ImageError."""
    if order.delivery is Condition.AS_IS:
        return decoded
    image = deliver(decoded.image, order.delivery)
    order.limits.check(*image.size)
    return replace(decoded, image=image)


def _measure_luminance(pixels: NDArray[np.uint8] | None, order: PictureOrder) -> float | None:
    return None if pixels is None or not order.luminance else measure_luminance_std(pixels)


def _hash(decoded: DecodedImage, order: PictureOrder) -> PerceptualHash | None:
    return compute_perceptual_hash(decoded.image) if order.perceptual_hash else None


def _make_deliveries(decoded: DecodedImage, order: PictureOrder) -> list[DeliveredPicture]:
    """Return the picture after each delivery. One that the model or the format refuses is left
    out.
    """
    made: list[DeliveredPicture] = []
    for condition in order.deliveries:
        assert order.preprocessing is not None
        try:
            delivered = replace(decoded, image=deliver(decoded.image, condition))
            pixels = preprocess(delivered.image, order.preprocessing)
        except ImageError:
            continue
        made.append(
            DeliveredPicture(
                condition,
                *delivered.image.size,
                pixels,
                _hash(delivered, order),
                _measure_luminance(pixels, order),
            )
        )
    return made


def _reencode(
    decoded: DecodedImage, order: PictureOrder, condition: Condition | None
) -> ReEncodings | None:
    if not order.reencodings:
        return None
    assert order.preprocessing is not None
    return reencode(
        decoded.image,
        order.preprocessing,
        order.limits,
        names=order.reencodings,
        delivered_as=condition or Condition.AS_IS,
    )


def _read_preprocessing(values: Mapping[str, Any]) -> Preprocessing:
    fields = dict(values)
    for name in ("mean", "std", "resized"):
        fields[name] = None if fields[name] is None else tuple(fields[name])
    fields["resample"] = None if fields["resample"] is None else Resample(fields["resample"])
    return Preprocessing(**fields)
