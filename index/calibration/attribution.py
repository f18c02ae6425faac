"""Attribution: which generators may have made an image, judged by its nearest known fakes.

The votes of the neighbours are calibrated by a conditional logit (McFadden 1974). All generators
share its few coefficients, so that it also applies to a generator that was added later.

The candidates are a conformal set at 90 % coverage, by a threshold on the calibrated shares
(Sadinle et al. 2019; cross-conformal, Vovk 2015). For images of known generators the set contains
the true generator nine times in ten, however good the votes are; it does so more often only if the
first candidate alone is right more often. Adaptive sets (Angelopoulos & Bates 2021) were larger on
the simulated voters of `tests/benchmarks/evidence_simulated.py`: 2.4 against 1.5 of 12 generators.

Attribution answers "unknown" if nothing is near enough, by a similarity learned with each generator
left out in turn, and if the set would contain every generator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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
# The share of images of known generators that may be called unknown because they are far from
# everything: half of the share that the sets miss.
FAR_SHARE = 0.05
FEATURES = 4
RIDGE = 1e-3  # on the mean loss: keeps the coefficients finite if the neighbours are never wrong


class AttributionReason(StrEnum):
    """The reason for an attribution."""

    NEAREST_KNOWN_FAKES = "nearest_known_fakes"  # they support the candidates
    NO_GENERATOR_DECLARED = "no_generator_told"  # for no neighbour; stored answers have this word
    NOTHING_NEAR_ENOUGH = "nothing_near_enough"
    SET_HOLDS_EVERYTHING = "set_holds_everything"
    TOO_MANY = "too_many"  # the set has more names than a reader could use
    NOT_ENOUGH_ENTRIES = "not_enough_entries"  # of the generators that the set names
    # the probe is, by bytes or by perceptual hash, an entry that declares its generator
    SAME_PICTURE = "same_picture"


@dataclass(frozen=True, slots=True)
class Attributed:
    """Candidates, most likely first (none when unknown), and the share of every generator; shares
    sum to 1.
    """

    candidates: tuple[str, ...]
    shares: tuple[tuple[str, float], ...]
    unknown: bool
    reason: AttributionReason


@dataclass(frozen=True, slots=True)
class GeneratorCoverage:
    """What the sets are worth for one generator.

    `entries`: its known fakes in the corpora. `images` of them were attributed, each without
    itself; the sets of a share `coverage` of them, cross-validated, contained it, with the 95 %
    interval [low, high]. None of these if no image was attributed. A candidate has at least the
    share `least`. `is_named`: it has enough entries, and the coverage holds.
    """

    entries: int
    images: int
    coverage: float | None
    low: float | None
    high: float | None
    least: float
    is_named: bool


@dataclass(frozen=True, slots=True)
class Attribution:
    """A fitted attribution.

    `log_frequencies` are those of the known generators among the images of the fit. A candidate has
    at least the share `least`. An image is called unknown if the similarity to its nearest
    neighbour with a declared generator is below `near_enough`.

    `accuracy`, `coverage` and `mean_set_size` are cross-validated by source image; the sets are
    those before abstention. `unknown_of_known` is the share of images of known generators that are
    called unknown for their distance; `unknown_of_left_out` the same share when an image's
    generator is left out; `open_set_auroc` how well nearness separates the two.

    `classes` has what the sets are worth for each generator. It is empty in calibrations made
    before it was stored.
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
    classes: Mapping[str, GeneratorCoverage] = field(default_factory=dict)

    def attribute(self, neighbours: Neighbours) -> Attributed:
        """Attribute an image by its nearest known fakes (similarity, generator or None), in any
        order.
        """
        nearest = sorted(neighbours, key=lambda each: (-each[0], each[1] or ""))[: self.k]
        declared = [similarity for similarity, generator in nearest if generator is not None]
        if not declared:
            return Attributed((), (), unknown=True, reason=AttributionReason.NO_GENERATOR_DECLARED)
        names = sorted({*self.log_frequencies, *(name for _, name in nearest if name is not None)})
        rarest = min(self.log_frequencies.values())
        frequencies = np.array([self.log_frequencies.get(name, rarest) for name in names])
        similarities, generators = zip(*nearest, strict=True)
        features = _features(np.array(similarities), generators, names, frequencies, self.scale)
        share = np.exp(log_softmax(features @ np.array(self.coefficients)))
        shares = sorted(
            zip(names, share.tolist(), strict=True), key=lambda each: (-each[1], each[0])
        )
        is_candidate = _select(np.array([value for _, value in shares]), self.least)
        candidates = tuple(
            name for (name, _), is_one in zip(shares, is_candidate, strict=True) if is_one
        )
        reason = AttributionReason.NEAREST_KNOWN_FAKES
        if max(declared) < self.near_enough:
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
        read = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        classes = {
            name: GeneratorCoverage(**each) for name, each in stored.get("classes", {}).items()
        }
        return cls(**read | {"coefficients": tuple(stored["coefficients"]), "classes": classes})


def fit_attribution(
    similarities: ArrayLike,
    generators: Sequence[Sequence[str | None]],
    truth: Sequence[str],
    sources: ArrayLike,
    *,
    seed: int,
) -> Attribution:
    """Fit on n images of known generators, `truth` (n,), and the k nearest known fakes of each,
    itself left out.

    `similarities` (n, k) in any order; `generators` n times k names, None if not declared;
    `sources` (n,) the photograph or prompt that each image was made from.

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
            _features(row, row_generators, names, frequencies, scale)
            for row, row_generators in zip(listed.similarities, listed.generators, strict=True)
        ]
    )  # (n, g, f)
    true = np.searchsorted(names, listed.truth)  # (n,)
    fold = folds_by_source(listed.sources, seed)
    shares = _out_of_sample(features, true, fold)  # (n, g)
    is_covered, sizes = _cross_validate_sets(shares, true, fold)
    known, left_out = _nearness(listed)
    near_enough = float(np.quantile(known, FAR_SHARE, method="lower"))
    return Attribution(
        k=listed.similarities.shape[1],
        log_frequencies=dict(zip(names, frequencies.tolist(), strict=True)),
        coefficients=tuple(_fit_coefficients(features, true).tolist()),
        scale=scale,
        least=_least_share(shares[np.arange(len(true)), true]),
        near_enough=near_enough,
        n=len(true),
        n_sources=len(np.unique(listed.sources)),
        accuracy=float((shares.argmax(axis=1) == true).mean()),
        coverage=float(is_covered.mean()),
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
    """Images in a canonical order, each with its neighbours, the nearest first."""

    similarities: Floats  # (n, k)
    generators: list[tuple[str | None, ...]]
    truth: list[str]
    sources: NDArray[np.int64]


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


def _features(
    similarities: Floats,
    generators: Sequence[str | None],
    names: Sequence[str],
    frequencies: Floats,
    scale: float,
) -> Floats:
    """Return the features (g, 4) of each generator: log votes, nearness of the votes, whether it
    has the nearest vote, log frequency.
    """
    votes, nearness, first = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names))
    place = {name: at for at, name in enumerate(names)}
    known = [
        (s, place[g]) for s, g in zip(similarities.tolist(), generators, strict=True) if g in place
    ]
    for similarity, at in known:
        votes[at] += 1
        nearness[at] += (similarity - similarities[-1]) / scale
    if known:
        first[known[0][1]] = 1.0
    return np.column_stack(
        [np.log(votes + 0.5), np.minimum(nearness, len(similarities)), first, frequencies]
    )


def _fit_coefficients(features: Floats, true: NDArray[np.int64]) -> Floats:
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


def _out_of_sample(features: Floats, true: NDArray[np.int64], fold: NDArray[np.int64]) -> Floats:
    """Return the shares (n, g) of each image by coefficients fitted to the other folds."""
    shares = np.zeros(features.shape[:2])
    for held in np.unique(fold):
        out = fold == held
        shares[out] = np.exp(
            log_softmax(features[out] @ _fit_coefficients(features[~out], true[~out]), axis=1)
        )
    return shares


def _least_share(of_truth: Floats) -> float:
    """Return the conformal threshold on shares: of n + 1 exchangeable images at least 90 % give the
    true generator this share.
    """
    missed = int(np.floor((len(of_truth) + 1) * (1 - COVERAGE) + 1e-9))
    return float(np.sort(of_truth)[missed - 1]) if missed else 0.0


def _select(shares: Floats, least: float) -> NDArray[np.bool_]:
    """Return which generators (..., g) are candidates; the one with the largest share always is."""
    return np.asarray((shares >= least) | (shares == shares.max(axis=-1, keepdims=True)), np.bool_)


def _cross_validate_sets(
    shares: Floats, true: NDArray[np.int64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], Floats]:
    """Return, for each image, whether its set contains the true generator (n,), and the size of the
    set (n,); the threshold comes from the other folds.
    """
    of_truth = shares[np.arange(len(true)), true]
    is_covered, sizes = np.zeros(len(true), np.bool_), np.zeros(len(true))
    for each in np.unique(fold):
        out = fold == each
        selected = _select(shares[out], _least_share(of_truth[~out]))
        is_covered[out] = selected[np.arange(int(out.sum())), true[out]]
        sizes[out] = selected.sum(axis=1)
    return is_covered, sizes


def _nearness(listed: _Listed) -> tuple[Floats, Floats]:
    """Return the similarity of each image to its nearest neighbour with a declared generator, and
    the same with the image's own generator left out.

    If all neighbours are of its own generator, the similarity of the last one is used. The next
    neighbour cannot be nearer, so this makes the figures worse than they are, never better. Images
    without such a neighbour are not counted.
    """
    known, left_out = [], []
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
    has_one_generator = len(set(listed.truth)) < 2
    return np.array(known or [-1.0]), np.array([] if has_one_generator else left_out)
