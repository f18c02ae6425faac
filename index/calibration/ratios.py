"""The likelihood ratios of a stratum, fitted to what is nearest to its images.

Same source: a known fake and its nearest other one, if its generator made another picture.
Different source: a known-real image and its nearest known fake. The two-sided ratio weighs the
nearest known-real image too. A model is None if there are too few source images.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.calibration.groups import number_groups
from index.calibration.likelihood import Likelihood, fit_likelihood, fit_two_sided
from index.calibration.others import NOTHING, Nearest
from index.calibration.population import Population
from index.calibration.transfer import Side, measure_left_out

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# With fewer source images on either side no likelihood ratio is fitted: its empirical bounds (ELUB)
# would leave nothing.
MIN_SOURCES = 10


class Neighbours(NamedTuple):
    """What is nearest to the images of a kind, among other pictures."""

    fakes: Nearest
    reals: Nearest


class Ratios(NamedTuple):
    """The fitted models: of the nearest known fake alone, and of both sides."""

    one_sided: Likelihood | None
    two_sided: Likelihood | None


def fit_ratios(
    reals: Population, fakes: Population, of_reals: Neighbours, of_fakes: Neighbours, *, seed: int
) -> Ratios:
    """Fit both ratios to known-real images (m,) and known fakes (n,), each with its neighbours.

    Known fakes of which `has_kin` is false have no neighbour of the same source: leave them out.
    """
    return Ratios(
        _fit(_side(fakes, of_fakes, 1), _side(reals, of_reals, 1), seed),
        _fit(_side(fakes, of_fakes, 2), _side(reals, of_reals, 2), seed),
    )


def has_kin(fakes: Population, members: Population) -> Bools:
    """Return whether the members contain another picture of the generator of each fake (m,)."""
    counts = Counter(members.generators)
    return np.array([each is not None and counts[each] > 1 for each in fakes.generators], np.bool_)


def _side(images: Population, near: Neighbours, width: int) -> Side:
    """Return the images that have everything to compare with, with their first similarities.

    Where the collections of known-real images are known, the nearest known-real image without the
    image's own collection is known too.
    """
    nearest_real = near.reals.maxima
    elsewhere = nearest_real if near.reals.elsewhere is None else near.reals.elsewhere
    inside, left_out = (
        np.column_stack([near.fakes.maxima, real])[:, :width] for real in (nearest_real, elsewhere)
    )
    side = Side(inside, left_out, images.sources, number_groups(images))
    return side.taking(np.asarray((inside > NOTHING).all(axis=1), np.bool_))


def _fit(same: Side, different: Side, seed: int) -> Likelihood | None:
    if min(len(np.unique(side.sources)) for side in (same, different)) < MIN_SOURCES:
        return None
    fit = fit_likelihood if same.similarities.shape[1] == 1 else fit_two_sided
    model = fit(
        same.similarities, different.similarities, same.sources, different.sources, seed=seed
    )
    return replace(model, cllr_left_out=measure_left_out(model, same, different, seed=seed))
