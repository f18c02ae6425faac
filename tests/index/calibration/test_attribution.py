import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.attribution import Attribution, AttributionReason, fit_attribution

seeded = settings(settings.get_profile("index"), max_examples=5)
K = 5
names = st.sampled_from(["sdxl", "sd1.5", "flux", None])
images = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from([-1.0, 0.5, 1.0]) | st.floats(-1, 1), names),
            min_size=K,
            max_size=K,
        ),
        st.sampled_from(["sdxl", "sd1.5", "flux"]),
    ),
    min_size=1,
    max_size=20,
)


def fit(lists: Any, truth: Any, sources: Any = None) -> Attribution:
    similarities = [[s for s, _ in row] for row in lists]
    generators = [[g for _, g in row] for row in lists]
    return fit_attribution(
        similarities,
        generators,
        truth,
        np.arange(len(truth)) if sources is None else sources,
        seed=1,
    )


def draw_votes(
    rng: np.random.Generator, n: int, right: float, generators: int = 5
) -> tuple[list[Any], list[str]]:
    """Neighbours that are of the image's own generator with chance `right`, the nearer the more
    often.
    """
    truth, lists = [], []
    for _ in range(n):
        own = int(rng.integers(generators))
        similarities = np.sort(rng.uniform(0.5, 0.9, 10))[::-1]
        is_own = rng.random(10) < right * np.linspace(1.2, 0.8, 10)
        others = rng.integers(generators, size=10)
        truth.append(f"g{own}")
        lists.append(
            [
                (float(s), f"g{own if o else x}")
                for s, o, x in zip(similarities, is_own, others, strict=True)
            ]
        )
    return lists, truth


@cache
def trained(right: float, seed: int = 4) -> Attribution:
    return fit(*draw_votes(np.random.default_rng(seed), 400, right))


def test_no_image_or_a_similarity_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        fit([], [])
    with pytest.raises(ValueError, match="at least one image"):
        fit([[(float("nan"), "sdxl")]], ["sdxl"])


def test_neighbours_that_tell_no_generator_leave_it_unknown() -> None:
    model = trained(0.8)
    for neighbours in ([], [(0.9, None), (0.8, None)]):
        found = model.attribute(neighbours)
        assert (found.candidates, found.unknown) == ((), True)
        assert found.reason is AttributionReason.NO_GENERATOR_DECLARED


def test_an_image_far_from_every_known_fake_is_of_an_unknown_generator() -> None:
    model = trained(0.8)
    far, near = [(0.1, "g1")] * 10, [(0.89, "g1")] * 10
    assert model.attribute(far).reason is AttributionReason.NOTHING_NEAR_ENOUGH
    assert model.attribute(far).candidates == ()
    assert model.attribute(near).candidates == ("g1",)
    assert not model.attribute(near).unknown


def test_neighbours_that_mean_nothing_leave_it_unknown() -> None:
    model = trained(0.0)
    found = [model.attribute(row) for row in draw_votes(np.random.default_rng(3), 100, 0.0)[0]]
    assert np.mean([each.unknown for each in found]) > 0.5
    assert {each.reason for each in found if each.unknown} <= {
        AttributionReason.SET_HOLDS_EVERYTHING,
        AttributionReason.NOTHING_NEAR_ENOUGH,
    }
    assert model.coverage == pytest.approx(0.9, abs=0.06)


def test_one_image_teaches_nothing() -> None:
    model = fit([[(0.9, "sdxl"), (0.8, "flux")]], ["sdxl"])
    assert model.attribute([(0.9, "sdxl")]).reason is AttributionReason.SET_HOLDS_EVERYTHING


@pytest.mark.parametrize("right", [0.1, 0.3])
def test_sets_hold_the_true_generator_of_new_images_nine_times_in_ten(right: float) -> None:
    model = trained(right)
    lists, truth = draw_votes(np.random.default_rng(8), 1000, right)
    found = [model.attribute(row) for row in lists]
    held = [f.unknown or t in f.candidates for f, t in zip(found, truth, strict=True)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.035)
    assert model.coverage == pytest.approx(0.9, abs=0.03)
    assert model.mean_set_size < 5


def test_shares_are_calibrated() -> None:
    model = trained(0.3)
    lists, truth = draw_votes(np.random.default_rng(9), 1000, 0.3)
    pairs = [
        (f.shares[0][1], f.shares[0][0] == t)
        for f, t in zip(map(model.attribute, lists), truth, strict=True)
    ]
    shares, right = np.array(pairs).T
    sure = shares > np.median(shares)
    for side in (sure, ~sure):
        assert right[side].mean() == pytest.approx(shares[side].mean(), abs=0.05)


def test_a_generator_added_since_can_be_a_candidate() -> None:
    model = trained(0.8)
    found = model.attribute([(0.89, "new")] * 10)
    assert found.candidates[0] == "new"


def test_images_of_generators_left_out_are_further_away() -> None:
    rng = np.random.default_rng(7)
    lists, truth = [], []
    for own in range(4):
        for _ in range(60):
            near, far = (
                np.sort(rng.normal(0.9, 0.02, 5))[::-1],
                np.sort(rng.normal(0.5, 0.02, 5))[::-1],
            )
            others = [f"g{(own + 1 + i) % 4 if i < 3 else (own + 1) % 4}" for i in range(5)]
            lists.append([(s, f"g{own}") for s in near] + list(zip(far, others, strict=True)))
            truth.append(f"g{own}")
    model = fit(lists, truth)
    assert model.open_set_auroc is not None
    assert model.open_set_auroc > 0.99
    assert model.unknown_of_left_out == 1.0
    assert model.unknown_of_known <= 0.05
    assert 0.8 < model.near_enough < 0.95


@seeded
@given(images)
def test_any_images_give_shares_that_sum_to_one_and_candidates_in_their_order(data: Any) -> None:
    lists, truth = [row for row, _ in data], [name for _, name in data]
    model = fit(lists, truth)
    for row in lists:
        found = model.attribute(row)
        shares = [share for _, share in found.shares]
        assert not shares or sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        assert found.candidates == tuple(name for name, _ in found.shares[: len(found.candidates)])
        assert found.unknown == (not found.candidates)
    assert 0 <= model.coverage <= 1
    assert model.mean_set_size <= 3


@seeded
@given(images, st.randoms(use_true_random=False))
def test_the_order_does_not_matter_and_what_was_stored_says_the_same(
    data: Any, random: Any
) -> None:
    model = fit([row for row, _ in data], [name for _, name in data])
    order = list(range(len(data)))
    random.shuffle(order)
    rows = [random.sample(data[i][0], K) for i in order]
    assert fit(rows, [data[i][1] for i in order], np.array(order)) == model
    again = Attribution.from_json(json.loads(json.dumps(model.to_json(), allow_nan=False)))
    assert again == model
    assert [again.attribute(row) for row, _ in data] == [model.attribute(row) for row, _ in data]
    assert model.attribute(data[0][0][::-1]) == model.attribute(data[0][0])
