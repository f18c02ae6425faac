"""What a copy descriptor reads: the frozen specification, and its pixels from a decoded picture.

The way from a picture to pixels is part of a descriptor, like its weights: another filter gives
plausible, slightly wrong similarities. So its fingerprint is part of the copy space.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.pictures.preprocess import Resample, Triple

# A larger input would take more than 50 MB of float32 in the first layer alone.
MAX_INPUT_SIDE = 2_048


class Fit(StrEnum):
    """How a picture of another shape is brought to the size."""

    STRETCHED = "stretched"  # resized to exactly that, whatever its aspect ratio
    WHOLE = "whole"  # made smaller where it must be, at the top left; black beside or below it


@dataclass(frozen=True, slots=True)
class DescriptorInput:
    """The pixels that a descriptor reads: `height` x `width`, RGB, uint8.

    A picture of any size and aspect ratio is brought to that with the filter `resample`, as `fit`
    says. Nothing is cropped. With `mean` and `std` (both on the scale 0 to 1), the network reads
    float32 `(n, 3, h, w)`, normalised with them. Without, it reads the uint8 pixels `(n, h, w, 3)`
    themselves.
    """

    height: int
    width: int
    resample: Resample = Resample.BILINEAR
    mean: Triple | None = None
    std: Triple | None = None
    fit: Fit = Fit.STRETCHED

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            if not 1 <= side <= MAX_INPUT_SIDE:
                raise ValueError(f"a side must be 1 to {MAX_INPUT_SIDE} pixels")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together")
        if self.std is not None and not all(0 < each < math.inf for each in self.std):
            raise ValueError("std must be positive")

    @property
    def byte_size(self) -> int:
        """The bytes of the pixels of one picture."""
        return 3 * self.height * self.width

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the canonical JSON; a fit counts where it does not stretch."""
        fields = asdict(self)
        if self.fit is Fit.STRETCHED:
            del fields["fit"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DescriptorInput:
        """Read what `asdict` returned, after it was JSON. Raises KeyError, TypeError,
        ValueError.
        """
        fields = dict(values)
        for name in ("mean", "std"):
            fields[name] = None if fields.get(name) is None else _read_triple(fields[name])
        kinds = {
            "resample": Resample(fields["resample"]),
            "fit": Fit(fields.get("fit", "stretched")),
        }
        return cls(**fields | kinds)


def make_descriptor_pixels(image: Image.Image, wanted: DescriptorInput) -> NDArray[np.uint8]:
    """Return the pixels `(height, width, 3)` of an RGB image, C-contiguous."""
    if image.mode != "RGB":
        raise ValueError(f"a descriptor reads RGB images, not {image.mode}: decode it first")
    resample = Image.Resampling[wanted.resample.name]
    if wanted.fit is Fit.STRETCHED:
        return np.asarray(image.resize((wanted.width, wanted.height), resample))  # (h, w, 3)
    scale = min(wanted.width / image.width, wanted.height / image.height, 1.0)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = np.zeros((wanted.height, wanted.width, 3), np.uint8)  # (h, w, 3)
    canvas[:height, :width] = np.asarray(image.resize((width, height), resample))
    return canvas


def _read_triple(values: Sequence[float]) -> Triple:
    red, green, blue = (float(each) for each in values)
    return red, green, blue
