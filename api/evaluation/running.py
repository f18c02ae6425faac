"""An evaluation from the first file to the answer: list, sample, embed, measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from api.decoding import open_decoders
from api.errors import InvalidRequest
from api.evaluation.classification import count_images
from api.evaluation.embedding import Embeddings, Progress, embed_images
from api.evaluation.json import EvaluationAnswer, MeasuredImages, RunFacts, WrongImage
from api.evaluation.judging import Rules
from api.evaluation.measuring import measure
from api.evaluation.reading import Labelled, Listing, list_labelled, require_both, sample_images
from api.evaluation.request import EvaluationRequest
from api.fields import FailedItem
from api.ingest.patterns import Pattern
from api.lineup import choose_settings, read_classifier_policy, read_threshold
from api.model import load_embedder
from api.release import get_version
from api.server_paths import PathHider, hider_of, is_local, name_path
from api.settings import Settings
from api.sources.access import Access
from api.sources.locations import make_absolute
from api.sources.opening import open_source
from embedder.network.embed import Embedder
from embedder.network.registry import ModelInfo
from embedder.pictures.delivery import Condition
from index.policy import Choices

MOST_IMAGES = 1000  # in a request


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A finished evaluation. `thumbnails` are WebP files, one for each image of `answer.wrong`."""

    answer: EvaluationAnswer
    thumbnails: tuple[bytes, ...]


def evaluate(
    settings: Settings, request: EvaluationRequest, command: str, progress: Progress
) -> Evaluation:
    """Measure the model that the settings name, or the active one, on labelled images.

    Raises `UnusableSource`, `InvalidRequest`, `NothingToEvaluate`, `ModelError`.
    """
    chosen = settings if settings.names_model else choose_settings(settings)
    with open_decoders(chosen) as decoders:
        return _evaluate(
            lambda: load_embedder(chosen, decoders), settings, request, command, progress
        )


def evaluate_for_client(
    embedder: Embedder, settings: Settings, request: EvaluationRequest
) -> EvaluationAnswer:
    """Measure a server's model on at most `MOST_IMAGES` images within the roots.

    Raises `SourceNotAllowed`, and the errors of `evaluate`.
    """
    asked = MOST_IMAGES if request.max_images is None else request.max_images
    if asked > MOST_IMAGES:
        raise InvalidRequest(
            f"max_images: at most {MOST_IMAGES:,} over HTTP; `lineup evaluate` has no limit"
        )
    wanted = request.model_copy(
        update={"source": make_absolute(request.source), "max_images": asked}
    )
    access = Access([make_absolute(root) for root in settings.ingest_roots])
    access.require(wanted.source, asked=request.source)
    done = _evaluate(
        lambda: embedder, settings, wanted, "POST /v1/evaluations", lambda *_: None, access
    )
    return name_paths(done.answer, request.source, hider_of({"sources": [wanted.source]}))


def name_paths(answer: EvaluationAnswer, source: str, hider: PathHider) -> EvaluationAnswer:
    """Return an answer for a client: its own words for the source, and names for all paths."""
    return answer.model_copy(
        update={
            "request": answer.request.model_copy(update={"source": source}),
            "wrong": [
                each.model_copy(update={"location": None})
                if each.location is not None and is_local(each.location)
                else each
                for each in answer.wrong
            ],
            "failures": [
                FailedItem(
                    name=name_path(hider.hide_folders(each.name)),
                    reason=each.reason,
                    detail=hider.hide(each.detail),
                )
                for each in answer.failures
            ],
        }
    )


def _evaluate(
    opened_embedder: Callable[[], Embedder],
    settings: Settings,
    request: EvaluationRequest,
    command: str,
    progress: Progress,
    access: Access | None = None,
) -> Evaluation:
    """List and sample first; the model is opened only if there is something to measure."""
    began = perf_counter()
    pattern = None if request.pattern is None else Pattern(request.pattern)
    opened = open_source(
        request.source,
        access or Access(),
        path_column=request.path_column,
        image_column=request.image_column,
    )
    with closing(opened) as source:
        listing = list_labelled(source, pattern)
        wanted = sample_images(listing.images, request.max_images, request.seed)
        conditions = [
            each for each in dict.fromkeys(request.conditions) if each is not Condition.AS_IS
        ]
        conditioned = _choose_delivered(wanted, conditions, request)
        embedder = opened_embedder()
        embedded = embed_images(embedder, source, wanted, conditions, conditioned, progress)
    require_both(embedded.images, embedded.failures)
    rules = _read_rules(settings, embedder.info)
    answer = _build_answer(request, rules, listing, wanted, embedder, embedded, command, began)
    return Evaluation(answer, tuple(wrong.thumbnail for wrong in embedded.wrong))


def _choose_delivered(
    wanted: Sequence[Labelled], conditions: Sequence[Condition], request: EvaluationRequest
) -> frozenset[int]:
    some = sample_images(wanted, request.condition_images, request.seed) if conditions else []
    return frozenset(image.number for image in some)


def _build_answer(
    request: EvaluationRequest,
    rules: Rules,
    listing: Listing,
    wanted: Sequence[Labelled],
    embedder: Embedder,
    embedded: Embeddings,
    command: str,
    began: float,
) -> EvaluationAnswer:
    figures = measure(embedded, rules, request.seed)
    return EvaluationAnswer(
        made=_describe_run(embedder, command, perf_counter() - began),
        request=request,
        measured=_count_measured(listing, wanted, embedded),
        classifier=figures.classifier,
        verdicts=figures.verdicts,
        retrieval=figures.retrieval,
        attribution=figures.attribution,
        similarity=figures.similarity,
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
    )


def _count_measured(
    listing: Listing, wanted: Sequence[Labelled], embedded: Embeddings
) -> MeasuredImages:
    declared = [generator for generator in embedded.population.generators if generator]
    return MeasuredImages(
        found=listing.found,
        labelled=len(listing.images),
        sampled=len(wanted),
        failed=len(listing.failures) + len(embedded.failures),
        n=count_images(embedded.synthetic, embedded.sources),
        sources_told=any(image.source_is_declared for image in embedded.images),
        generators=dict(sorted(Counter(declared).items(), key=lambda pair: (-pair[1], pair[0]))),
        condition_images=len(embedded.conditioned),
        duplicates=len(embedded.images) - len(np.unique(embedded.population.image_ids)),
    )


def _describe_run(embedder: Embedder, command: str, seconds: float) -> RunFacts:
    info = embedder.info
    return RunFacts(
        lineup_version=get_version(),
        model=info.name,
        weights_sha256=info.weights_sha256,
        embedding_space=info.space_fingerprint,
        device=embedder.device,
        precision=embedder.precision,
        image_size=info.image_size,
        dimension=info.dimension,
        synthetic_logit=info.synthetic_logit,
        no_traces_logit=info.no_traces_logit,
        logit_source=info.logit_source,
        created_at=datetime.now(UTC).replace(microsecond=0),
        seconds=round(seconds, 1),
        command=command,
    )


def _read_rules(settings: Settings, info: ModelInfo) -> Rules:
    """Return what look-ups are judged by beside a calibration."""
    choices = Choices(
        threshold=read_threshold(settings),
        classifier=read_classifier_policy(info),
        miss_rate=settings.no_traces_miss_rate,
        false_alarm_rate=settings.synthetic_false_alarm_rate,
    )
    return Rules(choices, settings.false_match_rate)
