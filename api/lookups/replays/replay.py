"""An earlier look-up, recomputed on the generation that it saw.

The embedding and the logit of the probe and of its re-encodings are stored with the look-up, and
neither the members of a generation nor a calibration ever change. So the evidence is the same,
whatever was added or removed since: the search, the figures and the verdicts are computed again, no
image is. If something is not the same, the differences are listed. Given the probe's bytes, a
replay also embeds them again, and compares that with the stored embedding.

Rules of verdicts have a version. Where it has changed, the values are compared, and the verdicts of
then and of today stand beside each other. See `docs/decisions/0012-rules-have-a-version.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.errors import NotReplayable
from api.lineup import Lineup
from api.lookups.answer import Assessed, dump_evidence, write_answer
from api.lookups.answers.json import LookupAnswer
from api.lookups.copies import propose_again
from api.lookups.limits import Limits
from api.lookups.probe import Probe
from api.lookups.questions import make_questions
from api.lookups.replays.comparing import (
    find_differences,
    find_largest,
    take_measured,
    take_stored_sentences,
)
from api.lookups.replays.json import Difference, ReplayAnswer, RulesAnswer, VerdictsAnswer
from api.lookups.replays.reembedding import compare_again, embed_again
from api.lookups.request import LookupQuery
from api.lookups.stored import in_words_of_today, name_paths, take_stored_paths
from embedder.pictures.delivery import Condition
from index.cache.searching.as_of import search_at
from index.calibration.for_probe import ProbeCalibration
from index.calibration.standing import Applied, Applies
from index.copies import NO_LEADS, CopyEvidence, ViewHash
from index.evidence import ReEncodedProbe, assess
from index.policy import Choices, LogitCalibration, choose_policy
from index.truth.computations import Computation
from index.truth.images import find_embedding
from index.truth.lookups import Lookup, digest_evidence, get_lookup, take_evidence
from index.truth.perceptual import PerceptualHash
from index.truth.spaces import Space, find_space_id
from index.verdict import RULES, ClassifierPolicy, LimitOrigin, Policy, Threshold

MOST_DIFFERENCES = 50
SIMILARITY_SETTING = "LINEUP_SIMILARITY_THRESHOLD"


def replay(lineup: Lineup, lookup_id: str, image: bytes | None = None) -> ReplayAnswer:
    """Recompute a stored look-up; nothing is written.

    `image` are the bytes of the probe: they are embedded again and compared with what was stored.

    Raises `UnknownLookup`, `ForeignSpace` (open the model that it was answered with),
    `NotReplayable`, `InvalidRequest` if the image is another one, `ImageError`, `Overloaded`.
    """
    limits = Limits.of(lineup)
    with lineup.database.read() as conn:
        stored = get_lookup(conn, lookup_id)
        lineup.space.require(stored.space_fingerprint)
        then = LookupAnswer.model_validate(in_words_of_today(stored.answer))
        probe = probe_then(conn, lineup.space, stored, then)
    embedded = None if image is None else embed_again(lineup, image, probe)
    with lineup.database.read() as conn:
        again = _Again(conn, lineup, stored, then, limits)
        replayed = again.answer(probe)
        reembedded = (
            None
            if embedded is None
            else compare_again(probe, replayed, embedded, again.answer(embedded))
        )
    evidence, differences = _compare(stored, then, replayed)
    within = find_largest(differences)
    rules = None if then.method.rules == RULES else _describe_rules(then, replayed)
    return ReplayAnswer(
        lookup_id=lookup_id,
        generation=stored.generation,
        equal=not differences,
        within=within,
        words=_describe_result(differences, within),
        evidence_sha256=then.evidence_sha256,
        replayed_sha256=digest_evidence(evidence),
        exact=then.method.exact,
        rules=rules,
        differences=differences[:MOST_DIFFERENCES],
        reembedded=reembedded,
        replayed=replayed,
    )


@dataclass(frozen=True, slots=True)
class _Again:
    """A stored look-up that is answered again, for the probe as it was stored or embedded again.

    It searches the generation of then, with the calibration and the limits of then.
    """

    conn: Connection
    lineup: Lineup
    stored: Lookup
    then: LookupAnswer
    limits: Limits

    def answer(self, probe: Probe) -> LookupAnswer:
        """Answer for a probe."""
        assessed = self._assess(probe)
        method = self.then.method.model_copy(
            update={
                "generation": assessed.listed.generation,
                "index_digest": assessed.listed.digest,
                "rules": RULES,
            }
        )
        answer, _ = write_answer(assessed, self.limits.scale, method, self.then.timings)
        return answer

    def _assess(self, probe: Probe) -> Assessed:
        then, limits = self.then, self.limits
        query = LookupQuery.read(self.stored.request)
        space_id = find_space_id(self.conn, self.lineup.space)
        assert space_id is not None  # the look-up names it

        copies = then.copies
        leads = NO_LEADS if copies is None else copies.leads.to_limits()
        compared = compared_then(then)
        exact = query.model_copy(update={"exact": True})
        questions = make_questions(probe, exact, [], propose_again(compared))
        results = search_at(self.conn, space_id, self.stored.generation, questions.asked)
        found = questions.read(results).join(compared, leads, query.k)
        applied = self._find_applied()
        calibration = None
        if applied is not None and found.searched_fakes is not None:
            # Look-ups stored before schema 0004 name no rate.
            rate = query.false_match_rate or limits.false_match_rate
            calibration = ProbeCalibration.of(applied, probe.condition, found.searched_fakes, rate)
        of_logit = self._find_calibration_of_logit(calibration)
        logits = None if of_logit is None else LogitCalibration.of(of_logit, probe.condition)
        policy = replace(policy_then(then, calibration, logits, limits), leads=leads)
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
            copies,
            left_out=None if then.stability is None else tuple(then.stability.left_out),
            reencoded_part=None if then.stability is None else then.stability.part,
            uncalibrated_corpora=tuple(then.similarity.uncalibrated_corpora),
            caution=then.caution,
        )

    def _find_applied(self) -> Applied | None:
        used = self.then.similarity.calibration
        if self.stored.calibration_id is None or used is None:
            return None
        return self.lineup.calibrations.apply_again(
            self.conn, self.stored.calibration_id, Applies(used.applies)
        )

    def _find_calibration_of_logit(self, calibration: ProbeCalibration | None) -> Applied | None:
        """The calibration of the logit; in look-ups that name none, that of the search."""
        if self.then.method.rules == 1:
            return None if calibration is None else calibration.applied
        number = None if self.then.classifier is None else self.then.classifier.calibration_id
        if number is None:
            return None
        return self.lineup.calibrations.apply_again(self.conn, number, Applies.UPPER_BOUND)


def _compare(
    stored: Lookup, then: LookupAnswer, replayed: LookupAnswer
) -> tuple[dict[str, Any], list[Difference]]:
    """Return the evidence whose digest is to be that of the stored answer, and what differs."""
    now = dump_evidence(replayed)
    document: Any = stored.answer
    evidence = take_evidence(document)
    if then.method.rules == RULES:
        before = take_evidence(name_paths(in_words_of_today(document)))
        again = take_stored_paths(now, evidence)
        return take_stored_sentences(again, evidence), find_differences(before, now)
    measured = take_measured(document, take_stored_paths(now, document))
    return measured, find_differences(name_paths(evidence), name_paths(measured))


def _describe_result(differences: Sequence[Difference], within: float | None) -> str:
    if not differences:
        return "every value is the same"
    if within is not None:
        return f"every value is the same within {within:.1e}, which is rounding"
    return "1 value differs" if len(differences) == 1 else f"{len(differences)} values differ"


def _describe_rules(then: LookupAnswer, now: LookupAnswer) -> RulesAnswer:
    verdicts_then, verdicts_now = VerdictsAnswer.of(then), VerdictsAnswer.of(now)
    changed = [
        f"{name} was {before} ({reason_before}) and is {after} ({reason_after})"
        for name, before, reason_before, after, reason_after in (
            (
                "similarity",
                verdicts_then.similarity,
                verdicts_then.similarity_reason,
                verdicts_now.similarity,
                verdicts_now.similarity_reason,
            ),
            (
                "classifier",
                verdicts_then.classifier,
                verdicts_then.classifier_reason,
                verdicts_now.classifier,
                verdicts_now.classifier_reason,
            ),
        )
        if (before, reason_before) != (after, reason_after)
    ]
    return RulesAnswer(
        then=then.method.rules,
        now=RULES,
        verdicts_then=verdicts_then,
        verdicts_now=verdicts_now,
        words=f"the look-up was judged by rules {then.method.rules}; by today's rules {RULES} "
        + ("; ".join(changed) if changed else "both verdicts are the same"),
    )


def probe_then(conn: Connection, space: Space, stored: Lookup, then: LookupAnswer) -> Probe:
    """The probe of a stored look-up. Raises `NotReplayable` if its embedding was not kept.

    The hashes of its views are compared again. What the other stages read of it is not kept.
    """
    vector: NDArray[np.float32] | None = stored.probe_vector
    if vector is None and stored.probe_sha256 is not None:
        known = find_embedding(conn, space, stored.probe_sha256)
        vector = None if known is None else known.vector
    if vector is None and then.probe.embedding != "none":
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
        computation=_computation_then(then),
        views=views_then(then),
    )


def views_then(then: LookupAnswer) -> tuple[ViewHash, ...]:
    """The hashes of the probe's views."""
    return tuple(each.to_view_hash() for each in (then.copies.views if then.copies else ()))


def compared_then(then: LookupAnswer) -> dict[int, CopyEvidence]:
    """What a copy descriptor and geometry found then, by entry id; no picture is read again."""
    compared = () if then.copies is None else then.copies.compared
    return {each.entry_id: each.to_evidence() for each in compared}


def _computation_then(then: LookupAnswer) -> Computation | None:
    """What computed the probe's embedding; None if nobody recorded it.

    Look-ups of before schema 0007 name only what computed embeddings when they were asked. Their
    "float32" on a GPU rounded as TF32 does, so there only float32 on a CPU is known.
    """
    if then.method.computed is not None:
        probe = then.method.computed.probe
        return None if probe is None else probe.to_computation()
    asked_with = Computation(then.method.device, then.method.precision)
    return asked_with if then.probe.embedding == "computed" and asked_with.is_exact else None


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
        return choose_policy(calibration, logits, choices_then(then, limits.choices))
    classifier = classifier_then(then, limits.choices.classifier)
    return Policy(threshold_then(then), classifier, then.similarity.barrier)


def choices_then(then: LookupAnswer, choices: Choices) -> Choices:
    """Today's choices, with the threshold that the operator had set then, if any."""
    threshold = threshold_then(then)
    was_set = threshold is not None and SIMILARITY_SETTING in threshold.source
    return replace(choices, threshold=threshold if was_set else None)


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
