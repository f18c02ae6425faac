"""Probes looked up, one or several: the functions behind the route, the command and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

from api.copies.kept import find_kept_picture
from api.copies.probe_features import ProbeFeatures
from api.copies.running import GeometryRun, run_geometry
from api.errors import InvalidRequest
from api.lineup import Lineup
from api.lookups.answer import Assessed, write_answer
from api.lookups.answers.json import LookupAnswer
from api.lookups.answers.method_json import (
    MethodAnswer,
    PrecisionCheckAnswer,
    RecallAnswer,
    Timings,
)
from api.lookups.answers.precision import describe_computed
from api.lookups.answers.robustness_json import LeftOutAnswer
from api.lookups.copies import Proposed, join_copies, propose
from api.lookups.facts import Facts, read_facts
from api.lookups.limits import Limits
from api.lookups.probe import (
    Probe,
    embed_probe,
    milliseconds,
    take_probe,
)
from api.lookups.questions import Found, Questions, make_questions
from api.lookups.request import LookupQuery, LookupRequest, SentProbe
from api.release import get_version
from embedder.decoding.picture import Picture, PictureOrder
from embedder.pictures.reencodings import ReEncoding, ReEncodings
from index.evidence import ReEncodedProbe, assess
from index.policy import choose_reencoding_limits
from index.truth.changes import Head
from index.truth.images import StoredEmbedding
from index.truth.lookups import NewLookup
from index.verdict import RULES


@dataclass(frozen=True, slots=True, eq=False)
class PreparedLookup:
    """A probe, how it is searched for, and when its request began (`perf_counter`, in seconds)."""

    probe: Probe
    query: LookupQuery
    started: float


def look_up_image(lineup: Lineup, data: bytes, query: LookupQuery) -> LookupAnswer:
    """Answer for the image in `data`.

    Raises `ImageError`, `Overloaded` and the errors of the search.
    """
    return look_up(lineup, prepare_image(lineup, data, query))


def look_up_request(lineup: Lineup, request: LookupRequest) -> LookupAnswer:
    """Answer for an embedding that the client computed, or for an ingested image by its sha256.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`, `InvalidVector`.
    """
    return look_up(lineup, prepare_request(lineup, request))


def prepare_image(lineup: Lineup, data: bytes, query: LookupQuery) -> PreparedLookup:
    """Embed the image in `data`. Raises `ImageError`, `Overloaded`."""
    started = perf_counter()
    probe = embed_probe(
        data,
        lineup.database,
        lineup.space,
        lineup.embedder,
        lineup.batcher,
        lineup.computation,
        stability=query.stability,
        descriptor=lineup.copies.find_input(),
        features_are_likely=lineup.stored_features.can_compare(),
    )
    return PreparedLookup(probe, query, started)


def prepare_request(lineup: Lineup, request: LookupRequest) -> PreparedLookup:
    """Take the probe of a request without an image. Raises like `prepare_sent`."""
    return prepare_sent(lineup, request, request)


def prepare_sent(
    lineup: Lineup,
    sent: SentProbe,
    query: LookupQuery,
    known: Mapping[str, StoredEmbedding] | None = None,
) -> PreparedLookup:
    """Take a probe without an image. `known` are the stored embeddings, by sha256; None to ask the
    database.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`.
    """
    started = perf_counter()

    def make_order() -> PictureOrder:
        descriptor = lineup.copies.find_input()
        return PictureOrder(lineup.limits, view_hashes=True, descriptor=descriptor)

    def find_picture(sha256: str) -> tuple[Picture, ProbeFeatures] | None:
        return find_kept_picture(lineup.blob_stores, lineup.decoders, make_order, sha256)

    if query.stability:
        raise InvalidRequest("stability re-encodes the probe and needs its image")
    probe = take_probe(sent, lineup.database, lineup.space, find_picture, known)
    return PreparedLookup(probe, query, started)


def look_up(lineup: Lineup, prepared: PreparedLookup) -> LookupAnswer:
    """Answer one prepared look-up. Raises like `look_up_all`."""
    (answer,) = look_up_all(lineup, [prepared])
    return answer


def look_up_all(lineup: Lineup, prepared: Sequence[PreparedLookup]) -> list[LookupAnswer]:
    """Answer several probes and store the answers together, in the order of the probes.

    If one of them raises, none is answered. Raises like `answer_all` and `store_all`.
    """
    return store_all(lineup, answer_all(lineup, prepared))


def answer_all(lineup: Lineup, prepared: Sequence[PreparedLookup]) -> list[AnsweredLookup]:
    """Search one generation of the index for several probes and assess what is found.

    Raises `InvalidVector`, `InvalidFilter`, `UnknownCorpus`, `CorpusKindConflict`, `TruthDamaged`,
    `DatabaseUnavailable`.
    """
    try:
        return _search_and_answer(lineup, prepared)
    finally:  # features that nothing was compared with, and those of a look-up that failed
        for each in prepared:
            if each.probe.features is not None:
                each.probe.features.cancel()


def _search_and_answer(lineup: Lineup, prepared: Sequence[PreparedLookup]) -> list[AnsweredLookup]:
    limits = Limits.of(lineup)
    begun = [_begin(lineup, each, limits.false_match_rate) for each in prepared]
    asked = [question for each in begun for question in each.questions.asked]
    head, results = lineup.index.search_at_head(asked)
    remaining = iter(results)
    answered = list[AnsweredLookup]()
    for each in begun:
        found = each.questions.read([*islice(remaining, len(each.questions.asked))])
        answered.append(_answer(lineup, limits, head, each, found))
    return answered


def store_all(lineup: Lineup, answered: Sequence[AnsweredLookup]) -> list[LookupAnswer]:
    """Store answers by one commit and return them; a read-only Lineup does not store them.

    Raises `DatabaseUnavailable`, `StorageFull`.
    """
    if lineup.database.read_only:
        return [each.answer.model_copy(update={"stored": False}) for each in answered]
    lineup.lookup_store.save([each.row for each in answered])
    return [each.answer for each in answered]


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredLookup:
    """An answer, and the row that is to be stored of it."""

    answer: LookupAnswer
    row: NewLookup


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """A look-up before its search."""

    probe: Probe
    query: LookupQuery
    proposed: Proposed
    questions: Questions
    started: float
    search_started: float

    @property
    def usable(self) -> Sequence[ReEncoding]:
        """The re-encodings that the model takes."""
        return () if self.probe.reencodings is None else self.probe.reencodings.usable


def _begin(lineup: Lineup, prepared: PreparedLookup, false_match_rate: float) -> _Begun:
    """Propose copies. `false_match_rate` is that of a query without one."""
    search_started = perf_counter()
    probe, query = prepared.probe, prepared.query
    if query.false_match_rate is None:
        query = query.model_copy(update={"false_match_rate": false_match_rate})
    proposed = propose(lineup, probe.picture, query)
    questions = make_questions(
        probe, query, [vector for vector, _ in probe.reencoded], proposed.candidates
    )
    return _Begun(probe, query, proposed, questions, prepared.started, search_started)


def _answer(
    lineup: Lineup, limits: Limits, head: Head, begun: _Begun, found: Found
) -> AnsweredLookup:
    """Assess what was found for a probe, and write its answer."""
    probe, query, proposed = begun.probe, begun.query, begun.proposed
    facts = read_facts(
        lineup, limits.choices, head, query, probe.condition, found, proposed.descriptor
    )
    geometry = run_geometry(
        lineup.stored_features,
        None if probe.features is None else probe.features.find,
        found.list_found(),
    )
    assessed = _assess(limits, begun, found, geometry, facts)
    answer, text = write_answer(
        assessed, limits.scale, _method(lineup, assessed, facts), _time(begun, geometry)
    )
    calibration = facts.calibration
    row = NewLookup(
        assessed.listed.generation,
        request=query.model_dump(
            mode="json", include={"k", "filter", "exact", "stability", "false_match_rate"}
        ),
        answer=text,
        id=answer.id,
        created_at=answer.created_at,
        probe_sha256=answer.probe.sha256,
        probe_vector=probe.vector,
        calibration_id=None if calibration is None else calibration.applied.id,
    )
    return AnsweredLookup(answer, row)


def _assess(
    limits: Limits, begun: _Begun, found: Found, geometry: GeometryRun, facts: Facts
) -> Assessed:
    probe, query, policy = begun.probe, begun.query, facts.policy
    joined, copies = join_copies(
        probe, found, begun.proposed, geometry, facts.rates, policy.leads, query.k
    )
    of_reencodings = choose_reencoding_limits(
        facts.of_logit,
        facts.calibration,
        policy,
        limits.choices,
        [each.condition for each in begun.usable],
    )
    assessment = assess(
        probe.facts(limits.model_side),
        joined.neighbourhood,
        facts.calibration,
        policy,
        [
            ReEncodedProbe.of(each.name, logit, nearest, own.threshold, own.classifier)
            for each, (_, logit), nearest, own in zip(
                begun.usable, probe.reencoded, found.reencodings, of_reencodings, strict=True
            )
        ],
        facts.logits,
    )
    reencodings = probe.reencodings
    return Assessed(
        probe,
        query,
        joined.listed,
        assessment,
        copies,
        left_out=None if reencodings is None else list_left_out(reencodings),
        reencoded_part=None if reencodings is None else reencodings.part,
        uncalibrated_corpora=facts.uncalibrated,
        has_known_reals=facts.has_known_reals,
        caution=limits.caution,
    )


def _time(begun: _Begun, geometry: GeometryRun) -> Timings:
    """Return how long each step took until now."""
    describe_ms, verify_ms, now = begun.proposed.took_ms, geometry.took_ms, perf_counter()
    of_copies = (describe_ms or 0.0) + (verify_ms or 0.0)
    return Timings(
        decode_ms=begun.probe.decode_ms,
        embed_ms=begun.probe.embed_ms,
        describe_ms=describe_ms,
        search_ms=round(milliseconds(begun.search_started, now) - of_copies, 3),
        verify_ms=verify_ms,
        total_ms=milliseconds(begun.started, now),
    )


def list_left_out(reencodings: ReEncodings) -> tuple[LeftOutAnswer, ...]:
    """The re-encodings that could not be used, as JSON."""
    return tuple(LeftOutAnswer(name=each.name, reason=each.reason) for each in reencodings.refused)


def _method(lineup: Lineup, assessed: Assessed, facts: Facts) -> MethodAnswer:
    """What is needed to repeat a look-up."""
    found = assessed.listed
    return MethodAnswer(
        lineup_version=get_version(),
        rules=RULES,
        model=lineup.space.model,
        embedding_space=lineup.space.fingerprint,
        weights_sha256=lineup.space.weights_sha256,
        device=lineup.embedder.device,
        precision=lineup.embedder.precision,
        precision_check=PrecisionCheckAnswer.of(lineup.computation.check),
        computed=describe_computed(
            assessed.probe.computation,
            facts.computed,
            assessed.assessment.evidence.nearest_fake,
        ),
        generation=found.generation,
        index_digest=found.digest,
        exact=found.exact,
        k=assessed.query.k,
        recall=RecallAnswer.of(found.tuning),
        pending_changes=found.pending_changes,
    )
