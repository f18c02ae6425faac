from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.figures import cllr
from index.calibration.likelihood import (
    SUPPORTED_CLLR,
    Likelihood,
    LikelihoodVariant,
    fit_likelihood,
    fit_ratios_at,
    fit_two_sided,
)
from index.calibration.transfer import MOST_FOLDS, Side, measure_left_out


def side(
    random: np.random.Generator,
    mean: float,
    *,
    groups: int = 8,
    size: int = 40,
    spread: float = 0.0,
    first: int = 0,
) -> Side:
    """Similarities of groups whose means differ by `spread`; sources are numbered from `first`."""
    numbers = np.repeat(np.arange(groups), size)
    x = random.normal(mean + random.normal(0, spread, groups)[numbers], 1.0)[:, None]
    return Side(x, x, first + np.arange(len(x)), numbers)


def fitted(same: Side, different: Side) -> Likelihood:
    fit = fit_likelihood if same.similarities.shape[1] == 1 else fit_two_sided
    return fit(same.similarities, different.similarities, same.sources, different.sources, seed=3)


def left_out(same: Side, different: Side) -> float | None:
    return measure_left_out(fitted(same, different), same, different, seed=3)


def test_one_group_on_each_side_leaves_nothing_to_leave_out() -> None:
    random = np.random.default_rng(0)
    same, different = side(random, 2, groups=1), side(random, 0, groups=1, first=1000)
    assert left_out(same, different) is None


def test_a_side_whose_images_have_nothing_elsewhere_is_not_measured() -> None:
    random = np.random.default_rng(0)
    same, different = side(random, 2), side(random, 0, first=1000)
    alone = replace(different, elsewhere=np.full_like(different.elsewhere, -np.inf))
    model = fitted(same, different)
    assert measure_left_out(model, same, alone, seed=3) is None


def test_one_group_is_left_out_by_source_beside_several() -> None:
    random = np.random.default_rng(1)
    same, different = side(random, 2, groups=1, size=200), side(random, 0, first=1000)
    cost = left_out(same, different)
    assert cost is not None
    assert cost == pytest.approx(fitted(same, different).cllr, abs=0.03)


def test_where_collections_do_not_differ_leaving_them_out_costs_nothing() -> None:
    random = np.random.default_rng(2)
    same, different = side(random, 2), side(random, 0, first=1000)
    cost = left_out(same, different)
    assert cost == pytest.approx(fitted(same, different).cllr, abs=0.03)


def test_the_cost_is_that_on_collections_that_were_never_seen() -> None:
    """Simulated: eight collections of each kind are seen, eighty others come."""
    random = np.random.default_rng(5)
    stated, realised = [], []
    for _ in range(8):
        same = side(random, 2.0, spread=1.0)
        different = side(random, 0.0, spread=1.0, first=1000)
        model = fitted(same, different)
        cost = measure_left_out(model, same, different, seed=3)
        assert cost is not None
        stated.append(cost)
        others = (
            side(random, 2.0, spread=1.0, groups=80, size=5),
            side(random, 0.0, spread=1.0, groups=80, size=5),
        )
        log10s = [
            np.array([model.ratio_at(float(x)).log10 for x in each.similarities[:, 0]])
            for each in others
        ]
        realised.append(cllr(*log10s))
    assert np.mean(stated) == pytest.approx(np.mean(realised), abs=0.06)


def test_a_photograph_is_judged_by_its_similarities_without_its_own_collection() -> None:
    """A ratio that rests on other photographs of one's own collection does not transfer."""
    random = np.random.default_rng(6)
    same = side(random, 2.0)
    different = side(random, 0.0, first=1000)
    pairs = Side(
        np.column_stack([same.similarities, random.normal(0, 1, len(same.sources))]),
        np.column_stack([same.similarities, random.normal(0, 1, len(same.sources))]),
        same.sources,
        same.groups,
    )
    near = np.column_stack([different.similarities, random.normal(3, 1, len(different.sources))])
    further = near - np.array([0.0, 3.0])
    inside = Side(near, near, different.sources, different.groups)
    elsewhere = replace(inside, elsewhere=further)
    model = fitted(pairs, inside)
    costs = [measure_left_out(model, pairs, each, seed=3) for each in (inside, elsewhere)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[1] > costs[0] + 0.1


def test_more_collections_than_folds_are_measured() -> None:
    random = np.random.default_rng(7)
    same = side(random, 2, groups=3 * MOST_FOLDS, size=4)
    different = side(random, 0, groups=2, size=60, first=1000)
    cost = left_out(same, different)
    assert cost is not None
    assert 0 < cost < 1


@settings(max_examples=10)
@given(st.integers(0, 50), st.sampled_from(list(LikelihoodVariant)))
def test_the_order_of_images_does_not_matter(seed: int, variant: LikelihoodVariant) -> None:
    random = np.random.default_rng(seed)
    same = side(random, 2, size=8, groups=5)
    different = side(random, 0, size=8, groups=4, first=1000)
    model = replace(fitted(same, different), variant=variant)
    order = np.random.default_rng(1).permutation(len(same.sources))
    shuffled = Side(
        *(each[order] for each in (same.similarities, same.elsewhere)),
        *(each[order] for each in (same.sources, same.groups)),
    )
    costs = [measure_left_out(model, each, different, seed=3) for each in (same, shuffled)]
    assert costs[0] == pytest.approx(costs[1])


def test_ratios_of_a_fit_are_those_of_the_model_within_its_bounds() -> None:
    random = np.random.default_rng(8)
    same, different = side(random, 2), side(random, 0, first=1000)
    model = fitted(same, different)
    at = np.linspace(-1, 3, 9)
    ratios = fit_ratios_at(model.variant, same.similarities, different.similarities, at[:, None])
    stated = [model.ratio_at(float(x)).log10 for x in at]
    assert np.clip(ratios, *model.log10_bounds) == pytest.approx(stated, abs=0.05)


def test_a_ratio_is_supported_by_the_larger_of_its_two_costs() -> None:
    random = np.random.default_rng(9)
    model = fitted(side(random, 2), side(random, 0, first=1000))
    assert model.cllr < SUPPORTED_CLLR
    assert model.supported
    assert replace(model, cllr_left_out=0.5).supported
    assert not replace(model, cllr_left_out=SUPPORTED_CLLR).supported
    assert not replace(model, cllr=0.97, cllr_left_out=0.5).supported
