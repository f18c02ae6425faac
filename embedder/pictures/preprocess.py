"""Preprocessing: an RGB image to the float32 pixels that one model reads; the frozen specification.

The preprocessing is part of the model: another filter or another mean gives plausible, wrong
logits. So it is read once from `preprocessor_config.json`, or held by the registry for a checkpoint
that publishes none. It is refused when it contains anything that is not implemented here, and its
fingerprint becomes part of the embedding space.

Follows `CLIPImageProcessorPil` of transformers (PIL resampling on uint8, float64 rescale, float32
normalisation) and, for `half_even`, torchvision's `CenterCrop`. Nothing is ever padded: see
`Preprocessing.min_side`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ImageTooSmall, InvalidModelConfig
from embedder.jsonfile import read_json_object

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

# PIL's numbers, which `preprocessor_config.json` uses (PIL.Image.Resampling).
_RESAMPLE_BY_NUMBER = {int(Image.Resampling[each.name]): each for each in Resample}

# Keys that change no pixel, whatever their value. `auto_map` is not one: it names remote code.
_SILENT_KEYS = frozenset(
    {"processor_class", "_processor_class", "return_tensors", "data_format", "input_data_format"}
    | {"default_to_square", "disable_grouping", "device", "_valid_processor_keys"}
)
# A missing key has CLIP's default only in CLIP's processor.
_TYPE_KEYS = ("image_processor_type", "feature_extractor_type")
_CLIP_TYPES = frozenset(
    {
        "CLIPImageProcessor",
        "CLIPImageProcessorFast",
        "CLIPImageProcessorPil",
        "CLIPFeatureExtractor",
    }
)
_KNOWN_KEYS = frozenset(
    {"do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor"}
    | {
        "do_normalize",
        "image_mean",
        "image_std",
        "do_pad",
        "do_convert_rgb",
        "crop_rounding",
        *_TYPE_KEYS,
    }
)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an RGB image becomes pixels. None means that the step is left out.

    `shortest_edge` and `crop_size` are pixels; `mean` and `std` are on the scale 0..1.
    `crop_rounding` says where an odd centre goes: `floor` is transformers' `(h - c) // 2`,
    `half_even` is torchvision's `round((h - c) / 2)`.
    """

    shortest_edge: int | None
    resample: Resample | None
    crop_size: int
    crop_rounding: CropRounding = "floor"
    mean: Triple | None = None
    std: Triple | None = None

    def __post_init__(self) -> None:
        if (self.shortest_edge is None) != (self.resample is None):
            raise ValueError("shortest_edge and resample must be given together")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together")
        if self.crop_size < 1 or (
            self.shortest_edge is not None and self.shortest_edge < self.crop_size
        ):
            raise ValueError(
                "the resized image must be at least as large as the crop, as nothing is padded"
            )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive")

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the canonical JSON; equal if and only if every pixel is the same."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def min_side(self) -> int:
        """The smallest shorter side that is accepted.

        Without a resize it is the crop's side, because nothing is padded.
        """
        return self.crop_size if self.shortest_edge is None else 1


def read_preprocessing(path: Path) -> Preprocessing:
    """Read the specification in a `preprocessor_config.json`.

    Raises InvalidModelConfig, also for a key that is not known.
    """
    return parse_preprocessing(read_json_object(path), path.name)


def parse_preprocessing(config: Mapping[str, Any], source: str) -> Preprocessing:
    """Parse the JSON of a specification; `source` names the file in errors.

    Raises InvalidModelConfig.
    """
    unknown = sorted(set(config) - _KNOWN_KEYS - _SILENT_KEYS)
    if unknown:
        raise InvalidModelConfig(source, f"the keys {', '.join(unknown)} are not supported")
    for key in _TYPE_KEYS:
        if config.get(key, "CLIPImageProcessor") not in _CLIP_TYPES:
            raise InvalidModelConfig(source, f"{key} {config[key]!r} is not CLIP's image processor")
    if config.get("do_pad"):
        raise InvalidModelConfig(source, "do_pad is not supported")
    if not config.get("do_center_crop", True):
        raise InvalidModelConfig(source, "do_center_crop must be true")
    if config.get("do_convert_rgb") is False:
        raise InvalidModelConfig(source, "do_convert_rgb must not be false")
    _require_unit_rescale(config, source)
    edge, resample = _read_resize(config, source)
    mean, std = _read_normalisation(config, source)
    rounding = config.get("crop_rounding", "floor")
    if rounding not in ("floor", "half_even"):
        raise InvalidModelConfig(
            source, f"crop_rounding {rounding!r} is neither 'floor' nor 'half_even'"
        )
    try:
        return Preprocessing(edge, resample, _read_crop(config, source), rounding, mean, std)
    except ValueError as err:
        raise InvalidModelConfig(source, str(err)) from err


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the pixels `(3, crop, crop)` of an RGB image, float32 and C-contiguous.

    Raises ImageTooSmall; nothing is padded.
    """
    if image.mode != "RGB":
        raise ValueError(f"preprocess needs an RGB image, not {image.mode}: decode it first")
    if min(image.size) < preprocessing.min_side:
        raise ImageTooSmall(image.width, image.height, preprocessing.min_side)
    pixels = np.asarray(_resize_and_crop(image, preprocessing))  # (crop, crop, 3) uint8
    # float64, then float32, like transformers' `rescale`: they agree to the last bit.
    scaled: NDArray[np.float32] = (pixels.astype(np.float64) * (1 / 255)).astype(np.float32)
    if preprocessing.mean is not None and preprocessing.std is not None:
        mean, std = (np.array(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
        scaled = np.divide(np.subtract(scaled, mean), std, dtype=np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)  # (3, crop, crop)


def compute_resized_size(width: int, height: int, shortest_edge: int) -> tuple[int, int]:
    """Return `(width, height)` once the shorter side is `shortest_edge`.

    Both references round the longer side down.
    """
    short, long = min(width, height), max(width, height)
    new_long = int(shortest_edge * long / short)
    return (shortest_edge, new_long) if width <= height else (new_long, shortest_edge)


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
    width, height = image.size
    if preprocessing.shortest_edge is not None:
        width, height = compute_resized_size(*image.size, preprocessing.shortest_edge)
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


def _require_unit_rescale(config: Mapping[str, Any], source: str) -> None:
    if not config.get("do_rescale", True):
        raise InvalidModelConfig(
            source, "do_rescale must be true: pixels on the scale 0..255 are not supported"
        )
    factor = config.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or abs(factor * 255 - 1) > 1e-9:
        raise InvalidModelConfig(source, f"rescale_factor {factor!r} is not 1/255")


def _read_resize(config: Mapping[str, Any], source: str) -> tuple[int | None, Resample | None]:
    if not config.get("do_resize", True):
        return None, None
    size = config.get("size")
    edge = (
        size.get("shortest_edge")
        if isinstance(size, dict) and set(size) == {"shortest_edge"}
        else None
    )
    if not _is_count(edge):
        raise InvalidModelConfig(source, f"size {size!r} is not {{'shortest_edge': pixels}}")
    number = config.get("resample", int(Image.Resampling.BICUBIC))  # CLIPImageProcessor's default
    if not isinstance(number, int) or number not in _RESAMPLE_BY_NUMBER:
        raise InvalidModelConfig(source, f"resample {number!r} is not one of PIL's filters")
    return edge, _RESAMPLE_BY_NUMBER[number]


def _read_crop(config: Mapping[str, Any], source: str) -> int:
    crop = config.get("crop_size")
    if (
        isinstance(crop, dict)
        and set(crop) == {"height", "width"}
        and crop["height"] == crop["width"]
    ):
        crop = crop["height"]
    if crop is None or not _is_count(crop):
        raise InvalidModelConfig(source, f"crop_size {crop!r} is not a square")
    return int(crop)


def _read_normalisation(
    config: Mapping[str, Any], source: str
) -> tuple[Triple | None, Triple | None]:
    if not config.get("do_normalize", True):
        return None, None
    return _read_triple(config, "image_mean", source), _read_triple(config, "image_std", source)


def _read_triple(config: Mapping[str, Any], key: str, source: str) -> Triple:
    values = config.get(key)
    if (
        not isinstance(values, list)
        or len(values) != 3
        or not all(isinstance(v, int | float) for v in values)
    ):
        raise InvalidModelConfig(source, f"{key} {values!r} is not three numbers")
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
