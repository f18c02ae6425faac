"""Preprocessing: an RGB image to the pixels that one model reads; the frozen specification.

Two steps. `preprocess` resizes and crops: its pixels are uint8 `(h, w, 3)`, as Pillow has them, a
quarter of the size of floats while they wait. `normalise` makes of them the float32 values that the
network multiplies. The device does the second step itself (`embedder.network.patches`).

The preprocessing is part of the model: another filter or another mean gives plausible, wrong
logits. So it is read once from `preprocessor_config.json` (`processors`), or held by the registry
for a checkpoint that publishes none, and its fingerprint becomes part of the embedding space.

Follows the image processors of transformers that use PIL (PIL resampling on uint8, float64 rescale,
float32 normalisation) and, for `half_even`, torchvision's `CenterCrop`. Nothing is ever padded: see
`Preprocessing.min_side`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ImageTooSmall

Triple = tuple[float, float, float]
CropRounding = Literal["floor", "half_even"]


class Resample(StrEnum):
    """PIL's filters. The value is the name that goes into the fingerprint."""

    NEAREST = "nearest"
    LANCZOS = "lanczos"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"


# A sliver of 32 x 3,000,000 pixels is within the limits of `decode`, and would need 54 GB once its
# shorter side is 440. Above this limit (330 : 1 at that size) only the crop is computed, through
# PIL's `box`. It differs from the references by at most one level of 255 (278 random sizes),
# because the filter's phase is rounded elsewhere.
MAX_RESIZED_PIXELS = 64_000_000

# The factor that brings 0..255 to 0..1, as transformers writes it.
UNIT_SCALE = 1 / 255


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an RGB image becomes pixels. None means that the step is left out.

    `shortest_edge`, `longest_edge` and `crop_size` are pixels; `mean` and `std` are on the scale of
    the pixels after `scale`. An image is resized either so that its shorter side is `shortest_edge`
    (and, with `longest_edge`, its longer side at most that) or to `resized`, which is `(height,
    width)` and does not keep the aspect ratio. `crop_rounding` says where an odd centre goes:
    `floor` is transformers' `(h - c) // 2`, `half_even` is torchvision's `round((h - c) / 2)`.
    `scale` multiplies the values 0..255 before the normalisation; 1 leaves them as they are.
    """

    shortest_edge: int | None
    resample: Resample | None
    crop_size: int
    crop_rounding: CropRounding = "floor"
    mean: Triple | None = None
    std: Triple | None = None
    resized: tuple[int, int] | None = None
    longest_edge: int | None = None
    scale: float = UNIT_SCALE

    def __post_init__(self) -> None:
        if self.shortest_edge is not None and self.resized is not None:
            raise ValueError("only one of shortest_edge and resized can be given")
        if (self.shortest_edge is None and self.resized is None) != (self.resample is None):
            raise ValueError("shortest_edge or resized, and resample, must be given together")
        if self.longest_edge is not None and (
            self.shortest_edge is None or self.longest_edge < self.shortest_edge
        ):
            raise ValueError("longest_edge must be at least shortest_edge")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together")
        sides = [self.crop_size, self.shortest_edge, *(self.resized or ())]
        if self.crop_size < 1 or min(each for each in sides if each is not None) < self.crop_size:
            raise ValueError(
                "the resized image must be at least as large as the crop, as nothing is padded"
            )
        if self.std is not None and not all(each > 0 for each in self.std):
            raise ValueError("std must be positive")
        if not 0 < self.scale < math.inf:
            raise ValueError("scale must be positive")

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the canonical JSON; equal if and only if every pixel is the same.

        A field that came later counts only where it is set, so that older fingerprints stay.
        """
        fields = asdict(self)
        for name, default in _LATER_FIELDS.items():
            if fields[name] == default:
                del fields[name]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def min_side(self) -> int:
        """The smallest shorter side that is accepted.

        Without a resize it is the crop's side, because nothing is padded.
        """
        return self.crop_size if self.resample is None else 1


# Fields that fingerprints of the first release do not contain, with their defaults.
_LATER_FIELDS = {"resized": None, "longest_edge": None, "scale": UNIT_SCALE}


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the pixels `(crop, crop, 3)` of an RGB image, 0 to 255 and C-contiguous.

    Raises ImageTooSmall; nothing is padded.
    """
    if image.mode != "RGB":
        raise ValueError(f"preprocess needs an RGB image, not {image.mode}: decode it first")
    if min(image.size) < preprocessing.min_side:
        raise ImageTooSmall(image.width, image.height, preprocessing.min_side)
    return np.asarray(_resize_and_crop(image, preprocessing))  # (crop, crop, 3)


def normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the float32 values `(..., 3, h, w)` of pixels `(..., h, w, 3)`, C-contiguous."""
    # float64, then float32, like transformers' `rescale`: they agree to the last bit.
    scaled: NDArray[np.float32] = (pixels.astype(np.float64) * preprocessing.scale).astype(
        np.float32
    )
    if preprocessing.mean is not None and preprocessing.std is not None:
        mean, std = (np.array(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
        scaled = np.divide(np.subtract(scaled, mean), std, dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3), dtype=np.float32)  # (..., 3, h, w)


def compute_resized_size(width: int, height: int, shortest_edge: int) -> tuple[int, int]:
    """Return `(width, height)` once the shorter side is `shortest_edge`.

    Both references round the longer side down.
    """
    short, long = min(width, height), max(width, height)
    new_long = int(shortest_edge * long / short)
    return (shortest_edge, new_long) if width <= height else (new_long, shortest_edge)


def compute_bounded_size(
    width: int, height: int, shortest_edge: int, longest_edge: int
) -> tuple[int, int]:
    """Return `(width, height)` once the shorter side is `shortest_edge`, or less where the longer
    side would exceed `longest_edge`.

    Follows `get_size_with_aspect_ratio` of transformers.
    """
    short, long = min(width, height), max(width, height)
    edge: float = shortest_edge
    if long / short * shortest_edge > longest_edge:
        edge = longest_edge * short / long
    new_short = round(edge)
    if short == new_short:
        return width, height
    new_long = int(edge * long / short)
    return (new_short, new_long) if width <= height else (new_long, new_short)


def compute_crop_offset(length: int, crop_size: int, rounding: CropRounding) -> int:
    """Return the first pixel of the centred crop on a side of `length` pixels."""
    match rounding:
        case "floor":
            return (length - crop_size) // 2
        case "half_even":
            return round(
                (length - crop_size) / 2
            )  # Python rounds half to even; so does torchvision
        case _:
            assert_never(rounding)


def _resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize the whole image, then crop, as the references do. Of a sliver, only the crop is
    computed.
    """
    crop, rounding = preprocessing.crop_size, preprocessing.crop_rounding
    width, height = _compute_target_size(image, preprocessing)
    left, top = (
        compute_crop_offset(width, crop, rounding),
        compute_crop_offset(height, crop, rounding),
    )
    if preprocessing.resample is None:
        return image.crop((left, top, left + crop, top + crop))
    resample = Image.Resampling[preprocessing.resample.name]
    if width * height <= MAX_RESIZED_PIXELS:
        return image.resize((width, height), resample).crop((left, top, left + crop, top + crop))
    across, down = image.width / width, image.height / height
    box = (
        left * across,
        top * down,
        min((left + crop) * across, image.width),
        min((top + crop) * down, image.height),
    )
    return image.resize((crop, crop), resample, box=box)


def _compute_target_size(image: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """Return `(width, height)` after the resize. Raises ImageTooSmall."""
    if preprocessing.resized is not None:
        height, width = preprocessing.resized
        return width, height
    if preprocessing.shortest_edge is None:
        return image.size
    if preprocessing.longest_edge is None:
        return compute_resized_size(*image.size, preprocessing.shortest_edge)
    size = compute_bounded_size(
        *image.size, preprocessing.shortest_edge, preprocessing.longest_edge
    )
    if min(size) < preprocessing.crop_size:
        needed = math.ceil(preprocessing.crop_size * max(image.size) / preprocessing.longest_edge)
        raise ImageTooSmall(image.width, image.height, needed)
    return size
