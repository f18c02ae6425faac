"""How often the classifier's logit comes out at or below, and at or above, some value: of known
fakes, and of known-real images. From these the limits of the classifier's verdicts.

`no_traces` is said at or below a logit that few known fakes lie under, `synthetic` at or above one
that few known-real images lie over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.false_matches import Rate, RateMethod

Floats = NDArray[np.float64]

# z of a two-sided 95 % interval
Z = 1.959963984540054
MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class LogitLimits:
    """The limits of the classifier's verdicts by a calibration.

    `no_traces` is said at or below `no_traces_logit`, `synthetic` at or above `synthetic_logit`.
    One is None if too few images support it; the model's own limit then stands. Where both are
    there, no_traces_logit is below synthetic_logit.
    """

    no_traces_logit: float | None
    synthetic_logit: float | None


@dataclass(frozen=True)
class LogitShares:
    """The shares of `n` images of `groups` groups that have a logit at or below some value.

    `logits` (g,) rise, and so do the shares. A group is a generator, or a collection of known-real
    images. `across_groups`: the shares and their intervals are those of a group that was left out;
    otherwise they are those of images like these.
    """

    n: int
    n_sources: int
    groups: int
    across_groups: bool
    logits: tuple[float, ...]
    estimates: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    def share_at_or_below(self, logit: float) -> Rate:
        """Return the share at or below a logit, with its 95 % interval."""
        at, curves = self._curves
        estimate, low, high = (float(np.interp(logit, at, curve)) for curve in curves)
        if logit < at[0]:
            return Rate(0.0, 0.0, high, self.n, RateMethod.RULE_OF_THREE)
        return Rate(estimate, low, high, self.n, RateMethod.EMPIRICAL)

    def to_json(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        return cls(**read)

    @cached_property
    def _curves(self) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        return np.array(self.logits), (
            np.array(self.estimates),
            np.array(self.lows),
            np.array(self.highs),
        )


@dataclass(frozen=True, slots=True)
class LogitRates:
    """The shares of known fakes, by rising logit, and of known-real images, by falling logit."""

    fakes: LogitShares
    reals: LogitShares

    def fakes_at_or_below(self, logit: float) -> Rate:
        """Return the share of known fakes with this logit or a lower one: what a `no_traces` there
        misses.
        """
        return self.fakes.share_at_or_below(logit)

    def fakes_at_or_above(self, logit: float) -> Rate:
        """Return the share of known fakes with this logit or a higher one."""
        return _complement(self.fakes.share_at_or_below(logit))

    def reals_at_or_below(self, logit: float) -> Rate:
        """Return the share of known-real images with this logit or a lower one."""
        return self.reals.share_at_or_below(logit)

    def reals_at_or_above(self, logit: float) -> Rate:
        """Return the share of known-real images with this logit or a higher one: the false alarms
        of a `synthetic` there.
        """
        return _complement(self.reals.share_at_or_below(logit))

    def find_no_traces_logit(self, miss_rate: float) -> float | None:
        """Return the largest logit that at most this share of known fakes reaches from below, None
        if too few images support so small a rate.
        """
        return None if self.fakes.n * miss_rate < 1 else _last(self.fakes, miss_rate)

    def find_synthetic_logit(self, false_alarm_rate: float) -> float | None:
        """Return the smallest logit that at most this share of known-real images reaches from
        above, None if too few images support so small a rate.
        """
        if self.reals.n * false_alarm_rate < 1:
            return None
        return next(
            (x for x in self.reals.logits if self.reals_at_or_above(x).estimate < false_alarm_rate),
            None,
        )

    def limits_at(self, miss_rate: float, false_alarm_rate: float) -> LogitLimits | None:
        """Return both limits, None if too few images support either.

        Where they would cross, because the logit separates the two kinds better than was asked,
        each becomes the other's stricter value.
        """
        below = self.find_no_traces_logit(miss_rate)
        above = self.find_synthetic_logit(false_alarm_rate)
        if below is None and above is None:
            return None
        if below is not None and above is not None and below >= above:
            below, above = above, below
        return LogitLimits(below, above)

    def to_json(self) -> dict[str, Any]:
        return {"fakes": self.fakes.to_json(), "reals": self.reals.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(LogitShares.from_json(stored["fakes"]), LogitShares.from_json(stored["reals"]))


def fit_logit_rates(
    fake_logits: ArrayLike,
    real_logits: ArrayLike,
    fake_sources: ArrayLike,
    real_sources: ArrayLike,
) -> LogitRates:
    """Fit from the logits of known fakes (n,) and of known-real images (m,), each with its source.

    Raises:
        ValueError: one side has no image, or a logit is not finite.

    """
    return LogitRates(_shares(fake_logits, fake_sources), _shares(real_logits, real_sources))


def _shares(logits: ArrayLike, sources: ArrayLike) -> LogitShares:
    x, source = np.sort(np.asarray(logits, np.float64)), np.asarray(sources, np.int64)
    if not len(x) or x.shape != source.shape or not np.isfinite(x).all():
        raise ValueError("rates of logits need at least one finite logit, each with a source")
    at = np.unique(np.quantile(x, np.linspace(0, 1, MOST_POINTS), method="nearest"))
    share = np.searchsorted(x, at, side="right") / len(x)
    n_sources = len(np.unique(source))
    middle = (share + Z**2 / (2 * n_sources)) / (1 + Z**2 / n_sources)  # Wilson 1927
    half = (
        Z
        * np.sqrt(share * (1 - share) / n_sources + Z**2 / (4 * n_sources**2))
        / (1 + Z**2 / n_sources)
    )
    return LogitShares(
        n=len(x),
        n_sources=n_sources,
        groups=1,
        across_groups=False,
        logits=tuple(at.tolist()),
        estimates=tuple(share.tolist()),
        lows=tuple(np.clip(middle - half, 0, share).tolist()),
        highs=tuple(np.clip(middle + half, share, 1).tolist()),
    )


def _last(shares: LogitShares, rate: float) -> float | None:
    below = [x for x, share in zip(shares.logits, shares.estimates, strict=True) if share <= rate]
    return below[-1] if below else None


def _complement(rate: Rate) -> Rate:
    return Rate(1 - rate.estimate, 1 - rate.high, 1 - rate.low, rate.n, rate.method)
