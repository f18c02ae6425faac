"""Fitting an attribution: to known fakes with their nearest neighbours, each without itself.

The thresholds of the generators are cross-conformal (Vovk 2015): the share of each image comes from
coefficients that were fitted to other images. The limit of nearness is learned with each generator
left out in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.attribution import (
    COVERAGE,
    FEATURES,
    MIN_ENTRIES,
    Attribution,
    AttributionReason,
    GeneratorCoverage,
    compute_features,
)
from index.calibration.binomial import exact_interval
from index.calibration.figures import open_set_auroc
from index.calibration.resampling import folds_by_source
from index.calibration.special import log_softmax, minimize

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# The share of images of known generators that may be called unknown because they are far from
# everything. At most as many as the sets miss; where no generator can be left out, half of that.
MOST_LOST, FAR_SHARE = 0.1, 0.05
# The coverage of a generator holds unless its 95 % interval lies further than this below the one
# that the sets are built for: the target of docs/evidence.md is 90 % +- 3.
TOLERANCE = 0.03
RIDGE = 1e-3  # on the mean loss: keeps the coefficients finite if the neighbours are never wrong


def fit_attribution(
    similarities: ArrayLike,
    generators: Sequence[Sequence[str | None]],
    truth: Sequence[str],
    sources: ArrayLike,
    *,
    seed: int,
    entries: Mapping[str, int] | None = None,
) -> Attribution:
    """Fit on n images of known generators, `truth` (n,), and the k nearest known fakes of each,
    itself left out.

    `similarities` (n, k) in any order; `generators` n times k names, None if not declared;
    `sources` (n,) the photograph or prompt that each image was made from; `entries` the known
    fakes of each generator in the corpora, those of the fit if None.

    Raises:
        ValueError: no image, or a similarity that is not a number.

    """
    listed = _sort(similarities, generators, truth, sources)
    names = sorted(set(listed.truth))
    counts = Counter(listed.truth)
    frequencies = np.log([counts[name] / len(listed.truth) for name in names])
    spans = listed.similarities[:, 0] - listed.similarities[:, -1]
    scale = float(np.median(spans)) if np.median(spans) > 0 else 1.0
    features = np.stack(
        [
            compute_features(row, row_generators, names, frequencies, scale)
            for row, row_generators in zip(listed.similarities, listed.generators, strict=True)
        ]
    )  # (n, g, f)
    true = np.searchsorted(names, listed.truth)  # (n,)
    fold = folds_by_source(listed.sources, seed)
    shares = _out_of_sample(features, true, fold)  # (n, g)
    in_corpora = Counter(listed.truth) if entries is None else entries
    is_enough = np.array([in_corpora[name] >= MIN_ENTRIES for name in names])
    is_candidate = _cross_validate_sets(shares, true, listed.sources, fold)
    of_truth = is_candidate[np.arange(len(true)), true]
    classes = {
        name: _measure_class(of_truth[own], listed.sources[own], in_corpora[name], shares[own, at])
        for at, name in enumerate(names)
        if (own := true == at).any()
    }
    known, left_out, generator = _nearness(listed)
    near_enough = _choose_limit(known, left_out, generator)
    model = Attribution(
        k=listed.similarities.shape[1],
        log_frequencies=dict(zip(names, frequencies.tolist(), strict=True)),
        coefficients=tuple(_fit_coefficients(features, true).tolist()),
        scale=scale,
        least=_least_share(shares[np.arange(len(true)), true], listed.sources),
        near_enough=near_enough,
        n=len(true),
        n_sources=len(np.unique(listed.sources)),
        accuracy=float((shares.argmax(axis=1) == true).mean()),
        coverage=_mean_of(of_truth, is_enough[true]),
        mean_set_size=_mean_of((is_candidate & is_enough).sum(axis=1), is_enough[true]),
        open_set_auroc=open_set_auroc(
            [*known, *left_out], np.repeat([True, False], [len(known), len(left_out)])
        ),
        unknown_of_known=float((known < near_enough).mean()),
        unknown_of_left_out=_mean_by_generator(left_out < near_enough, generator)
        if len(left_out)
        else None,
        seed=seed,
        classes=classes,
    )
    return _with_answers(model, listed, shares, is_candidate, of_truth)


def _with_answers(
    model: Attribution, listed: _Listed, shares: Floats, is_candidate: Bools, of_truth: Bools
) -> Attribution:
    """Return the model with what its answers are worth: the images of generators that are named,
    with the sets of the cross-validation.
    """
    names, answered, right = sorted(set(listed.truth)), [], []
    enough = model.least_shares
    for row, truth in enumerate(listed.truth):
        if not model.classes[truth].is_named:
            continue
        declared = [
            similarity
            for similarity, name in zip(
                listed.similarities[row], listed.generators[row], strict=True
            )
            if name is not None
        ]
        candidates = [name for at, name in enumerate(names) if is_candidate[row, at]]
        found = model.judge_set(
            [name for name in candidates if name in enough],
            names[int(shares[row].argmax())],
            max(declared, default=None),
        )
        answered.append(found is AttributionReason.NEAREST_KNOWN_FAKES)
        right.append(answered[-1] and bool(of_truth[row]))
    if not any(answered):
        return model
    return replace(
        model, answered=float(np.mean(answered)), right_of_answered=sum(right) / sum(answered)
    )


def _mean_of(values: ArrayLike, of: Bools) -> float:
    """Return the mean over some of the images, over all if there is none of them."""
    return float(np.asarray(values)[of if of.any() else slice(None)].mean())


def _measure_class(
    is_covered: Bools, sources: Ints, entries: int, shares: Floats
) -> GeneratorCoverage:
    """Return what the sets are worth for a generator: whether they contain it, by its images (m,),
    which have these shares (m,) of its votes.

    Source images are counted, not images.
    """
    _, which, times = np.unique(sources, return_inverse=True, return_counts=True)
    coverage = float(np.average(is_covered, weights=1 / times[which]))
    low, high = exact_interval(coverage * len(times), len(times))
    return GeneratorCoverage(
        entries=entries,
        images=len(is_covered),
        coverage=coverage,
        low=min(low, coverage),
        high=max(high, coverage),
        least=_least_share(shares, sources),
        is_named=entries >= MIN_ENTRIES and high >= COVERAGE - TOLERANCE,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """Images in a canonical order, each with its neighbours, the nearest first."""

    similarities: Floats  # (n, k)
    generators: list[tuple[str | None, ...]]
    truth: list[str]
    sources: Ints


def _sort(
    similarities: ArrayLike,
    generators: Sequence[Sequence[str | None]],
    truth: Sequence[str],
    sources: ArrayLike,
) -> _Listed:
    matrix, source = np.asarray(similarities, np.float64), np.asarray(sources, np.int64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(
            "an attribution is fitted to at least one image, with a finite similarity to each "
            "neighbour"
        )
    images = []
    for row, names, name, number in zip(
        matrix.tolist(), generators, truth, source.tolist(), strict=True
    ):
        pairs = sorted(zip(row, names, strict=True), key=lambda each: (-each[0], each[1] or ""))
        images.append((name, number, pairs))
    images.sort(key=lambda each: (each[0], each[1], [(s, g or "") for s, g in each[2]]))
    return _Listed(
        np.array([[s for s, _ in pairs] for _, _, pairs in images]),
        [tuple(g for _, g in pairs) for _, _, pairs in images],
        [name for name, _, _ in images],
        np.array([number for _, number, _ in images], np.int64),
    )


def _fit_coefficients(features: Floats, true: Ints) -> Floats:
    """Return the coefficients (f,) of maximum likelihood. Those of votes and nearness are at least
    0: a vote never counts against its generator.
    """
    rows = np.arange(len(true))

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        log_share = log_softmax(features @ coefficients, axis=1)  # (n, g)
        expected = np.einsum("ng,ngf->nf", np.exp(log_share), features)
        gradient = (expected - features[rows, true]).mean(axis=0) + RIDGE * coefficients
        return float(
            -log_share[rows, true].mean() + RIDGE * (coefficients @ coefficients) / 2
        ), gradient

    if not len(true):
        return np.zeros(FEATURES)
    bounds = [(0, None)] * (FEATURES - 1) + [(None, None)]
    found = minimize(loss, np.zeros(FEATURES), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, np.float64)


def _out_of_sample(features: Floats, true: Ints, fold: Ints) -> Floats:
    """Return the shares (n, g) of each image by coefficients fitted to the other folds."""
    shares = np.zeros(features.shape[:2])
    for held in np.unique(fold):
        out = fold == held
        shares[out] = np.exp(
            log_softmax(features[out] @ _fit_coefficients(features[~out], true[~out]), axis=1)
        )
    return shares


def _least_share(of_truth: Floats, sources: Ints) -> float:
    """Return the conformal threshold on shares (m,): of n + 1 exchangeable source images at least
    90 % give the true generator this share. It is 0 if n is below 9.

    A source image counts once, whatever the number of its images.
    """
    _, which, times = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(of_truth, kind="stable")
    counted = np.cumsum(1 / times[which][order])  # source images up to each share
    missed = np.floor((len(times) + 1) * (1 - COVERAGE) + 1e-9)
    below = int((counted <= missed + 1e-9).sum())
    return float(of_truth[order][below - 1]) if missed and below else 0.0


def _cross_validate_sets(shares: Floats, true: Ints, sources: Ints, fold: Ints) -> Bools:
    """Return which generators are candidates for each image (n, g), by thresholds of each generator
    that come from the other folds.
    """
    is_candidate = np.zeros(shares.shape, np.bool_)
    for each in np.unique(fold):
        out = fold == each
        for place in range(shares.shape[1]):
            own = ~out & (true == place)
            least = _least_share(shares[own, place], sources[own])
            is_candidate[out, place] = shares[out, place] >= least
    return is_candidate


def _nearness(listed: _Listed) -> tuple[Floats, Floats, Ints]:
    """Return the similarity of each image to its nearest neighbour with a declared generator (m,),
    the same with the image's own generator left out (m,), and the number of that generator (m,).

    If all neighbours are of its own generator, the similarity of the last one is used. The next
    neighbour cannot be nearer, so this makes the figures worse than they are, never better. Images
    without such a neighbour are not counted. Nothing is left out if there is one generator.
    """
    known, left_out, names = [], [], []
    for row, generators, name in zip(
        listed.similarities.tolist(), listed.generators, listed.truth, strict=True
    ):
        declared = [s for s, each in zip(row, generators, strict=True) if each is not None]
        others = [
            s for s, generator in zip(row, generators, strict=True) if generator not in {None, name}
        ]
        if declared:
            known.append(declared[0])
            left_out.append(others[0] if others else row[-1])
            names.append(name)
    if len(set(listed.truth)) < 2:
        return np.array(known or [-1.0]), np.empty(0), np.empty(0, np.int64)
    numbers = np.unique(np.array(names, np.str_), return_inverse=True)[1].astype(np.int64)
    return np.array(known or [-1.0]), np.array(left_out), numbers.reshape(-1)


def _choose_limit(known: Floats, left_out: Floats, generator: Ints) -> float:
    """Return the similarity below which an image is called unknown.

    It is the one that best tells images whose generator was left out (m,) from the others (Youden
    1950), among those that call at most `MOST_LOST` of the known ones unknown. Each generator that
    was left out counts the same.
    """
    rising = np.sort(known)
    if not len(left_out):
        return float(np.quantile(known, FAR_SHARE, method="lower"))
    limits = np.unique(rising[: int(MOST_LOST * len(known)) + 1])  # (t,)
    lost = np.searchsorted(rising, limits) / len(known)
    gained = [_mean_by_generator(left_out < limit, generator) for limit in limits]
    return float(limits[np.argmax(np.array(gained) - lost)])


def _mean_by_generator(is_unknown: Bools, generator: Ints) -> float:
    """Return the share of images (m,), each generator counting the same."""
    counts = np.bincount(generator)
    return float((np.bincount(generator, is_unknown) / counts).mean())
