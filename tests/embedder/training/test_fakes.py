import numpy as np

from embedder.training.fakes import CROP_SIDE, Scene, deliver_crop, make_paired_batch, recompress


def scene(seed: int) -> Scene:
    random = np.random.default_rng(seed)
    real = random.integers(0, 256, (180, 200, 3), np.uint8)
    return Scene(real, {number: real // np.uint8(2 + number) for number in (0, 2)})


def test_each_place_comes_as_photograph_and_as_fake() -> None:
    batch = make_paired_batch([scene(0), scene(1)], np.random.default_rng(0), pairs=6)

    assert batch.pixels.shape == (12, CROP_SIDE, CROP_SIDE, 3)
    assert batch.generators[::2].tolist() == [0] * 6
    assert set(batch.generators[1::2].tolist()) == {1, 3}
    brightness = batch.pixels.mean((1, 2, 3))
    assert (brightness[::2] > 1.5 * brightness[1::2]).all()


def test_the_same_seed_makes_the_same_batch() -> None:
    one, other = (
        make_paired_batch([scene(0)], np.random.default_rng(3), pairs=4) for _ in range(2)
    )

    assert np.array_equal(one.pixels, other.pixels)


def test_about_half_of_the_crops_are_recompressed_whatever_they_show() -> None:
    picture = scene(0).real[:168, :168]
    untouched = {
        picture[top : top + 160, left : left + 160].tobytes()
        for top in range(9)
        for left in range(9)
    }
    random = np.random.default_rng(0)

    kept = sum(deliver_crop(picture, random).tobytes() in untouched for _ in range(60))

    assert 15 < kept < 45


def test_recompression_keeps_shape_and_type_and_changes_pixels() -> None:
    picture = scene(0).real

    made = recompress(picture, 75)

    assert made.shape == picture.shape
    assert made.dtype == np.uint8
    assert not np.array_equal(made, picture)
