import numpy as np
import pytest

from index.calibration.others import NOTHING, Nearest
from index.calibration.population import CollectionName, Population
from index.calibration.ratios import MIN_SOURCES, Neighbours, fit_ratios, has_kin


def images(n: int, *groups: str, first: int = 0, fake: bool = False) -> Population:
    """Images of some groups in turn: of generators, or of collections of known-real images."""
    names = [groups[at % len(groups)] for at in range(n)]
    return Population(
        image_ids=first + np.arange(n),
        sources=first + np.arange(n),
        vectors=np.ones((n, 1), np.float32),
        logits=np.zeros(n),
        generators=tuple(names) if fake else (None,) * n,
        hashes=(None,) * n,
        collections=() if fake else tuple(CollectionName("reals", name) for name in names),
    )


def nearest(values: np.ndarray, elsewhere: np.ndarray | None = None) -> Nearest:
    column = values[:, None]
    return Nearest(column, np.zeros(column.shape, np.int64), np.empty((len(column), 0)), elsewhere)


def neighbours(
    n: int, fake: float, real: float, *, seed: int, elsewhere: float | None = None
) -> Neighbours:
    random = np.random.default_rng(seed)
    of_others = None if elsewhere is None else random.normal(elsewhere, 0.05, n)
    return Neighbours(
        nearest(random.normal(fake, 0.05, n)), nearest(random.normal(real, 0.05, n), of_others)
    )


REALS, FAKES = images(60, "camera", "phone", "scan"), images(60, "sdxl", "flux", fake=True)


def test_kin_is_another_picture_of_the_same_generator() -> None:
    fakes = images(4, "sdxl", "flux", "sdxl", "dalle", fake=True)
    assert has_kin(fakes, fakes).tolist() == [True, False, True, False]
    assert not has_kin(REALS, REALS).any()


@pytest.mark.parametrize("side", ["reals", "fakes"])
def test_too_few_source_images_give_no_ratio(side: str) -> None:
    few = np.arange(MIN_SOURCES - 1)
    reals, fakes = (REALS.taking(few), FAKES) if side == "reals" else (REALS, FAKES.taking(few))
    of_reals, of_fakes = (
        neighbours(len(each), *means, seed=1)
        for each, means in ((reals, (0.3, 0.6)), (fakes, (0.6, 0.3)))
    )
    assert fit_ratios(reals, fakes, of_reals, of_fakes, seed=2) == (None, None)


def test_a_photograph_without_anything_to_compare_with_is_left_out() -> None:
    of_reals = neighbours(60, 0.3, 0.6, seed=1)
    of_reals.reals.similarities[:20] = NOTHING
    found = fit_ratios(REALS, FAKES, of_reals, neighbours(60, 0.6, 0.3, seed=2), seed=3)
    assert found.one_sided is not None
    assert found.two_sided is not None
    assert (found.one_sided.n_different, found.two_sided.n_different) == (60, 40)


def test_each_ratio_states_its_cost_with_a_collection_left_out() -> None:
    of_fakes = neighbours(60, 0.6, 0.3, seed=2)
    found = fit_ratios(REALS, FAKES, neighbours(60, 0.3, 0.6, seed=1), of_fakes, seed=3)
    for model in found:
        assert model is not None
        assert model.cllr_left_out == pytest.approx(model.cllr, abs=0.15)
        assert model.supported


def test_a_ratio_that_needs_photographs_of_the_same_collection_is_not_supported() -> None:
    """Known fakes are no nearer to known fakes than photographs are. Photographs are near to others
    of their collection, and to no others.
    """
    of_fakes = neighbours(60, 0.5, 0.3, seed=2)
    of_reals = neighbours(60, 0.5, 0.7, seed=1, elsewhere=0.3)
    two_sided = fit_ratios(REALS, FAKES, of_reals, of_fakes, seed=3).two_sided
    assert two_sided is not None
    assert two_sided.cllr < 0.7
    assert two_sided.cllr_left_out is not None
    assert two_sided.cllr_left_out > 1
    assert not two_sided.supported


def test_one_collection_and_one_generator_leave_nothing_to_leave_out() -> None:
    reals, fakes = images(60, "camera"), images(60, "sdxl", fake=True)
    of_reals, of_fakes = neighbours(60, 0.3, 0.6, seed=1), neighbours(60, 0.6, 0.3, seed=2)
    for model in fit_ratios(reals, fakes, of_reals, of_fakes, seed=3):
        assert model is not None
        assert model.cllr_left_out is None
        assert model.supported == (model.cllr < 0.95)
