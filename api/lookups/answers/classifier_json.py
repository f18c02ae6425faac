"""The classifier's opinion as JSON, with its limits and how often they are wrong."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from api.fields import Answer
from api.lookups.answers.numbers import LOGIT_DIGITS
from api.lookups.answers.rates_json import LogitShareAnswer
from index.verdict import ClassifierOutcome, ClassifierReason, LimitOrigin


class ClassifierAnswer(Answer):
    """The classifier's opinion of the probe alone. It does not use the corpora.

    The verdict is the output of a statistical model, which can be wrong. It is not proof of how the
    image was made.
    """

    verdict: ClassifierOutcome = Field(
        description="The class on whose side of the limits the logit is. synthetic: at or above "
        "`synthetic_logit`. no_traces: at or below `no_traces_logit`; no "
        "synthetic traces were found, which does not show that the image is genuine. inconclusive: "
        "between the limits, or `reason` forbids a verdict."
    )
    reason: ClassifierReason = Field(
        description="synthetic_limit_reached, no_traces_limit_reached, between_limits. no_limits:"
        " no limit is known, or images of the wrong kind reach each as often as the others. "
        "poor_quality: see `quality`. "
        "unstable: a re-encoding moves the logit over a limit. probability_disagrees: the logit "
        "reaches a limit, but the calibrated probability is on the other side of one half."
    )
    explanation: str = Field(description="The reason in one sentence.")
    logit: float = Field(
        description="Raw output of the classifier. Higher means more likely synthetic."
    )
    probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Calibrated probability of `synthetic`, assuming equally many synthetic and "
        "real images. Null if no calibration gives one. In look-ups that were stored under rules 1 "
        "with `calibration` 'uncalibrated' it is only sigmoid(logit), which is no probability.",
    )
    miss_rate: LogitShareAnswer | None = Field(
        None,
        description="With no_traces: the share of known fakes with this verdict. Null with "
        "another verdict, and if no calibration measured it.",
    )
    clear_rate: LogitShareAnswer | None = Field(
        None, description="With no_traces: the share of known-real images with this verdict."
    )
    false_alarm_rate: LogitShareAnswer | None = Field(
        None, description="With synthetic: the share of known-real images with this verdict."
    )
    detection_rate: LogitShareAnswer | None = Field(
        None, description="With synthetic: the share of known fakes with this verdict."
    )
    limits_source: str | None = Field(
        description="Data that the limits were measured on. Null without limits."
    )
    synthetic_logit: float | None = Field(
        None, description="The verdict is synthetic at or above this logit. Null without limits."
    )
    no_traces_logit: float | None = Field(
        None, description="The verdict is no_traces at or below this logit. Null without limits."
    )
    synthetic_from: LimitOrigin | None = Field(
        None,
        description="Where `synthetic_logit` was measured. calibration: on the calibrated "
        "corpora. model: elsewhere, by those who made the model. Null without limits.",
    )
    no_traces_from: LimitOrigin | None = Field(
        None, description="Where `no_traces_logit` was measured, likewise."
    )
    digits: int = Field(
        LOGIT_DIGITS,
        ge=0,
        description="Decimals with which the logit and its limits are printed, so that they read "
        "as the verdict compares them.",
    )
    fell_back_from: str | None = Field(
        None,
        description="The delivery of the probe, if the calibration measured no known fakes after "
        "it. Each limit is then the stricter one of unchanged images and of the model, and the "
        "shares are those of unchanged images. Null otherwise.",
        examples=["jpeg75"],
    )
    calibration_id: int | None = Field(
        None,
        description="Id of the calibration of the logit: the one that applies to the search, "
        "unless it is provisional; otherwise the newest, and a provisional one only if there is no "
        "other. Null if there is none.",
    )
    calibration: str = Field(
        description="Method and calibration that the probability comes from, or 'uncalibrated'.",
        examples=["temperature by calibration 3, as_is"],
    )
    ece: float | None = Field(
        None,
        description="Expected calibration error of the probability, on images that it was not "
        "fitted on. 0 is perfect. Null if uncalibrated.",
    )
    brier: float | None = Field(
        None,
        description="Brier score of the probability, on images that it was not fitted on. 0 is "
        "perfect. Null if uncalibrated.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_words_of_rules_1(cls, document: Any) -> Any:  # noqa: ANN401 -- JSON
        """Take the field by which rules 1 called `no_traces_logit`."""
        if not isinstance(document, dict) or "authentic_logit" not in document:
            return document
        fields = dict(document)
        return {"no_traces_logit": fields.pop("authentic_logit"), **fields}
