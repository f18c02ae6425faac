"""The JSON of an evaluation.

A figure that was not measured is null, with the reason; none is made up.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field

from api.evaluation.request import EvaluationRequest
from api.fields import Answer, FailedItem, Instant, Sha256

FORMAT = 1


class Measure(Answer):
    """A figure with its 95 % interval, or the reason why there is none."""

    value: float | None = Field(description="The figure; null where it was not measured.")
    low: float | None = Field(
        None, description="Of the interval; null where nothing could be resampled."
    )
    high: float | None = Field(None, description="Of the interval.")
    reason: str | None = Field(None, description="Why there is no value.")

    @classmethod
    def missing(cls, reason: str) -> Self:
        """A figure that was not measured."""
        return cls(value=None, reason=reason)


class ImageCounts(Answer):
    """What a figure was measured on: images, and the sources that they come from."""

    real: int = Field(ge=0, description="Real images.")
    synthetic: int = Field(ge=0, description="Synthetic images.")
    real_sources: int = Field(ge=0, description="Sources of the real ones.")
    synthetic_sources: int = Field(ge=0, description="Sources of the synthetic ones.")


class DetectionFigures(Answer):
    """How well the logit tells synthetic images from real ones."""

    n: ImageCounts
    resampled: str = Field(
        description="What the intervals resample: sources or images, of either kind."
    )
    roc_auc: Measure = Field(
        description="Chance that a synthetic image has the larger logit; 0.5 is guessing."
    )
    balanced_accuracy: Measure = Field(description="Mean of the shares that are right at logit 0.")
    balanced_accuracy_at_limits: Measure = Field(
        description="The same by the verdicts at the model's limits; `inconclusive` is not right."
    )
    inconclusive: Measure = Field(
        description="Share of images whose verdict is `inconclusive` at the limits."
    )
    tpr_at_fpr: Measure = Field(
        description="Share of synthetic images found where 1 % of real ones are taken for such."
    )


class GroupFigures(Answer):
    """The classifier on the images of one generator, or after one delivery."""

    name: str = Field(description="Of the generator, or of the delivery.")
    figures: DetectionFigures


class Curve(Answer):
    """Points of a plot."""

    x: list[float] = Field(description="Rising.")
    y: list[float] = Field(description="As many.")


class Histogram(Answer):
    """How many images of either kind have a logit between two edges."""

    edges: list[float] = Field(description="Rising; one more than there are counts.")
    real: list[int] = Field(description="Real images between two edges.")
    synthetic: list[int] = Field(description="Synthetic images between two edges.")


class ReliabilityBin(Answer):
    """Stated probabilities in [low, high[, what was stated there in the mean, and what was so."""

    low: float = Field(description="Stated probabilities from here on.")
    high: float = Field(description="Up to here, exclusively.")
    n: int = Field(description="Images in the bin.")
    mean_probability: float = Field(description="What was stated, in the mean.")
    share_synthetic: float = Field(description="What was so, either kind weighing one half.")


class ReliabilityFigures(Answer):
    """How well a stated probability of `synthetic` agrees with what is so; either kind weighs one
    half.
    """

    n: int = Field(description="Images.")
    ece: Measure = Field(description="Expected calibration error over 15 bins of equal width.")
    brier: Measure = Field(description="Mean squared error.")
    bins: list[ReliabilityBin] = Field(description="Those that hold any image.")


class ClassifierEvaluation(Answer):
    """The classifier: pooled, by generator against all real images, by condition on one sample."""

    pooled: DetectionFigures = Field(description="On all images.")
    by_generator: list[GroupFigures] = Field(description="The most frequent first.")
    by_condition: list[GroupFigures] = Field(
        description="As the images are first; empty where no delivery was asked for."
    )
    histogram: Histogram = Field(description="Of the logits.")
    roc: Curve | None = Field(description="False against true positive rate.")
    uncalibrated: ReliabilityFigures = Field(description="Of sigmoid(logit), on all images.")
    calibrated: ReliabilityFigures | None = Field(
        description="Of the probability calibrated on one half, on the other half."
    )


class RetrievalFigures(Answer):
    """Neighbours by generator: means over n probes."""

    name: str = Field(description="Of the generator; `all` is the mean.")
    n: int = Field(description="Probes.")
    precision_at_1: Measure = Field(
        description="Share of probes whose nearest neighbour is of their generator."
    )
    recall_at_k: dict[int, float] = Field(
        description="Share of probes with their generator among the k nearest."
    )
    mean_average_precision: float | None = Field(description="0 to 1.")
    by_chance: float = Field(description="Precision at 1 of a neighbour drawn blindly.")


class RetrievalEvaluation(Answer):
    """Known fakes looked up among the others, the image itself and its near duplicates left out."""

    entries: int = Field(ge=0, description="Fakes that were searched.")
    mean: RetrievalFigures | None = Field(
        description="Over all probes; null where nothing was measured."
    )
    by_generator: list[RetrievalFigures] = Field(description="The most frequent first.")
    reason: str | None = Field(None, description="Why nothing was measured.")


class LeftOutGenerator(Answer):
    """One generator left out of everything that attribution knows."""

    name: str = Field(description="Of the generator.")
    n_left_out: int = Field(description="Its images.")
    n_known: int = Field(description="Images of the others that were attributed.")
    auroc: Measure = Field(
        description="How well nearness tells known generators from the one left out."
    )
    abstained: float | None = Field(
        description="Share of its images that were attributed to no generator."
    )
    abstained_of_known: float | None = Field(
        description="Share of known images that were attributed to none."
    )
    coverage: float | None = Field(
        description="Share of known images whose set holds their generator."
    )
    mean_set_size: float | None = Field(
        description="Generators in the set of a known image, before abstention."
    )


class AttributionEvaluation(Answer):
    """Attribution to generators, each in turn left out; means weigh every generator alike."""

    target_coverage: float = Field(description="What the sets are made for.")
    auroc: Measure = Field(description="Known from unknown generators, by nearness.")
    coverage: Measure = Field(description="Share of known images whose set holds their generator.")
    mean_set_size: Measure = Field(description="Generators in the set of a known image.")
    by_generator: list[LeftOutGenerator] = Field(description="Each that was left out.")
    reason: str | None = Field(None, description="Why nothing was measured.")


class FalseMatchRow(Answer):
    """One false-match rate at one corpus size: what one half of the photographs foretells, and what
    the other has.
    """

    asked: float = Field(description="Rate that the similarity was chosen for.")
    times: int = Field(description="Corpus size, in multiples of the one that was calibrated on.")
    corpus_size: int = Field(description="Known fakes compared with.")
    cosine_similarity: float = Field(description="The threshold that was chosen.")
    predicted: Measure = Field(description="By the half that was calibrated on.")
    realised: Measure = Field(description="Of the other half, with the exact binomial interval.")
    matches: int | None = Field(description="Photographs of the other half that come so near.")
    inside: bool | None = Field(description="The realised rate lies in the predicted interval.")


class FalseMatchTable(Answer):
    """Predicted against realised false-match rate."""

    split: str = Field(description="What was kept together in the halves: sources or images.")
    calibrated_on: int = Field(description="Photographs of one half.")
    tested_on: int = Field(description="Photographs of the other.")
    calibrated_sources: int = Field(description="Sources of the one half.")
    tested_sources: int = Field(description="Sources of the other.")
    rows: list[FalseMatchRow] = Field(description="By rate and corpus size.")
    reason: str | None = Field(None, description="Why there are none.")


class TippettCurves(Answer):
    """Shares of known fakes and of photographs whose log10 LR is at least each point."""

    log10: list[float] = Field(description="Rising.")
    same: list[float] = Field(description="Of known fakes with their kin.")
    different: list[float] = Field(description="Of photographs.")


class LikelihoodEvaluation(Answer):
    """Likelihood ratios fitted on one half and stated of the other."""

    method: str | None = Field(
        description="pav or logistic: the better of the two by cross-validation."
    )
    split: str = Field(description="What was kept together in the halves: sources or images.")
    log10_bounds: tuple[float, float] | None = Field(
        description="No ratio is stated beyond these (ELUB)."
    )
    n_same: int = Field(
        description="Known fakes, each with its nearest other fake, in the half that is tested."
    )
    n_different: int = Field(
        description="Photographs, each with its nearest fake, in the half that is tested."
    )
    cllr: Measure = Field(description="Cost in bits: 0 perfect, 1 worth nothing.")
    cllr_min: Measure = Field(
        description="The cost after the best monotone recalibration: discrimination alone."
    )
    misleading_same: float | None = Field(description="Share of fakes with an LR under 1.")
    misleading_different: float | None = Field(
        description="Share of photographs with an LR over 1."
    )
    tippett: TippettCurves | None = Field(description="Null where nothing was measured.")
    reason: str | None = Field(None, description="Why nothing was measured.")


class SimilarityEvaluation(Answer):
    """How near images come to the known fakes, and what that is worth."""

    false_matches: list[FalseMatchTable] = Field(description="Halved as the likelihood ratios are.")
    likelihood: list[LikelihoodEvaluation] = Field(
        description="Halved by sources, where any are told, and by images."
    )


class WrongImage(Answer):
    """An image on the wrong side of logit 0, worst first."""

    name: str = Field(description="In the source.")
    location: str | None = Field(description="Path or URL of it, if it is a file of its own.")
    label: str = Field(description="real or synthetic.")
    generator: str | None = Field(description="What made it, if that is told.")
    logit: float = Field(description="Of the classifier.")


class RunFacts(Answer):
    """What is needed to repeat the evaluation."""

    lineup_version: str = Field(description="Of the package.")
    model: str = Field(description="Its name.")
    weights_sha256: Sha256 = Field(description="Of its weights.")
    embedding_space: Sha256 = Field(description="Weights and preprocessing.")
    device: str = Field(description="Where it was computed.")
    precision: str = Field(description="Of the forward.")
    image_size: int = Field(description="Side of what the model looks at, in pixels.")
    dimension: int = Field(description="Of an embedding.")
    synthetic_logit: float | None = Field(
        description="From it on a verdict is synthetic; null: not known."
    )
    authentic_logit: float | None = Field(description="Up to it a verdict is authentic.")
    logit_source: str | None = Field(description="Where these limits were measured.")
    created_at: Instant = Field(description="UTC.")
    seconds: float = Field(description="That it took.")
    command: str = Field(description="That was given.")


class MeasuredImages(Answer):
    """Which images were measured."""

    found: int = Field(description="Items of the source.")
    labelled: int = Field(description="Items with a usable label.")
    sampled: int = Field(
        description="Images that were read; fewer than labelled where a sample was asked for."
    )
    failed: int = Field(description="Items that could not be used.")
    n: ImageCounts
    sources_told: bool = Field(
        description="False: nobody tells sources, and each image counts as its own."
    )
    generators: dict[str, int] = Field(
        description="Synthetic images by generator, the most frequent first."
    )
    condition_images: int = Field(description="Images measured under every condition.")
    duplicates: int = Field(description="Images whose bytes another one has too.")


class EvaluationAnswer(Answer):
    """An evaluation, as it is in `evaluation.json`."""

    format: int = Field(FORMAT, description="Of this document.")
    made: RunFacts
    request: EvaluationRequest
    measured: MeasuredImages
    classifier: ClassifierEvaluation
    retrieval: RetrievalEvaluation
    attribution: AttributionEvaluation
    similarity: SimilarityEvaluation
    wrong: list[WrongImage] = Field(description="Of either kind the furthest on the wrong side.")
    failures: list[FailedItem] = Field(description="Items that could not be used.")
