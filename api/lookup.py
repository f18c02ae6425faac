"""One probe answered: the shared function behind the route, the command and the page (DESIGN section 6, first flow)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from api.answers import (
    ClassifierAnswer,
    EntryAnswer,
    FailedItem,
    LookupAnswer,
    LookupQuery,
    LookupRequest,
    MethodAnswer,
    NeighbourAnswer,
    ProbeAnswer,
    ProbeLookup,
    RecallAnswer,
    SearchFilter,
    SimilarityAnswer,
    ThresholdAnswer,
    Timings,
)
from api.errors import InvalidRequest
from api.ingest.single import hash_of
from api.lineup import Lineup
from api.sources.item import UnreadableItem, printable
from api.sources.locations import read_bytes
from api.words import explain_classifier, explain_similarity
from embedder import ImageError, decode
from index import (
    CorpusKind,
    Database,
    Filter,
    Neighbour,
    NeighbourEvidence,
    PerceptualHash,
    ProvenanceIs,
    SearchResult,
    StoredEmbedding,
    Threshold,
    UnknownImage,
    get_lookup,
    judge_classifier,
    judge_similarity,
    new_lookup_id,
    relation_of,
    save_lookup,
    stored_embedding,
)


@dataclass(frozen=True, slots=True, eq=False)
class Questioned:
    """A probe after its embedding is known, from wherever it came."""

    probe: ProbeAnswer
    vector: NDArray[np.float32]  # (d,)
    logit: float | None
    perceptual_hash: PerceptualHash | None = None
    decode_ms: float = 0.0
    embed_ms: float = 0.0


def look_up_image(lineup: Lineup, data: bytes, query: LookupQuery) -> LookupAnswer:
    """Answer for the image in `data`. Raises `embedder.ImageError`, `Overloaded` and the errors of the search.

    Bytes that were ingested before are not embedded again: their stored embedding is taken, so that the identical image
    has similarity 1.
    """
    started = perf_counter()
    sha256 = hashlib.sha256(data).hexdigest()
    with lineup.database.read() as connection:
        stored = stored_embedding(connection, lineup.space, sha256)
    questioned = _from_stored(stored, sha256) if stored else _from_pixels(lineup, data, sha256)
    return _answer(lineup, questioned, query, started)


def look_up_request(lineup: Lineup, request: LookupRequest) -> LookupAnswer:
    """Answer for an embedding that the client computed, or for an image that was ingested, named by its sha256.

    Raises `InvalidRequest`, `index.UnknownImage`, `index.ForeignSpace`, `index.InvalidVector`.
    """
    started = perf_counter()
    return _answer(lineup, _from_request(lineup, request), request, started)


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


def _from_pixels(lineup: Lineup, data: bytes, sha256: str) -> Questioned:
    started = perf_counter()
    decoded = decode(data, lineup.embedder.limits)
    pixels = lineup.embedder.preprocess(decoded)
    hashed = hash_of(decoded)
    decoded_at = perf_counter()
    vector, logit = lineup.batcher.embed(pixels)
    probe = ProbeAnswer(
        sha256=sha256,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        byte_size=len(data),
        embedding="computed",
        **_hash_fields(hashed),
    )
    return Questioned(probe, vector, logit, hashed, _ms(started, decoded_at), _ms(decoded_at, perf_counter()))


def _from_stored(stored: StoredEmbedding, sha256: str) -> Questioned:
    image = stored.image
    probe = ProbeAnswer(
        sha256=sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        byte_size=image.byte_size,
        embedding="stored",
        **_hash_fields(image.perceptual_hash),
    )
    return Questioned(probe, stored.vector, stored.logit, image.perceptual_hash)


def _from_request(lineup: Lineup, request: LookupRequest) -> Questioned:
    if request.embedding is None:
        return _from_sha256(lineup, request.sha256)
    if request.embedding_space is None:
        raise InvalidRequest("an embedding needs its embedding_space (see GET /v1/models)")
    lineup.space.require(request.embedding_space)
    hashed = _sent_hash(request)
    probe = ProbeAnswer(sha256=request.sha256, embedding="sent", **_hash_fields(hashed))
    with np.errstate(over="ignore"):  # infinity is refused as no embedding
        return Questioned(probe, np.asarray(request.embedding, dtype=np.float32), request.logit, hashed)


def _sent_hash(request: LookupRequest) -> PerceptualHash | None:
    if request.pdq_hash is None or request.pdq_quality is None:
        return None
    return PerceptualHash(bytes.fromhex(request.pdq_hash), request.pdq_quality)


def _hash_fields(hashed: PerceptualHash | None) -> dict[str, Any]:
    return {} if hashed is None else {"pdq_hash": hashed.bits.hex(), "pdq_quality": hashed.quality}


def _from_sha256(lineup: Lineup, sha256: str | None) -> Questioned:
    if sha256 is None:
        raise InvalidRequest("send an image, an embedding with its embedding_space, or a sha256")
    with lineup.database.read() as connection:
        stored = stored_embedding(connection, lineup.space, sha256)
    if stored is None:
        raise UnknownImage(sha256)
    return _from_stored(stored, sha256)


def _answer(lineup: Lineup, questioned: Questioned, query: LookupQuery, started: float) -> LookupAnswer:
    """Search, judge, store the answer and return it."""
    search_started = perf_counter()
    sha256 = questioned.probe.sha256
    found = lineup.index.search(
        questioned.vector,
        query.k,
        _filter(query.filter),
        exact=query.exact,
        probe_sha256=sha256,
        probe_hash=questioned.perceptual_hash,
    )
    finished = perf_counter()
    answer = LookupAnswer(
        id=new_lookup_id(),
        created_at=datetime.now(UTC),
        probe=questioned.probe,
        classifier=None if questioned.logit is None else _classifier(lineup, questioned.logit),
        similarity=_similarity(found, questioned.perceptual_hash, query.filter, lineup.threshold),
        method=_method(lineup, found, query.k),
        timings=Timings(
            decode_ms=questioned.decode_ms,
            embed_ms=questioned.embed_ms,
            search_ms=_ms(search_started, finished),
            total_ms=_ms(started, finished),
        ),
    )
    with lineup.database.write() as connection:
        save_lookup(
            connection,
            lookup_id=answer.id,
            created_at=answer.created_at,
            space=lineup.space,
            generation=found.generation,
            probe_sha256=sha256,
            request=query.model_dump(mode="json", include={"k", "filter", "exact"}),
            answer=answer.model_dump(mode="json"),
        )
    return answer


def _filter(asked: SearchFilter) -> Filter:
    return Filter(
        corpora=_some(asked.corpora),
        kind=asked.kind,
        generators=_some(asked.generators),
        labels=_some(asked.labels),
        acquired_from=asked.acquired_from,
        acquired_to=asked.acquired_to,
        provenance=frozenset(ProvenanceIs.at(place, values) for place, values in (asked.provenance or {}).items()),
    )


def _some(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _classifier(lineup: Lineup, logit: float) -> ClassifierAnswer:
    judged = judge_classifier(logit, lineup.classifier_policy)
    return ClassifierAnswer(
        verdict=judged.verdict,
        reason=judged.reason,
        explanation=explain_classifier(judged),
        logit=logit,
        probability=judged.probability,
        limits_source=judged.policy.source if judged.policy else None,
        calibration="uncalibrated",
    )


def _similarity(
    found: SearchResult, hashed: PerceptualHash | None, asked: SearchFilter, threshold: Threshold | None
) -> SimilarityAnswer:
    """Only known fakes speak for similarity; a search among known reals compares with none."""
    compared = () if asked.kind is CorpusKind.KNOWN_REAL else found.neighbours
    evidence = [
        NeighbourEvidence(each.entry.kind, each.cosine_similarity, each.identical, each.near_duplicate is True)
        for each in compared
    ]
    judged = judge_similarity(evidence, threshold)
    return SimilarityAnswer(
        verdict=judged.verdict,
        reason=judged.reason,
        explanation=explain_similarity(judged),
        threshold=_threshold(threshold),
        neighbours=[_neighbour(rank, each, hashed, threshold) for rank, each in enumerate(found.neighbours, start=1)],
        searched=found.searched,
        filter=asked,
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


def _method(lineup: Lineup, found: SearchResult, k: int) -> MethodAnswer:
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


def _ms(started: float, finished: float) -> float:
    return round((finished - started) * 1000, 3)
