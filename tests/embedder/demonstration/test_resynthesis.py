"""The demonstration decoders as they ship."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.demonstration.resynthesis import (
    BORDER,
    DECODERS,
    TILE_SIDE,
    UPSAMPLING_BY_GENERATOR,
    WEIGHTS_FILE,
    Autoencoder,
    Resynthesiser,
    pad_by_reflection,
    to_signed,
    to_uint8,
)
from embedder.training.figures import compute_psnr


@pytest.fixture(scope="module", params=DECODERS)
def generator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def decoder(generator: str) -> Resynthesiser:
    return Resynthesiser.load(generator)


def test_an_unknown_decoder_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'demo-gan'.*demo-transposed"):
        Resynthesiser.load("demo-gan")


def test_the_weights_are_one_safetensors_file_under_two_megabytes() -> None:
    assert WEIGHTS_FILE.stat().st_size < 2_000_000
    with safe_open(WEIGHTS_FILE, framework="pt") as stored:
        assert {name.split("/")[0] for name in stored.keys()} == set(DECODERS)  # noqa: SIM118 (no mapping)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 50), (64, 64), (TILE_SIDE + 3, 40)])
def test_an_image_of_any_size_comes_back_in_that_size(
    decoder: Resynthesiser, size: tuple[int, int]
) -> None:
    made = decoder(Image.new("RGB", size, (200, 120, 40)))

    assert (made.size, made.mode) == (size, "RGB")


def test_tiles_meet_without_a_seam() -> None:
    torch.manual_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (40, TILE_SIDE + 70, 3), np.uint8)
    autoencoder = Autoencoder(UPSAMPLING_BY_GENERATOR["demo-bilinear"])
    with torch.inference_mode():
        at_once = to_uint8(autoencoder(to_signed(pad_by_reflection(noise))))[BORDER:-BORDER]

    in_tiles = np.asarray(Resynthesiser(autoencoder)(Image.fromarray(noise)))

    difference = np.abs(in_tiles.astype(int) - at_once[:, BORDER : BORDER + noise.shape[1]])
    assert difference.max() <= 1  # rounding of another order of sums


def test_the_same_image_is_made_twice(decoder: Resynthesiser) -> None:
    image = load_bundled_photographs()[0].image.crop((0, 0, 100, 100))

    assert decoder(image).tobytes() == decoder(image).tobytes()


def test_a_fake_is_close_to_its_photograph_and_has_no_colour_cast(decoder: Resynthesiser) -> None:
    found = []
    for photograph in load_bundled_photographs():
        source = np.asarray(photograph.image)
        made = np.asarray(decoder(photograph.image))
        found.append(compute_psnr(source, made))
        cast = np.abs(made.mean((0, 1)) - source.mean((0, 1)))
        assert cast.max() < 6.0, (
            photograph.name
        )  # grey levels of 255; the flower's red lies at the edge of sRGB
    assert np.median(found) >= 29.0  # the goal that was set for the decoders


def test_each_decoder_leaves_its_own_trace() -> None:
    image = load_bundled_photographs()[0].image.crop((100, 100, 260, 260))
    made = [np.asarray(Resynthesiser.load(generator)(image)) for generator in DECODERS]

    for number, one in enumerate(made):
        assert not np.array_equal(one, np.asarray(image))
        assert all(compute_psnr(one, other) < 50.0 for other in made[:number])


def test_a_fake_has_the_same_bytes_on_any_number_of_cores(decoder: Resynthesiser) -> None:
    """With two threads, some sums are rounded to another level of a pixel."""
    photograph = next(each for each in load_bundled_photographs() if each.name == "astronaut")
    before, fakes = torch.get_num_threads(), set[bytes]()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            fakes.add(decoder(photograph.image).tobytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(fakes) == 1
