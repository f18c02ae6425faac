"""An evaluation from the first file to the finished answer: list, sample, embed, measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from api.errors import InvalidRequest
from api.evaluation.answers import (
    ClassifierEvaluation,
    EvaluationAnswer,
    Made,
    Measured,
    SimilarityEvaluation,
    WrongImage,
)
from api.evaluation.attributing import attribution
from api.evaluation.calibrating import calibrated_reliability
from api.evaluation.classification import (
    Judged,
    Limits,
    amount,
    by_condition,
    by_generator,
    classifier_figures,
    histogram,
    reliability_figures,
    roc_curve,
)
from api.evaluation.embedding import Embeddings, Progress, embed_all
from api.evaluation.matching import false_match_table
from api.evaluation.ratios import by_image, compared, likelihood_figures
from api.evaluation.reading import Labelled, Listing, list_labelled, require_both, sampled
from api.evaluation.request import EvaluationRequest
from api.evaluation.retrieving import retrieval
from api.ingest.patterns import Pattern
from api.lineup import Lineup, choose_settings, load_embedder
from api.settings import Settings
from api.sources.locations import require_within, resolved
from api.sources.opening import open_source
from embedder.network.embed import Embedder
from embedder.pictures.delivery import Condition
from index.calibration.figures import sigmoid

MOST_IMAGES = 1000  # in one request


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A finished evaluation;

    `thumbnails` are small WebP files, one for each image of `answer.wrong`.
    """

    answer: EvaluationAnswer
    thumbnails: tuple[bytes, ...]


def evaluate(
    settings: Settings, request: EvaluationRequest, command: str, progress: Progress
) -> Evaluation:
    """Measure the model that the settings name, or else the active one, on the labelled images of a
    source.

    Raises `UnusableSource`, `InvalidRequest`, `NothingToEvaluate`, `ModelError`.
    """
    chosen = settings if settings.names_model else choose_settings(settings)
    return _evaluated(lambda: load_embedder(chosen), request, command, progress)


def evaluate_for_client(lineup: Lineup, request: EvaluationRequest) -> EvaluationAnswer:
    """Measure a server's model on at most `MOST_IMAGES` images of a source that the server may
    read.

    Raises `SourceNotAllowed`, and like `evaluate`.
    """
    asked = MOST_IMAGES if request.max_images is None else request.max_images
    if asked > MOST_IMAGES:
        raise InvalidRequest(
            f"max_images: at most {MOST_IMAGES:,} over HTTP; `lineup evaluate` takes any number"
        )
    request = request.model_copy(update={"source": resolved(request.source), "max_images": asked})
    roots = [resolved(root) for root in lineup.settings.ingest_roots]
    require_within(request.source, roots)
    return _evaluated(
        lambda: lineup.embedder, request, "POST /v1/evaluations", lambda *_: None, roots
    ).answer


def _evaluated(
    opened_embedder: Callable[[], Embedder],
    request: EvaluationRequest,
    command: str,
    progress: Progress,
    roots: Sequence[str] | None = None,
) -> Evaluation:
    """The model is opened once there is something to measure."""
    began = perf_counter()
    pattern = None if request.pattern is None else Pattern(request.pattern)
    opened = open_source(
        request.source, path_column=request.path_column, image_column=request.image_column
    )
    with closing(opened) as source:
        listing = list_labelled(source, pattern)
        wanted = sampled(listing.images, request.max_images, request.seed)
        conditions = [
            each for each in dict.fromkeys(request.conditions) if each is not Condition.AS_IS
        ]
        conditioned = _conditioned(wanted, conditions, request)
        embedder = opened_embedder()
        embedded = embed_all(embedder, source, wanted, conditions, conditioned, progress, roots)
    require_both(embedded.images, embedded.failures)
    answer = _answer(request, listing, wanted, embedder, embedded, command, began)
    return Evaluation(answer, tuple(wrong.thumbnail for wrong in embedded.wrong))


def _conditioned(
    wanted: Sequence[Labelled], conditions: Sequence[Condition], request: EvaluationRequest
) -> frozenset[int]:
    some = sampled(wanted, request.condition_images, request.seed) if conditions else []
    return frozenset(image.number for image in some)


def _answer(
    request: EvaluationRequest,
    listing: Listing,
    wanted: Sequence[Labelled],
    embedder: Embedder,
    embedded: Embeddings,
    command: str,
    began: float,
) -> EvaluationAnswer:
    seed, fakes = request.seed, np.flatnonzero(embedded.synthetic)
    known = embedded.population.taking(fakes)
    measured = {
        "measured": _measured(listing, wanted, embedded),
        "classifier": _classifier(embedder, embedded, seed),
        "retrieval": retrieval(known, seed),
        "attribution": attribution(known, embedded.sources[fakes], seed),
        "similarity": _similarity(embedded, seed),
    }
    return EvaluationAnswer(
        made=_made(embedder, command, perf_counter() - began),
        request=request,
        wrong=[
            WrongImage(
                name=wrong.image.name,
                location=wrong.image.location,
                label="synthetic" if wrong.image.synthetic else "real",
                generator=wrong.image.generator,
                logit=wrong.logit,
            )
            for wrong in embedded.wrong
        ],
        failures=[*listing.failures, *embedded.failures],
        **measured,
    )


def _classifier(embedder: Embedder, embedded: Embeddings, seed: int) -> ClassifierEvaluation:
    limits, judged = (
        _limits(embedder),
        Judged(embedded.population.logits, embedded.synthetic, embedded.sources),
    )
    return ClassifierEvaluation(
        pooled=classifier_figures(judged, limits, seed),
        by_generator=by_generator(judged, embedded.population.generators, limits, seed),
        by_condition=by_condition(judged, _by_name(embedded), limits, seed),
        histogram=histogram(judged),
        roc=roc_curve(judged),
        uncalibrated=reliability_figures(
            sigmoid(judged.logits), judged.synthetic, judged.sources, seed
        ),
        calibrated=calibrated_reliability(judged, seed),
    )


def _by_name(embedded: Embeddings) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Rows and logits by condition; first the same images as they are, so that the others can be
    compared with it.
    """
    if not embedded.delivered:
        return {}
    rows = embedded.conditioned
    as_they_are = {Condition.AS_IS.value: (rows, embedded.population.logits[rows])}
    return as_they_are | {
        name.value: (each.rows, each.logits) for name, each in embedded.delivered.items()
    }


def _similarity(embedded: Embeddings, seed: int) -> SimilarityEvaluation:
    fakes, reals = np.flatnonzero(embedded.synthetic), np.flatnonzero(~embedded.synthetic)
    known, photographs = embedded.population.taking(fakes), embedded.population.taking(reals)
    sources = embedded.sources[reals]
    pairs = compared(photographs, known, sources, embedded.sources[fakes], seed)
    splits = {"images": (np.arange(len(reals), dtype=np.int64), by_image(pairs))}
    if any(image.source_told for image in embedded.images):
        splits = {"sources": (sources, pairs), **splits}
    return SimilarityEvaluation(
        false_matches=[
            false_match_table(photographs, known, kept, split, seed)
            for split, (kept, _) in splits.items()
        ],
        likelihood=[likelihood_figures(some, split, seed) for split, (_, some) in splits.items()],
    )


def _measured(listing: Listing, wanted: Sequence[Labelled], embedded: Embeddings) -> Measured:
    told = [generator for generator in embedded.population.generators if generator is not None]
    return Measured(
        found=listing.found,
        labelled=len(listing.images),
        sampled=len(wanted),
        failed=len(listing.failures) + len(embedded.failures),
        n=amount(embedded.synthetic, embedded.sources),
        sources_told=any(image.source_told for image in embedded.images),
        generators=dict(sorted(Counter(told).items(), key=lambda pair: (-pair[1], pair[0]))),
        condition_images=len(embedded.conditioned),
        duplicates=len(embedded.images) - len(np.unique(embedded.population.image_ids)),
    )


def _made(embedder: Embedder, command: str, seconds: float) -> Made:
    info = embedder.info
    return Made(
        lineup_version=version("lineup-forensics"),
        model=info.name,
        weights_sha256=info.weights_sha256,
        embedding_space=info.space_fingerprint,
        device=embedder.device,
        precision=embedder.precision,
        image_size=info.image_size,
        dimension=info.dimension,
        synthetic_logit=info.synthetic_logit,
        authentic_logit=info.authentic_logit,
        logit_source=info.logit_source,
        created_at=datetime.now(UTC).replace(microsecond=0),
        seconds=round(seconds, 1),
        command=command,
    )


def _limits(embedder: Embedder) -> Limits | None:
    info = embedder.info
    if info.synthetic_logit is None or info.authentic_logit is None:
        return None
    return Limits(info.synthetic_logit, info.authentic_logit)
