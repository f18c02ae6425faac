"""Likelihood ratios of similarity, fitted on one half of the images and measured on the other.

Same source: a known fake and its nearest other fake, if its generator made another image.
Different source: a real image and its nearest fake. Both are compared with all fakes, without the
image itself and its near duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api.evaluation.classification import MIN_IMAGES, ClassifiedImages, measure_with_intervals
from api.evaluation.json import LikelihoodEvaluation, Measure, TippettCurves
from api.evaluation.retrieving import draw_rows
from api.evaluation.splits import split_kinds_in_halves
from index.calibration import figures
from index.calibration.likelihood import Likelihood, fit_likelihood
from index.calibration.others import NOTHING, SamePictures, find_nearest
from index.calibration.population import Population
from index.calibration.ratios import has_kin

MOST_PROBES = 5_000  # of each kind; each is compared with every fake


@dataclass(frozen=True, slots=True, eq=False)
class NearestFakes:
    """Images with their nearest fake: similarities (n,), whether the image is a known fake
    (n,), and sources (n,).
    """

    similarities: NDArray[np.float64]
    same: NDArray[np.bool_]
    sources: NDArray[np.int64]


def find_nearest_fakes(
    reals: Population,
    fakes: Population,
    real_sources: NDArray[np.int64],
    fake_sources: NDArray[np.int64],
    seed: int,
) -> NearestFakes:
    """Find the nearest other fake of each image. Images without one are left out."""
    among = SamePictures(fakes)
    sides = []
    for population, sources, usable in (
        (fakes, fake_sources, has_kin(fakes, fakes)),
        (reals, real_sources, np.ones(len(reals), np.bool_)),
    ):
        rows = np.flatnonzero(usable)
        rows = rows[draw_rows(len(rows), MOST_PROBES, seed)]
        maxima = find_nearest(population.taking(rows), fakes, among).maxima
        found = maxima > NOTHING
        sides.append((maxima[found], sources[rows][found]))
    (same, same_sources), (different, different_sources) = sides
    return NearestFakes(
        similarities=np.concatenate([same, different]),
        same=np.arange(len(same) + len(different)) < len(same),
        sources=np.concatenate([same_sources, different_sources]),
    )


def treat_images_as_sources(pairs: NearestFakes) -> NearestFakes:
    """Return the same images, each as a source of its own."""
    return replace(pairs, sources=np.arange(len(pairs.sources), dtype=np.int64))


def measure_likelihood(pairs: NearestFakes, split: str, seed: int) -> LikelihoodEvaluation:
    """Fit on one half, and measure the ratios of the other. `split` names what the sources are."""
    first = split_kinds_in_halves(pairs.same, pairs.sources, seed)
    same, different = ((kind & ~first) for kind in (pairs.same, ~pairs.same))
    counts = int(same.sum()), int(different.sum())
    fewest = min(
        int((kind & half).sum()) for kind in (pairs.same, ~pairs.same) for half in (first, ~first)
    )
    if fewest < MIN_IMAGES:
        reason = f"a half has {fewest} comparable images of a kind; {MIN_IMAGES} are needed"
        return _leave_unmeasured(split, counts, reason)
    fitted = fit_likelihood(
        pairs.similarities[pairs.same & first],
        pairs.similarities[~pairs.same & first],
        pairs.sources[pairs.same & first],
        pairs.sources[~pairs.same & first],
        seed=seed,
    )
    stated = compute_log10_ratios(fitted, pairs.similarities)
    tested = ClassifiedImages(stated[~first], pairs.same[~first], pairs.sources[~first])
    wanted = {
        "cllr": lambda j: figures.cllr(j.logits[j.synthetic], j.logits[~j.synthetic]),
        "cllr_min": lambda j: figures.cllr_min(j.logits[j.synthetic], j.logits[~j.synthetic]),
    }
    curves = figures.tippett(stated[same], stated[different])
    return LikelihoodEvaluation(
        method=fitted.variant.value,
        split=split,
        log10_bounds=fitted.log10_bounds,
        n_same=counts[0],
        n_different=counts[1],
        **measure_with_intervals(tested, wanted, seed),
        misleading_same=None if curves is None else curves.misleading_same,
        misleading_different=None if curves is None else curves.misleading_different,
        tippett=None
        if curves is None
        else TippettCurves(
            log10=curves.log10.tolist(),
            same=curves.same.tolist(),
            different=curves.different.tolist(),
        ),
    )


def compute_log10_ratios(
    fitted: Likelihood, similarities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the log10 likelihood ratios of similarities (n,)."""
    return np.array(
        [fitted.ratio_at(float(similarity)).log10 for similarity in similarities], np.float64
    )


def _leave_unmeasured(split: str, counts: tuple[int, int], reason: str) -> LikelihoodEvaluation:
    return LikelihoodEvaluation(
        method=None,
        split=split,
        log10_bounds=None,
        n_same=counts[0],
        n_different=counts[1],
        cllr=Measure.missing(reason),
        cllr_min=Measure.missing(reason),
        misleading_same=None,
        misleading_different=None,
        tippett=None,
        reason=reason,
    )
