"""One probe answered: the shared function behind the route, the command and the page (DESIGN
section 6, first flow).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from api.batcher import VectorAndLogit
from api.fields import FailedItem
from api.lineup import Lineup
from api.lookups.answer import Answered, judged, written
from api.lookups.evidence import Seen, SeenReEncoding, Statement
from api.lookups.json import (
    LookupAnswer,
    LookupQuery,
    LookupRequest,
    MethodAnswer,
    ProbeLookup,
    RecallAnswer,
    Timings,
)
from api.lookups.probe import Probe, milliseconds, probe_of_bytes, probe_of_request
from api.lookups.questions import Asked, only_corpora
from api.sources.item import UnreadableItem, printable
from api.sources.locations import read_bytes
from embedder.errors import ImageError
from embedder.pictures.delivery import Condition
from embedder.pictures.reencodings import ReEncodings, reencode
from index.cache.searching import SearchResult
from index.truth.lookups import save_lookup
from index.verdict import Policy, Threshold


def look_up_image(lineup: Lineup, data: bytes, query: LookupQuery) -> LookupAnswer:
    """Answer for the image in `data`.

    Raises `ImageError`, `Overloaded` and the errors of the search.
    """
    started = perf_counter()
    return _answer(lineup, probe_of_bytes(lineup, data), query, started)


def look_up_request(lineup: Lineup, request: LookupRequest) -> LookupAnswer:
    """Answer for an embedding that the client computed, or for an image that was ingested, named by
    its sha256.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`, `InvalidVector`.
    """
    started = perf_counter()
    return _answer(lineup, probe_of_request(lineup, request), request, started)


def look_up_files(
    lineup: Lineup, paths: Iterable[Path], query: LookupQuery
) -> Iterator[ProbeLookup | FailedItem]:
    """Answer for each file in turn; one that cannot be read or decoded is a row with its reason,
    not the end.
    """
    for path in paths:
        name = printable(str(path))
        try:
            data = read_bytes(str(path), lineup.embedder.limits.max_image_bytes)
            yield ProbeLookup(name=name, lookup=look_up_image(lineup, data, query))
        except (ImageError, UnreadableItem) as err:
            yield FailedItem(name=name, reason=err.reason, detail=str(err))


def _answer(lineup: Lineup, probe: Probe, query: LookupQuery, started: float) -> LookupAnswer:
    """Search, judge, store the answer and return it."""
    search_started = perf_counter()
    if query.false_match_rate is None:
        query = query.model_copy(update={"false_match_rate": lineup.settings.false_match_rate})
    answered = _answered(lineup, probe, query)
    timings = Timings(
        decode_ms=probe.decode_ms,
        embed_ms=probe.embed_ms,
        search_ms=milliseconds(search_started, perf_counter()),
        total_ms=milliseconds(started, perf_counter()),
    )
    answer = written(answered, _method(lineup, answered.listed, query.k), timings)
    applied = answered.statement.applied
    with lineup.database.write() as connection:
        save_lookup(
            connection,
            lookup_id=answer.id,
            created_at=answer.created_at,
            space=lineup.space,
            generation=answered.listed.generation,
            probe_sha256=probe.answer.sha256,
            request=query.model_dump(
                mode="json", include={"k", "filter", "exact", "stability", "false_match_rate"}
            ),
            answer=answer.model_dump(mode="json"),
            probe_vector=probe.vector,
            calibration_id=None if applied is None else applied.id,
        )
    return answer


def _answered(lineup: Lineup, probe: Probe, query: LookupQuery) -> Answered:
    """All searches of one state of the index, and what is judged by them.

    `query` names its false-match rate.
    """
    made = _reencodings(lineup, probe) if query.stability else None
    embedded = (
        lineup.batcher.embed_all([reencoding.pixels for reencoding in made.made]) if made else []
    )
    asked = Asked.of(probe, query, [vector for vector, _ in embedded])
    found = asked.read(lineup.index.search_all(asked.questions))
    with lineup.database.read() as connection:
        applied = lineup.calibrations.find(
            connection, query.filter.corpora, whole=only_corpora(query.filter)
        )
        unseen = () if applied else lineup.calibrations.unseen(connection, query.filter.corpora)
    assert query.false_match_rate is not None
    statement = Statement.of(applied, probe, found.fakes, query.false_match_rate, unseen)
    told = lineup.settings.similarity_threshold is not None
    threshold = lineup.threshold if told else statement.threshold or lineup.threshold
    conditions = [reencoding.condition for reencoding in made.made] if made else []
    thresholds = (
        [None] * len(conditions)
        if told
        else statement.thresholds_for(conditions, query.false_match_rate)
    )
    seen_reencodings = _seen_reencodings(made, embedded, found.reencodings, thresholds)
    return judged(
        probe,
        query,
        found.listed,
        Seen(found.fakes, found.reals, seen_reencodings, made.left_out if made else None),
        statement,
        Policy(threshold, lineup.classifier_policy),
        model_side=lineup.embedder.info.image_size,
        scale=lineup.verbal_scale,
    )


def _reencodings(lineup: Lineup, probe: Probe) -> ReEncodings | None:
    """The probe's re-encodings; None without its pixels."""
    if probe.picture is None:
        return None
    info, limits = lineup.embedder.info, lineup.embedder.limits
    return reencode(
        probe.picture.image, info.preprocessing, limits, came=probe.condition or Condition.AS_IS
    )


def _seen_reencodings(
    made: ReEncodings | None,
    embedded: Iterable[VectorAndLogit],
    found: Iterable[SearchResult],
    thresholds: Iterable[Threshold | None],
) -> tuple[SeenReEncoding, ...]:
    """Each re-encoding with its nearest known fake, where known fakes were searched."""
    names = [reencoding.name for reencoding in made.made] if made else []
    nearest: list[SearchResult | None] = [*found] or [None] * len(names)
    return tuple(
        SeenReEncoding.of(name, logit, result, threshold)
        for name, (_, logit), result, threshold in zip(
            names, embedded, nearest, thresholds, strict=True
        )
    )


def _method(lineup: Lineup, found: SearchResult, k: int) -> MethodAnswer:
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
