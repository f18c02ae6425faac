"""How often the classifier's logit comes out at or below, and at or above, some value: of known
fakes, and of known-real images. From these the limits of the classifier's verdicts.

`no_traces` is said at or below a logit that few known fakes reach from above, `synthetic` at or
above one that few known-real images reach from below. What is stated is not the share of the images
that the limit was chosen on: each generator (each collection of known-real images) is left out in
turn, the limit is chosen on the others, and the images that were left out are counted. A limit that
2 % of the known fakes lie under was reached by 9 % of the fakes of generators that nobody had used
(docs/decisions/0015-limits-from-the-calibration.md), because one generator with many images decided
it. So images also count by what they add to their group (`groups.weights_by_group`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.across_collections import MIN_COLLECTIONS, predict_rates
from index.calibration.binomial import exact_interval
from index.calibration.false_matches import Rate, RateMethod
from index.calibration.groups import fold_groups, weights_by_group

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The logits that are stored, from either end: the outermost one by one, then by rank in a geometric
# series to the middle. Of 20,000 images two neighbours of the series near a rate of 2 % differ by a
# sixth of it.
OUTER_POINTS, SERIES_POINTS = 50, 60
# Rates are rounded to this many decimals: a stratum takes 30 kB instead of 80.
DECIMALS = 6
# Points at which the interval of a further group is computed; it is interpolated between them.
INTERVALS = 40
# Groups that are left out one at a time. Of more groups, the smallest are left out together.
MOST_FOLDS = 100
# If no limit holds on the groups that are left out, the limit is that of this part of the rate that
# was asked for. So one image with a wrong label among many cannot silence a verdict.
STRICTEST = 0.2


@dataclass(frozen=True, slots=True)
class LogitLimits:
    """The limits of the classifier's verdicts by a calibration.

    `no_traces` is said at or below `no_traces_logit`, `synthetic` at or above `synthetic_logit`.
    One is None if too few images support it; the model's own limit then stands. If both are there,
    no_traces_logit is below synthetic_logit.
    """

    no_traces_logit: float | None
    synthetic_logit: float | None


@dataclass(frozen=True, slots=True)
class TailRates:
    """The rate at which a tail is reached, at each of the stored logits (g,).

    `levels` are the shares of the images that the limit is chosen on, `estimates` those of the
    groups that were left out, each with its 95 % interval. They rise as the tail grows longer.
    `beyond` is the estimate of a limit that no image reaches, with its upper end.
    """

    levels: tuple[float, ...]
    estimates: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    beyond: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LogitShares:
    """The logits of `n` images of one kind, of `n_sources` photographs in `groups` groups.

    `logits` (g,) rise. Of the images, `counts_below` (g,) have a smaller logit and `counts_up_to`
    (g,) one that is not larger. If `across_groups`, an interval is that of a group that was left
    out; otherwise there are too few groups, and it is that of images like these.
    """

    n: int
    n_sources: int
    groups: int
    across_groups: bool
    logits: tuple[float, ...]
    counts_below: tuple[int, ...]
    counts_up_to: tuple[int, ...]
    lower: TailRates
    upper: TailRates

    def at_or_below(self, logit: float) -> Rate:
        """Return the rate of this logit or a smaller one. It never falls with the logit."""
        place = bisect_right(self.logits, logit) - 1
        count = self._count_up_to(place)
        return self._rate_at(self.lower, place, logit, self.logits, count)

    def at_or_above(self, logit: float) -> Rate:
        """Return the rate of this logit or a larger one. It never rises with the logit."""
        place = bisect_left(self.logits, logit)
        smaller = self._count_up_to(place - 1)
        count = None if smaller is None else self.n - smaller
        mirrored = [-each for each in reversed(self.logits)]
        return self._rate_at(self.upper, len(mirrored) - 1 - place, -logit, mirrored, count)

    def find_lower(self, rate: float) -> float | None:
        """Return the largest logit that the rate of smaller ones allows, None if there are too few
        images for so small a rate.
        """
        if not self._is_supported(rate):
            return None
        place = _find_place(self.lower, rate)
        return self.logits[place] if place >= 0 else float(np.nextafter(self.logits[0], -np.inf))

    def find_upper(self, rate: float) -> float | None:
        """Return the smallest logit that the rate of larger ones allows, None if there are too few
        images for so small a rate.
        """
        if not self._is_supported(rate):
            return None
        place = _find_place(self.upper, rate)
        last = self.logits[-1]
        return self.logits[-1 - place] if place >= 0 else float(np.nextafter(last, np.inf))

    def _is_supported(self, rate: float) -> bool:
        """Whether one of n + 1 exchangeable sources is at most this share of them: with fewer, the
        next image may be the first beyond the limit more often than that.
        """
        return (self.n_sources + 1) * rate >= 1

    def _count_up_to(self, place: int) -> int | None:
        """Return how many images lie up to a value between this stored logit and the next one,
        None if images that are not stored lie between them.
        """
        if place < 0:
            return 0
        count, after = self.counts_up_to[place], place + 1
        is_known = after == len(self.logits) or self.counts_below[after] == count
        return count if is_known else None

    def _rate_at(
        self, tail: TailRates, place: int, value: float, at: Sequence[float], count: int | None
    ) -> Rate:
        """Return the rate at a place of a tail; where images lie between it and the next place,
        between the rates of both.
        """
        curves = tail.estimates, tail.lows, tail.highs
        if place < 0:
            estimate, low, high = tail.beyond[0], 0.0, tail.beyond[1]
        elif count is not None:
            estimate, low, high = (curve[place] for curve in curves)
        else:
            estimate, low, high = (float(np.interp(value, at, curve)) for curve in curves)
        return Rate(
            estimate,
            low,
            high,
            self.n,
            RateMethod.RULE_OF_THREE if count == 0 else RateMethod.EMPIRICAL,
            matches=count,
            sources=self.n_sources,
            across_collections=self.across_groups,
        )

    def to_json(self) -> dict[str, Any]:
        stored = {name: _listed(value) for name, value in asdict(self).items()}
        tails = {
            name: {key: _listed(value) for key, value in stored[name].items()}
            for name in ("lower", "upper")
        }
        return stored | tails

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read: dict[str, Any] = {name: _tupled(value) for name, value in stored.items()}
        for name in ("lower", "upper"):
            tail: dict[str, Any] = {key: _tupled(value) for key, value in stored[name].items()}
            read[name] = TailRates(**tail)
        return cls(**read)


@dataclass(frozen=True, slots=True)
class LogitRates:
    """The rates of logits of known fakes and of known-real images."""

    fakes: LogitShares
    reals: LogitShares

    def fakes_at_or_below(self, logit: float) -> Rate:
        """Return the share of known fakes with this logit or a smaller one: what `no_traces` there
        misses.
        """
        return self.fakes.at_or_below(logit)

    def fakes_at_or_above(self, logit: float) -> Rate:
        """Return the share of known fakes with this logit or a larger one."""
        return self.fakes.at_or_above(logit)

    def reals_at_or_below(self, logit: float) -> Rate:
        """Return the share of known-real images with this logit or a smaller one."""
        return self.reals.at_or_below(logit)

    def reals_at_or_above(self, logit: float) -> Rate:
        """Return the share of known-real images with this logit or a larger one: the false alarms
        of `synthetic` there.
        """
        return self.reals.at_or_above(logit)

    def find_no_traces_logit(self, miss_rate: float) -> float | None:
        """Return the largest logit at or below which at most this share of known fakes lies.

        None if too few known fakes support it.
        """
        return self.fakes.find_lower(miss_rate)

    def find_synthetic_logit(self, false_alarm_rate: float) -> float | None:
        """Return the smallest logit at or above which at most this share of known-real images lies.

        None if too few known-real images support it.
        """
        return self.reals.find_upper(false_alarm_rate)

    def limits_at(self, miss_rate: float, false_alarm_rate: float) -> LogitLimits | None:
        """Return both limits; None if too few images support either.

        Where the logit separates the two kinds so well that the limits would cross, they are
        exchanged: each is then stricter than was asked, and no image was seen between them.
        """
        low = self.find_no_traces_logit(miss_rate)
        high = self.find_synthetic_logit(false_alarm_rate)
        if low is None and high is None:
            return None
        if low is not None and high is not None and low >= high:
            low, high = (high, low) if low > high else (float(np.nextafter(low, -np.inf)), high)
        return LogitLimits(low, high)

    def to_json(self) -> dict[str, Any]:
        return {"fakes": self.fakes.to_json(), "reals": self.reals.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(LogitShares.from_json(stored["fakes"]), LogitShares.from_json(stored["reals"]))


def fit_logit_shares(logits: ArrayLike, sources: ArrayLike, groups: ArrayLike) -> LogitShares:
    """Fit from the logits (n,) of images of one kind, each with its source image and its group.

    Raises:
        ValueError: no image, or a logit that is not finite.

    """
    x, source = np.asarray(logits, np.float64), np.asarray(sources, np.int64)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if not len(x) or not x.shape == source.shape == group.shape or not np.isfinite(x).all():
        raise ValueError(
            "rates of logits are fitted to at least one finite logit, each with a source and a "
            "group"
        )
    order = np.lexsort((source, group, x))  # the same images in any order give the same bytes
    images = _Images(x[order], source[order], group[order].astype(np.int64))
    distinct, first, times = np.unique(images.logits, return_index=True, return_counts=True)
    points = _choose_points(len(distinct))
    return LogitShares(
        n=len(x),
        n_sources=len(np.unique(source)),
        groups=int(group.max()) + 1,
        across_groups=images.are_grouped,
        logits=tuple(distinct[points].tolist()),
        counts_below=tuple(first[points].tolist()),
        counts_up_to=tuple((first + times)[points].tolist()),
        lower=_measure_tail(images, distinct, points),
        upper=_measure_tail(images.mirrored(), -distinct[::-1], len(distinct) - 1 - points[::-1]),
    )


class _Images(NamedTuple):
    """Images of one kind by rising logit: logits, source images and group numbers, each (n,)."""

    logits: Floats
    sources: Ints
    groups: Ints

    @property
    def are_grouped(self) -> bool:
        """Whether there are enough groups of several source images to say what a further one may
        be like. Where each image declares a source of its own, there are none.
        """
        return int((_count_sources(self.groups, self.sources) > 1).sum()) >= MIN_COLLECTIONS

    def mirrored(self) -> _Images:
        return _Images(-self.logits[::-1], self.sources[::-1], self.groups[::-1])


def _choose_points(n: int) -> Ints:
    """Return which of n rising values are stored."""
    series = np.geomspace(1, max(n / 2, 1), SERIES_POINTS).round() - 1
    from_end = np.unique(np.append(series, np.arange(min(n, OUTER_POINTS)))).astype(np.int64)
    return np.unique(np.append(from_end, n - 1 - from_end))


def _measure_tail(images: _Images, distinct: Floats, points: Ints) -> TailRates:
    """Measure how often images are at or below each of some values, `points` of the `distinct`
    ones.
    """
    weights = weights_by_group(images.logits, images.groups)
    fold = fold_groups(images.groups, MOST_FOLDS)  # (n,)
    plain = _cumulate(images.logits, np.ones(len(weights)), distinct)[points]
    levels = np.maximum(_cumulate(images.logits, weights, distinct)[points], plain)  # (p,)
    shares = _leave_out_groups(images.logits, fold, weights, np.append(0.0, levels))  # (k, 1 + p)
    of_fold = np.bincount(fold, weights)
    realised = (of_fold / of_fold.sum()) @ shares if images.are_grouped else np.append(0.0, plain)
    unseen = 0.5 / (len(np.unique(images.sources)) + 1)  # half an image in one more
    realised = np.maximum.accumulate(np.maximum(realised, np.append(unseen, levels)))
    if images.are_grouped:
        lows, highs = _predict_intervals(shares, _count_sources(fold, images.sources))
    else:
        n = len(np.unique(images.sources))
        lows, highs = np.array([exact_interval(x * n, n) for x in np.append(0.0, plain)]).T
    lows, highs = np.minimum(lows, realised), np.maximum(highs, realised)
    return TailRates(
        levels=_stored(levels),
        estimates=_stored(realised[1:]),
        lows=_stored(lows[1:]),
        highs=_stored(highs[1:]),
        beyond=_stored(np.array([realised[0], highs[0]])),
    )


def _stored(values: Floats) -> tuple[float, ...]:
    return tuple(values.round(DECIMALS).tolist())


def _cumulate(x: Floats, weights: Floats, at: Floats) -> Floats:
    """Return the weighted share of values (n,), rising, up to each of `at` (g,)."""
    sums = np.append(0.0, np.cumsum(weights))
    return np.asarray(sums[np.searchsorted(x, at, side="right")] / sums[-1], np.float64)


def _leave_out_groups(x: Floats, fold: Ints, weights: Floats, levels: Floats) -> Floats:
    """Return the share (k, p) of each fold's images that limits of the others reach.

    The limit of a level is the largest value of the others up to which their share is at most the
    level; without one, it is just below all of them. `x` (n,) rises.
    """
    count = int(fold.max()) + 1
    shares = np.zeros((count, len(levels)))
    if count == 1:
        return shares
    for each in range(count):
        out = fold == each
        others, w = x[~out], weights[~out]
        last = np.append(others[1:] != others[:-1], [True])  # the last image of equal ones
        values = others[last]
        up_to = (np.cumsum(w) / w.sum())[last]
        up_to = np.maximum(up_to, (np.flatnonzero(last) + 1) / len(others))
        place = np.searchsorted(up_to, levels + 1e-12, side="right") - 1  # (p,)
        limits = np.where(place >= 0, values[place], np.nextafter(values[0], -np.inf))
        shares[each] = np.searchsorted(x[out], limits, side="right") / out.sum()
    return shares


def _predict_intervals(shares: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    """Return the ends of the interval of a further group (p,), from the shares (k, p) of groups of
    so many source images (k,), at some of the points and between these.
    """
    last = shares.shape[1] - 1
    evenly, by_rate = (
        np.linspace(0, last, INTERVALS // 2),
        np.geomspace(1, last + 1, INTERVALS // 2) - 1,
    )
    at = np.unique(np.concatenate([evenly, by_rate]).round().astype(np.int64))
    matches = (shares[:, at] * sizes[:, None]).T  # (a, k)
    found = predict_rates(matches, sizes.astype(np.float64), np.ones(len(sizes)))
    low, high = (
        np.interp(np.arange(last + 1), at, np.maximum.accumulate(ends))
        for ends in (found.lows, found.highs)
    )
    return low, high


def _count_sources(groups: Ints, sources: Ints) -> Ints:
    """Return how many source images each group has (k,)."""
    pairs = np.unique(np.column_stack([groups, sources]), axis=0)
    return np.bincount(pairs[:, 0])


def _find_place(tail: TailRates, rate: float) -> int:
    """Return the last place whose rate is at most this one, -1 if there is none."""
    allowed = [
        level <= rate and (estimate <= rate or level <= STRICTEST * rate)
        for level, estimate in zip(tail.levels, tail.estimates, strict=True)
    ]
    return sum(allowed) - 1  # both rise: those that are allowed come first


def _listed(value: Any) -> Any:  # noqa: ANN401 -- any value of JSON
    return list(value) if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:  # noqa: ANN401 -- any value of JSON
    return tuple(value) if isinstance(value, list) else value
