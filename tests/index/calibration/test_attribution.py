import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.attribution import (
    COVERAGE,
    MIN_ENTRIES,
    MOST_NAMES,
    Attributed,
    Attribution,
    AttributionReason,
)
from index.calibration.attribution_fit import MOST_LOST, TOLERANCE, fit_attribution

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


def fit(lists: Any, truth: Any, sources: Any = None, entries: Any = None) -> Attribution:
    similarities = [[s for s, _ in row] for row in lists]
    generators = [[g for _, g in row] for row in lists]
    return fit_attribution(
        similarities,
        generators,
        truth,
        np.arange(len(truth)) if sources is None else sources,
        seed=1,
        entries=entries,
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
    model = trained(0.3)
    far, near = [(0.1, "g1")] * 10, [(0.89, "g1")] * 10
    assert model.attribute(far).reason is AttributionReason.NOTHING_NEAR_ENOUGH
    assert model.attribute(far).candidates == ()
    assert model.attribute(near).candidates == ("g1",)
    assert not model.attribute(near).unknown


def test_votes_that_no_generator_gets_for_its_own_images_leave_it_unknown() -> None:
    """Of each generator's own images nearly all votes are its own; here they are divided."""
    model = trained(0.8)
    divided = [(0.89 - 0.01 * at, f"g{at % 5}") for at in range(10)]
    found = model.attribute(divided)
    assert (found.reason, found.candidates) == (AttributionReason.NONE_FITS, ())


def test_neighbours_that_mean_nothing_leave_it_unknown() -> None:
    model = trained(0.0)
    found = [model.attribute(row) for row in draw_votes(np.random.default_rng(3), 100, 0.0)[0]]
    assert np.mean([each.unknown for each in found]) > 0.4
    assert {each.reason for each in found if each.unknown} <= {
        AttributionReason.SET_HOLDS_EVERYTHING,
        AttributionReason.NOTHING_NEAR_ENOUGH,
    }
    assert model.coverage == pytest.approx(0.9, abs=0.06)


def test_one_image_teaches_nothing() -> None:
    model = fit([[(0.9, "sdxl"), (0.8, "flux")]], ["sdxl"])
    assert model.attribute([(0.9, "sdxl")]).reason is AttributionReason.NOT_ENOUGH_ENTRIES
    assert (model.answered, model.right_of_answered) == (None, None)


def test_a_set_of_more_than_five_names_is_no_answer() -> None:
    lists, truth = draw_votes(np.random.default_rng(4), 900, 0.1, generators=9)
    model = fit(lists, truth)
    found = [model.attribute(row) for row in lists]
    reasons = {each.reason for each in found}
    assert AttributionReason.TOO_MANY in reasons
    assert AttributionReason.NEAREST_KNOWN_FAKES in reasons
    assert max(len(each.candidates) for each in found) == MOST_NAMES


@pytest.mark.parametrize(("entries", "is_named"), [(MIN_ENTRIES - 1, False), (MIN_ENTRIES, True)])
def test_a_generator_is_named_from_the_tenth_entry_on(entries: int, is_named: bool) -> None:
    lists, truth = draw_votes(np.random.default_rng(5), 400, 0.3)
    model = fit(lists, truth, entries={f"g{at}": 80 for at in range(5)} | {"g1": entries})
    found = model.attribute([(0.89, "g1")] * 10)
    assert model.classes["g1"].is_named == is_named
    assert found.candidates == (("g1",) if is_named else ())
    if not is_named:
        assert found.reason is AttributionReason.NOT_ENOUGH_ENTRIES
        named = {name for row in lists for name in model.attribute(row).candidates}
        assert named == {"g0", "g2", "g3", "g4"}


def test_a_generator_that_came_since_is_not_named() -> None:
    found = trained(0.3).attribute([(0.89, "new")] * 10)
    assert found.shares[0][0] == "new"
    assert found.reason is AttributionReason.NOT_ENOUGH_ENTRIES


def test_a_generator_whose_coverage_does_not_hold_is_not_named() -> None:
    model = trained(0.3)
    failing = replace(model.classes["g1"], is_named=False)
    model = replace(model, classes={**model.classes, "g1": failing})
    found = model.attribute([(0.89, "g1")] * 10)
    assert (found.reason, found.candidates) == (AttributionReason.COVERAGE_FAILS, ())
    assert model.attribute([(0.89, "g2")] * 10).candidates == ("g2",)


def test_entries_of_the_same_picture_are_quoted() -> None:
    found = Attributed.quote(["sdxl", "flux", "sdxl"])
    assert (found.candidates, found.unknown) == (("sdxl", "flux"), False)
    assert found.reason is AttributionReason.SAME_PICTURE
    assert found.shares == (("sdxl", 0.5), ("flux", 0.5))


def test_an_attribution_of_an_earlier_format_names_by_one_threshold() -> None:
    model = trained(0.3)
    new = {"classes", "answered", "right_of_answered"}
    stored = {name: value for name, value in model.to_json().items() if name not in new}
    earlier = Attribution.from_json(json.loads(json.dumps(stored)))
    assert set(earlier.least_shares.values()) == {model.least}
    assert earlier.attribute([(0.89, "g1")] * 10).candidates == ("g1",)
    rare = replace(earlier, n=40)  # about eight images of each generator
    assert rare.attribute([(0.89, "g1")] * 10).reason is AttributionReason.NOT_ENOUGH_ENTRIES


@pytest.mark.parametrize("right", [0.1, 0.3])
def test_sets_hold_the_true_generator_of_new_images_nine_times_in_ten(right: float) -> None:
    model = trained(right)
    lists, truth = draw_votes(np.random.default_rng(8), 1000, right)
    found = [model.attribute(row) for row in lists]
    held = [f.unknown or t in f.candidates for f, t in zip(found, truth, strict=True)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.035)
    assert model.coverage == pytest.approx(0.9, abs=0.03)
    assert model.mean_set_size < 5


@pytest.mark.parametrize("right", [0.1, 0.3])
def test_sets_hold_the_generator_of_new_images_of_each_generator(right: float) -> None:
    """The generators have 400, 100, 40 and 20 images. One threshold for all would leave the rare
    ones out.
    """
    random = np.random.default_rng(20)
    counts = (400, 100, 40, 20)
    lists, truth = [], []
    for own, count in enumerate(counts):
        rows, _ = draw_votes(random, count, right / (1 + own), 4)
        swapped = [
            [(s, f"g{own}" if random.random() < right / (1 + own) else g) for s, g in row]
            for row in rows
        ]
        lists += swapped
        truth += [f"g{own}"] * count
    model = fit(lists, truth)
    for own, count in enumerate(counts):
        found = model.classes[f"g{own}"]
        assert (found.entries, found.images) == (count, count)
        assert found.low <= COVERAGE <= found.high
        assert found.is_named


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
    assert model.unknown_of_known <= MOST_LOST
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
        in_order = [name for name, _ in found.shares if name in found.candidates]
        assert found.candidates == tuple(in_order)
        assert found.unknown == (not found.candidates)
        assert set(found.candidates) <= set(model.least_shares)
        assert len(found.candidates) <= MOST_NAMES
    assert 0 <= model.coverage <= 1
    assert model.mean_set_size <= 3
    for each in model.classes.values():
        assert 0 <= each.low <= each.coverage <= each.high <= 1
        assert each.is_named == (each.entries >= MIN_ENTRIES and each.high >= COVERAGE - TOLERANCE)


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
