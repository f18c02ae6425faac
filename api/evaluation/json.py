"""The JSON of an evaluation. A figure that was not measured is null, and has a reason."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from api.evaluation.request import EvaluationRequest
from api.fields import Answer, FailedItem, Instant, Sha256

FORMAT = 1


class Measure(Answer):
    """A figure with its 95 % interval, or the reason why it was not measured."""

    value: float | None = Field(description="The figure. Null if it was not measured.")
    low: float | None = Field(
        None, description="Lower end of the 95 % interval. Null if there is no interval."
    )
    high: float | None = Field(
        None, description="Upper end of the 95 % interval. Null if there is no interval."
    )
    reason: str | None = Field(None, description="Why the figure was not measured. Null if it was.")

    @classmethod
    def missing(cls, reason: str) -> Self:
        """Return a figure that was not measured."""
        return cls(value=None, reason=reason)


class ImageCounts(Answer):
    """The images that a figure was measured on, and the sources that they come from."""

    real: int = Field(ge=0, description="Number of real images.")
    synthetic: int = Field(ge=0, description="Number of synthetic images.")
    real_sources: int = Field(ge=0, description="Number of sources of the real images.")
    synthetic_sources: int = Field(ge=0, description="Number of sources of the synthetic images.")


class DetectionFigures(Answer):
    """How well the classifier's logit separates synthetic images from real ones."""

    n: ImageCounts = Field(description="Images that the figures were measured on.")
    resampled: str = Field(
        description="What the intervals resample, for each kind of image: sources or images."
    )
    roc_auc: Measure = Field(
        description="Chance that a synthetic image has a larger logit than a real one. 0.5 is "
        "guessing."
    )
    balanced_accuracy: Measure = Field(
        description="Mean of the share of synthetic images with a logit of at least 0 and the "
        "share of real images below 0."
    )
    balanced_accuracy_at_limits: Measure = Field(
        description="Mean of the two shares of images with the right verdict, by the model's "
        "limits. An inconclusive verdict does not count as right."
    )
    inconclusive: Measure = Field(
        description="Share of images with an inconclusive verdict, by the model's limits. Each "
        "kind weighs one half."
    )
    tpr_at_fpr: Measure = Field(
        description="Share of synthetic images found, at the logit that takes 1 % of real images "
        "for synthetic."
    )


class GroupFigures(Answer):
    """The classifier's figures for the images of one generator, or after one kind of delivery."""

    name: str = Field(description="Name of the generator or of the delivery.")
    figures: DetectionFigures = Field(description="The figures.")


class Curve(Answer):
    """The points of a curve."""

    x: list[float] = Field(description="Values on the x axis, increasing.")
    y: list[float] = Field(description="Values on the y axis, one for each value of `x`.")


class Histogram(Answer):
    """Number of images in each interval of the logit."""

    edges: list[float] = Field(
        description="Edges of the intervals, increasing: one more than there are intervals."
    )
    real: list[int] = Field(description="Number of real images in each interval.")
    synthetic: list[int] = Field(description="Number of synthetic images in each interval.")


class ReliabilityBin(Answer):
    """The images whose value is in one interval."""

    low: float = Field(description="Lower edge of the interval, included.")
    high: float = Field(description="Upper edge of the interval, not included.")
    n: int = Field(description="Number of images.")
    mean_probability: float = Field(description="Mean of the values.")
    share_synthetic: float = Field(
        description="Share of these images that are synthetic. Real and synthetic images weigh "
        "one half each in total."
    )


class ReliabilityFigures(Answer):
    """How well a value that is read as the probability of `synthetic` agrees with the truth.

    Real and synthetic images weigh one half each in total.
    """

    n: int = Field(description="Number of images.")
    ece: Measure = Field(
        description="Expected calibration error over 15 bins of equal width. 0 is perfect."
    )
    brier: Measure = Field(
        description="Brier score: mean squared error of the value. 0 is perfect."
    )
    bins: list[ReliabilityBin] = Field(description="The bins that hold images.")


class ClassifierEvaluation(Answer):
    """Figures of the classifier."""

    pooled: DetectionFigures = Field(description="Figures on all images.")
    by_generator: list[GroupFigures] = Field(
        description="Figures for each generator's images, compared with all real images. The most"
        " frequent generator comes first."
    )
    by_condition: list[GroupFigures] = Field(
        description="Figures for one sample after each kind of delivery, starting with the "
        "unchanged images. Empty if no delivery was asked for."
    )
    histogram: Histogram = Field(description="Histogram of the logits.")
    roc: Curve | None = Field(
        description="ROC curve: true positive rate (y) against false positive rate (x)."
    )
    uncalibrated: ReliabilityFigures = Field(
        description="Reliability of sigmoid(logit), which is not calibrated and no probability, on "
        "all images."
    )
    calibrated: ReliabilityFigures | None = Field(
        description="Reliability of a probability that was calibrated on one half of the images, "
        "measured on the other half. Null with too few images."
    )


class ClassifierShares(Answer):
    """The shares of some images by the classifier's verdict."""

    synthetic: Measure = Field(description="Share of the images with the verdict synthetic.")
    no_traces: Measure = Field(description="Share of the images with the verdict no_traces.")
    inconclusive: Measure = Field(description="Share of the images without either verdict.")
    reasons: dict[str, int] = Field(
        description="Number of images by the reason of the verdict, as in a look-up."
    )


class SimilarityShares(Answer):
    """The shares of some images by the verdict on similarity."""

    similar: Measure = Field(
        description="Share of the images with the verdict similar_to_known_fakes."
    )
    not_similar: Measure = Field(description="Share of the images with the verdict not_similar.")
    inconclusive: Measure = Field(description="Share of the images without either verdict.")
    reasons: dict[str, int] = Field(
        description="Number of images by the reason of the verdict, as in a look-up."
    )


class VerdictGroup(Answer):
    """The verdicts on some images."""

    name: str = Field(
        description="real, synthetic, or the name of a generator: what the images are."
    )
    n: int = Field(description="Number of images.")
    classifier: ClassifierShares = Field(description="Verdicts of the classifier.")
    similarity: SimilarityShares = Field(description="Verdicts on similarity.")


class DeliveryVerdicts(Answer):
    """The verdicts on images after one kind of delivery."""

    name: str = Field(description="Name of the delivery.")
    real: VerdictGroup = Field(description="The real images.")
    synthetic: VerdictGroup = Field(description="The synthetic images.")


class VerdictLimits(Answer):
    """The limits of the logit in one fold, for images as they are."""

    no_traces_logit: float | None = Field(
        description="The verdict is no_traces at or below this logit. Null without such a limit."
    )
    no_traces_from: str | None = Field(
        description="Where this limit was measured: calibration or model."
    )
    synthetic_logit: float | None = Field(
        description="The verdict is synthetic at or above this logit. Null without such a limit."
    )
    synthetic_from: str | None = Field(
        description="Where this limit was measured: calibration or model."
    )


class VerdictEvaluation(Answer):
    """The verdicts that look-ups give, by the rules of a look-up.

    Each image is judged by a calibration on images of the other folds, which also are the corpora.
    Entries of the same picture, and re-encodings, are left out.
    """

    folds: int = Field(description="Number of folds into which the images were dealt.")
    real_kept_together: str = Field(
        description="What was kept in one fold of the real images: sources or images."
    )
    synthetic_kept_together: str = Field(
        description="What was kept in one fold of the synthetic images: sources or images."
    )
    calibrated_on_real: int = Field(
        description="Fewest real images that a calibration was measured on."
    )
    calibrated_on_synthetic: int = Field(
        description="Fewest synthetic images that a calibration was measured on."
    )
    no_traces_miss_rate: float = Field(
        description="Share of the known fakes that no_traces may miss, as configured."
    )
    synthetic_false_alarm_rate: float = Field(
        description="Share of known-real images that synthetic may be said of, as configured."
    )
    false_match_rate: float = Field(
        description="False-match rate of the similarity threshold, as configured."
    )
    limits: list[VerdictLimits] = Field(description="The limits of the logit, one for each fold.")
    groups: list[VerdictGroup] = Field(description="The verdicts on real and synthetic images.")
    by_generator: list[VerdictGroup] = Field(
        description="The verdicts on each generator's images. The most frequent one comes first."
    )
    by_condition: list[DeliveryVerdicts] = Field(
        description="The verdicts after each kind of delivery, starting with the same images "
        "unchanged. Empty if no delivery was asked for."
    )
    uncalibrated: list[VerdictGroup] = Field(
        description="The same verdicts without a calibration, by the model's own limits."
    )
    reason: str | None = Field(None, description="Why nothing was measured. Null if it was.")


class RetrievalFigures(Answer):
    """How often the nearest known fakes are by the probe's own generator."""

    name: str = Field(description="Name of the generator. `all` is the mean over all probes.")
    n: int = Field(description="Number of probes.")
    precision_at_1: Measure = Field(
        description="Share of probes whose nearest neighbour is by the same generator."
    )
    recall_at_k: dict[int, float] = Field(
        description="Share of probes with at least one image by the same generator among the k "
        "nearest neighbours, by k."
    )
    mean_average_precision: float | None = Field(
        description="Mean average precision, from 0 to 1. Null if it was not measured."
    )
    by_chance: float = Field(description="The precision at 1 that a randomly drawn neighbour has.")


class RetrievalEvaluation(Answer):
    """Each known fake looked up among the other ones.

    The image itself and its near duplicates are left out.
    """

    entries: int = Field(ge=0, description="Number of fakes that were searched.")
    mean: RetrievalFigures | None = Field(
        description="Mean over all probes. Null if nothing was measured."
    )
    by_generator: list[RetrievalFigures] = Field(
        description="Figures for each generator. The most frequent generator comes first."
    )
    reason: str | None = Field(None, description="Why nothing was measured. Null if it was.")


class LeftOutGenerator(Answer):
    """Attribution, when it does not know one generator."""

    name: str = Field(description="Name of the generator that was left out.")
    n_left_out: int = Field(description="Number of its images.")
    n_known: int = Field(description="Number of images of other generators that were attributed.")
    auroc: Measure = Field(
        description="How well the similarity to the nearest known fake separates known generators"
        " from the one left out. 0.5 is chance."
    )
    abstained: float | None = Field(
        description="Share of the left-out generator's images for which no generator was named. "
        "Higher is better."
    )
    abstained_of_known: float | None = Field(
        description="Share of images of known generators for which no generator was named. Lower "
        "is better."
    )
    coverage: float | None = Field(
        description="Share of images of known generators with at least ten images whose candidates "
        "contain the right generator, before abstention."
    )
    mean_set_size: float | None = Field(
        description="Mean number of candidates for these images, before abstention."
    )
    right_of_named: float | None = Field(
        description="Share of these images with the right generator among those named, where any "
        "is named."
    )


class AttributionEvaluation(Answer):
    """Attribution to generators, measured with each generator left out in turn.

    Means weigh every generator the same.
    """

    target_coverage: float = Field(description="The coverage that the candidates are built for.")
    auroc: Measure = Field(description="Mean of `auroc` over the generators.")
    coverage: Measure = Field(description="Mean of `coverage` over the generators.")
    mean_set_size: Measure = Field(description="Mean of `mean_set_size` over the generators.")
    right_of_named: Measure = Field(description="Mean of `right_of_named` over the generators.")
    by_generator: list[LeftOutGenerator] = Field(
        description="Figures for each generator that was left out."
    )
    reason: str | None = Field(None, description="Why nothing was measured. Null if it was.")


class FalseMatchRow(Answer):
    """One false-match rate at one corpus size: predicted from one half of the real images, counted
    in the other.
    """

    asked: float = Field(description="The false-match rate that the threshold was chosen for.")
    times: int = Field(description="Corpus size as a multiple of the size that was calibrated on.")
    corpus_size: int = Field(
        description="Number of known fakes that the images were compared with."
    )
    cosine_similarity: float = Field(description="The similarity threshold.")
    predicted: Measure = Field(
        description="False-match rate at this threshold, predicted from the first half."
    )
    realised: Measure = Field(
        description="False-match rate counted in the second half, with the exact binomial interval."
    )
    matches: int | None = Field(
        description="Number of images of the second half with a known fake at or above the "
        "threshold."
    )
    inside: bool | None = Field(
        description="True if the counted rate lies in the predicted interval. Null if the rate "
        "was not counted."
    )


class FalseMatchTable(Answer):
    """Predicted and counted false-match rates."""

    split: str = Field(
        description="What was kept together when the images were halved: sources or images."
    )
    calibrated_on: int = Field(description="Number of real images in the first half.")
    tested_on: int = Field(description="Number of real images in the second half.")
    calibrated_sources: int = Field(description="Number of sources in the first half.")
    tested_sources: int = Field(description="Number of sources in the second half.")
    rows: list[FalseMatchRow] = Field(description="One row for each rate and corpus size.")
    reason: str | None = Field(None, description="Why nothing was measured. Null if it was.")


class TippettCurves(Answer):
    """Share of images with a log10 likelihood ratio of at least each value."""

    log10: list[float] = Field(description="Values of the log10 likelihood ratio, increasing.")
    same: list[float] = Field(
        description="Shares of the known fakes, compared with fakes by the same generator."
    )
    different: list[float] = Field(description="Shares of the real images.")


class LikelihoodEvaluation(Answer):
    """Likelihood ratios that were fitted on one half of the images, measured on the other."""

    method: str | None = Field(
        description="pav (pool adjacent violators) or logistic: the one with the lower cost in "
        "cross-validation. Null if nothing was measured."
    )
    split: str = Field(
        description="What was kept together when the images were halved: sources or images."
    )
    log10_bounds: tuple[float, float] | None = Field(
        description="Smallest and largest ratio that the data can support (ELUB), as log10."
    )
    n_same: int = Field(
        description="Number of known fakes in the tested half, each with its nearest other fake."
    )
    n_different: int = Field(
        description="Number of real images in the tested half, each with its nearest fake."
    )
    cllr: Measure = Field(
        description="Cost of the likelihood ratios (Cllr), in bits. 0 is perfect; at 1 or above "
        "they carry no information."
    )
    cllr_min: Measure = Field(
        description="The part of `cllr` that remains after the best possible recalibration."
    )
    misleading_same: float | None = Field(
        description="Share of known fakes with a likelihood ratio below 1."
    )
    misleading_different: float | None = Field(
        description="Share of real images with a likelihood ratio above 1."
    )
    tippett: TippettCurves | None = Field(
        description="Tippett curves. Null if nothing was measured."
    )
    reason: str | None = Field(None, description="Why nothing was measured. Null if it was.")


class SimilarityEvaluation(Answer):
    """How near images are to known fakes, and what the similarity is worth as evidence."""

    false_matches: list[FalseMatchTable] = Field(
        description="False-match rates, for each way of halving the images."
    )
    likelihood: list[LikelihoodEvaluation] = Field(
        description="Likelihood ratios, for each way of halving the images: by sources, if any "
        "are declared, and by images."
    )


class WrongImage(Answer):
    """An image on the wrong side of logit 0."""

    name: str = Field(description="Name of the image within its source.")
    location: str | None = Field(
        description="Path or URL of the image. Null if it is not a file of its own."
    )
    label: str = Field(description="The declared label: real or synthetic.")
    generator: str | None = Field(description="The declared generator. Null if not declared.")
    logit: float = Field(description="Logit of the classifier.")


class RunFacts(Answer):
    """What is needed to repeat the evaluation."""

    lineup_version: str = Field(description="Version of Lineup.")
    model: str = Field(description="Name of the model.")
    weights_sha256: Sha256 = Field(description="SHA-256 of the model's weights.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    device: str = Field(description="Device that the model ran on.")
    precision: str = Field(description="Precision of the model's computation.")
    image_size: int = Field(description="Side of the square that the model sees, in pixels.")
    dimension: int = Field(description="Number of components of an embedding.")
    synthetic_logit: float | None = Field(
        description="The verdict is synthetic at or above this logit. Null without limits."
    )
    no_traces_logit: float | None = Field(
        description="The verdict is no_traces at or below this logit. Null without limits."
    )
    logit_source: str | None = Field(description="Data that the limits were measured on.")
    created_at: Instant = Field(description="When the evaluation was finished, in UTC.")
    seconds: float = Field(description="Duration in seconds.")
    command: str = Field(description="The command or route that was called.")


class MeasuredImages(Answer):
    """Which images were measured."""

    found: int = Field(description="Number of items in the source.")
    labelled: int = Field(description="Number of items with a usable label.")
    sampled: int = Field(
        description="Number of images that were read. Smaller than `labelled` if a sample was "
        "asked for."
    )
    failed: int = Field(description="Number of items that could not be used.")
    n: ImageCounts = Field(description="Images that were measured.")
    sources_told: bool = Field(
        description="True if any image declares its source. If false, each image counts as a "
        "source of its own."
    )
    generators: dict[str, int] = Field(
        description="Number of synthetic images of each generator. The most frequent generator "
        "comes first."
    )
    condition_images: int = Field(
        description="Number of images measured after every kind of delivery."
    )
    duplicates: int = Field(description="Number of images with the same bytes as another image.")


class EvaluationAnswer(Answer):
    """An evaluation, as it is stored in `evaluation.json`."""

    format: int = Field(FORMAT, description="Version of this document's format.")
    made: RunFacts = Field(description="What is needed to repeat the evaluation.")
    request: EvaluationRequest = Field(description="The request.")
    measured: MeasuredImages = Field(description="Which images were measured.")
    classifier: ClassifierEvaluation = Field(description="Figures of the classifier.")
    verdicts: VerdictEvaluation = Field(description="The verdicts that look-ups give.")
    retrieval: RetrievalEvaluation = Field(
        description="How often the nearest known fakes are by the same generator."
    )
    attribution: AttributionEvaluation = Field(
        description="Figures of the attribution to generators."
    )
    similarity: SimilarityEvaluation = Field(description="False-match rates and likelihood ratios.")
    wrong: list[WrongImage] = Field(
        description="The images of each kind that are furthest on the wrong side of logit 0, "
        "worst first."
    )
    failures: list[FailedItem] = Field(description="Items that could not be used.")
