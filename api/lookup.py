"""One probe answered: the shared function behind the route, the command and the page (DESIGN section 6, first flow)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from api.answers import (
    ClassifierAnswer,
    EntryAnswer,
    FailedItem,
    LookupAnswer,
    LookupQuery,
    LookupRequest,
    MethodAnswer,
    NeighbourAnswer,
    ProbeLookup,
    QualityAnswer,
    RecallAnswer,
    SearchFilter,
    SimilarityAnswer,
    StatementAnswer,
    ThresholdAnswer,
    Timings,
)
from api.evidence import (
    NEIGHBOURS,
    Seen,
    SeenView,
    Statement,
    attribution_answer,
    calibration_used,
    evidence_of,
    nearest_of,
    quality_answer,
    rate_answer,
    ratio_answer,
    rests_on,
    stability_answer,
)
from api.lineup import Lineup
from api.probe import Probe, milliseconds, probe_of_bytes, probe_of_request
from api.sources.item import UnreadableItem, printable
from api.sources.locations import read_bytes
from api.words import explain_classifier, explain_similarity, statements
from embedder import ImageError, Views, views
from index import (
    CorpusKind,
    Database,
    Filter,
    Neighbour,
    PerceptualHash,
    Policy,
    ProvenanceIs,
    Question,
    SearchResult,
    Threshold,
    VerbalScale,
    Verdict,
    canonical_json,
    get_lookup,
    judge,
    new_lookup_id,
    probability_of,
    relation_of,
    save_lookup,
)

# What differs between two answers of the same lookup on the same generation.
NOT_EVIDENCE: Any = {
    "id": True,
    "created_at": True,
    "timings": True,
    "evidence_sha256": True,
    "method": {"pending_changes"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Everything that an answer is written from."""

    probe: Probe
    query: LookupQuery
    listed: SearchResult
    seen: Seen
    statement: Statement
    policy: Policy
    verdict: Verdict
    false_match_rate: float
    model_side: int
    scale: VerbalScale

    @property
    def quality(self) -> QualityAnswer:
        return quality_answer(self.probe, self.seen, self.statement, self.model_side)


def look_up_image(lineup: Lineup, data: bytes, query: LookupQuery) -> LookupAnswer:
    """Answer for the image in `data`. Raises `embedder.ImageError`, `Overloaded` and the errors of the search."""
    started = perf_counter()
    return _answer(lineup, probe_of_bytes(lineup, data), query, started)


def look_up_request(lineup: Lineup, request: LookupRequest) -> LookupAnswer:
    """Answer for an embedding that the client computed, or for an image that was ingested, named by its sha256.

    Raises `InvalidRequest`, `index.UnknownImage`, `index.ForeignSpace`, `index.InvalidVector`.
    """
    started = perf_counter()
    return _answer(lineup, probe_of_request(lineup, request), request, started)


def look_up_files(lineup: Lineup, paths: Iterable[Path], query: LookupQuery) -> Iterator[ProbeLookup | FailedItem]:
    """Answer for each file in turn; one that cannot be read or decoded is a row with its reason, not the end."""
    for path in paths:
        name = printable(str(path))
        try:
            data = read_bytes(str(path), lineup.embedder.limits.max_image_bytes)
            yield ProbeLookup(name=name, lookup=look_up_image(lineup, data, query))
        except (ImageError, UnreadableItem) as err:
            yield FailedItem(name=name, reason=err.reason, detail=str(err))


def find_answer(database: Database, lookup_id: str) -> LookupAnswer:
    """The stored answer of an earlier lookup. Raises `index.UnknownLookup`."""
    with database.read() as connection:
        return LookupAnswer.model_validate(get_lookup(connection, lookup_id).answer)


def evidence_sha256(answer: LookupAnswer) -> str:
    """What two answers share if and only if they say the same."""
    text = canonical_json(answer.model_dump(mode="json", exclude=NOT_EVIDENCE))
    return hashlib.sha256(text.encode()).hexdigest()


def filter_of(asked: SearchFilter) -> Filter:
    """What was asked for, in the words of `index`."""
    return Filter(
        corpora=_some(asked.corpora),
        kind=asked.kind,
        generators=_some(asked.generators),
        labels=_some(asked.labels),
        acquired_from=asked.acquired_from,
        acquired_to=asked.acquired_to,
        provenance=frozenset(ProvenanceIs.at(place, values) for place, values in (asked.provenance or {}).items()),
    )


def only_corpora(asked: SearchFilter) -> bool:
    """Whether nothing but corpora and their kind restricts a search."""
    return asked == SearchFilter(corpora=asked.corpora, kind=asked.kind)


def _answer(lineup: Lineup, probe: Probe, query: LookupQuery, started: float) -> LookupAnswer:
    """Search, judge, store the answer and return it."""
    search_started = perf_counter()
    answered = _answered(lineup, probe, query)
    timings = Timings(
        decode_ms=probe.decode_ms,
        embed_ms=probe.embed_ms,
        search_ms=milliseconds(search_started, perf_counter()),
        total_ms=milliseconds(started, perf_counter()),
    )
    answer = written(answered, method_of(lineup, answered.listed, query.k), timings)
    applied = answered.statement.applied
    with lineup.database.write() as connection:
        save_lookup(
            connection,
            lookup_id=answer.id,
            created_at=answer.created_at,
            space=lineup.space,
            generation=answered.listed.generation,
            probe_sha256=probe.answer.sha256,
            request=query.model_dump(mode="json", include={"k", "filter", "exact", "stability"})
            | {"false_match_rate": answered.false_match_rate},
            answer=answer.model_dump(mode="json"),
            probe_vector=probe.vector,
            calibration_id=None if applied is None else applied.id,
        )
    return answer


def _answered(lineup: Lineup, probe: Probe, query: LookupQuery) -> Answered:
    """All searches of one state of the index, and what is judged by them."""
    listed, seen = _searched(lineup, probe, query)
    with lineup.database.read() as connection:
        applied = lineup.calibrations.find(connection, query.filter.corpora, whole=only_corpora(query.filter))
    statement = Statement.of(applied if seen.fakes else None, probe, seen.fakes.searched if seen.fakes else 0)
    rate = query.false_match_rate or lineup.settings.false_match_rate
    told = lineup.settings.similarity_threshold is not None
    threshold = lineup.threshold if told else statement.threshold(rate) or lineup.threshold
    policy = Policy(threshold, lineup.classifier_policy)
    side = lineup.embedder.info.image_size
    verdict = judge(evidence_of(probe, seen, statement, side), policy)
    return Answered(probe, query, listed, seen, statement, policy, verdict, rate, side, lineup.verbal_scale)


def _searched(lineup: Lineup, probe: Probe, query: LookupQuery) -> tuple[SearchResult, Seen]:
    """The list that was asked for, and what evidence needs: known fakes, the nearest known-real, re-encoded views.

    Only known fakes speak for similarity; a search among known reals compares with none.
    """
    asked = filter_of(query.filter)
    fakes = None if asked.kind is CorpusKind.KNOWN_REAL else replace(asked, kind=CorpusKind.KNOWN_FAKE)
    own = Question(probe.vector, query.k, asked, probe.answer.sha256, probe.perceptual_hash, query.exact)
    questions = [own, replace(own, k=1, chosen=Filter(kind=CorpusKind.KNOWN_REAL))]
    if fakes is not None and (fakes != asked or query.k < NEIGHBOURS):
        questions.append(replace(own, k=max(query.k, NEIGHBOURS), chosen=fakes))
    made = _views(lineup, probe) if query.stability else None
    embedded = lineup.batcher.embed_all([view.pixels for view in made.made]) if made else []
    if fakes is not None:
        questions += [Question(vector, 1, fakes, exact=query.exact) for vector, _ in embedded]
    listed, reals, *others = lineup.index.search_all(questions)
    among_fakes = None if fakes is None else others.pop(0) if len(others) > len(embedded) else listed
    nearest = [nearest_of(each.neighbours) for each in others] or [None] * len(embedded)
    names = [view.name for view in made.made] if made else []
    seen = [SeenView(*each) for each in zip(names, (logit for _, logit in embedded), nearest, strict=True)]
    return listed, Seen(among_fakes, reals, seen, made)


def _views(lineup: Lineup, probe: Probe) -> Views | None:
    """The probe's re-encodings; None without its pixels."""
    if probe.picture is None:
        return None
    return views(probe.picture.image, lineup.embedder.info.preprocessing, lineup.embedder.limits)


def written(answered: Answered, method: MethodAnswer, timings: Timings) -> LookupAnswer:
    """The answer under a new id, with the digest of what it says."""
    probe, seen = answered.probe, answered.seen
    similarity, stability = _similarity(answered), stability_answer(seen)
    answer = LookupAnswer(
        id=new_lookup_id(),
        created_at=datetime.now(UTC),
        probe=probe.answer,
        classifier=None if probe.logit is None else _classifier(answered, probe.logit),
        similarity=similarity,
        statements=[StatementAnswer(topic=topic, words=words) for topic, words in statements(similarity, stability)],
        quality=answered.quality,
        stability=stability,
        method=method,
        timings=timings,
    )
    return answer.model_copy(update={"evidence_sha256": evidence_sha256(answer)})


def _some(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _classifier(answered: Answered, logit: float) -> ClassifierAnswer:
    judged = answered.verdict.classifier
    assert judged is not None
    calibration, applied = answered.statement.classifier, answered.statement.applied
    words: dict[str, Any] = {"calibration": "uncalibrated", "probability": probability_of(logit)}
    if calibration is not None and applied is not None:
        words = {
            "calibration": f"{calibration.variant} by calibration {applied.id}, {answered.statement.condition}",
            "probability": calibration.probability(logit),
            "ece": calibration.ece,
            "brier": calibration.brier,
        }
    return ClassifierAnswer(
        verdict=judged.verdict,
        reason=judged.reason,
        explanation=explain_classifier(judged, answered.quality),
        logit=logit,
        limits_source=judged.policy.source if judged.policy else None,
        **words,
    )


def _similarity(answered: Answered) -> SimilarityAnswer:
    judged, seen, statement = answered.verdict.similarity, answered.seen, answered.statement
    threshold, hashed = judged.threshold, answered.probe.perceptual_hash
    nearest, real = seen.nearest_fake, seen.nearest_real
    rate, ratio = rate_answer(seen, statement), ratio_answer(seen, statement, answered.scale)
    return SimilarityAnswer(
        verdict=judged.verdict,
        reason=judged.reason,
        explanation=explain_similarity(judged, answered.quality),
        threshold=_threshold(threshold),
        neighbours=[
            _neighbour(rank, each, hashed, threshold) for rank, each in enumerate(answered.listed.neighbours, start=1)
        ],
        searched=answered.listed.searched,
        filter=answered.query.filter,
        nearest_similarity=None if nearest is None else nearest.cosine_similarity,
        false_match_rate=rate,
        likelihood_ratio=ratio,
        attribution=attribution_answer(seen, statement),
        nearest_known_real=None if real is None else _neighbour(1, real, hashed, threshold),
        rests_on=rests_on(answered.probe, seen, statement, answered.policy, answered.verdict, answered.model_side),
        calibration=calibration_used(answered.probe, statement, answered.false_match_rate),
    )


def _threshold(threshold: Threshold | None) -> ThresholdAnswer | None:
    if threshold is None:
        return None
    return ThresholdAnswer(cosine_similarity=threshold.value, source=threshold.source)


def _neighbour(
    rank: int, neighbour: Neighbour, hashed: PerceptualHash | None, threshold: Threshold | None
) -> NeighbourAnswer:
    similarity = neighbour.cosine_similarity
    same_picture = neighbour.near_duplicate is True
    return NeighbourAnswer(
        rank=rank,
        cosine_similarity=similarity,
        relation=relation_of(similarity, threshold, identical=neighbour.identical, near_duplicate=same_picture),
        hamming_distance=neighbour.hamming_distance,
        perceptual_hash=_compared(hashed, neighbour.entry.image.perceptual_hash),
        entry=EntryAnswer.of(neighbour.entry),
    )


def _compared(
    one: PerceptualHash | None, other: PerceptualHash | None
) -> Literal["compared", "low_quality", "missing"]:
    if one is None or other is None:
        return "missing"
    return "compared" if one.reliable and other.reliable else "low_quality"


def method_of(lineup: Lineup, found: SearchResult, k: int) -> MethodAnswer:
    """What is needed to repeat a lookup."""
    return MethodAnswer(
        lineup_version=version("lineup-forensics"),
        model=lineup.space.model,
        embedding_space=lineup.space.fingerprint,
        weights_sha256=lineup.space.weights_sha256,
        device=lineup.embedder.device,
        precision=lineup.embedder.precision,
        generation=found.generation,
        index_digest=found.digest,
        exact=found.exact,
        k=k,
        recall=RecallAnswer.of(found.tuning),
        pending_changes=found.pending_changes,
    )
