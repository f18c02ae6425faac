"""Which generator made an image, told by its nearest known fakes, or "unknown".

The vote of the neighbours is calibrated by a conditional logit (McFadden 1974) whose few
coefficients all generators share, so that it also serves a generator that was added since.

The candidates are a conformal set at 90 % coverage by thresholding the shares (Sadinle et al. 2019;
cross-conformal, Vovk 2015): of images of known generators it holds the true one nine times in ten,
whatever the vote is worth, and more often only where the first alone is right more often. (Adaptive
sets, Angelopoulos & Bates 2021, were larger on the simulated voters of
`tests/benchmarks/evidence_simulated.py`: 2.4 against 1.5 of 12 generators.) It abstains where
nothing is near enough, by a similarity learned with each generator left out in turn, and where the
set would hold every generator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from index.calibration.figures import open_set_auroc
from index.calibration.resampling import folds_by_source

Floats = NDArray[np.float64]
Neighbours = Sequence[tuple[float, str | None]]

COVERAGE = 0.9  # chosen: the true generator is in nine of ten sets
# So many images of known generators may be called unknown for being far from everything: half of
# what the sets miss.
FAR_SHARE = 0.05
FEATURES = 4
RIDGE = 1e-3  # on the mean loss: keeps the coefficients finite where neighbours never err


class AttributionReason(StrEnum):
    """Why an attribution is what it is."""

    NEAREST_KNOWN_FAKES = "nearest_known_fakes"  # the set is what they support
    NO_GENERATOR_TOLD = "no_generator_told"  # no neighbour says what made it
    NOTHING_NEAR_ENOUGH = "nothing_near_enough"
    SET_HOLDS_EVERYTHING = "set_holds_everything"


@dataclass(frozen=True, slots=True)
class Attributed:
    """Candidates, most likely first (none when unknown), and the share of every generator, which
    sum to 1.
    """

    candidates: tuple[str, ...]
    shares: tuple[tuple[str, float], ...]
    unknown: bool
    reason: AttributionReason


@dataclass(frozen=True, slots=True)
class Attribution:
    """A fitted attribution. Figures are cross-validated by source, those of unknown ones by leaving
    a generator out.

    `log_frequencies` of the known generators among the images fitted to; a candidate has at least
    the share `least`; below the similarity `near_enough` to its nearest told neighbour an image is
    of no known generator. `coverage` and `mean_set_size` are of the sets before abstention.
    `unknown_of_known` and `unknown_of_left_out` are shares of images called unknown for their
    distance.
    """

    k: int
    log_frequencies: Mapping[str, float]
    coefficients: tuple[float, ...]
    scale: float
    least: float
    near_enough: float
    n: int
    n_sources: int
    accuracy: float
    coverage: float
    mean_set_size: float
    open_set_auroc: float | None
    unknown_of_known: float
    unknown_of_left_out: float | None
    seed: int

    def attribute(self, neighbours: Neighbours) -> Attributed:
        """Attribute an image by its nearest known fakes (similarity, generator or None), in any
        order.
        """
        nearest = sorted(neighbours, key=lambda each: (-each[0], each[1] or ""))[: self.k]
        told = [similarity for similarity, generator in nearest if generator is not None]
        if not told:
            return Attributed((), (), unknown=True, reason=AttributionReason.NO_GENERATOR_TOLD)
        names = sorted({*self.log_frequencies, *(name for _, name in nearest if name is not None)})
        rarest = min(self.log_frequencies.values())
        frequencies = np.array([self.log_frequencies.get(name, rarest) for name in names])
        similarities, generators = zip(*nearest, strict=True)
        features = _features(np.array(similarities), generators, names, frequencies, self.scale)
        share = np.exp(log_softmax(features @ np.array(self.coefficients)))
        shares = sorted(
            zip(names, share.tolist(), strict=True), key=lambda each: (-each[1], each[0])
        )
        held = _held(np.array([value for _, value in shares]), self.least)
        candidates = tuple(name for (name, _), is_held in zip(shares, held, strict=True) if is_held)
        reason = AttributionReason.NEAREST_KNOWN_FAKES
        if max(told) < self.near_enough:
            reason = AttributionReason.NOTHING_NEAR_ENOUGH
        elif len(candidates) == len(names):
            reason = AttributionReason.SET_HOLDS_EVERYTHING
        unknown = reason is not AttributionReason.NEAREST_KNOWN_FAKES
        return Attributed(() if unknown else candidates, tuple(shares), unknown, reason)

    def to_json(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read = {each.name: stored[each.name] for each in fields(cls)}
        return cls(**read | {"coefficients": tuple(stored["coefficients"])})


def fit_attribution(
    similarities: ArrayLike,
    generators: Sequence[Sequence[str | None]],
    truth: Sequence[str],
    sources: ArrayLike,
    *,
    seed: int,
) -> Attribution:
    """Fit on n images of known generators, `truth` (n,), and their k nearest known fakes,
    themselves left out.

    `similarities` (n, k), falling or not; `generators` n times k names, None where not told;
    `sources` (n,) the photograph or prompt that each image was made of.

    Raises:
        ValueError: no image, or a similarity that is not a number.

    """
    listed = _listed(similarities, generators, truth, sources)
    names = sorted(set(listed.truth))
    counts = Counter(listed.truth)
    frequencies = np.log([counts[name] / len(listed.truth) for name in names])
    spans = listed.similarities[:, 0] - listed.similarities[:, -1]
    scale = float(np.median(spans)) if np.median(spans) > 0 else 1.0
    features = np.stack(
        [
            _features(row, row_generators, names, frequencies, scale)
            for row, row_generators in zip(listed.similarities, listed.generators, strict=True)
        ]
    )  # (n, g, f)
    true = np.searchsorted(names, listed.truth)  # (n,)
    fold = folds_by_source(listed.sources, seed)
    shares = _out_of_sample(features, true, fold)  # (n, g)
    covered, sizes = _crossed(shares, true, fold)
    known, left_out = _nearness(listed)
    near_enough = float(np.quantile(known, FAR_SHARE, method="lower"))
    return Attribution(
        k=listed.similarities.shape[1],
        log_frequencies=dict(zip(names, frequencies.tolist(), strict=True)),
        coefficients=tuple(_fitted(features, true).tolist()),
        scale=scale,
        least=_least_share(shares[np.arange(len(true)), true]),
        near_enough=near_enough,
        n=len(true),
        n_sources=len(np.unique(listed.sources)),
        accuracy=float((shares.argmax(axis=1) == true).mean()),
        coverage=float(covered.mean()),
        mean_set_size=float(sizes.mean()),
        open_set_auroc=open_set_auroc(
            [*known, *left_out], np.repeat([True, False], [len(known), len(left_out)])
        ),
        unknown_of_known=float((known < near_enough).mean()),
        unknown_of_left_out=float((left_out < near_enough).mean()) if len(left_out) else None,
        seed=seed,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """Images in a canonical order, their neighbours nearest first."""

    similarities: Floats  # (n, k)
    generators: list[tuple[str | None, ...]]
    truth: list[str]
    sources: NDArray[np.int64]


def _listed(
    similarities: ArrayLike,
    generators: Sequence[Sequence[str | None]],
    truth: Sequence[str],
    sources: ArrayLike,
) -> _Listed:
    matrix, source = np.asarray(similarities, np.float64), np.asarray(sources, np.int64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(
            "an attribution is fitted to at least one image, with finite similarities to its "
            "neighbours"
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


def _features(
    similarities: Floats,
    generators: Sequence[str | None],
    names: Sequence[str],
    frequencies: Floats,
    scale: float,
) -> Floats:
    """Return what speaks for each generator (g, 4): log votes, nearness of the votes, the nearest,
    its frequency.
    """
    votes, nearness, first = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names))
    place = {name: at for at, name in enumerate(names)}
    told = [
        (s, place[g]) for s, g in zip(similarities.tolist(), generators, strict=True) if g in place
    ]
    for similarity, at in told:
        votes[at] += 1
        nearness[at] += (similarity - similarities[-1]) / scale
    if told:
        first[told[0][1]] = 1.0
    return np.column_stack(
        [np.log(votes + 0.5), np.minimum(nearness, len(similarities)), first, frequencies]
    )


def _fitted(features: Floats, true: NDArray[np.int64]) -> Floats:
    """Return the coefficients (f,) of the greatest likelihood; votes and nearness never speak
    against a generator.
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


def _out_of_sample(features: Floats, true: NDArray[np.int64], fold: NDArray[np.int64]) -> Floats:
    """Return the shares (n, g) that were fitted to the sources of the other folds."""
    shares = np.zeros(features.shape[:2])
    for held in np.unique(fold):
        out = fold == held
        shares[out] = np.exp(
            log_softmax(features[out] @ _fitted(features[~out], true[~out]), axis=1)
        )
    return shares


def _least_share(of_truth: Floats) -> float:
    """Return the share from which a generator is a candidate: at least 90 % of n + 1 exchangeable
    images reach it.
    """
    missed = int(np.floor((len(of_truth) + 1) * (1 - COVERAGE) + 1e-9))
    return float(np.sort(of_truth)[missed - 1]) if missed else 0.0


def _held(shares: Floats, least: float) -> NDArray[np.bool_]:
    """Return which generators (..., g) are candidates; the one with the largest share always is."""
    return np.asarray((shares >= least) | (shares == shares.max(axis=-1, keepdims=True)), np.bool_)


def _crossed(
    shares: Floats, true: NDArray[np.int64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], Floats]:
    """Return whether each set (n,) holds the truth and its size (n,), cut by what the other folds'
    sources say.
    """
    of_truth = shares[np.arange(len(true)), true]
    covered, sizes = np.zeros(len(true), np.bool_), np.zeros(len(true))
    for each in np.unique(fold):
        out = fold == each
        held = _held(shares[out], _least_share(of_truth[~out]))
        covered[out], sizes[out] = held[np.arange(int(out.sum())), true[out]], held.sum(axis=1)
    return covered, sizes


def _nearness(listed: _Listed) -> tuple[Floats, Floats]:
    """Return the similarity to the nearest told neighbour of images as they are and with their
    generator left out.

    Where all neighbours are of that generator the next would be no nearer than the last: that
    similarity stands in for it, to the disadvantage of the figures. Images without a told neighbour
    are not counted.
    """
    known, left_out = [], []
    for row, generators, name in zip(
        listed.similarities.tolist(), listed.generators, listed.truth, strict=True
    ):
        told = [s for s, generator in zip(row, generators, strict=True) if generator is not None]
        others = [
            s for s, generator in zip(row, generators, strict=True) if generator not in {None, name}
        ]
        if told:
            known.append(told[0])
            left_out.append(others[0] if others else row[-1])
    alone = len(set(listed.truth)) < 2
    return np.array(known or [-1.0]), np.array([] if alone else left_out)
