"""The JSON of a comparison of two models on the same images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.evaluation.json import ImageCounts, Measure
from api.evaluation.request import EvaluationRequest
from api.fields import Answer, FailedItem, Instant, Sha256

FORMAT = 1


class ComparedModel(Answer):
    """One of the two models."""

    model: str = Field(description="Name of the model, or of its folder.")
    weights_sha256: Sha256 = Field(description="SHA-256 of the weights.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    device: str = Field(description="Device that the model ran on.")
    precision: str = Field(description="Precision of the computation.")
    caution: str | None = Field(
        description="What every answer of this model must say first. Null if nothing has to be "
        "said."
    )
    failures: list[FailedItem] = Field(description="Images that this model could not use.")


class ComparedFigure(Answer):
    """One figure of both models, and their difference."""

    a: Measure = Field(description="Figure of the first model.")
    b: Measure = Field(description="Figure of the second model.")
    difference: Measure = Field(
        description="Second minus first. The interval is paired: each resample holds the same "
        "images for both models."
    )
    larger: Literal["a", "b"] | None = Field(
        description="Model with the larger figure. Null if the interval of the difference contains "
        "0, or if there is none."
    )


class ComparedFigures(Answer):
    """Both models on the images of one group."""

    name: str = Field(description="Name of the delivery or of the generator.")
    n: ImageCounts = Field(description="Images that both models could use.")
    resampled: str = Field(
        description="What the intervals resample, for each kind of image: sources or images."
    )
    roc_auc: ComparedFigure = Field(
        description="Chance that a synthetic image has a larger logit than a real one."
    )
    balanced_accuracy: ComparedFigure = Field(
        description="Mean of the share of synthetic images with a logit of at least 0 and the "
        "share of real images below 0."
    )
    tpr_at_fpr: ComparedFigure = Field(
        description="Share of synthetic images found, at the logit that takes 1 % of real images "
        "for synthetic."
    )


class ComparisonAnswer(Answer):
    """Two models, measured on the same images."""

    format: int = Field(FORMAT, description="Version of this document.")
    lineup_version: str = Field(description="Version of Lineup that measured.")
    created_at: Instant = Field(description="When it was measured, in UTC.")
    seconds: float = Field(description="Duration in seconds.")
    request: EvaluationRequest = Field(description="The images, and how they were sampled.")
    a: ComparedModel = Field(description="The first model.")
    b: ComparedModel = Field(description="The second model.")
    by_delivery: list[ComparedFigures] = Field(
        description="Figures after each kind of delivery; `as_is` comes first."
    )
    by_generator: list[ComparedFigures] = Field(
        description="Figures for the images of each generator against all real images, as they "
        "are. The most frequent generator comes first."
    )
    failures: list[FailedItem] = Field(description="Items whose label could not be read.")
