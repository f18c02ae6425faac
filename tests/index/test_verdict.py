import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.truth.corpora import CorpusKind
from index.verdict import (
    BARRIERS,
    ClassifierOutcome,
    ClassifierPolicy,
    ClassifierReason,
    Evidence,
    Policy,
    QualityIssue,
    RatioInterval,
    ReEncodingEvidence,
    Relation,
    SimilarityOutcome,
    SimilarityReason,
    Threshold,
    find_relation,
    judge,
)

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
SIMILAR, NOT_SIMILAR = SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES, SimilarityOutcome.NOT_SIMILAR
seeded = settings(settings.get_profile("index"))
similarities = st.floats(-1, 1)
logits = st.floats(-50, 50)
kinds = st.frozensets(st.sampled_from(CorpusKind))
ratios = st.lists(st.floats(-6, 6), min_size=3, max_size=3).map(
    lambda three: RatioInterval(sorted(three)[1], min(three), max(three))
)
thresholds = st.builds(Threshold, similarities, st.just("test"))
reencodings = st.lists(
    st.builds(
        ReEncodingEvidence, st.none() | similarities, st.none() | logits, st.none() | thresholds
    ),
    max_size=3,
).map(tuple)
evidence = st.builds(
    Evidence,
    nearest_fake=st.none() | similarities,
    nearest_real=st.none() | similarities,
    identical_to=kinds,
    same_picture_as=kinds,
    ratio=st.none() | ratios,
    logit=st.none() | logits,
    quality_issue=st.none() | st.sampled_from(QualityIssue),
    reencodings=reencodings,
    probability=st.none() | st.floats(0, 1),
    edited_copy_of=kinds,
    possible_copy_of=kinds,
)
unembedded = st.builds(
    Evidence,
    nearest_fake=st.none(),
    identical_to=kinds,
    same_picture_as=kinds,
    quality_issue=st.just(QualityIssue.TOO_SMALL),
    edited_copy_of=kinds,
    possible_copy_of=kinds,
    is_embedded=st.just(False),
)
limits = (
    st.tuples(logits, logits, st.sampled_from(["both", "synthetic", "no traces"]))
    .map(lambda drawn: (*sorted(drawn[:2]), drawn[2]))
    .map(
        lambda drawn: ClassifierPolicy(
            None if drawn[2] == "no traces" else drawn[1],
            None if drawn[2] == "synthetic" else drawn[0],
            "test",
        )
    )
)
barriers = st.sampled_from(sorted(BARRIERS))
barred = st.builds(Policy, st.none(), st.none() | limits, barriers)
unbarred = st.builds(Policy, st.none() | thresholds, st.none() | limits)
policies = unbarred | barred
SIMILARITY_ORDER = [NOT_SIMILAR, SimilarityOutcome.INCONCLUSIVE, SIMILAR]
OUTCOMES = {
    SimilarityReason.IDENTICAL_IMAGE: SIMILAR,
    SimilarityReason.NEAR_DUPLICATE_IMAGE: SIMILAR,
    SimilarityReason.EDITED_COPY: SIMILAR,
    SimilarityReason.ABOVE_THRESHOLD: SIMILAR,
    SimilarityReason.BELOW_THRESHOLD: NOT_SIMILAR,
}
CLASSIFIER_ORDER = [
    ClassifierOutcome.NO_TRACES,
    ClassifierOutcome.INCONCLUSIVE,
    ClassifierOutcome.SYNTHETIC,
]


@seeded
@given(seen=evidence, policy=policies)
def test_every_evidence_has_one_verdict_and_always_the_same(seen: Any, policy: Any) -> None:
    judged = judge(seen, policy)
    assert judged == judge(seen, policy)
    assert judged.similarity.verdict is OUTCOMES.get(
        judged.similarity.reason, SimilarityOutcome.INCONCLUSIVE
    )
    assert (judged.classifier is None) == (seen.logit is None)


@seeded
@given(seen=evidence, policy=policies, low=similarities, high=similarities)
def test_a_nearer_known_fake_never_weakens_the_verdict(
    seen: Any, policy: Any, low: Any, high: Any
) -> None:
    """The ratio rises with the similarity, as the calibration makes it; quality and re-encodings
    are the same.
    """
    low, high = sorted((low, high))

    def verdict(nearest: float) -> SimilarityOutcome:
        ratio = (
            None
            if seen.ratio is None
            else RatioInterval(3 * nearest, 3 * nearest - 1, 3 * nearest + 1)
        )
        return judge(
            replace(seen, nearest_fake=nearest, ratio=ratio, reencodings=()), policy
        ).similarity.verdict

    assert SIMILARITY_ORDER.index(verdict(low)) <= SIMILARITY_ORDER.index(verdict(high))


@seeded
@given(seen=evidence, low=similarities, high=similarities)
def test_a_stricter_threshold_never_makes_more_similar(seen: Any, low: Any, high: Any) -> None:
    low, high = sorted((low, high))
    strict, lenient = (
        judge(replace(seen, reencodings=()), Policy(Threshold(at, "test"))).similarity
        for at in (high, low)
    )
    assert strict.verdict is not SIMILAR or lenient.verdict is SIMILAR


@seeded
@given(seen=evidence, policy=policies)
def test_no_verdict_contradicts_its_evidence(seen: Any, policy: Any) -> None:
    judged = judge(seen, policy).similarity
    same_picture = FAKE in seen.identical_to | seen.same_picture_as | seen.edited_copy_of
    if judged.verdict is SIMILAR and not same_picture:
        assert policy.threshold is not None
        assert seen.nearest_fake >= policy.threshold.value
        assert seen.ratio is None or seen.ratio.high >= -0.302
    if judged.verdict is NOT_SIMILAR:
        assert not same_picture
        assert seen.nearest_fake < policy.threshold.value
        assert seen.ratio is None or seen.ratio.low <= 0.302
        assert FAKE not in seen.possible_copy_of
    if judged.verdict is not SimilarityOutcome.INCONCLUSIVE and not same_picture:
        assert seen.quality_issue is None
        assert policy.barrier is None


@seeded
@given(seen=evidence, policy=policies)
def test_no_verdict_of_the_classifier_contradicts_its_evidence(seen: Any, policy: Any) -> None:
    judged = judge(seen, policy).classifier
    if judged is None:
        return
    if judged.verdict is ClassifierOutcome.NO_TRACES:
        assert seen.logit <= policy.classifier.no_traces_logit
        assert seen.probability is None or seen.probability <= 0.5
        assert seen.quality_issue is None
    if judged.verdict is ClassifierOutcome.SYNTHETIC:
        assert seen.logit >= policy.classifier.synthetic_logit
        assert seen.probability is None or seen.probability >= 0.5
        assert seen.quality_issue in (None, QualityIssue.UNFAMILIAR)


@seeded
@given(seen=evidence, policy=barred)
def test_where_similarity_is_worth_nothing_only_the_same_picture_speaks(
    seen: Any, policy: Any
) -> None:
    judged = judge(seen, policy).similarity
    same_picture = FAKE in seen.identical_to | seen.same_picture_as | seen.edited_copy_of
    if not same_picture and seen.nearest_fake is not None:
        assert judged.reason is policy.barrier
    assert judged.threshold is None


@seeded
@given(seen=evidence, policy=policies)
def test_a_verdict_that_a_re_encoding_would_change_is_inconclusive(seen: Any, policy: Any) -> None:
    judged = judge(seen, policy)
    for reencoding in seen.reencodings:
        alone = judge(
            replace(
                seen,
                nearest_fake=reencoding.nearest_fake,
                logit=reencoding.logit,
                ratio=None,
                reencodings=(),
                possible_copy_of=frozenset(),
            ),
            policy,
        )
        if (
            judged.similarity.verdict is not SimilarityOutcome.INCONCLUSIVE
            and reencoding.nearest_fake is not None
        ):
            assert alone.similarity.verdict is judged.similarity.verdict
        if (
            judged.classifier
            and alone.classifier
            and judged.classifier.verdict is not ClassifierOutcome.INCONCLUSIVE
        ):
            assert alone.classifier.verdict is judged.classifier.verdict


@seeded
@given(seen=evidence)
def test_without_a_threshold_only_the_same_picture_speaks(seen: Any) -> None:
    identical = FAKE in seen.identical_to and REAL not in seen.identical_to
    shown_by = seen.identical_to | seen.same_picture_as | seen.edited_copy_of
    copy = FAKE not in seen.identical_to and shown_by == {FAKE}
    judged = judge(seen, Policy(None)).similarity
    assert judged.verdict is (SIMILAR if identical or copy else SimilarityOutcome.INCONCLUSIVE)


@seeded
@given(similarity=similarities, threshold=st.none() | thresholds)
def test_a_relation_other_than_identity_needs_a_threshold(similarity: Any, threshold: Any) -> None:
    relation = find_relation(similarity, threshold)
    assert (relation is None) == (threshold is None)
    assert find_relation(similarity, threshold, identical=True) is Relation.IDENTICAL
    assert find_relation(similarity, threshold, near_duplicate=True) is Relation.NEAR_DUPLICATE
    assert find_relation(similarity, threshold, edited_copy=True) is Relation.EDITED_COPY
    assert find_relation(similarity, threshold, possible_copy=True) is Relation.POSSIBLE_COPY
    assert find_relation(None, threshold) is None


def test_the_strongest_relation_is_named() -> None:
    at, names = Threshold(0.8, "test"), ("identical", "near_duplicate", "edited_copy")
    marks = dict.fromkeys((*names, "possible_copy"), True)
    for name in (*names, "possible_copy"):
        assert find_relation(0.9, at, **marks) is Relation(name)
        del marks[name]
    assert find_relation(0.9, at, **marks) is Relation.SIMILAR


# Copies.


@seeded
@given(seen=evidence | unembedded, policy=policies)
def test_a_verified_copy_of_a_known_fake_never_weakens_a_verdict(seen: Any, policy: Any) -> None:
    """Where the probe is also a known-real image, nothing tells which of the two it is."""
    copied = replace(seen, edited_copy_of=seen.edited_copy_of | {FAKE})
    verdict = judge(copied, policy).similarity.verdict
    before = judge(seen, policy).similarity.verdict
    if REAL not in seen.identical_to | seen.same_picture_as | seen.edited_copy_of:
        assert verdict is SIMILAR
    elif before is NOT_SIMILAR:
        assert verdict is SimilarityOutcome.INCONCLUSIVE
    else:
        assert verdict in (before, SimilarityOutcome.INCONCLUSIVE)


@seeded
@given(seen=evidence | unembedded, policy=policies)
def test_a_verified_copy_counts_like_a_near_duplicate(seen: Any, policy: Any) -> None:
    alone = replace(seen, same_picture_as=frozenset(), edited_copy_of=frozenset())
    for kinds_of_copy in ({FAKE}, {REAL}, {FAKE, REAL}):
        by_hash = judge(replace(alone, same_picture_as=frozenset(kinds_of_copy)), policy)
        by_geometry = judge(replace(alone, edited_copy_of=frozenset(kinds_of_copy)), policy)
        assert by_hash.similarity.verdict is by_geometry.similarity.verdict
        assert by_hash.classifier == by_geometry.classifier


@seeded
@given(seen=evidence | unembedded, policy=policies)
def test_a_copy_of_a_known_real_image_alone_never_acquits(seen: Any, policy: Any) -> None:
    """It changes no verdict unless a known fake is the same picture too."""
    others = replace(seen, edited_copy_of=seen.edited_copy_of - {REAL})
    verdict, without = (judge(each, policy).similarity for each in (seen, others))
    if FAKE in seen.identical_to | seen.same_picture_as | seen.edited_copy_of:
        assert verdict.verdict in (SIMILAR, SimilarityOutcome.INCONCLUSIVE)
    else:
        assert verdict == without


@seeded
@given(seen=evidence | unembedded, policy=policies)
def test_a_lead_changes_not_similar_and_nothing_else(seen: Any, policy: Any) -> None:
    without = judge(replace(seen, possible_copy_of=frozenset()), policy).similarity
    for lead in ({FAKE}, {FAKE, REAL}):
        judged = judge(replace(seen, possible_copy_of=frozenset(lead)), policy).similarity
        assert judged.verdict is not NOT_SIMILAR
        if without.verdict is NOT_SIMILAR:
            assert judged.reason is SimilarityReason.POSSIBLE_COPY
        else:
            assert judged.verdict is without.verdict
    of_a_real = judge(replace(seen, possible_copy_of=frozenset({REAL})), policy).similarity
    assert of_a_real == without


@seeded
@given(seen=unembedded, policy=policies)
def test_a_probe_without_an_embedding_is_judged_by_copies_alone(seen: Any, policy: Any) -> None:
    judged = judge(seen, policy)
    assert judged.classifier is None
    if FAKE in seen.identical_to | seen.same_picture_as | seen.edited_copy_of:
        assert judged.similarity.verdict is not NOT_SIMILAR
        return
    assert judged.similarity.verdict is SimilarityOutcome.INCONCLUSIVE
    assert judged.similarity.reason is (
        SimilarityReason.POSSIBLE_COPY
        if FAKE in seen.possible_copy_of
        else SimilarityReason.POOR_QUALITY
    )


def test_the_reasons_of_a_similarity_verdict() -> None:
    near = Evidence(nearest_fake=0.9)

    def reason(seen: Evidence, policy: Policy = Policy(Threshold(0.8, "test"))) -> SimilarityReason:  # noqa: B008
        return judge(seen, policy).similarity.reason

    assert reason(Evidence(None)) is SimilarityReason.NOTHING_COMPARED
    assert reason(near, Policy(None)) is SimilarityReason.NO_THRESHOLD
    assert reason(near) is SimilarityReason.ABOVE_THRESHOLD
    assert reason(replace(near, nearest_fake=0.8)) is SimilarityReason.ABOVE_THRESHOLD
    assert reason(replace(near, nearest_fake=0.79)) is SimilarityReason.BELOW_THRESHOLD
    for barrier in BARRIERS:
        assert reason(near, Policy(None, barrier=barrier)) is barrier
        assert (
            reason(Evidence(0.1, identical_to=frozenset({FAKE})), Policy(None, barrier=barrier))
            is SimilarityReason.IDENTICAL_IMAGE
        )
        assert reason(Evidence(None), Policy(None, barrier=barrier)) is (
            SimilarityReason.NOTHING_COMPARED
        )
    assert (
        reason(replace(near, ratio=RatioInterval(-1, -2, -0.5))) is SimilarityReason.RATIO_DISAGREES
    )
    assert reason(Evidence(0.7, ratio=RatioInterval(1, 0.5, 2))) is SimilarityReason.BETWEEN
    assert reason(replace(near, quality_issue=QualityIssue.FLAT)) is SimilarityReason.POOR_QUALITY
    assert (
        reason(replace(near, reencodings=(ReEncodingEvidence(0.7, None),)))
        is SimilarityReason.UNSTABLE
    )
    lower, higher = Threshold(0.65, "of its delivery"), Threshold(0.95, "of its delivery")
    assert (
        reason(replace(near, reencodings=(ReEncodingEvidence(0.7, None, lower),)))
        is SimilarityReason.ABOVE_THRESHOLD
    )
    assert (
        reason(replace(near, reencodings=(ReEncodingEvidence(0.9, None, higher),)))
        is SimilarityReason.UNSTABLE
    )
    assert (
        reason(Evidence(0.7, reencodings=(ReEncodingEvidence(0.7, None, lower),)))
        is SimilarityReason.UNSTABLE
    )
    assert (
        reason(replace(near, reencodings=(ReEncodingEvidence(0.7, None, lower),)), Policy(None))
        is SimilarityReason.NO_THRESHOLD
    )
    assert (
        reason(Evidence(0.1, same_picture_as=frozenset({FAKE})))
        is SimilarityReason.NEAR_DUPLICATE_IMAGE
    )
    fake, real = frozenset({FAKE}), frozenset({REAL})
    assert reason(Evidence(0.1, edited_copy_of=fake)) is SimilarityReason.EDITED_COPY
    assert reason(Evidence(0.1, same_picture_as=fake, edited_copy_of=fake)) is (
        SimilarityReason.NEAR_DUPLICATE_IMAGE
    )
    for by_hash, by_geometry in ((real, fake), (fake, real), (frozenset(), fake | real)):
        both = Evidence(0.9, same_picture_as=by_hash, edited_copy_of=by_geometry)
        assert reason(both) is SimilarityReason.ALSO_KNOWN_REAL
    assert reason(Evidence(0.1, possible_copy_of=fake)) is SimilarityReason.POSSIBLE_COPY
    assert reason(Evidence(0.9, possible_copy_of=fake)) is SimilarityReason.ABOVE_THRESHOLD
    assert reason(Evidence(0.1, identical_to=fake)) is SimilarityReason.IDENTICAL_IMAGE
    assert (
        reason(Evidence(0.9, same_picture_as=frozenset({FAKE, REAL})))
        is SimilarityReason.ALSO_KNOWN_REAL
    )
    made_from = Evidence(0.9, identical_to=frozenset({FAKE}), same_picture_as=frozenset({REAL}))
    assert reason(made_from) is SimilarityReason.IDENTICAL_IMAGE
    assert (
        reason(Evidence(0.9, identical_to=frozenset({FAKE, REAL})))
        is SimilarityReason.ALSO_KNOWN_REAL
    )
    assert reason(Evidence(0.9, identical_to=frozenset({REAL}))) is SimilarityReason.ABOVE_THRESHOLD


@seeded
@given(
    one=logits,
    two=logits,
    policy=limits,
    issue=st.none() | st.sampled_from(QualityIssue),
    calibrated=st.booleans(),
)
def test_a_larger_logit_is_never_less_synthetic(
    one: Any, two: Any, policy: Any, issue: Any, calibrated: bool
) -> None:
    """The probability rises with the logit, as a calibration makes it."""
    low, high = (
        judge(
            Evidence(
                None,
                logit=at,
                quality_issue=issue,
                probability=1 / (1 + math.exp(-at / 3)) if calibrated else None,
            ),
            Policy(None, policy),
        ).classifier
        for at in sorted((one, two))
    )
    assert low is not None
    assert high is not None
    assert CLASSIFIER_ORDER.index(low.verdict) <= CLASSIFIER_ORDER.index(high.verdict)


def test_the_limits_themselves_decide() -> None:
    policy = Policy(None, ClassifierPolicy(1.0, -1.0, "test"))

    def judged(logit: float, **more: Any) -> Any:
        return judge(Evidence(None, logit=logit, **more), policy).classifier

    assert [judged(logit).verdict for logit in (-1.0, -0.99, 0.99, 1.0)] == [
        ClassifierOutcome.NO_TRACES,
        ClassifierOutcome.INCONCLUSIVE,
        ClassifierOutcome.INCONCLUSIVE,
        ClassifierOutcome.SYNTHETIC,
    ]
    for issue in (QualityIssue.FLAT, QualityIssue.TOO_SMALL):
        assert judged(1.0, quality_issue=issue).reason is ClassifierReason.POOR_QUALITY
    unlike = QualityIssue.UNFAMILIAR
    assert judged(1.0, quality_issue=unlike).reason is ClassifierReason.SYNTHETIC_LIMIT_REACHED
    for below in (0.99, -1.0):
        assert judged(below, quality_issue=unlike).reason is ClassifierReason.POOR_QUALITY
    for logit, probability, reason in (
        (-1.0, 0.5, ClassifierReason.NO_TRACES_LIMIT_REACHED),
        (-1.0, 0.51, ClassifierReason.PROBABILITY_DISAGREES),
        (1.0, 0.5, ClassifierReason.SYNTHETIC_LIMIT_REACHED),
        (1.0, 0.49, ClassifierReason.PROBABILITY_DISAGREES),
        (0.0, 0.9, ClassifierReason.BETWEEN_LIMITS),
    ):
        assert judged(logit, probability=probability).reason is reason
    own = ClassifierPolicy(3.0, 0.0, "of its delivery")
    flipped = ReEncodingEvidence(None, 1.0, classifier=own)
    assert judged(1.0, reencodings=(flipped,)).reason is ClassifierReason.UNSTABLE
    same = ReEncodingEvidence(None, 3.0, classifier=own)
    assert judged(1.0, reencodings=(same,)).reason is ClassifierReason.SYNTHETIC_LIMIT_REACHED
    assert (
        judged(1.0, reencodings=(ReEncodingEvidence(None, 0.0),)).reason
        is ClassifierReason.UNSTABLE
    )
    without = judge(Evidence(None, logit=5.0), Policy(None)).classifier
    assert without is not None
    assert (without.verdict, without.reason) == (
        ClassifierOutcome.INCONCLUSIVE,
        ClassifierReason.NO_LIMITS,
    )


def test_a_limit_that_is_missing_gives_no_verdict_on_its_side() -> None:
    upper, lower = ClassifierPolicy(1.0, None, "test"), ClassifierPolicy(None, -1.0, "test")

    def reasons(policy: ClassifierPolicy) -> list[str]:
        judged = (judge(Evidence(None, logit=at), Policy(None, policy)) for at in (-9.0, 0.0, 9.0))
        return [each.classifier.reason for each in judged if each.classifier]

    between = ClassifierReason.BETWEEN_LIMITS
    assert reasons(upper) == [between, between, ClassifierReason.SYNTHETIC_LIMIT_REACHED]
    assert reasons(lower) == [ClassifierReason.NO_TRACES_LIMIT_REACHED, between, between]


def test_the_words_of_rules_1_are_read() -> None:
    assert ClassifierOutcome("authentic") is ClassifierOutcome.NO_TRACES
    reason = ClassifierReason("authentic_limit_reached")
    assert reason is ClassifierReason.NO_TRACES_LIMIT_REACHED
    for unknown in (ClassifierOutcome, ClassifierReason):
        with pytest.raises(ValueError, match="genuine"):
            unknown("genuine")


def test_what_cannot_be_judged_is_refused() -> None:
    for broken in (
        lambda: ClassifierPolicy(-1.0, 1.0, "upside down"),
        lambda: ClassifierPolicy(None, None, "no limit"),
        lambda: Policy(None, barrier=SimilarityReason.POOR_QUALITY),
        lambda: Policy(Threshold(0.5, "test"), barrier=SimilarityReason.TELLS_NOTHING),
        lambda: Evidence(None, probability=math.nan),
        lambda: ClassifierPolicy(math.nan, 1.0, "no number"),
        lambda: Threshold(1.5, "percent"),
        lambda: Threshold(math.nan, "no number"),
        lambda: Evidence(math.nan),
        lambda: Evidence(0.5, is_embedded=False),
        lambda: Evidence(None, logit=math.nan),
        lambda: RatioInterval(0.0, 1.0, 2.0),
    ):
        with pytest.raises(ValueError, match=r"."):
            broken()
