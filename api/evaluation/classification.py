"""The classifier's figures on logits and labels: pooled, by generator, by condition. Pure functions
of arrays.

`synthetic` (n,) is bool. `logits` (n,): higher is more likely synthetic. `sources` (n,): images
with the same number are resampled together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from api.evaluation.json import (
    Curve,
    DetectionFigures,
    GroupFigures,
    Histogram,
    ImageCounts,
    Measure,
    ReliabilityBin,
    ReliabilityFigures,
)
from api.evaluation.separation import Roc, balanced_accuracy, brier, roc_of
from api.evaluation.splits import draw_resamples, has_enough_sources
from index.calibration import figures
from index.verdict import ClassifierPolicy

# With fewer than ten images of a kind, one image moves a rate by more than ten points.
MIN_IMAGES = 10
FPR = 0.01
MIN_REALS_AT_FPR = 100  # so that one image is FPR
CURVE_POINTS = 400  # of a ROC in JSON; a plot does not show more
BINS = 40  # of the logits' histogram
RELIABLE_IMAGES = 100  # over 15 bins; with fewer, the error is mostly sampling noise


@dataclass(frozen=True, eq=False)
class ClassifiedImages:
    """Images with the classifier's output; all arrays (n,)."""

    logits: NDArray[np.float64]
    synthetic: NDArray[np.bool_]
    sources: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def roc(self) -> Roc | None:
        """The ROC, computed once for all figures that are read from it; None without both kinds."""
        return roc_of(self.logits, self.synthetic)

    def taking(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> ClassifiedImages:
        """Return some of the images."""
        return ClassifiedImages(self.logits[rows], self.synthetic[rows], self.sources[rows])


@dataclass(frozen=True, slots=True)
class Limits:
    """The verdict is synthetic at or above `synthetic_logit`, no_traces at or below
    `no_traces_logit`, and inconclusive in between.
    """

    synthetic_logit: float
    no_traces_logit: float

    @classmethod
    def of(cls, policy: ClassifierPolicy | None) -> Self | None:
        """Return the limits of a policy that has both."""
        if policy is None or policy.synthetic_logit is None or policy.no_traces_logit is None:
            return None
        return cls(policy.synthetic_logit, policy.no_traces_logit)


Figure = Callable[[ClassifiedImages], float | None]


def measure_classifier(
    judged: ClassifiedImages, limits: Limits | None, seed: int
) -> DetectionFigures:
    """Measure the classifier on images of both kinds. A figure that is missing has a reason."""
    wanted: dict[str, Figure] = {
        "roc_auc": roc_auc,
        "balanced_accuracy": lambda j: balanced_accuracy(j.logits, j.synthetic, 0.0),
        "balanced_accuracy_at_limits": lambda j: (
            compute_balanced_accuracy(j, limits) if limits else None
        ),
        "inconclusive": lambda j: compute_share_inconclusive(j, limits) if limits else None,
        "tpr_at_fpr": tpr_at_fpr,
    }
    missing = {name: explain_missing(name, judged, limits) for name in wanted}
    measured = {name: figure for name, figure in wanted.items() if missing[name] is None}
    found = measure_with_intervals(judged, measured, seed)
    return DetectionFigures(
        n=count_images(judged.synthetic, judged.sources),
        resampled=describe_resampling(judged),
        **{name: found.get(name) or Measure.missing(missing[name] or "") for name in wanted},
    )


def measure_by_generator(
    judged: ClassifiedImages, generators: Sequence[str | None], limits: Limits | None, seed: int
) -> list[GroupFigures]:
    """Measure each generator's images against all real ones, the most frequent generator first."""
    declared = np.array([generator or "" for generator in generators], np.str_)
    is_known = judged.synthetic & (declared != "")
    names, counts = np.unique(declared[is_known], return_counts=True)
    return [
        GroupFigures(
            name=str(name),
            figures=measure_classifier(
                judged.taking(~judged.synthetic | (declared == name)), limits, seed
            ),
        )
        for name in names[np.lexsort((names, -counts))]
    ]


def measure_by_condition(
    judged: ClassifiedImages,
    delivered: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    limits: Limits | None,
    seed: int,
) -> list[GroupFigures]:
    """Measure each condition, given the rows (m,) of the images and their logits (m,) after it."""
    return [
        GroupFigures(
            name=name,
            figures=measure_classifier(
                ClassifiedImages(logits, judged.synthetic[rows], judged.sources[rows]), limits, seed
            ),
        )
        for name, (rows, logits) in delivered.items()
    ]


def compute_balanced_accuracy(judged: ClassifiedImages, limits: Limits) -> float:
    """Return the mean over kinds of the share with the right verdict. `inconclusive` is wrong."""
    found = judged.logits[judged.synthetic] >= limits.synthetic_logit
    cleared = judged.logits[~judged.synthetic] <= limits.no_traces_logit
    return float((found.mean() + cleared.mean()) / 2)


def compute_share_inconclusive(judged: ClassifiedImages, limits: Limits) -> float:
    """Return the share of images between the limits, each kind weighing one half."""
    between = (judged.logits < limits.synthetic_logit) & (judged.logits > limits.no_traces_logit)
    return float((between[judged.synthetic].mean() + between[~judged.synthetic].mean()) / 2)


def roc_auc(judged: ClassifiedImages) -> float | None:
    """Return the area under the ROC."""
    return None if judged.roc is None else judged.roc.area


def tpr_at_fpr(judged: ClassifiedImages) -> float | None:
    """Return the true positive rate at the false positive rate `FPR`."""
    return None if judged.roc is None else judged.roc.true_positive_rate_at(FPR)


def compute_roc_curve(judged: ClassifiedImages) -> Curve | None:
    """Return the ROC, reduced to the points that a plot shows."""
    points = judged.roc
    if points is None:
        return None
    last = len(points.false_positive_rate) - 1
    kept = np.unique(np.linspace(0, last, min(last + 1, CURVE_POINTS)).astype(np.int64))
    return Curve(
        x=points.false_positive_rate[kept].tolist(), y=points.true_positive_rate[kept].tolist()
    )


def count_logits(judged: ClassifiedImages) -> Histogram:
    """Count the logits of each kind in bins of equal width."""
    # Logits are float32 numbers: what differs by less than 1e-6 has no width for 40 bins.
    is_one_value = len(judged) > 0 and np.ptp(judged.logits) < 1e-6
    edges = np.histogram_bin_edges(judged.logits[:1] if is_one_value else judged.logits, BINS)
    real, synthetic = (
        np.histogram(judged.logits[judged.synthetic == kind], edges)[0] for kind in (False, True)
    )
    return Histogram(edges=edges.tolist(), real=real.tolist(), synthetic=synthetic.tolist())


def measure_reliability(
    probabilities: ArrayLike, synthetic: NDArray[np.bool_], sources: NDArray[np.int64], seed: int
) -> ReliabilityFigures:
    """Compare stated probabilities (n,) with the truth. Each kind weighs one half, because the
    probabilities assume even odds.
    """
    stated = np.asarray(probabilities, np.float64)
    diagram = figures.reliability(stated, synthetic, figures.even_odds(synthetic))
    if diagram is None or len(stated) < RELIABLE_IMAGES:
        few = Measure.missing(f"{len(stated)} images; {RELIABLE_IMAGES} are needed")
        return ReliabilityFigures(n=len(stated), ece=few, brier=few, bins=[])
    judged = ClassifiedImages(stated, synthetic, sources)
    wanted: dict[str, Figure] = {
        "ece": lambda j: figures.ece(j.logits, j.synthetic, figures.even_odds(j.synthetic)),
        "brier": lambda j: brier(j.logits, j.synthetic, figures.even_odds(j.synthetic)),
    }
    return ReliabilityFigures(
        n=len(stated),
        bins=[
            ReliabilityBin(
                low=b.low,
                high=b.high,
                n=b.n,
                mean_probability=b.mean_probability,
                share_synthetic=b.share_positive,
            )
            for b in diagram.bins
        ],
        **measure_with_intervals(judged, wanted, seed),
    )


def measure_with_intervals(
    judged: ClassifiedImages, wanted: Mapping[str, Figure], seed: int
) -> dict[str, Measure]:
    """Return each figure with its 95 % interval: percentiles over resampled sources."""
    values = {name: figure(judged) for name, figure in wanted.items()}
    drawn: dict[str, list[float]] = {name: [] for name in wanted}
    if wanted:
        for rows in draw_resamples(judged.synthetic, judged.sources, seed):
            some = judged.taking(rows)
            for name, figure in wanted.items():
                value = figure(some)
                if value is not None:
                    drawn[name].append(value)
    return {name: to_measure(value, drawn[name]) for name, value in values.items()}


def to_measure(value: float | None, drawn: Iterable[float]) -> Measure:
    """Return a value with the interval of its resamples."""
    if value is None:
        return Measure.missing("images of one kind are missing")
    resamples = np.fromiter(drawn, np.float64)
    if not len(resamples):
        return Measure(value=value)
    low, high = np.quantile(resamples, [0.025, 0.975])
    return Measure(value=value, low=min(float(low), value), high=max(float(high), value))


def count_images(synthetic: NDArray[np.bool_], sources: NDArray[np.int64]) -> ImageCounts:
    """Count the images and the sources of each kind."""
    return ImageCounts(
        real=int((~synthetic).sum()),
        synthetic=int(synthetic.sum()),
        real_sources=len(np.unique(sources[~synthetic])),
        synthetic_sources=len(np.unique(sources[synthetic])),
    )


def explain_missing(name: str, judged: ClassifiedImages, limits: Limits | None) -> str | None:
    """Say why a figure cannot be measured on these images; None if it can."""
    n_synthetic = int(judged.synthetic.sum())
    n_real = len(judged) - n_synthetic
    if min(n_real, n_synthetic) < MIN_IMAGES:
        return f"{n_synthetic} synthetic and {n_real} real images; {MIN_IMAGES} of each are needed"
    if name == "tpr_at_fpr" and n_real < MIN_REALS_AT_FPR:
        return f"{n_real} real images; {MIN_REALS_AT_FPR} are needed to measure 1 %"
    if limits is None and name in ("balanced_accuracy_at_limits", "inconclusive"):
        return "this model has no measured limits of the logit"
    return None


def describe_resampling(judged: ClassifiedImages) -> str:
    """Say what the intervals resample, for each kind of image."""
    kinds = (("real", ~judged.synthetic), ("synthetic", judged.synthetic))
    resampled = {
        name: "sources" if has_enough_sources(judged.sources[rows]) else "images"
        for name, rows in kinds
    }
    return f"{resampled['real']} of real, {resampled['synthetic']} of synthetic images"
