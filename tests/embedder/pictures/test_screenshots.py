from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.delivery import recompress_as_jpeg, recompress_as_webp
from embedder.pictures.screenshots import (
    has_screen_size,
    has_uniform_lines,
    is_resampled,
    names_screenshot,
)

PictureMaker = Callable[..., Image.Image]
PHOTOGRAPHS = load_bundled_photographs()
# The astronaut was resized before it was published, and its PNG still shows it.
NATIVE = [each for each in PHOTOGRAPHS if each.name != "astronaut"]


@pytest.mark.parametrize(
    ("metadata", "says_so"),
    [
        ({}, False),
        ({"exif:UserComment": "Screenshot"}, True),
        ({"xmp:UserComment": " screenshot "}, True),
        ({"exif:UserComment": "a screenshot of a castle, masterpiece"}, False),
        ({"png:parameters": "Screenshot"}, False),
        ({"png:Software": "gnome-screenshot"}, True),
        ({"png:Software": "Greenshot 1.3"}, True),
        ({"png:Software": "GIMP 2.10"}, False),
        ({"exif:Software": "Android AP2A.240805.005"}, True),
        ({"exif:Software": "Android AP2A.240805.005", "exif:Make": "Google"}, False),
        ({"exif:Software": "Android AP2A.240805.005", "exif:Model": "Pixel 8"}, False),
        ({"exif:UserComment": {"text": "Screenshot", "cut": True}}, False),
    ],
    ids=str,
)
def test_only_the_words_of_screenshot_tools_name_a_screenshot(
    metadata: dict[str, object], says_so: bool
) -> None:
    assert names_screenshot(metadata) is says_so


@pytest.mark.parametrize("size", [(1170, 2532), (1920, 1080), (2880, 1800)], ids=str)
def test_a_screen_may_be_upright_or_turned(size: tuple[int, int]) -> None:
    assert has_screen_size(*size)
    assert has_screen_size(*reversed(size))


@pytest.mark.parametrize("size", [(1024, 1024), (1280, 720), (1170, 2531), (0, 0)], ids=str)
def test_generators_and_cameras_sizes_are_no_screens(size: tuple[int, int]) -> None:
    assert not has_screen_size(*size)


def test_a_line_is_uniform_only_from_edge_to_edge(picture_maker: PictureMaker) -> None:
    picture = picture_maker(100, 100)
    assert not has_uniform_lines(picture)
    picture.paste((250, 250, 250), (0, 40, 99, 50))
    assert not has_uniform_lines(picture)
    across, down = picture.copy(), picture.copy()
    across.paste((250, 250, 250), (0, 40, 100, 42))
    down.paste((250, 250, 250), (40, 0, 42, 100))
    assert has_uniform_lines(across)
    assert has_uniform_lines(down)


def show_on_a_page(image: Image.Image, factor: float) -> Image.Image:
    """Sample the four nearest pixels, as a page does it."""
    size = round(image.width * factor), round(image.height * factor)
    steps = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
    return image.transform(size, Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)


@pytest.mark.parametrize("factor", [1.17, 1.3, 1.83, 2.6])
def test_photographs_that_a_page_shows_larger_are_resampled(factor: float) -> None:
    found = [is_resampled(show_on_a_page(each.image, factor)) for each in PHOTOGRAPHS]
    assert sum(found) >= len(found) - 1


def test_some_photographs_that_a_page_shows_smaller_are_resampled() -> None:
    """Fewer than of those that it shows larger: sampling down mixes more pixels more evenly."""
    shown = [show_on_a_page(each.image, 0.87) for each in PHOTOGRAPHS]
    assert sum(map(is_resampled, shown)) >= 3


@pytest.mark.parametrize(
    "deliver",
    [
        pytest.param(lambda image: image, id="as they are"),
        pytest.param(lambda image: recompress_as_jpeg(image, 75), id="JPEG 75"),
        pytest.param(lambda image: recompress_as_jpeg(image, 40), id="JPEG 40"),
        pytest.param(lambda image: recompress_as_webp(image, 60), id="WebP 60"),
        pytest.param(lambda image: image.crop((3, 5, image.width - 9, image.height - 2)), id="cut"),
        pytest.param(lambda image: image.quantize(64).convert("RGB"), id="palette"),
        pytest.param(lambda image: image.convert("1").convert("RGB"), id="dithered"),
    ],
)
def test_photographs_at_their_own_size_are_not_resampled(
    deliver: Callable[[Image.Image], Image.Image],
) -> None:
    assert [each.name for each in NATIVE if is_resampled(deliver(each.image))] == []


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_pattern_of_the_blocks_of_codecs_and_generators_is_no_trace(
    picture_maker: PictureMaker, period: int
) -> None:
    """Transposed convolutions and patches leave a lattice, which is what a detector looks for."""
    pixels = np.asarray(picture_maker(512, 512)).astype(int)
    pixels[::period] += 6
    pixels[:, ::period] += 6
    assert not is_resampled(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def test_a_picture_without_structure_or_too_small_is_not_resampled(
    picture_maker: PictureMaker,
) -> None:
    assert not is_resampled(Image.new("RGB", (600, 500), (90, 91, 92)))
    assert not is_resampled(show_on_a_page(picture_maker(90, 90), 1.3))
    assert not is_resampled(Image.new("RGB", (1, 1)))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(128, 300),
    st.integers(128, 300),
    st.floats(0.5, 90.0),
)
def test_noise_is_never_taken_for_a_trace(seed: int, width: int, height: int, level: float) -> None:
    noise = np.random.default_rng(seed).normal(128, level, (height, width, 3))
    image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    assert not is_resampled(image)
    assert is_resampled(image) is is_resampled(image.transpose(Image.Transpose.TRANSPOSE))
