"""Two models on the same labelled images: the classifier's figures of both, and their difference.

Both models run through the functions of an evaluation. The figures are of the images that both
could use. The intervals are paired: a resample draws the same images for both models, so what the
images have in common cancels out of the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from api.decoding import open_decoders
from api.evaluation.classification import (
    ClassifiedImages,
    count_images,
    describe_resampling,
    explain_missing,
    roc_auc,
    to_measure,
    tpr_at_fpr,
)
from api.evaluation.comparison_json import (
    ComparedFigure,
    ComparedFigures,
    ComparedModel,
    ComparisonAnswer,
)
from api.evaluation.embedding import Embeddings, embed_images
from api.evaluation.json import Measure
from api.evaluation.reading import Labelled, list_labelled, require_both, sample_images
from api.evaluation.request import EvaluationRequest
from api.evaluation.separation import balanced_accuracy
from api.evaluation.splits import draw_resamples
from api.ingest.patterns import Pattern
from api.model import load_embedder
from api.release import get_version
from api.settings import Settings
from api.sources.access import Access
from api.sources.item import Source
from api.sources.opening import open_source
from embedder.network.embed import Embedder
from embedder.pictures.delivery import Condition

Progress = Callable[[str, int, int], None]
Figure = Callable[[ClassifiedImages], float | None]

_FIGURES: Mapping[str, Figure] = {
    "roc_auc": roc_auc,
    "balanced_accuracy": lambda judged: balanced_accuracy(judged.logits, judged.synthetic, 0.0),
    "tpr_at_fpr": tpr_at_fpr,
}


@dataclass(frozen=True, slots=True, eq=False)
class ModelLogits:
    """What one model says of the images that it could use.

    `logits` maps a kind of delivery to the logit of each image by its number in the source.
    """

    described: ComparedModel
    images: Mapping[int, Labelled]
    logits: Mapping[Condition, Mapping[int, float]]


@dataclass(frozen=True, slots=True, eq=False)
class PairedImages:
    """n images with the logits of both models; all arrays (n,)."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    synthetic: NDArray[np.bool_]
    sources: NDArray[np.int64]
    generators: tuple[str | None, ...]

    def of_model(self, logits: NDArray[np.float64]) -> ClassifiedImages:
        """Return the images with the logits of one model."""
        return ClassifiedImages(logits, self.synthetic, self.sources)

    def taking(self, rows: NDArray[np.bool_]) -> PairedImages:
        """Return some of the images."""
        kept = tuple(self.generators[row] for row in np.flatnonzero(rows))
        return PairedImages(
            self.a[rows], self.b[rows], self.synthetic[rows], self.sources[rows], kept
        )


def compare_models(
    settings: Settings, request: EvaluationRequest, models: tuple[str, str], progress: Progress
) -> ComparisonAnswer:
    """Measure two models on the same labelled images, one after the other.

    `progress` gets the name of the model, and how many of how many images it has done.

    Raises `UnusableSource`, `InvalidRequest`, `NothingToEvaluate`, `ModelError`.
    """
    began = perf_counter()
    pattern = None if request.pattern is None else Pattern(request.pattern)
    opened = open_source(
        request.source,
        Access(),
        path_column=request.path_column,
        image_column=request.image_column,
    )
    with closing(opened) as source:
        listing = list_labelled(source, pattern)
        require_both(listing.images, listing.failures)
        wanted = sample_images(listing.images, request.max_images, request.seed)
        ask = _Ask(source, wanted, request)
        a, b = (_run(settings, model, ask, progress) for model in models)
    common = [a.images[number] for number in sorted(set(a.images) & set(b.images))]
    require_both(common, [*a.described.failures, *b.described.failures])
    return ComparisonAnswer(
        lineup_version=get_version(),
        created_at=datetime.now(UTC).replace(microsecond=0),
        seconds=round(perf_counter() - began, 1),
        request=request,
        a=a.described,
        b=b.described,
        by_delivery=[
            compare_images(str(condition), pair_images(a, b, condition), request.seed)
            for condition in a.logits
        ],
        by_generator=compare_by_generator(pair_images(a, b, Condition.AS_IS), request.seed),
        failures=listing.failures,
    )


def pair_images(a: ModelLogits, b: ModelLogits, condition: Condition) -> PairedImages:
    """Return the images that both models could use after a kind of delivery."""
    numbers = sorted(set(a.logits[condition]) & set(b.logits[condition]))
    images = [a.images[number] for number in numbers]
    names = np.array([image.source for image in images], np.str_)
    return PairedImages(
        a=np.array([a.logits[condition][number] for number in numbers], np.float64),
        b=np.array([b.logits[condition][number] for number in numbers], np.float64),
        synthetic=np.array([image.synthetic for image in images], np.bool_),
        sources=np.unique(names, return_inverse=True)[1].astype(np.int64).reshape(-1),
        generators=tuple(image.generator if image.synthetic else None for image in images),
    )


def compare_images(name: str, paired: PairedImages, seed: int) -> ComparedFigures:
    """Measure both models on the images of one group."""
    both = (paired.of_model(paired.a), paired.of_model(paired.b))
    missing = {figure: explain_missing(figure, both[0], None) for figure in _FIGURES}
    measured = {figure: _FIGURES[figure] for figure in _FIGURES if missing[figure] is None}
    found = _measure_paired(both, measured, seed)
    return ComparedFigures(
        name=name,
        n=count_images(paired.synthetic, paired.sources),
        resampled=describe_resampling(both[0]),
        **{
            figure: found.get(figure) or _explain(missing[figure] or "one kind is missing")
            for figure in _FIGURES
        },
    )


def compare_by_generator(paired: PairedImages, seed: int) -> list[ComparedFigures]:
    """Measure both models on each generator's images against all real ones, the most frequent
    generator first.
    """
    declared = np.array([generator or "" for generator in paired.generators], np.str_)
    names, counts = np.unique(declared[paired.synthetic & (declared != "")], return_counts=True)
    return [
        compare_images(str(name), paired.taking(~paired.synthetic | (declared == name)), seed)
        for name in names[np.lexsort((names, -counts))]
    ]


@dataclass(frozen=True, slots=True)
class _Ask:
    """The images that both models get."""

    source: Source
    wanted: Sequence[Labelled]
    request: EvaluationRequest


def _run(settings: Settings, model: str, ask: _Ask, progress: Progress) -> ModelLogits:
    """Embed the images with one model; only its logits are kept."""
    conditions = [
        each for each in dict.fromkeys(ask.request.conditions) if each is not Condition.AS_IS
    ]
    request = ask.request
    some = sample_images(ask.wanted, request.condition_images, request.seed) if conditions else []
    with open_decoders(settings) as decoders:
        embedder = load_embedder(settings.model_copy(update={"model": model}), decoders)
        embedded = embed_images(
            embedder,
            ask.source,
            ask.wanted,
            conditions,
            frozenset(image.number for image in some),
            lambda done, total: progress(model, done, total),
            most_wrong=0,
        )
    return ModelLogits(
        described=_describe_model(embedder, embedded),
        images={image.number: image for image in embedded.images},
        logits={Condition.AS_IS: _by_number(embedded), **_delivered_by_number(embedded)},
    )


def _by_number(embedded: Embeddings) -> dict[int, float]:
    logits = embedded.population.logits
    return {
        image.number: float(logit) for image, logit in zip(embedded.images, logits, strict=True)
    }


def _delivered_by_number(embedded: Embeddings) -> dict[Condition, dict[int, float]]:
    return {
        condition: {
            embedded.images[row].number: float(logit)
            for row, logit in zip(delivered.rows, delivered.logits, strict=True)
        }
        for condition, delivered in embedded.delivered.items()
    }


def _describe_model(embedder: Embedder, embedded: Embeddings) -> ComparedModel:
    info = embedder.info
    return ComparedModel(
        model=info.name,
        weights_sha256=info.weights_sha256,
        embedding_space=info.space_fingerprint,
        device=embedder.device,
        precision=embedder.precision,
        caution=info.caution,
        failures=list(embedded.failures),
    )


def _measure_paired(
    both: tuple[ClassifiedImages, ClassifiedImages], wanted: Mapping[str, Figure], seed: int
) -> dict[str, ComparedFigure]:
    """Return each figure of both models, with percentiles over the same resamples."""
    values = {name: [figure(images) for images in both] for name, figure in wanted.items()}
    drawn: dict[str, list[tuple[float, float]]] = {name: [] for name in wanted}
    if wanted:
        for rows in draw_resamples(both[0].synthetic, both[0].sources, seed):
            some = [images.taking(rows) for images in both]
            for name, figure in wanted.items():
                a, b = (figure(images) for images in some)
                if a is not None and b is not None:
                    drawn[name].append((a, b))
    return {
        name: _compare_values(a, b, np.array(drawn[name], np.float64).reshape(-1, 2))
        for name, (a, b) in values.items()
        if a is not None and b is not None
    }


def _compare_values(a: float, b: float, drawn: NDArray[np.float64]) -> ComparedFigure:
    """Return both values and their difference, with the intervals of the resamples (r, 2)."""
    difference = to_measure(b - a, drawn[:, 1] - drawn[:, 0])
    larger = None
    if difference.low is not None and difference.high is not None:
        larger = "b" if difference.low > 0 else "a" if difference.high < 0 else None
    return ComparedFigure(
        a=to_measure(a, drawn[:, 0]),
        b=to_measure(b, drawn[:, 1]),
        difference=difference,
        larger=larger,
    )


def _explain(reason: str) -> ComparedFigure:
    none = Measure.missing(reason)
    return ComparedFigure(a=none, b=none, difference=none, larger=None)
