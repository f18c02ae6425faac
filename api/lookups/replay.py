"""An earlier look-up, recomputed on the generation that it saw.

The probe's vector is stored with the look-up, and neither the members of a generation nor a
calibration ever change. So the evidence is the same, whatever was added or removed since. If it is
not, the differences are listed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sqlalchemy import Connection

from api.errors import NotReplayable
from api.fields import Answer
from api.lineup import Lineup
from api.lookups.answer import Assessed, dump_evidence, write_answer
from api.lookups.json import LookupAnswer
from api.lookups.limits import Limits
from api.lookups.probe import Probe
from api.lookups.questions import search
from api.lookups.request import LookupQuery
from api.lookups.stored import in_earlier_words, in_words_of_today
from embedder.pictures.delivery import Condition
from index.cache.as_of import search_at
from index.cache.searching import Question, SearchResult
from index.calibration.for_probe import ProbeCalibration
from index.calibration.standing import Applied, Applies, Calibrations
from index.evidence import ReEncodedProbe, assess
from index.policy import LogitCalibration, choose_policy
from index.truth.images import find_embedding
from index.truth.lookups import Lookup, digest_evidence, get_lookup, take_evidence
from index.truth.perceptual import PerceptualHash
from index.truth.spaces import Space, find_space_id
from index.verdict import RULES, ClassifierPolicy, LimitOrigin, Policy, Threshold

MOST_DIFFERENCES = 50
# A later release may word sentences differently. The values that they state are compared.
WORDS = frozenset(
    {
        "/statements",
        "/classifier/explanation",
        "/similarity/explanation",
        "/similarity/next_step",
        "/similarity/likelihood_ratio/words",
    }
)


class Difference(Answer):
    """A value that differs between the stored answer and the replay."""

    place: str = Field(
        examples=["/similarity/neighbours/0/cosine_similarity"],
        description="JSON pointer to the value.",
    )
    then: Any = Field(description="The stored value. Null if it is missing.")
    now: Any = Field(description="The recomputed value. Null if it is missing.")


class ReplayAnswer(Answer):
    """A stored look-up, recomputed on the generation that it saw."""

    lookup_id: str = Field(description="Id of the look-up that was recomputed.")
    generation: int = Field(description="The generation that was searched, then and now.")
    equal: bool = Field(
        description="True if every value is the same. Sentences may differ: a later release may "
        "word them differently."
    )
    evidence_sha256: str | None = Field(
        description="`evidence_sha256` of the stored answer. Null in look-ups stored before "
        "schema 0004."
    )
    replayed_sha256: str = Field(
        description="`evidence_sha256` of the recomputed answer, computed with the stored answer's "
        "sentences, terms and fields. It equals the stored `evidence_sha256` if every value is the "
        "same."
    )
    exact: bool = Field(
        description="True if the stored look-up compared every entry. The replay always does. If "
        "false, it can find a nearer entry."
    )
    differences: list[Difference] = Field(description="The differences found, at most 50.")
    replayed: LookupAnswer = Field(description="The recomputed answer. It is not stored.")


def replay(lineup: Lineup, lookup_id: str) -> ReplayAnswer:
    """Recompute a stored look-up; nothing is written.

    Raises `UnknownLookup`, `ForeignSpace` (open the model that it was answered with),
    `NotReplayable`.
    """
    with lineup.database.read() as conn:
        stored = get_lookup(conn, lookup_id)
        lineup.space.require(stored.space_fingerprint)
        document = in_words_of_today(stored.answer)
        then = LookupAnswer.model_validate(document)
        limits = Limits.of(lineup)
        assessed = _assess_again(conn, lineup.calibrations, lineup.space, stored, then, limits)
    method = then.method.model_copy(
        update={"generation": assessed.listed.generation, "index_digest": assessed.listed.digest}
    )
    replayed = write_answer(assessed, limits.scale, method, then.timings)
    evidence = dump_evidence(replayed)
    differences = list(_differences("", take_evidence(document), evidence))
    evidence = _take_fields(_take_sentences(evidence, document), document)
    if document != stored.answer:
        evidence = in_earlier_words(evidence)
    return ReplayAnswer(
        lookup_id=lookup_id,
        generation=stored.generation,
        equal=not differences,
        evidence_sha256=then.evidence_sha256,
        replayed_sha256=digest_evidence(evidence),
        exact=then.method.exact,
        differences=differences[:MOST_DIFFERENCES],
        replayed=replayed,
    )


def _assess_again(
    conn: Connection,
    calibrations: Calibrations,
    space: Space,
    stored: Lookup,
    then: LookupAnswer,
    limits: Limits,
) -> Assessed:
    """Search the generation of then, and assess by the calibration and the limits of then."""
    probe = probe_then(conn, space, stored, then)
    query = LookupQuery.model_validate(stored.request)
    space_id = find_space_id(conn, space)
    assert space_id is not None  # the look-up names it

    def search_all(questions: Sequence[Question]) -> Sequence[SearchResult]:
        return search_at(conn, space_id, stored.generation, questions)

    found = search(probe, query.model_copy(update={"exact": True}), [], search_all)
    applied = _applied_then(conn, calibrations, stored, then)
    calibration = None
    if applied is not None and found.searched_fakes is not None:
        # Look-ups stored before schema 0004 name no rate.
        rate = query.false_match_rate or limits.false_match_rate
        calibration = ProbeCalibration.of(applied, probe.condition, found.searched_fakes, rate)
    of_logit = _logit_calibration_then(conn, calibrations, then, calibration)
    logits = None if of_logit is None else LogitCalibration.of(of_logit, probe.condition)
    policy = policy_then(then, calibration, logits, limits)
    assessment = assess(
        probe.facts(limits.model_side),
        found.neighbourhood,
        calibration,
        policy,
        reencodings_then(then),
        logits,
    )
    return Assessed(
        probe,
        query,
        found.listed,
        assessment,
        policy,
        left_out=None if then.stability is None else tuple(then.stability.left_out),
        uncalibrated_corpora=tuple(then.similarity.uncalibrated_corpora),
        caution=then.caution,
    )


def probe_then(conn: Connection, space: Space, stored: Lookup, then: LookupAnswer) -> Probe:
    """The probe of a stored look-up. Raises `NotReplayable` if its embedding was not kept."""
    vector: NDArray[np.float32] | None = stored.probe_vector
    if vector is None and stored.probe_sha256 is not None:
        known = find_embedding(conn, space, stored.probe_sha256)
        vector = None if known is None else known.vector
    if vector is None:
        raise NotReplayable(stored.id)
    answer, used = then.probe, then.similarity.calibration
    hashed = None
    if answer.pdq_hash is not None and answer.pdq_quality is not None:
        hashed = PerceptualHash(bytes.fromhex(answer.pdq_hash), answer.pdq_quality)
    return Probe(
        answer,
        vector,
        then.classifier.logit if then.classifier else None,
        hashed,
        condition=Condition(used.probe_condition) if used and used.probe_condition else None,
        luminance_std=then.quality.luminance_std if then.quality else None,
    )


def reencodings_then(then: LookupAnswer) -> list[ReEncodedProbe]:
    """What the re-encodings came to. Their pixels are not kept, so they are not searched again."""
    return [
        ReEncodedProbe(
            each.name,
            each.logit,
            each.nearest_similarity,
            each.generator,
            None if each.threshold is None else Threshold(each.threshold, each.name),
            None
            if each.synthetic_logit is None and each.no_traces_logit is None
            else ClassifierPolicy(each.synthetic_logit, each.no_traces_logit, each.name),
        )
        for each in (then.stability.reencodings if then.stability else ())
    ]


def policy_then(
    then: LookupAnswer,
    calibration: ProbeCalibration | None,
    logits: LogitCalibration | None,
    limits: Limits,
) -> Policy:
    """The limits of then; under other rules than today's, what these make of its calibration."""
    if then.method.rules != RULES:
        return choose_policy(calibration, logits, limits.choices)
    classifier = classifier_then(then, limits.choices.classifier)
    return Policy(threshold_then(then), classifier, then.similarity.barrier)


def threshold_then(then: LookupAnswer) -> Threshold | None:
    """The threshold of then: an operator may have set another one since."""
    stored = then.similarity.threshold
    return None if stored is None else Threshold(stored.cosine_similarity, stored.source)


def classifier_then(
    then: LookupAnswer, of_the_model: ClassifierPolicy | None
) -> ClassifierPolicy | None:
    """The limits of then. Look-ups stored before schema 0004 name only their source; the limits
    are the model's.
    """
    stored = then.classifier
    if stored is None or stored.limits_source is None:
        return None
    if stored.synthetic_logit is None and stored.no_traces_logit is None:
        return of_the_model
    return ClassifierPolicy(
        stored.synthetic_logit,
        stored.no_traces_logit,
        stored.limits_source,
        stored.synthetic_from or LimitOrigin.MODEL,
        stored.no_traces_from or LimitOrigin.MODEL,
    )


def _applied_then(
    conn: Connection, calibrations: Calibrations, stored: Lookup, then: LookupAnswer
) -> Applied | None:
    used = then.similarity.calibration
    if stored.calibration_id is None or used is None:
        return None
    return calibrations.apply_again(conn, stored.calibration_id, Applies(used.applies))


def _logit_calibration_then(
    conn: Connection,
    calibrations: Calibrations,
    then: LookupAnswer,
    calibration: ProbeCalibration | None,
) -> Applied | None:
    """The calibration of the logit; in look-ups that name none, that of the search."""
    if then.method.rules == 1:
        return None if calibration is None else calibration.applied
    number = None if then.classifier is None else then.classifier.calibration_id
    if number is None:
        return None
    return calibrations.apply_again(conn, number, Applies.UPPER_BOUND)


def _take_sentences(evidence: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return recomputed evidence with the sentences of the stored answer where it has any."""
    worded = copy.deepcopy(evidence)
    for place in WORDS:
        *path, last = place.strip("/").split("/")
        old, new = stored, worded
        for key in path:
            old, new = old.get(key) or {}, new.get(key) or {}
        if last in old and last in new:
            new[last] = old[last]
    return worded


def _take_fields(evidence: Any, stored: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Return recomputed evidence without the fields that the stored answer does not have."""
    if isinstance(evidence, dict) and isinstance(stored, Mapping):
        kept = (key for key in evidence if key in stored)
        return {key: _take_fields(evidence[key], stored[key]) for key in kept}
    if isinstance(evidence, list) and isinstance(stored, list) and len(evidence) == len(stored):
        return [_take_fields(one, other) for one, other in zip(evidence, stored, strict=True)]
    return evidence


def _differences(place: str, then: Any, now: Any) -> Iterator[Difference]:  # noqa: ANN401 -- any JSON
    """Yield where two JSON values differ.

    Sentences are not compared, nor fields that the stored answer does not have.
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key, value in then.items():
            if f"{place}/{key}" not in WORDS:
                yield from _differences(f"{place}/{key}", value, now.get(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{place}/{number}", one, other)
    elif then != now:
        yield Difference(place=place or "/", then=then, now=now)
