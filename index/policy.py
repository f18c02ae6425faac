"""Which limits a probe is judged by: those of a calibration, of the operator, or of the model.

A similarity threshold comes from a calibration of the searched corpora, or from the operator. One
that was measured elsewhere says nothing about these corpora and gives no verdict. Limits of the
logit come from a calibration too; a model's own stand in where too few images support one, and name
themselves. So do the limits of leads, from which on an entry is perhaps a copy: where no
calibration measured them, those that came with the package stand in. Pure functions: what evidence
means by these limits is in `index.verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from index.calibration.calibration import AS_IS
from index.calibration.classifier import ClassifierCalibration
from index.calibration.copies import LEAD_RATE, CopyRates
from index.calibration.false_matches import Rate, RateMethod
from index.calibration.for_probe import ProbeCalibration
from index.calibration.logit_rates import LogitRates
from index.calibration.standing import Applied
from index.copies import NO_LEADS, LeadLimits
from index.verdict import ClassifierPolicy, LimitOrigin, Policy, SimilarityReason, Threshold

# A lead that geometry refuted must be so strong that it is rarer still by this factor.
REFUTED_FACTOR = 0.1
_SHIPPED_RATES = "the rates that came with the package"
Limit = tuple[float | None, LimitOrigin]  # a logit, and who set it


@dataclass(frozen=True, slots=True)
class Choices:
    """What an operator chose, and what the model states about itself.

    `threshold` is the operator's and wins over that of a calibration. `classifier` are the model's
    limits. `no_traces` is said where at most `miss_rate` of the known fakes have a lower logit,
    `synthetic` where at most `false_alarm_rate` of the known-real images have a higher one.
    """

    threshold: Threshold | None
    classifier: ClassifierPolicy | None
    miss_rate: float
    false_alarm_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class LogitCalibration:
    """What a calibration says about the logit of images delivered in one way.

    `number` is the calibration's, `condition` names the way. A part is None if there were too few
    images. `fell_back_from` names the delivery of the probe where no known fakes were measured
    after it, as in a first calibration: `rates` are then those of unchanged images, and there is no
    probability.
    """

    number: int
    condition: str
    rates: LogitRates | None
    probability: ClassifierCalibration | None
    fell_back_from: str | None = None

    @classmethod
    def of(cls, applied: Applied, condition: str | None) -> Self:
        """For a probe that was delivered in some way; None: not known."""
        chosen = applied.calibration.stratum_for(condition or "")
        stratum, unchanged = chosen.stratum, applied.calibration.strata[AS_IS].logit_rates
        if stratum.logit_rates is None and unchanged is not None:
            return cls(applied.id, AS_IS, unchanged, None, condition or chosen.name)
        return cls(applied.id, chosen.name, stratum.logit_rates, stratum.classifier)


@dataclass(frozen=True, slots=True)
class ReEncodingLimits:
    """The limits of a re-encoding of the probe. None: it has those of the probe."""

    threshold: Threshold | None = None
    classifier: ClassifierPolicy | None = None


def choose_policy(
    calibration: ProbeCalibration | None,
    logits: LogitCalibration | None,
    choices: Choices,
    leads: LeadLimits = NO_LEADS,
) -> Policy:
    """Return what a probe is judged by, from what was measured for it and what was chosen."""
    barrier = find_barrier(calibration, choices.threshold)
    threshold = None
    if barrier is None:
        threshold = choices.threshold or (calibration.threshold if calibration else None)
    return Policy(threshold, choose_classifier_policy(logits, choices), barrier, leads)


def find_barrier(
    calibration: ProbeCalibration | None, chosen: Threshold | None
) -> SimilarityReason | None:
    """Return why the similarity of embeddings gives no verdict in the searched corpora, if so.

    A threshold that an operator chose stands in for a calibration's, but not where a calibration
    shows that no threshold tells anything. Too few images for a threshold show nothing of the kind.
    """
    if calibration is None or calibration.discrimination is None:
        return SimilarityReason.NOT_CALIBRATED if chosen is None else None
    tells = not tells_nothing(calibration)
    if chosen is not None:
        return None if tells else SimilarityReason.TELLS_NOTHING
    if calibration.is_provisional:
        return SimilarityReason.NOT_CALIBRATED
    if calibration.threshold is None:
        return SimilarityReason.NO_THRESHOLD
    return None if tells else SimilarityReason.TELLS_NOTHING


def tells_nothing(calibration: ProbeCalibration) -> bool:
    """Return whether a calibration shows that similarity does not tell fakes from photographs.

    One with too few images for a threshold shows nothing of the kind.
    """
    found = calibration.discrimination
    return found is not None and not found.tells and _supports_threshold(calibration)


def choose_classifier_policy(
    logits: LogitCalibration | None, choices: Choices
) -> ClassifierPolicy | None:
    """Return the limits of the logit, each from the calibration where its images support one,
    otherwise the model's own; None where there is neither.

    Where the delivery itself was not measured, each is the stricter one of unchanged images and the
    model: a delivery moves logits, and neither was measured for it on these corpora. A limit that
    the wrong kind of image reaches as often as the right one gives no verdict, whoever set it.
    """
    own = choices.classifier
    if logits is None or logits.rates is None:
        return own
    measured = logits.rates.limits_at(choices.miss_rate, choices.false_alarm_rate)
    low: Limit = (measured.no_traces_logit if measured else None, LimitOrigin.CALIBRATION)
    high: Limit = (measured.synthetic_logit if measured else None, LimitOrigin.CALIBRATION)
    if low[0] is None and own is not None:
        low = (own.no_traces_logit, LimitOrigin.MODEL)
    if high[0] is None and own is not None:
        high = (own.synthetic_logit, LimitOrigin.MODEL)
    if logits.fell_back_from is not None and own is not None:
        low = _stricter(low, own.no_traces_logit, -1)
        high = _stricter(high, own.synthetic_logit, 1)
    # One of the model beside one of the calibration can cross it: each takes the stricter side.
    if low[0] is not None and high[0] is not None and low[0] > high[0]:
        low, high = high, low
    no_traces_logit, synthetic_logit = _keep_telling(logits.rates, low[0], high[0])
    if no_traces_logit is None and synthetic_logit is None:
        return None
    if own is not None and low[1] is high[1] is LimitOrigin.MODEL:
        return replace(own, no_traces_logit=no_traces_logit, synthetic_logit=synthetic_logit)
    return ClassifierPolicy(
        synthetic_logit=synthetic_logit,
        no_traces_logit=no_traces_logit,
        source=_source(logits, choices, {low[1], high[1]}),
        synthetic_from=high[1],
        no_traces_from=low[1],
    )


def _keep_telling(
    rates: LogitRates, low: float | None, high: float | None
) -> tuple[float | None, float | None]:
    """Return both limits, each None if the kind of image that it is not meant for reaches it as
    often as the other.
    """
    if low is not None and _points_astray(
        rates.fakes_at_or_below(low), rates.reals_at_or_below(low)
    ):
        low = None
    if high is not None and _points_astray(
        rates.reals_at_or_above(high), rates.fakes_at_or_above(high)
    ):
        high = None
    return low, high


def _points_astray(wrong: Rate, right: Rate) -> bool:
    """Whether images of the wrong kind were seen beyond a limit, as often as those of the right
    kind or more often.
    """
    return wrong.method is not RateMethod.RULE_OF_THREE and wrong.estimate >= right.estimate


def _stricter(limit: Limit, own: float | None, side: int) -> Limit:
    """Return a limit or the model's own, whichever fewer logits reach; `side` is 1 for logits above
    it, -1 for logits below it.
    """
    if own is None or (limit[0] is not None and side * limit[0] >= side * own):
        return limit
    return own, LimitOrigin.MODEL


def choose_reencoding_limits(
    applied: Applied | None,
    calibration: ProbeCalibration | None,
    policy: Policy,
    choices: Choices,
    conditions: Sequence[str],
) -> list[ReEncodingLimits]:
    """Return the limits of the probe if it had been delivered in each of these ways.

    `applied` is the calibration of the logit, `calibration` that of the similarity.
    """
    thresholds: list[Threshold | None] = [None] * len(conditions)
    if policy.threshold is not None and choices.threshold is None and calibration is not None:
        thresholds = calibration.find_thresholds(conditions)
    limits = {
        condition: None
        if applied is None
        else choose_classifier_policy(LogitCalibration.of(applied, condition), choices)
        for condition in set(conditions)
    }
    return [
        ReEncodingLimits(threshold, limits[condition])
        for threshold, condition in zip(thresholds, conditions, strict=True)
    ]


def choose_lead_limits(
    rates: CopyRates, corpus_size: int, descriptor: str | None, calibration_id: int | None
) -> LeadLimits:
    """Return from when on an entry is perhaps a copy, in a corpus of this size.

    `rates` are those of the calibration `calibration_id`, or those that came with the package.
    `descriptor` is the fingerprint of the copy descriptor, None without one.
    """
    size = max(corpus_size, 1)
    least = refuted = None
    curves = [rates.band]
    if descriptor is not None:
        least = rates.descriptor_threshold(descriptor, LEAD_RATE, size)
        refuted = rates.descriptor_threshold(descriptor, LEAD_RATE * REFUTED_FACTOR, size)
        curves.append((rates.descriptors or {}).get(descriptor))
    origins = dict.fromkeys(
        _SHIPPED_RATES
        if calibration_id is None or each.is_shipped
        else f"calibration {calibration_id}"
        for each in curves
        if each is not None
    )
    if not origins:
        return LeadLimits(rates.band_limit(size), least, refuted)
    source = f"at a false-match rate of {LEAD_RATE:.0%} by {' and '.join(origins)}"
    return LeadLimits(rates.band_limit(size), least, refuted, source)


def _supports_threshold(calibration: ProbeCalibration) -> bool:
    """Whether there are enough images for a threshold, if the calibration were not provisional."""
    if calibration.threshold is not None or not calibration.is_provisional:
        return calibration.threshold is not None
    rate, size = calibration.false_match_rate, calibration.corpus_size
    return calibration.stratum.threshold_at(rate, size) is not None


def _source(logits: LogitCalibration, choices: Choices, origins: set[LimitOrigin]) -> str:
    """Name the data that the limits were measured on."""
    assert logits.rates is not None
    measured = (
        f"calibration {logits.number}, {logits.condition}: logit under which at most "
        f"{choices.miss_rate:.2%} of {logits.rates.fakes.n} known fakes lie, and over which at "
        f"most {choices.false_alarm_rate:.2%} of {logits.rates.reals.n} known-real images lie"
    )
    if LimitOrigin.MODEL in origins and choices.classifier is not None:
        return (
            f"{measured}; for want of images one limit is the model's: {choices.classifier.source}"
        )
    return measured
