import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import (
    ClassifierOutcome,
    ClassifierPolicy,
    ClassifierReason,
    CorpusKind,
    NeighbourEvidence,
    Relation,
    SimilarityOutcome,
    SimilarityReason,
    Threshold,
    judge_classifier,
    judge_similarity,
    relation_of,
)

similarities = st.floats(-1, 1)
thresholds = st.builds(Threshold, similarities, st.just("test"))
evidence = st.builds(NeighbourEvidence, st.sampled_from(CorpusKind), similarities, st.booleans(), st.booleans())
limits = st.tuples(st.floats(-50, 50), st.floats(-50, 50)).map(sorted)
policies = limits.map(lambda pair: ClassifierPolicy(pair[1], pair[0], "test"))
seeded = settings(settings.get_profile("index"))
FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
SIMILAR = SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES


@seeded
@given(neighbours=st.lists(evidence), threshold=st.none() | thresholds)
def test_every_list_of_neighbours_has_a_verdict(neighbours: Any, threshold: Any) -> None:
    judged = judge_similarity(neighbours, threshold)
    assert judged.verdict in SimilarityOutcome
    assert judged.reason in SimilarityReason


@seeded
@given(neighbours=st.lists(evidence, min_size=1), threshold=thresholds, data=st.data())
def test_raising_the_similarity_of_a_known_fake_never_takes_the_verdict_back(
    neighbours: Any, threshold: Any, data: Any
) -> None:
    at = data.draw(st.integers(0, len(neighbours) - 1))
    before = neighbours[at]
    raised = NeighbourEvidence(FAKE, data.draw(st.floats(before.cosine_similarity, 1)), before.identical)
    lowered = NeighbourEvidence(FAKE, before.cosine_similarity, before.identical)
    low = judge_similarity([*neighbours[:at], lowered, *neighbours[at + 1 :]], threshold)
    high = judge_similarity([*neighbours[:at], raised, *neighbours[at + 1 :]], threshold)
    assert low.verdict is not SIMILAR or high.verdict is SIMILAR


@seeded
@given(neighbours=st.lists(evidence, min_size=1), low=similarities, high=similarities)
def test_a_stricter_threshold_never_makes_more_similar(neighbours: Any, low: Any, high: Any) -> None:
    low, high = sorted((low, high))
    strict = judge_similarity(neighbours, Threshold(high, "test"))
    lenient = judge_similarity(neighbours, Threshold(low, "test"))
    assert strict.verdict is not SIMILAR or lenient.verdict is SIMILAR


@seeded
@given(neighbours=st.lists(evidence), threshold=thresholds, seed=st.randoms(use_true_random=False))
def test_the_order_of_the_neighbours_does_not_matter(neighbours: Any, threshold: Any, seed: Any) -> None:
    shuffled = list(neighbours)
    seed.shuffle(shuffled)
    assert judge_similarity(shuffled, threshold) == judge_similarity(neighbours, threshold)


@seeded
@given(neighbours=st.lists(evidence))
def test_without_a_threshold_only_the_same_picture_speaks(neighbours: Any) -> None:
    judged = judge_similarity(neighbours, None)
    same = [n for n in neighbours if n.kind is FAKE and (n.identical or n.near_duplicate)]
    assert judged.verdict is (SIMILAR if same else SimilarityOutcome.INCONCLUSIVE)


@seeded
@given(similarity=similarities, threshold=st.none() | thresholds)
def test_a_relation_other_than_identity_needs_a_threshold(similarity: Any, threshold: Any) -> None:
    relation = relation_of(similarity, threshold)
    assert (relation is None) == (threshold is None)
    assert relation_of(similarity, threshold, identical=True) is Relation.IDENTICAL
    assert relation_of(similarity, threshold, near_duplicate=True) is Relation.NEAR_DUPLICATE


def test_the_reasons_of_a_similarity_verdict() -> None:
    threshold = Threshold(0.8, "test")

    def reason(*neighbours: Any, threshold: Any = threshold) -> Any:
        return judge_similarity([NeighbourEvidence(*n) for n in neighbours], threshold).reason

    assert reason() is SimilarityReason.NOTHING_COMPARED
    assert reason(threshold=None) is SimilarityReason.NO_THRESHOLD
    assert reason((REAL, 0.9)) is SimilarityReason.FAKES_NOT_REACHED
    assert reason((REAL, 0.7)) is SimilarityReason.BELOW_THRESHOLD
    assert reason((REAL, 0.9), (FAKE, 0.7)) is SimilarityReason.BELOW_THRESHOLD
    assert reason((REAL, 0.9), (FAKE, 0.8)) is SimilarityReason.ABOVE_THRESHOLD
    assert reason((FAKE, 0.1, False, True)) is SimilarityReason.NEAR_DUPLICATE_IMAGE
    assert reason((FAKE, 0.1, True), (FAKE, 0.9)) is SimilarityReason.IDENTICAL_IMAGE
    assert reason((REAL, 1.0, True)) is SimilarityReason.FAKES_NOT_REACHED


ORDER = [ClassifierOutcome.AUTHENTIC, ClassifierOutcome.INCONCLUSIVE, ClassifierOutcome.SYNTHETIC]


@seeded
@given(one=st.floats(-100, 100), two=st.floats(-100, 100), policy=policies)
def test_a_larger_logit_is_never_more_authentic(one: Any, two: Any, policy: Any) -> None:
    low, high = (judge_classifier(logit, policy) for logit in sorted((one, two)))
    assert ORDER.index(low.verdict) <= ORDER.index(high.verdict)
    assert 0 <= low.probability <= high.probability <= 1


@seeded
@given(logit=st.floats(allow_nan=False))
def test_without_limits_the_classifier_is_inconclusive(logit: Any) -> None:
    judged = judge_classifier(logit, None)
    assert (judged.verdict, judged.reason) == (ClassifierOutcome.INCONCLUSIVE, ClassifierReason.NO_LIMITS)
    assert 0 <= judged.probability <= 1


def test_the_limits_themselves_decide() -> None:
    policy = ClassifierPolicy(1.0, -1.0, "test")
    assert [judge_classifier(logit, policy).verdict for logit in (-1.0, -0.99, 0.99, 1.0)] == [
        ClassifierOutcome.AUTHENTIC,
        ClassifierOutcome.INCONCLUSIVE,
        ClassifierOutcome.INCONCLUSIVE,
        ClassifierOutcome.SYNTHETIC,
    ]
    assert judge_classifier(0.0, policy).probability == 0.5


def test_what_cannot_be_judged_is_refused() -> None:
    for broken in (
        lambda: judge_classifier(math.nan, None),
        lambda: ClassifierPolicy(-1.0, 1.0, "upside down"),
        lambda: ClassifierPolicy(math.nan, 1.0, "no number"),
        lambda: Threshold(1.5, "percent"),
        lambda: Threshold(math.nan, "no number"),
        lambda: NeighbourEvidence(FAKE, math.nan),
    ):
        with pytest.raises(ValueError, match=r"."):
            broken()
