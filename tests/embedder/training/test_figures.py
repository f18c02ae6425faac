import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.training.figures import (
    area_under_curve,
    compute_psnr,
    cosine_similarities,
    nearest_accuracy,
    pairs_of_one_photograph,
)

LOGITS = arrays(np.float32, st.integers(1, 12), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0]))


@given(LOGITS, LOGITS)
def test_the_area_is_the_share_of_pairs_in_the_right_order(
    real: np.ndarray, fake: np.ndarray
) -> None:
    pairs = np.sign(fake[:, None] - real[None, :]).astype(np.float64)

    assert area_under_curve(real, fake) == pytest.approx((pairs.mean() + 1.0) / 2.0)


def test_equal_pictures_have_infinite_psnr() -> None:
    picture = np.full((4, 4, 3), 7, np.uint8)

    assert compute_psnr(picture, picture) == float("inf")


def test_one_grey_level_of_error_is_48_decibels() -> None:
    picture = np.full((4, 4, 3), 7, np.uint8)

    assert compute_psnr(picture, picture + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_a_fake_of_the_same_photograph_is_never_the_nearest() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    photographs = np.array(["a", "a", "b"])
    generators = np.array(["x", "x", "y"])
    same = pairs_of_one_photograph(photographs, photographs)

    similarities = cosine_similarities(vectors, vectors, same=same)

    assert similarities.argmax(axis=1).tolist() == [2, 2, 0]
    assert nearest_accuracy(similarities, generators, generators) == 0.0
    assert nearest_accuracy(similarities, np.array(["y", "y", "x"]), generators) == 1.0
