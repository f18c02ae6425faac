"""The JSON of an evaluation. A figure that was not measured is null, with the reason; none is made up."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from api.answers import Answer, FailedItem, Instant, Sha256
from api.evaluation.request import EvaluationRequest

FORMAT = 1


class Measure(Answer):
    """A figure with its 95 % interval, or the reason why there is none."""

    value: float | None
    low: float | None = Field(None, description="Of the interval; null where nothing could be resampled.")
    high: float | None = None
    reason: str | None = Field(None, description="Why there is no value.")

    @classmethod
    def missing(cls, reason: str) -> Self:
        """A figure that was not measured."""
        return cls(value=None, reason=reason)


class Amount(Answer):
    """What a figure was measured on: images, and the sources that they come from."""

    real: int = Field(ge=0)
    synthetic: int = Field(ge=0)
    real_sources: int = Field(ge=0)
    synthetic_sources: int = Field(ge=0)


class ClassifierFigures(Answer):
    """How well the logit tells synthetic images from real ones."""

    n: Amount
    resampled: str = Field(description="What the intervals resample: sources or images, of either kind.")
    roc_auc: Measure = Field(description="Chance that a synthetic image has the larger logit; 0.5 is guessing.")
    balanced_accuracy: Measure = Field(description="Mean of the shares that are right at logit 0.")
    balanced_accuracy_at_limits: Measure = Field(
        description="The same by the verdicts at the model's limits; `inconclusive` is not right."
    )
    inconclusive: Measure = Field(description="Share of images whose verdict is `inconclusive` at the limits.")
    tpr_at_fpr: Measure = Field(
        description="Share of synthetic images found where 1 % of real ones are taken for such."
    )


class GroupFigures(Answer):
    """The classifier on the images of one generator, or after one delivery."""

    name: str
    figures: ClassifierFigures


class Curve(Answer):
    """Points of a plot."""

    x: list[float]
    y: list[float]


class Histogram(Answer):
    """How many images of either kind have a logit between two edges."""

    edges: list[float]
    real: list[int]
    synthetic: list[int]


class ReliabilityBin(Answer):
    """Stated probabilities in [low, high[, what was stated there in the mean, and what was so."""

    low: float
    high: float
    n: int
    mean_probability: float
    share_synthetic: float


class ReliabilityFigures(Answer):
    """How well a stated probability of `synthetic` agrees with what is so; either kind weighs one half."""

    n: int
    ece: Measure = Field(description="Expected calibration error over 15 bins of equal width.")
    brier: Measure = Field(description="Mean squared error.")
    bins: list[ReliabilityBin]


class ClassifierAnswer(Answer):
    """The classifier: pooled, by generator against all real images, by condition on one sample."""

    pooled: ClassifierFigures
    by_generator: list[GroupFigures]
    by_condition: list[GroupFigures]
    histogram: Histogram = Field(description="Of the logits.")
    roc: Curve | None = Field(description="False against true positive rate.")
    uncalibrated: ReliabilityFigures = Field(description="Of sigmoid(logit), on all images.")
    calibrated: ReliabilityFigures | None = Field(
        description="Of the probability calibrated on one half, on the other half."
    )


class RetrievalFigures(Answer):
    """Neighbours by generator: means over n probes."""

    name: str
    n: int
    precision_at_1: Measure
    recall_at_k: dict[int, float] = Field(description="Share of probes with their generator among the k nearest.")
    mean_average_precision: float | None
    by_chance: float = Field(description="Precision at 1 of a neighbour drawn blindly.")


class RetrievalAnswer(Answer):
    """Known fakes looked up among the others, the image itself and its near duplicates left out."""

    entries: int = Field(ge=0, description="Fakes that were searched.")
    mean: RetrievalFigures | None
    by_generator: list[RetrievalFigures]
    reason: str | None = None


class LeftOutGenerator(Answer):
    """One generator left out of everything that attribution knows."""

    name: str
    n_left_out: int
    n_known: int
    auroc: Measure = Field(description="How well nearness tells known generators from the one left out.")
    abstained: float | None = Field(description="Share of its images that were attributed to no generator.")
    abstained_of_known: float | None = Field(description="Share of known images that were attributed to none.")
    coverage: float | None = Field(description="Share of known images whose set holds their generator.")
    mean_set_size: float | None = Field(description="Generators in the set of a known image, before abstention.")


class AttributionAnswer(Answer):
    """Attribution to generators, each in turn left out; means weigh every generator alike."""

    target_coverage: float
    auroc: Measure
    coverage: Measure
    mean_set_size: Measure
    by_generator: list[LeftOutGenerator]
    reason: str | None = None


class FalseMatchRow(Answer):
    """One false-match rate at one corpus size: what one half of the photographs foretells, and what the other has."""

    asked: float = Field(description="Rate that the similarity was chosen for.")
    times: int = Field(description="Corpus size, in multiples of the one that was calibrated on.")
    corpus_size: int
    cosine_similarity: float
    predicted: Measure
    realised: Measure = Field(description="Of the other half, with the exact binomial interval.")
    matches: int | None = Field(description="Photographs of the other half that come so near.")
    inside: bool | None = Field(description="The realised rate lies in the predicted interval.")


class FalseMatchTable(Answer):
    """Predicted against realised false-match rate."""

    split: str = Field(description="What was kept together in the halves: sources or images.")
    calibrated_on: int
    tested_on: int
    calibrated_sources: int
    tested_sources: int
    rows: list[FalseMatchRow]
    reason: str | None = None


class TippettCurves(Answer):
    """Shares of known fakes and of photographs whose log10 LR is at least each point."""

    log10: list[float]
    same: list[float]
    different: list[float]


class LikelihoodAnswer(Answer):
    """Likelihood ratios fitted on one half and stated of the other."""

    method: str | None = Field(description="pav or logistic: the better of the two by cross-validation.")
    split: str = Field(description="What was kept together in the halves: sources or images.")
    log10_bounds: tuple[float, float] | None = Field(description="No ratio is stated beyond these (ELUB).")
    n_same: int = Field(description="Known fakes, each with its nearest other fake, in the half that is tested.")
    n_different: int = Field(description="Photographs, each with its nearest fake, in the half that is tested.")
    cllr: Measure = Field(description="Cost in bits: 0 perfect, 1 worth nothing.")
    cllr_min: Measure = Field(description="The cost after the best monotone recalibration: discrimination alone.")
    misleading_same: float | None = Field(description="Share of fakes with an LR under 1.")
    misleading_different: float | None = Field(description="Share of photographs with an LR over 1.")
    tippett: TippettCurves | None
    reason: str | None = None


class SimilarityAnswer(Answer):
    """How near images come to the known fakes, and what that is worth."""

    false_matches: list[FalseMatchTable] = Field(description="Halved as the likelihood ratios are.")
    likelihood: list[LikelihoodAnswer] = Field(description="Halved by sources, where any are told, and by images.")


class WrongImage(Answer):
    """An image on the wrong side of logit 0, worst first."""

    name: str
    location: str | None
    label: str
    generator: str | None
    logit: float


class Made(Answer):
    """What is needed to repeat the evaluation."""

    lineup_version: str
    model: str
    weights_sha256: Sha256
    embedding_space: Sha256
    device: str
    precision: str
    image_size: int
    dimension: int
    synthetic_logit: float | None
    authentic_logit: float | None
    logit_source: str | None
    created_at: Instant
    seconds: float
    command: str


class Measured(Answer):
    """Which images were measured."""

    found: int = Field(description="Items of the source.")
    labelled: int
    sampled: int = Field(description="Images that were read; fewer than labelled where a sample was asked for.")
    failed: int
    n: Amount
    sources_told: bool = Field(description="False: nobody tells sources, and each image counts as its own.")
    generators: dict[str, int]
    condition_images: int = Field(description="Images measured under every condition.")
    duplicates: int = Field(description="Images whose bytes another one has too.")


class EvaluationAnswer(Answer):
    """An evaluation, as it is in `evaluation.json`."""

    format: int = FORMAT
    made: Made
    request: EvaluationRequest
    measured: Measured
    classifier: ClassifierAnswer
    retrieval: RetrievalAnswer
    attribution: AttributionAnswer
    similarity: SimilarityAnswer
    wrong: list[WrongImage]
    failures: list[FailedItem]
