"""The rate in a collection that was not measured: a 95 % interval from how much the measured ones
differ.

Images of one collection share their subjects, their camera and their way to us. So the next
collection differs from the measured ones by more than chance: on one reference (docs/evidence.md)
the threshold of a rate of 1 % was reached by a quarter of one collection, and the interval that
resamples photographs ended at 2.3 %. Here the rate of a collection is a draw from a distribution of
collections (a random-effects model; Higgins, Thompson & Spiegelhalter 2009): its logit is normal
with an unknown mean and an unknown spread, and the matches in it are binomial. The interval
predicts the rate of the next draw, and includes what is not known of the mean and the spread.

The prior of the spread is half-normal with scale 1 on the logit, the default that Röver et al. 2021
("On weakly informative prior distributions for the heterogeneity parameter in Bayesian
random-effects meta-analysis") give for few groups; that of the mean is Jeffreys' for a rate. With
few collections the prior keeps the interval wide: it is the floor. Everything is summed on a fixed
grid, so that the same images give the same bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.resampling import LEVEL
from index.calibration.special import expit, log_expit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# With fewer collections, what they differ by is the prior alone. From three simulated collections,
# whose logits had a spread of up to 1.5, the interval contained the rate of a further one in 90 to
# 100 %; from two, in 88 to 100 % (`python -m tests.benchmarks.evidence_collections`, 2026-11-30).
MIN_COLLECTIONS = 3
# A collection of fewer photographs is counted with the other small ones of its corpus: a source
# that is declared for each picture is no collection. Of five, one is above the median in 97 %.
MIN_PHOTOGRAPHS = 5
# The curve has at most this many similarities, evenly spaced by the logarithm of the rank.
POINTS = 80
SPREAD_SCALE = 1.0  # of the half-normal prior (Röver et al. 2021)
# The grid: logits of a rate, and mean and spread of their distribution. A step of 0.2 is a fifth of
# a rate; the ends are rates that no reference could confirm.
_STEP = 0.2
_LOGITS = np.arange(-16.0, 7.0 + _STEP / 2, _STEP)  # (g,)
_MEANS = np.arange(-14.0, 4.0 + 0.0625, 0.125)
_SPREADS = np.arange(0.1, 3.2, 0.2)
# The logit of a collection's rate is never known better than to 0.14, which the grid resolves.
_MOST_INFORMATION = 50.0
_COLUMNS_AT_ONCE = 2**14  # likelihoods (g, columns) in memory: 15 MB
# Decimals of similarities, as in `false_matches`, and of rates: an interval is no more exact.
DECIMALS, RATE_DECIMALS = 9, 6


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Which collection each of n images belongs to.

    `numbers` (n,) are from 0 to g - 1, or -1 for an image that counts to none; `shares` (n,) are
    one over the number of images of the same photograph in the group, so that a photograph counts
    once. `sizes` (g,) are the photographs of a group, `owners` (g,) the number of the collection
    that it is a part of. `weights` (g,) are one over the groups of that collection.
    """

    numbers: Ints
    shares: Floats
    sizes: Floats
    owners: Ints
    weights: Floats

    @property
    def collections(self) -> int:
        """The number of collections."""
        return len(np.unique(self.owners))

    def count(self, maxima: Floats, similarities: Floats) -> Floats:
        """Return the photographs (t, g) whose images come at least as near as each similarity."""
        matches = np.zeros((len(similarities), len(self.sizes)))
        for group in range(len(self.sizes)):
            of_group = self.numbers == group
            x, share = maxima[of_group], self.shares[of_group]
            order = np.argsort(x, kind="stable")
            below = np.append(0.0, np.cumsum(share[order]))
            matches[:, group] = below[-1] - below[np.searchsorted(x[order], similarities, "left")]
        return matches.round(DECIMALS)


def group_images(
    labels: Sequence[Hashable | None], sources: Ints, deliveries: Sequence[str] | None = None
) -> Groups:
    """Return the groups of n images by their labels, which sort by their `repr`.

    Labels of fewer than `MIN_PHOTOGRAPHS` photographs make one group. An image without a label, and
    each if there are no labels at all, belongs to none. `deliveries` splits each label into groups
    that count together as one.
    """
    numbers = _number_labels(labels, sources) if len(labels) else np.full(len(sources), -1)
    owners = np.arange(numbers.max(initial=-1) + 1)
    if deliveries is not None:
        kinds = np.unique(np.asarray(deliveries), return_inverse=True)[1].reshape(-1)
        pairs, split = np.unique(np.column_stack([numbers, kinds]), axis=0, return_inverse=True)
        first = int(np.searchsorted(pairs[:, 0], 0))  # pairs of images without a label come first
        numbers, owners = np.maximum(split.reshape(-1) - first, -1), pairs[first:, 0]
    photographs, which, images = np.unique(
        np.column_stack([numbers, sources]), axis=0, return_inverse=True, return_counts=True
    )
    grouped = photographs[photographs[:, 0] >= 0, 0]
    return Groups(
        numbers=numbers.astype(np.int64),
        shares=1 / images[which.reshape(-1)],
        sizes=np.bincount(grouped, minlength=len(owners)).astype(np.float64),
        owners=owners.astype(np.int64),
        weights=1 / np.bincount(owners)[owners] if len(owners) else np.empty(0),
    )


def _number_labels(labels: Sequence[Hashable | None], sources: Ints) -> Ints:
    """Return the number of each image's label (n,), -1 for none; the small ones have the last."""
    photographs: dict[Hashable, set[int]] = {}
    for label, source in zip(labels, sources.tolist(), strict=True):
        if label is not None:
            photographs.setdefault(label, set()).add(source)
    large = sorted(
        (each for each in photographs if len(photographs[each]) >= MIN_PHOTOGRAPHS), key=repr
    )
    rest = set[int]().union(*(photographs[each] for each in photographs.keys() - large))
    place = dict.fromkeys(photographs, len(large) if len(rest) >= MIN_PHOTOGRAPHS else -1)
    place |= {label: number for number, label in enumerate(large)}
    return np.array([-1 if each is None else place[each] for each in labels], np.int64)


class Predicted(NamedTuple):
    """The 95 % intervals of rates (t,): of a further collection, and of the mean of all
    collections.
    """

    lows: Floats
    highs: Floats
    mean_lows: Floats
    mean_highs: Floats


def predict_rates(matches: Floats, sizes: Floats, weights: Floats) -> Predicted:
    """Return the intervals from the matches (t, g) of g collections of these sizes (g,).

    A low end is 0 if a collection of the median size would come out without a match in one of
    forty cases: a count could not be told from it.
    """
    grid = _grid()
    log_posterior = grid.log_prior[:, None] + _log_marginals(matches, sizes, weights)  # (m, t)
    posterior = np.exp(log_posterior - log_posterior.max(axis=0))
    posterior /= posterior.sum(axis=0)
    predictive = posterior.T @ grid.spread  # (t, g): of the next collection's logit
    middle = np.cumsum(predictive, axis=1) - predictive / 2
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    lows, highs = (expit([np.interp(end, row, _LOGITS) for row in middle]) for end in ends)
    none = predictive @ np.exp(np.median(sizes) * log_expit(-_LOGITS))
    of_mean = posterior[grid.by_mean]
    means = (np.cumsum(of_mean, axis=0) - of_mean / 2).T  # (t, m)
    rising = grid.means[grid.by_mean]
    mean_lows, mean_highs = (
        np.array([np.interp(end, row, rising) for row in means]) for end in ends
    )
    return Predicted(np.where(none >= ends[0], 0.0, lows), highs, mean_lows, mean_highs)


class _Grid(NamedTuple):
    """Every pair of mean and spread (m,): its log prior, the distribution of the logit of a
    collection's rate (m, g), the mean rate of collections (m,), and their order by it (m,).
    """

    log_prior: Floats
    spread: Floats
    means: Floats
    by_mean: Ints


@cache
def _grid() -> _Grid:
    means, spreads = (each.ravel() for each in np.meshgrid(_MEANS, _SPREADS, indexing="ij"))
    # A narrower distribution than the grid's step is as wide as the grid can show.
    width = np.maximum(spreads, _STEP / 1.5)[:, None]
    density = np.exp(-0.5 * ((_LOGITS - means[:, None]) / width) ** 2)
    density /= density.sum(axis=1, keepdims=True)
    jeffreys = 0.5 * (log_expit(means) + log_expit(-means))  # of a rate, as a density of its logit
    log_prior = jeffreys - 0.5 * (spreads / SPREAD_SCALE) ** 2
    mean_rates = density @ expit(_LOGITS)
    return _Grid(log_prior, density, mean_rates, np.argsort(mean_rates, kind="stable"))


def _log_marginals(matches: Floats, sizes: Floats, weights: Floats) -> Floats:
    """Return the log likelihood (m, t) of each pair of mean and spread, summed over collections."""
    share = np.clip(matches / sizes, 0.0, 1.0)  # (t, g)
    information = sizes * share * (1 - share)
    kept = np.minimum(1.0, _MOST_INFORMATION / np.maximum(information, _MOST_INFORMATION / 2))
    pairs = np.stack([matches * kept, (sizes - matches) * kept], axis=-1).reshape(-1, 2)
    # Many collections have no match at many similarities: each pair is computed once.
    distinct, which = np.unique(pairs.round(DECIMALS), axis=0, return_inverse=True)
    grid, found = _grid(), np.empty((len(distinct), len(_grid().means)))
    for start in range(0, len(distinct), _COLUMNS_AT_ONCE):
        some = distinct[start : start + _COLUMNS_AT_ONCE]
        log = some[:, :1] * log_expit(_LOGITS) + some[:, 1:] * log_expit(-_LOGITS)  # (c, g)
        largest = log.max(axis=1, keepdims=True)
        likelihood = np.exp(log - largest) @ grid.spread.T  # (c, m)
        found[start : start + len(some)] = np.log(np.maximum(likelihood, 1e-300)) + largest
    by_group = found[which.reshape(-1)].reshape(*matches.shape, -1)  # (t, g, m)
    return np.asarray(np.einsum("tgm,g->mt", by_group, weights), np.float64)


@dataclass(frozen=True)
class AcrossCollections:
    """The intervals of a further collection and of the mean of `collections` collections, at rising
    similarities.
    """

    collections: int
    similarities: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    mean_lows: tuple[float, ...]
    mean_highs: tuple[float, ...]

    def interval_at(self, similarity: float) -> tuple[float, float]:
        """Return the interval of the rate in a collection that was not measured."""
        lows, highs, _, _ = self._curves
        return self._at(similarity, lows), self._at(similarity, highs)

    def mean_at(self, similarity: float) -> tuple[float, float]:
        """Return the interval of the mean rate of such collections."""
        _, _, lows, highs = self._curves
        return self._at(similarity, lows), self._at(similarity, highs)

    def to_json(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            stored["collections"],
            tuple(stored["similarities"]),
            tuple(stored["lows"]),
            tuple(stored["highs"]),
            tuple(stored["mean_lows"]),
            tuple(stored["mean_highs"]),
        )

    @cached_property
    def _similarities(self) -> Floats:
        return np.array(self.similarities)

    @cached_property
    def _curves(self) -> tuple[Floats, Floats, Floats, Floats]:
        return (
            np.array(self.lows),
            np.array(self.highs),
            np.array(self.mean_lows),
            np.array(self.mean_highs),
        )

    def _at(self, similarity: float, values: Floats) -> float:
        return float(np.interp(similarity, self._similarities, values))


def fit_across_collections(maxima: ArrayLike, groups: Groups) -> AcrossCollections | None:
    """Fit the intervals to the largest similarities (n,) of images; None if there are too few
    collections.
    """
    if groups.collections < MIN_COLLECTIONS:
        return None
    x = np.asarray(maxima, np.float64)
    rising = np.sort(x[groups.numbers >= 0])
    ranks = np.unique(np.round(np.geomspace(1, len(rising), POINTS)).astype(np.int64))
    above = min(float(rising[-1]) + 10.0**-DECIMALS, 1.0)
    at = np.unique(np.append(rising[len(rising) - ranks], above).round(DECIMALS))
    found = predict_rates(groups.count(x, at), groups.sizes, groups.weights)
    # A rate falls with similarity, and so does all that is stated of it.
    lows, mean_lows = (np.minimum.accumulate(each) for each in (found.lows, found.mean_lows))
    highs, mean_highs = (
        np.maximum.accumulate(each[::-1])[::-1] for each in (found.highs, found.mean_highs)
    )
    return AcrossCollections(
        groups.collections,
        tuple(at.tolist()),
        *(
            tuple(each.round(RATE_DECIMALS).tolist())
            for each in (lows, highs, mean_lows, mean_highs)
        ),
    )
