"""`preprocessor_config.json` to the `Preprocessing` that it describes; no pixels.

The image processors of ViT, DeiT and CLIP are read, as transformers 5 computes them with PIL. A key
that is missing has the default of its class. A key that is null has not: a step that is null is not
made. What is not implemented is refused by a sentence, because a
step that is left out gives plausible, wrong logits. A key that transformers does not know is
refused too, unless its value is null or false.

transformers also computes these processors with torchvision. Its resampling differs from PIL's by
about one level of 255 in single pixels; PIL's is the one that is followed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object
from embedder.pictures.preprocess import UNIT_SCALE, Preprocessing, Resample, Triple

# PIL's numbers, which the files use (PIL.Image.Resampling).
_RESAMPLE_BY_NUMBER = {int(Image.Resampling[each.name]): each for each in Resample}

_TYPE_KEYS = ("image_processor_type", "feature_extractor_type")
# `auto_map` is not one of them: it names remote code.
_KNOWN_KEYS = frozenset(
    {"do_resize", "size", "resample", "default_to_square", "do_center_crop", "crop_size"}
    | {"do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"}
    | {"crop_rounding", *_TYPE_KEYS}
)
# Keys that change no pixel, whatever their value. `do_convert_rgb` is one too: `decode` makes every
# image RGB.
_SILENT_KEYS = frozenset(
    {"processor_class", "_processor_class", "return_tensors", "data_format", "input_data_format"}
    | {"disable_grouping", "device", "_valid_processor_keys", "pad_size"}
    | {"do_convert_rgb", "image_seq_length"}
)


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What a class of transformers takes for a key that is missing."""

    size: Mapping[str, int]
    default_to_square: bool
    resample: Resample
    do_center_crop: bool
    crop_size: int | None
    mean: Triple
    std: Triple


_HALF = (0.5, 0.5, 0.5)  # IMAGENET_STANDARD_MEAN and _STD of transformers
_CLIP = _Defaults(
    size={"shortest_edge": 224},
    default_to_square=False,
    resample=Resample.BICUBIC,
    do_center_crop=True,
    crop_size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
_DEFAULTS = {
    "ViT": _Defaults(
        {"height": 224, "width": 224}, True, Resample.BILINEAR, False, None, _HALF, _HALF
    ),
    "DeiT": _Defaults(
        {"height": 256, "width": 256}, True, Resample.BICUBIC, True, 224, _HALF, _HALF
    ),
    "CLIP": _CLIP,
}
_TYPES = {
    name + suffix: defaults
    for name, defaults in _DEFAULTS.items()
    for suffix in ("ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor")
}


def read_preprocessing(path: Path) -> Preprocessing:
    """Read the specification in a `preprocessor_config.json`.

    Raises InvalidModelConfig.
    """
    return parse_preprocessing(read_json_object(path), path.name)


def parse_preprocessing(config: Mapping[str, Any], source: str) -> Preprocessing:
    """Parse the JSON of a specification; `source` names the file in errors.

    Raises InvalidModelConfig.
    """
    unknown = sorted(
        key
        for key in set(config) - _KNOWN_KEYS - _SILENT_KEYS
        if config[key] is not None and config[key] is not False
    )
    if unknown:
        raise InvalidModelConfig(source, f"the keys {', '.join(unknown)} are not supported")
    return _Reader(config, source).read()


def describe_preprocessing(preprocessing: Preprocessing) -> str:
    """Say in one line how an image becomes pixels."""
    parts = []
    if preprocessing.resized is not None:
        height, width = preprocessing.resized
        parts.append(f"resized to {width} x {height} ({preprocessing.resample})")
    elif preprocessing.shortest_edge is not None:
        bound = preprocessing.longest_edge
        parts.append(
            f"shorter side {preprocessing.shortest_edge}"
            + (f", longer side at most {bound}" if bound is not None else "")
            + f" ({preprocessing.resample})"
        )
    parts.append(f"centre crop {preprocessing.crop_size}")
    if preprocessing.scale != UNIT_SCALE:
        parts.append(f"times {preprocessing.scale:.6g}")
    if preprocessing.mean is not None and preprocessing.std is not None:
        for word, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            parts.append(f"{word} {' '.join(f'{value:.4g}' for value in values)}")
    return ", ".join(parts)


class _Reader:
    """One file, and the defaults of its class."""

    def __init__(self, given: Mapping[str, Any], source: str) -> None:
        self._given = given
        self._source = source
        self._defaults = self._find_defaults()

    def read(self) -> Preprocessing:
        shortest, longest, resized = self._read_size()
        resample = self._read_resample() if shortest or resized else None
        mean, std = self._read_normalisation()
        rounding = self._given.get("crop_rounding", "floor")
        if rounding not in ("floor", "half_even"):
            raise self._refuse(f"crop_rounding {rounding!r} is neither 'floor' nor 'half_even'")
        scale = self._read_scale()
        if mean is None and not self._flag("do_rescale", default=True):
            raise self._refuse(
                "do_rescale and do_normalize are both false: the network reads no whole numbers"
            )
        try:
            return Preprocessing(
                shortest_edge=shortest,
                resample=resample,
                crop_size=self._read_crop(resized),
                crop_rounding=rounding,
                mean=mean,
                std=std,
                resized=resized,
                longest_edge=longest,
                scale=scale,
            )
        except ValueError as err:
            raise InvalidModelConfig(self._source, str(err)) from err

    def _find_defaults(self) -> _Defaults:
        names = (self._given.get(key) for key in _TYPE_KEYS)
        name = next((name for name in names if name is not None), None)
        if name is None:
            return self._guess_defaults()
        if not isinstance(name, str) or name not in _TYPES:
            raise self._refuse(
                f"the image processor {name!r} is not supported, only those of "
                f"{', '.join(_DEFAULTS)} are"
            )
        return _TYPES[name]

    def _guess_defaults(self) -> _Defaults:
        """Return the defaults of a file that does not name its class.

        transformers takes ViT's class, from `model_type`. With the shortest edge, or without a
        resize, ViT's class gives no square by default: such a file was written for CLIP's class.
        Where it asks for the crop by itself, either class may be meant: the filter must be given.
        """
        size = self._given.get("size")
        by_edge = isinstance(size, dict) and "shortest_edge" in size
        if not by_edge and self._flag("do_resize", default=True):
            return _DEFAULTS["ViT"]
        needed = ["crop_size"]
        if "do_center_crop" in self._given and self._flag("do_resize", default=True):
            needed.append("resample")
        if self._flag("do_normalize", default=True):
            needed += ["image_mean", "image_std"]
        missing = [key for key in needed if self._given.get(key) is None]
        if missing:
            raise self._refuse(
                f"{' and '.join(missing)} must be given, as image_processor_type is not"
            )
        return _CLIP

    def _read_size(self) -> tuple[int | None, int | None, tuple[int, int] | None]:
        """Return shortest edge, longest edge and `(height, width)`; None for what is not given."""
        if not self._flag("do_resize", default=True):
            return None, None, None
        match self._size_as_keys():
            case {"height": int(height), "width": int(width), **rest} if not rest:
                return None, None, (height, width)
            case {"shortest_edge": int(shortest), **rest} if not rest:
                return shortest, None, None
            case {"shortest_edge": int(shortest), "longest_edge": int(longest), **rest} if not rest:
                return shortest, longest, None
        raise self._refuse(
            f"size {self._given.get('size')!r} is neither a number of pixels nor an object with "
            "height and width, or with shortest_edge"
        )

    def _size_as_keys(self) -> Mapping[str, int] | None:
        """Return the size as an object of positive whole numbers; None for any other value."""
        size = self._given.get("size", self._defaults.size)
        square = self._flag("default_to_square", default=self._defaults.default_to_square)
        if _is_count(size):
            return {"height": size, "width": size} if square else {"shortest_edge": size}
        if isinstance(size, list) and len(size) == 2:
            size = {"height": size[0], "width": size[1]}
        if not isinstance(size, Mapping):
            return None
        given = {key: value for key, value in size.items() if value is not None}
        return given if all(_is_count(value) for value in given.values()) else None

    def _read_resample(self) -> Resample:
        number = self._given.get("resample", int(Image.Resampling[self._defaults.resample.name]))
        if isinstance(number, bool) or not isinstance(number, int):
            raise self._refuse(f"resample {number!r} is not the number of one of PIL's filters")
        if number not in _RESAMPLE_BY_NUMBER:
            raise self._refuse(f"resample {number} is not one of PIL's filters")
        return _RESAMPLE_BY_NUMBER[number]

    def _read_crop(self, resized: tuple[int, int] | None) -> int:
        """Return the side of what is left of the image. Without a crop, the resize must give it."""
        if not self._flag("do_center_crop", default=self._defaults.do_center_crop):
            if resized is None or resized[0] != resized[1]:
                raise self._refuse(
                    "without do_center_crop, size must be a square, so that every image gets it"
                )
            return resized[0]
        crop = self._given.get("crop_size", self._defaults.crop_size)
        if isinstance(crop, list) and len(crop) == 2:
            crop = {"height": crop[0], "width": crop[1]}
        if isinstance(crop, Mapping):
            sides = {key: value for key, value in crop.items() if value is not None}
            is_square = set(sides) == {"height", "width"} and sides["height"] == sides["width"]
            crop = sides["height"] if is_square else crop
        if not _is_count(crop):
            raise self._refuse(f"crop_size {crop!r} is not a square")
        return int(crop)

    def _read_scale(self) -> float:
        if not self._flag("do_rescale", default=True):
            return 1.0
        factor = self._given.get("rescale_factor", UNIT_SCALE)
        if not _is_number(factor) or not factor > 0:
            raise self._refuse(f"rescale_factor {factor!r} is not a positive number")
        # A factor that was written with fewer digits is the same one.
        return UNIT_SCALE if abs(factor * 255 - 1) <= 1e-9 else float(factor)

    def _read_normalisation(self) -> tuple[Triple | None, Triple | None]:
        if not self._flag("do_normalize", default=True):
            return None, None
        return (
            self._read_triple("image_mean", self._defaults.mean),
            self._read_triple("image_std", self._defaults.std),
        )

    def _read_triple(self, key: str, default: Triple) -> Triple:
        values = self._given.get(key, default)
        if _is_number(values):
            values = [values] * 3
        if (
            not isinstance(values, list | tuple)
            or len(values) != 3
            or not all(_is_number(value) for value in values)
        ):
            raise self._refuse(f"{key} {values!r} is not three numbers")
        red, green, blue = (float(value) for value in values)
        return red, green, blue

    def _flag(self, key: str, *, default: bool) -> bool:
        value = self._given.get(key, default)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._refuse(f"{key} {value!r} is neither true nor false")
        return value

    def _refuse(self, detail: str) -> InvalidModelConfig:
        return InvalidModelConfig(self._source, detail)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
