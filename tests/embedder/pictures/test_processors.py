from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_processing_backends import PilBackend
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from embedder.errors import ImageTooSmall, InvalidModelConfig
from embedder.pictures.preprocess import Preprocessing, Resample, normalise, preprocess
from embedder.pictures.processors import (
    describe_preprocessing,
    parse_preprocessing,
    read_preprocessing,
)

PictureMaker = Callable[..., Image.Image]

CLASSES: Mapping[str, Callable[..., PilBackend]] = {
    "ViT": ViTImageProcessorPil,
    "DeiT": DeiTImageProcessorPil,
    "CLIP": CLIPImageProcessorPil,
}
SOURCE = "preprocessor_config.json"
# Float32 values after the normalisation. Without a mean of 0.5 or so they can be as large as 255.
AGREEMENT = 1e-6
SIZES = [(64, 64), (640, 481), (481, 640), (33, 40), (5, 7), (1, 1), (300, 37), (250, 1000)]


def compute_reference(config: Mapping[str, Any], image: Image.Image) -> np.ndarray:
    name = config["image_processor_type"]
    processor = next(made for each, made in CLASSES.items() if name.startswith(each))
    return np.asarray(processor(**config)(image, return_tensors="np")["pixel_values"][0])


def compute_values(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    return normalise(preprocess(image, preprocessing), preprocessing)


def compute_ours(config: Mapping[str, Any], image: Image.Image) -> np.ndarray:
    return compute_values(image, parse_preprocessing(config, SOURCE))


def is_equal(ours: np.ndarray, reference: np.ndarray) -> bool:
    assert ours.shape == reference.shape
    largest = max(1.0, float(np.abs(reference).max()))
    return float(np.abs(ours - reference).max()) <= AGREEMENT * largest


VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 48}}
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": 56, "crop_size": 48}
DEIT = {"image_processor_type": "DeiTImageProcessor", "size": 56, "crop_size": 48}
# As the fast classes of transformers 4 write them.
NULLS = dict.fromkeys(
    {"crop_size", "data_format", "device", "disable_grouping", "do_center_crop", "do_convert_rgb"}
    | {"do_pad", "input_data_format", "pad_size", "return_tensors"}
)
CONFIGS: dict[str, dict[str, Any]] = {
    "ViT": VIT,
    "ViT, a number": VIT | {"size": 48},
    "ViT, a list": VIT | {"size": [48, 48]},
    "ViT, fast, all null": NULLS | VIT | {"image_processor_type": "ViTImageProcessorFast"},
    "DeiT, a null step is not made": VIT
    | {"image_processor_type": "DeiTImageProcessor"}
    | {"do_center_crop": None, "do_normalize": None, "crop_size": None},
    "CLIP, a null shape is the shortest edge": CLIP | {"default_to_square": None},
    "ViT, an older name": {"feature_extractor_type": "ViTFeatureExtractor", "size": 48},
    "ViT, its own size": {"image_processor_type": "ViTImageProcessor"},
    "ViT, a crop": VIT | {"size": {"shortest_edge": 56}, "do_center_crop": True, "crop_size": 48},
    "ViT, bounded": VIT
    | {"size": {"shortest_edge": 56, "longest_edge": 230}, "do_center_crop": True, "crop_size": 48},
    "ViT, a size that is not square": VIT
    | {"size": {"height": 50, "width": 61}, "do_center_crop": True, "crop_size": 47},
    "ViT, a crop that is not made": VIT | {"crop_size": 30},
    "ViT, one mean": VIT | {"image_mean": 0.4, "image_std": 0.3},
    "ViT, nearest": VIT | {"resample": 0},
    "ViT, Lanczos": VIT | {"resample": 1},
    "ViT, box": VIT | {"resample": 4},
    "ViT, Hamming": VIT | {"resample": 5},
    "ViT, only rescaled": VIT | {"do_normalize": False},
    "ViT, only normalised": VIT
    | {"do_rescale": False, "image_mean": [128, 127, 120], "image_std": [60, 61, 62]},
    "ViT, from -1 to 1": VIT | {"rescale_factor": 1 / 127.5, "image_mean": 1, "image_std": [1] * 3},
    "ViT, a float32 factor": VIT | {"rescale_factor": 0.003921568859368563},
    "CLIP": CLIP,
    "CLIP, fast": CLIP | {"image_processor_type": "CLIPImageProcessorFast"},
    "CLIP, PIL": CLIP | {"image_processor_type": "CLIPImageProcessorPil"},
    "CLIP, its own size": {"image_processor_type": "CLIPImageProcessor"},
    "CLIP, a square": CLIP | {"default_to_square": True},
    "CLIP, an odd crop": CLIP | {"crop_size": {"height": 47, "width": 47}},
    "CLIP, no crop": CLIP | {"size": {"height": 48, "width": 48}, "do_center_crop": False},
    "CLIP, not converted": CLIP | {"do_convert_rgb": False},
    "CLIP, bilinear": CLIP | {"resample": 2},
    "DeiT": DEIT,
    "DeiT, fast": DEIT | {"image_processor_type": "DeiTImageProcessorFast"},
    "DeiT, its own size": {"image_processor_type": "DeiTImageProcessor"},
    "DeiT, the older form": {
        "feature_extractor_type": "DeiTFeatureExtractor",
        "size": 56,
        "crop_size": 48,
        "do_center_crop": True,
        "resample": 3,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_are_those_of_transformers_classes(name: str, picture_maker: PictureMaker) -> None:
    config = CONFIGS[name]
    typed = {"image_processor_type": name.split(",", maxsplit=1)[0] + "ImageProcessor"} | config
    for size in SIZES:
        image = picture_maker(*size)
        try:
            ours = compute_ours(config, image)
        except ImageTooSmall:
            assert "bounded" in name
            continue
        assert is_equal(ours, compute_reference(typed, image)), size


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_pixels_are_those_of_transformers_for_images_of_other_modes(
    mode: str, picture_maker: PictureMaker
) -> None:
    """CLIP's class converts to RGB by itself; Lineup's decoder does it before."""
    image = picture_maker(90, 70).convert(mode)
    assert is_equal(compute_ours(CLIP, image.convert("RGB")), compute_reference(CLIP, image))


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_own_choice_of_a_class_is_the_same(
    name: str, tmp_path: Path, picture_maker: PictureMaker
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    path = tmp_path / SOURCE
    path.write_text(json.dumps(CONFIGS[name]))
    image = picture_maker(120, 90)
    chosen = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    reference = chosen(image, return_tensors="np")["pixel_values"][0]
    assert is_equal(compute_values(image, read_preprocessing(path)), reference)


def test_a_file_that_names_no_class_is_read_as_vit_like_transformers(
    tmp_path: Path, picture_maker: PictureMaker
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    image = picture_maker(120, 90)
    for config in ({"size": 48}, {"size": {"height": 48, "width": 48}, "crop_size": 30}, {}):
        path = tmp_path / SOURCE
        path.write_text(json.dumps(config))
        chosen = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
        reference = chosen(image, return_tensors="np")["pixel_values"][0]
        assert is_equal(compute_values(image, read_preprocessing(path)), reference)


OPTIONAL = {
    "do_resize": st.sampled_from([True, None]),
    "size": st.one_of(
        st.integers(30, 60),
        st.fixed_dictionaries({"height": st.integers(30, 60), "width": st.integers(30, 60)}),
        st.fixed_dictionaries({"shortest_edge": st.integers(30, 60)}),
    ),
    "default_to_square": st.sampled_from([True, False, None]),
    "resample": st.sampled_from([0, 1, 2, 3, 4, 5, None]),
    "do_center_crop": st.sampled_from([True, False, None]),
    "crop_size": st.one_of(
        st.integers(20, 30), st.just({"height": 29, "width": 29}), st.just([28, 28])
    ),
    "do_rescale": st.sampled_from([True, False, None]),
    "rescale_factor": st.sampled_from([1 / 255, 1 / 127.5, 0.01, None]),
    "do_normalize": st.sampled_from([True, False, None]),
    "image_mean": st.one_of(
        st.floats(0, 1), st.lists(st.floats(0, 1), min_size=3, max_size=3), st.none()
    ),
    "image_std": st.one_of(
        st.floats(0.1, 1), st.lists(st.floats(0.1, 1), min_size=3, max_size=3), st.none()
    ),
    "do_convert_rgb": st.sampled_from([True, False, None]),
}


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(CLASSES)),
    keys=st.fixed_dictionaries({}, optional=OPTIONAL),
    width=st.integers(30, 90),
    height=st.integers(30, 90),
)
def test_every_file_is_computed_as_by_transformers_or_refused(
    name: str, keys: dict[str, Any], width: int, height: int
) -> None:
    config = {"image_processor_type": f"{name}ImageProcessor"} | keys
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    try:
        ours = compute_ours(config, image)
    except ImageTooSmall:
        assert min(width, height) < 224
        return
    except InvalidModelConfig as err:
        # Refused for a reason: no fixed square, padding, or whole numbers as pixels.
        assert any(  # noqa: PT017 -- most files are not refused
            part in str(err)
            for part in (
                "must be a square",
                "is not a square",
                "at least as large",
                "both false",
                "None",
            )
        )
        return
    assert is_equal(ours, compute_reference(config, image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_flip": True}, "do_flip"),
        ({"do_pad": True}, "do_pad"),
        ({"reduce_labels": 1}, "reduce_labels"),
        ({"auto_map": {"AutoImageProcessor": "code.Processor"}}, "auto_map"),
        ({"image_processor_type": "BitImageProcessor"}, "'BitImageProcessor' is not supported"),
        ({"image_processor_type": 3}, "is not supported"),
        ({"do_center_crop": False}, "must be a square"),
        ({"do_center_crop": "no"}, "do_center_crop 'no' is neither true nor false"),
        ({"do_resize": 1}, "do_resize 1 is neither"),
        ({"do_rescale": False, "do_normalize": False}, "both false"),
        ({"rescale_factor": 0}, "rescale_factor 0"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
        ({"rescale_factor": float("inf")}, "rescale_factor"),
        ({"size": {"longest_edge": 900}}, "size"),
        ({"size": {"max_height": 900, "max_width": 900}}, "size"),
        ({"size": {"height": 440}}, "size"),
        ({"size": "440"}, "size"),
        ({"size": 440.0}, "size"),
        ({"size": True}, "size"),
        ({"size": [440]}, "size"),
        ({"size": {"shortest_edge": 0}}, "size"),
        ({"size": {"shortest_edge": 300}}, "at least as large"),
        ({"size": {"shortest_edge": 440, "longest_edge": 400}}, "at least shortest_edge"),
        ({"resample": 9}, "resample 9"),
        ({"resample": "bicubic"}, "resample 'bicubic'"),
        ({"resample": True}, "resample True"),
        ({"resample": None}, "resample None"),
        ({"crop_size": {"height": 384, "width": 380}}, "crop_size"),
        ({"crop_size": {"shortest_edge": 384}}, "crop_size"),
        ({"crop_size": 0}, "crop_size"),
        ({"crop_size": None}, "crop_size None"),
        ({"size": None}, "size None"),
        ({"rescale_factor": None}, "rescale_factor None"),
        ({"image_mean": None}, "image_mean None"),
        ({"do_rescale": None, "do_normalize": None}, "both false"),
        ({"crop_rounding": "up"}, "crop_rounding"),
        ({"image_mean": "0.5"}, "image_mean"),
        ({"image_mean": [0.5, 0.5, None]}, "image_mean"),
        ({"image_std": [0.2, 0.2]}, "image_std"),
        ({"image_std": [0.2, 0.0, 0.2]}, "positive"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(
    published_preprocessing: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidModelConfig, match=message):
        parse_preprocessing(published_preprocessing | changes, SOURCE)


def test_a_step_that_is_not_made_and_a_key_that_is_null_are_not_refused(
    published_preprocessing: dict[str, Any],
) -> None:
    size = {"shortest_edge": 440, "longest_edge": None}
    more = {"do_flip": False, "do_pad": None, "pad_size": None, "anything": None, "size": size}
    plain = parse_preprocessing(published_preprocessing, SOURCE)
    assert parse_preprocessing(published_preprocessing | more, SOURCE) == plain


@pytest.mark.parametrize("missing", ["crop_size", "resample", "image_mean", "image_std"])
def test_a_default_is_not_guessed_where_the_class_is_not_named(
    published_preprocessing: dict[str, Any], missing: str
) -> None:
    untyped = {k: v for k, v in published_preprocessing.items() if k != "image_processor_type"}
    parse_preprocessing(untyped, SOURCE)
    del untyped[missing]
    if missing == "resample":
        untouched = {k: v for k, v in untyped.items() if k != "do_center_crop"}
        assert parse_preprocessing(untouched, SOURCE).resample is Resample.BICUBIC
    with pytest.raises(InvalidModelConfig, match=f"{missing} must be given"):
        parse_preprocessing(untyped, SOURCE)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_a_broken_file_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / SOURCE
    path.write_text(content)
    with pytest.raises(InvalidModelConfig, match=r"preprocessor_config\.json"):
        read_preprocessing(path)


def test_a_specification_without_resize_and_normalisation_is_read(tmp_path: Path) -> None:
    path = tmp_path / SOURCE
    crop = {"height": 160, "width": 160}
    path.write_text(
        json.dumps(
            {"do_resize": False, "crop_size": crop, "do_normalize": False, "do_rescale": True}
        )
    )
    assert read_preprocessing(path) == Preprocessing(None, None, 160)


def test_numbers_that_mean_the_same_have_one_fingerprint(
    published_preprocessing: dict[str, Any],
) -> None:
    plain = parse_preprocessing(published_preprocessing, SOURCE)
    same = {
        "size": 440,
        "crop_size": {"height": 384, "width": 384},
        "rescale_factor": 0.00392156862745,
        "image_processor_type": "CLIPImageProcessorFast",
    }
    assert parse_preprocessing(published_preprocessing | same, SOURCE).fingerprint == (
        plain.fingerprint
    )
    assert plain.resample is Resample.BICUBIC


def test_a_preprocessing_is_described_in_one_line() -> None:
    assert describe_preprocessing(parse_preprocessing(CLIP, SOURCE)) == (
        "shorter side 56 (bicubic), centre crop 48, mean 0.4815 0.4578 0.4082, "
        "std 0.2686 0.2613 0.2758"
    )
    bounded = CONFIGS["ViT, bounded"] | {"rescale_factor": 1 / 127.5, "do_normalize": False}
    assert describe_preprocessing(parse_preprocessing(bounded, SOURCE)) == (
        "shorter side 56, longer side at most 230 (bilinear), centre crop 48, times 0.00784314"
    )
    plain = parse_preprocessing(VIT | {"do_normalize": False}, SOURCE)
    assert describe_preprocessing(plain) == "resized to 48 x 48 (bilinear), centre crop 48"
