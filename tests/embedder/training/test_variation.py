import numpy as np

from embedder.training.variation import defocus, vary


def test_variations_keep_the_pixel_count_and_differ() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)

    made = [vary(picture, np.random.default_rng(seed)) for seed in range(12)]

    assert {each.shape for each in made} == {(40, 60, 3), (60, 40, 3)}
    assert all(each.dtype == np.uint8 for each in made)
    assert len({each.tobytes() for each in made}) == 12


def test_defocus_removes_detail() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)

    assert defocus(picture, np.random.default_rng(0)).std() < 0.9 * picture.std()
