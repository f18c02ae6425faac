from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.attribution import AttributionReason
from index.calibration.calibration import AS_IS
from index.calibration.for_probe import ProbeCalibration
from index.copies import CopyEvidence, LeadLimits, View
from index.evidence import (
    Assessment,
    ProbeFacts,
    ReEncodedProbe,
    Support,
    assess,
    judge_similarities,
)
from index.leads import is_lead, is_same_picture
from index.neighbourhood import Neighbourhood, find_nearest
from index.policy import Choices, LogitCalibration, choose_policy, tells_nothing
from index.verdict import (
    BARRIERS,
    ClassifierOutcome,
    ClassifierPolicy,
    ClassifierReason,
    Policy,
    QualityIssue,
    SimilarityOutcome,
    SimilarityReason,
    Threshold,
    logit_flips,
    similarity_flips,
)
from tests.index.assessing import (
    FAKE,
    REAL,
    CountingAttribution,
    CountingRates,
    CountingRatio,
    applied,
    attribution,
    calibration,
    classifier,
    collection,
    counting,
    false_matches,
    hits,
    likelihood,
    logit_rates,
    neighbour,
    stratum,
    verified,
)

seeded = settings(settings.get_profile("index"))
similarities = st.floats(-1, 1)
POLICY = Policy(Threshold(0.8, "test"), ClassifierPolicy(2.0, -2.0, "test"))
LEADS = LeadLimits(most_bits=44, least_similarity=0.6, least_refuted_similarity=0.8, source="test")
LEAD = CopyEvidence(view=View(), hamming_distance=40)
ORDER = [
    SimilarityOutcome.NOT_SIMILAR,
    SimilarityOutcome.INCONCLUSIVE,
    SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES,
]


def neighbours(kind: Any, first_id: int) -> Any:
    """Some neighbours in any order; identity and near duplicates as a search marks them, and what
    geometry found.
    """
    copies = [None, verified(), CopyEvidence(verified=False, hamming_distance=40), LEAD]
    one = st.tuples(
        similarities,
        st.sampled_from([(False, None), (False, True), (True, None)]),
        st.sampled_from(copies),
    )
    return st.lists(one, max_size=4).map(
        lambda some: tuple(
            neighbour(first_id + n, at, kind, identical=identical, near_duplicate=near, copy=copy)
            for n, (at, (identical, near), copy) in enumerate(some)
        )
    )


neighbourhoods = st.builds(Neighbourhood, neighbours(FAKE, 1), neighbours(REAL, 101))
facts = st.builds(
    ProbeFacts,
    logit=st.none() | st.floats(-9, 9),
    shortest_side=st.none() | st.integers(1, 400),
    model_side=st.just(224),
    is_flat=st.booleans(),
)
reencoded = st.lists(
    st.builds(
        ReEncodedProbe,
        st.just("jpeg75"),
        st.floats(-9, 9),
        st.none() | similarities,
        st.none(),
        st.none() | st.builds(Threshold, similarities, st.just("own")),
    ),
    max_size=3,
)
calibrations = st.none() | st.just(calibration(familiar_from=0.3))
policies = st.sampled_from(
    [POLICY, replace(POLICY, leads=LEADS), Policy(None)]
    + [Policy(None, POLICY.classifier, each) for each in sorted(BARRIERS)]
)


def fakes(*at: float, generators: str = "") -> Any:
    names = generators.split() or [None] * len(at)
    return tuple(
        neighbour(number, similarity, generator=name)
        for number, (similarity, name) in enumerate(zip(at, names, strict=True), start=1)
    )


def reals(*at: float) -> Any:
    return tuple(neighbour(100 + number, similarity, REAL) for number, similarity in enumerate(at))


def assess_fakes(*at: float, found: Any = None, policy: Policy = POLICY) -> Assessment:
    return assess(ProbeFacts(), Neighbourhood(fakes(*at), ()), found, policy)


# The neighbourhood.


def test_nothing_is_near_where_nothing_was_found() -> None:
    empty = Neighbourhood((), ())
    assert (empty.nearest_fake, empty.nearest_real, empty.nearest_other_real) == (None,) * 3
    assert (empty.identical_to, empty.same_picture_as) == (frozenset(), frozenset())
    assert find_nearest([]) is None


@seeded
@given(found=neighbourhoods)
def test_the_nearest_are_the_most_similar_wherever_they_stand(found: Neighbourhood) -> None:
    for nearest, some in ((found.nearest_fake, found.fakes), (found.nearest_real, found.reals)):
        if some:
            largest = max(each.cosine_similarity for each in some)
            assert nearest is next(each for each in some if each.cosine_similarity == largest)
    if found.nearest_other_real is not None:
        assert not found.nearest_other_real.identical
        assert not is_same_picture(found.nearest_other_real)


def test_the_nearest_other_real_is_another_picture() -> None:
    itself = neighbour(1, 1.0, REAL, identical=True)
    copy = neighbour(2, 0.99, REAL, near_duplicate=True)
    other, further = neighbour(3, 0.7, REAL, near_duplicate=False), neighbour(4, 0.6, REAL)
    found = Neighbourhood((), (itself, copy, further, other))
    assert (found.nearest_real, found.nearest_other_real) == (itself, other)
    edited = neighbour(5, 0.9, REAL, copy=verified())
    assert Neighbourhood((), (itself, copy, edited)).nearest_other_real is None


def test_the_same_bytes_and_the_same_picture_are_told_apart_by_kind() -> None:
    found = Neighbourhood(
        (neighbour(1, 1.0, identical=True),), (neighbour(2, 0.9, REAL, near_duplicate=True),)
    )
    assert (found.identical_to, found.same_picture_as) == (frozenset({FAKE}), frozenset({REAL}))


def test_what_follows_from_the_neighbours_cannot_be_given_or_changed() -> None:
    """So each is computed once, when the neighbourhood is made, and is never another's."""
    found = Neighbourhood(fakes(0.9, 0.8), ())
    with pytest.raises(FrozenInstanceError):
        found.nearest_fake = None  # type: ignore[misc]
    with pytest.raises(TypeError, match="nearest_fake"):
        Neighbourhood((), (), nearest_fake=None)  # type: ignore[call-arg]
    rest = replace(found, fakes=found.fakes[1:])
    assert rest.nearest_fake is found.fakes[1]


# Quality.


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (ProbeFacts(shortest_side=111, model_side=224), QualityIssue.TOO_SMALL),
        (ProbeFacts(shortest_side=111, model_side=224, is_flat=True), QualityIssue.TOO_SMALL),
        (ProbeFacts(shortest_side=112, model_side=224, is_flat=True), QualityIssue.FLAT),
        (ProbeFacts(model_side=224), None),
        (ProbeFacts(shortest_side=112, model_side=224), None),
    ],
)
def test_a_picture_that_shows_too_little(known: ProbeFacts, expected: QualityIssue | None) -> None:
    """Enlarged twofold is the most that a model's view may be."""
    assessment = assess(known, Neighbourhood(fakes(0.9), ()), None, POLICY)
    assert assessment.quality.issue is assessment.evidence.quality_issue is expected
    assert assessment.quality.shortest_side == known.shortest_side


@pytest.mark.parametrize(
    ("fake", "real", "expected"),
    [
        ((0.39,), (0.2,), QualityIssue.UNFAMILIAR),
        ((0.2,), (0.39,), QualityIssue.UNFAMILIAR),
        ((0.4,), (0.2,), None),
        ((0.2,), (0.4,), None),
        ((), (0.41,), None),
        ((), (), None),  # nothing was there to be near to
    ],
)
def test_unfamiliar_is_what_neither_kind_is_near_to(
    fake: Any, real: Any, expected: QualityIssue | None
) -> None:
    found = Neighbourhood(fakes(*fake), reals(*real))
    assessment = assess(ProbeFacts(), found, calibration(familiar_from=0.4), POLICY)
    assert assessment.quality.issue is expected
    assert assessment.quality.familiar_from == 0.4
    assert assess(ProbeFacts(), found, calibration(), POLICY).quality.issue is None


# Figures beside the verdict.


def test_without_a_calibration_there_is_no_figure() -> None:
    assessment = assess_fakes(0.9)
    assert assessment.evidence.ratio is None
    assert (
        assessment.false_match_rate,
        assessment.likelihood_ratio,
        assessment.attribution,
    ) == (None, None, None)


def test_without_a_known_fake_there_is_no_figure() -> None:
    assessment = assess(ProbeFacts(), Neighbourhood((), reals(0.9)), calibration(), POLICY)
    assert assessment.evidence.nearest_fake is None
    assert assessment.evidence.nearest_real == 0.9
    assert (
        assessment.false_match_rate,
        assessment.likelihood_ratio,
        assessment.attribution,
    ) == (None, None, None)


def test_figures_of_a_picture_that_shows_too_little_are_left_out_but_not_its_evidence() -> None:
    found = Neighbourhood(fakes(0.9, generators="sdxl"), reals(0.1))
    flat, sound = (
        assess(ProbeFacts(is_flat=is_flat), found, calibration(), POLICY)
        for is_flat in (True, False)
    )
    assert None not in (sound.false_match_rate, sound.likelihood_ratio, sound.attribution)
    assert (flat.false_match_rate, flat.likelihood_ratio, flat.attribution) == (None, None, None)
    assert flat.evidence.ratio == sound.evidence.ratio
    assert flat.verdict.similarity.reason is SimilarityReason.POOR_QUALITY


def test_the_rate_is_that_of_the_nearest_known_fake_at_the_size_of_the_corpus() -> None:
    collections = (collection("a", 40, 0.95, 0.1), collection("b", 40, 0.85, 0.2))
    strata = {AS_IS: stratum(collections=collections)}
    grown = ProbeCalibration.of(applied(strata=strata), None, 200, 0.01)
    found = assess_fakes(0.7, 0.9, found=grown).false_match_rate
    assert found is not None
    # 5 % at the measured size; each of twice as many entries is a chance of its own
    assert found.rate.estimate == pytest.approx(1 - 0.95**2)
    assert (found.images, found.sources) == (1000, 900)
    assert [each.matches for each in found.collections] == [1, 0]


def test_the_ratio_weighs_both_sides_where_another_real_picture_is_there() -> None:
    model = calibration()

    def ratio(some_reals: Any, found: ProbeCalibration = model) -> Any:
        return assess(
            ProbeFacts(), Neighbourhood(fakes(0.9), some_reals), found, POLICY
        ).likelihood_ratio

    both, alone = ratio(reals(0.4)), ratio(())
    assert both.is_two_sided
    assert both.ratio.log10 == pytest.approx(2 * (0.9 - 0.4))
    assert not alone.is_two_sided
    assert alone.ratio.log10 == pytest.approx(2 * 0.9)
    copy = (neighbour(9, 0.99, REAL, near_duplicate=True),)
    assert not ratio(copy).is_two_sided
    one_sided = calibration(two_sided=None)
    assert not ratio(reals(0.4), one_sided).is_two_sided
    assert ratio((), calibration(likelihood=None)) is None
    assert ratio(reals(0.4), calibration(likelihood=None, two_sided=None)) is None


def test_the_ratio_is_judged_with_its_interval() -> None:
    assessment = assess(
        ProbeFacts(), Neighbourhood(fakes(0.9), reals(0.4)), calibration(), Policy(None)
    )
    ratio = assessment.evidence.ratio
    assert ratio is not None
    assert (ratio.log10, ratio.low, ratio.high) == pytest.approx((1.0, 0.5, 1.5))


def test_the_most_similar_known_fakes_vote_wherever_they_stand() -> None:
    """Ten vote. A copy without a name that stands first in the list, but is far away, has no
    vote.
    """
    copy = neighbour(99, 0.1, near_duplicate=True)
    near = [neighbour(n, 0.9 - n / 100, generator="sdxl") for n in range(10)]
    further = neighbour(50, 0.2, generator="flux")
    found = assess(
        ProbeFacts(), Neighbourhood((copy, further, *near), ()), calibration(), POLICY
    ).attribution
    assert found is not None
    assert (found.candidates, found.reason) == (("sdxl",), AttributionReason.NEAREST_KNOWN_FAKES)
    shares = dict(found.shares)
    assert shares["dalle"] == shares["flux"] < shares["sdxl"]  # the eleventh had no vote
    assert assess_fakes(0.9, found=calibration(attribution=None)).attribution is None


def test_no_generator_stands_beside_not_similar() -> None:
    model = calibration(likelihood=None)
    near, far = (assess_fakes(at, 0.6, found=model) for at in (0.9, 0.7))
    assert near.attribution is not None
    assert far.verdict.similarity.verdict is SimilarityOutcome.NOT_SIMILAR
    assert far.attribution is None


def test_no_generator_is_named_where_similarity_tells_nothing() -> None:
    """There, a photograph would get a name as often as a fake."""
    nothing = calibration(hits=hits(0.0, 0.0))
    assert tells_nothing(nothing)
    assert assess_fakes(0.9, found=nothing).attribution is None
    assert not tells_nothing(calibration())
    assert assess_fakes(0.9, found=calibration()).attribution is not None


def test_the_same_picture_names_its_generator_instead_of_a_vote() -> None:
    near = neighbour(1, 0.99, generator="sdxl")
    copies = (
        neighbour(2, 0.9, generator="flux", near_duplicate=True),
        neighbour(3, 0.8, generator="dalle", near_duplicate=True),
        neighbour(4, 0.7, generator="flux", near_duplicate=True),
    )
    same_file = neighbour(5, 1.0, generator="imagen", identical=True)
    unnamed = neighbour(6, 1.0, identical=True)

    def named(*some: Any, found: Any = None) -> Any:
        return assess(ProbeFacts(), Neighbourhood(some, ()), found, POLICY).attribution

    quoted = named(*copies, near)
    assert (quoted.candidates, quoted.unknown) == (("flux", "dalle"), False)
    assert quoted.reason is AttributionReason.SAME_PICTURE
    assert named(same_file, *copies).candidates == ("imagen",)
    assert named(unnamed, *copies).candidates == ("flux", "dalle")
    assert named(unnamed, near) is None
    edited = neighbour(7, 0.1, generator="midjourney", copy=verified())
    assert named(unnamed, edited, near).candidates == ("midjourney",)
    assert named(*copies, edited).candidates == ("flux", "dalle", "midjourney")
    assert named(unnamed, neighbour(8, 0.1, generator="flux", copy=LEAD)) is None
    assert named(unnamed, near, found=calibration()).reason is not AttributionReason.SAME_PICTURE


def test_the_hit_rate_stands_beside_the_false_match_rate() -> None:
    model = calibration(hits=hits(0.5, 0.4, sdxl=3, flux=2))
    found = assess_fakes(0.7, 0.9, found=model).hit_rate
    assert found is not None
    assert found.rate.estimate == pytest.approx(1.0 - 0.5 * 1.9 / 2)
    assert (found.images, found.sources, found.across_collections) == (30, 30, False)
    assert [(each.generator, each.images, each.matches) for each in found.generators] == [
        ("sdxl", 3, 3),
        ("flux", 2, 2),
    ]
    further = assess_fakes(0.91, found=model).hit_rate
    assert further is not None
    assert [each.matches for each in further.generators] == [0, 0]
    flat = assess(ProbeFacts(is_flat=True), Neighbourhood(fakes(0.9), ()), model, POLICY)
    assert flat.hit_rate is None
    assert assess_fakes(0.9, found=calibration(hits=None)).hit_rate is None


def test_a_ratio_that_the_data_do_not_support_decides_nothing() -> None:
    poor = replace(likelihood(1.0), cllr_left_out=0.96)
    worthless = replace(likelihood(1.0, -1.0), cllr=1.05)
    found = Neighbourhood(fakes(0.7), reals(0.1))

    def assessed(**models: Any) -> Assessment:
        return assess(ProbeFacts(), found, calibration(**models), POLICY)

    one_sided = assessed(two_sided=worthless).likelihood_ratio
    assert one_sided is not None
    assert (one_sided.is_two_sided, one_sided.is_supported) == (False, True)
    neither = assessed(two_sided=worthless, likelihood=poor)
    assert neither.likelihood_ratio is not None
    assert not neither.likelihood_ratio.is_supported
    assert neither.evidence.ratio is None
    assert neither.verdict.similarity.reason is SimilarityReason.BELOW_THRESHOLD
    supported = assessed()
    assert supported.evidence.ratio is not None
    assert supported.verdict.similarity.reason is SimilarityReason.BETWEEN


# The figures of the classifier.


def test_a_verdict_of_the_classifier_comes_with_how_many_images_get_it() -> None:
    rates, own = logit_rates(), Policy(None, ClassifierPolicy(2.5, -1.5, "test"))
    logits = LogitCalibration(4, AS_IS, rates, classifier())

    def figures(logit: float, known: Any = logits) -> Any:
        return assess(
            ProbeFacts(logit=logit), Neighbourhood((), ()), None, own, logits=known
        ).classifier

    none, some = figures(-2.0), figures(3.0)
    assert none.of_fakes.rate == rates.fakes_at_or_below(-1.5)
    assert none.of_reals.rate == rates.reals_at_or_below(-1.5)
    assert some.of_fakes.rate == rates.fakes_at_or_above(2.5)
    assert some.of_reals.rate == rates.reals_at_or_above(2.5)
    assert (none.of_fakes.images, none.of_reals.images) == (rates.fakes, rates.reals)
    assert (some.number, some.condition, some.probability) == (4, AS_IS, pytest.approx(0.818, 0.01))
    between = figures(0.0)
    assert (between.of_fakes, between.of_reals, between.probability) == (None, None, 0.5)
    unmeasured = figures(3.0, LogitCalibration(4, AS_IS, None, None))
    assert (unmeasured.of_fakes, unmeasured.model, unmeasured.probability) == (None, None, None)
    assert figures(3.0, None) is None


def test_a_probability_that_contradicts_a_limit_forbids_its_verdict() -> None:
    steep = replace(classifier(), bias=3.0)  # over one half from a logit of -6 on
    logits = LogitCalibration(4, AS_IS, logit_rates(), steep)

    def reason(logit: float) -> Any:
        found = assess(ProbeFacts(logit=logit), Neighbourhood((), ()), None, POLICY, logits=logits)
        assert found.verdict.classifier is not None
        return found.verdict.classifier.reason

    assert reason(-3.0) is ClassifierReason.PROBABILITY_DISAGREES
    assert reason(-6.5) is ClassifierReason.NO_TRACES_LIMIT_REACHED


# What the verdict rests on.


def test_the_known_fake_that_is_shown_is_the_one_that_the_verdict_rests_on() -> None:
    """The most similar entry may be another picture than the one that was copied."""
    nearest = neighbour(1, 0.99)
    copy = neighbour(2, 0.6, near_duplicate=True)
    same_file = neighbour(3, 1.0, identical=True)

    def shown(*some: Any, policy: Policy = Policy(None)) -> Any:  # noqa: B008
        found = assess(ProbeFacts(), Neighbourhood(some, ()), None, policy)
        assert found.neighbourhood.nearest_fake is None or (
            found.neighbourhood.nearest_fake.cosine_similarity
            == max(each.cosine_similarity for each in some)
        )
        return found.nearest_known_fake

    assert shown(copy, nearest) is copy
    assert shown(same_file, copy, nearest) is same_file
    assert shown(neighbour(4, 0.3), nearest) is nearest
    assert shown() is None
    assert shown(nearest, copy, policy=Policy(Threshold(0.8, "test"))) is nearest  # found first
    edited, lead = neighbour(5, 0.2, copy=verified()), neighbour(6, 0.1, copy=LEAD)
    assert shown(edited, lead, nearest) is edited
    assert shown(lead, nearest, policy=Policy(None, leads=LEADS)) is lead
    assert shown(lead, nearest) is nearest


@seeded
@given(
    known=facts, found=neighbourhoods, model=calibrations, policy=policies, reencodings=reencoded
)
def test_the_verdict_without_the_strongest_is_that_of_a_search_that_did_not_find_it(
    known: Any, found: Any, model: Any, policy: Any, reencodings: Any
) -> None:
    assessment = assess(known, found, model, policy, reencodings)
    support = assessment.support
    if support.without_strongest is None:
        assert support == Support()
        return
    strongest = support.without_strongest.entry_id
    assert support.entry_ids[0] == strongest
    rest = tuple(each for each in found.fakes if each.entry.id != strongest)
    alone = assess(known, Neighbourhood(rest, found.reals), model, policy, reencodings)
    assert support.without_strongest.similarity == alone.verdict.similarity
    assert support.without_strongest.nearest_similarity == alone.evidence.nearest_fake
    assert support.stands == (
        alone.verdict.similarity.verdict is assessment.verdict.similarity.verdict
    )


@seeded
@given(known=facts, found=neighbourhoods, model=calibrations, policy=policies)
def test_one_more_verified_copy_of_a_known_fake_never_weakens_the_verdict(
    known: Any, found: Any, model: Any, policy: Any
) -> None:
    """Unless a known-real image is the same picture too: then nothing tells which of the two it
    is. The copy is further away by its embedding than everything else, as most edited ones are.
    """
    copy = neighbour(99, -1.0, copy=verified())
    before = assess(known, found, model, policy)
    after = assess(known, replace(found, fakes=(*found.fakes, copy)), model, policy)
    assert after.nearest_known_fake is not None
    assert 99 in after.support.entry_ids
    if any(is_same_picture(each) for each in found.reals):
        assert after.verdict.similarity.verdict is not SimilarityOutcome.NOT_SIMILAR
        return
    assert after.verdict.similarity.verdict is SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES
    assert ORDER.index(before.verdict.similarity.verdict) <= ORDER.index(
        after.verdict.similarity.verdict
    )
    if found.fakes or found.reals:  # with no other entry, the copy alone is far from the probe
        assert after.verdict.classifier == before.verdict.classifier


@seeded
@given(found=neighbourhoods, policy=policies)
def test_supporting_entries_are_the_same_picture_or_over_the_threshold(
    found: Any, policy: Any
) -> None:
    ids = assess(ProbeFacts(), found, None, policy).support.entry_ids
    expected = [
        each.entry.id
        for each in found.fakes
        if is_same_picture(each)
        or (policy.threshold and each.cosine_similarity >= policy.threshold.value)
    ]
    assert list(ids) == expected


def test_a_verdict_that_rests_on_one_entry_does_not_stand_without_it() -> None:
    one, two = assess_fakes(0.9, 0.5).support, assess_fakes(0.9, 0.8).support
    assert (one.entry_ids, one.stands) == ((1,), False)
    assert one.without_strongest is not None
    assert one.without_strongest.similarity.reason is SimilarityReason.BELOW_THRESHOLD
    assert one.without_strongest.nearest_similarity == 0.5
    assert (two.entry_ids, two.stands) == ((1, 2), True)
    assert assess_fakes(0.7, 0.5).support == Support((), None, stands=True)


def test_the_rest_is_judged_with_its_own_ratio_and_its_own_familiarity() -> None:
    model = calibration(familiar_from=0.6)
    support = assess_fakes(0.9, 0.5, found=model).support
    assert support.without_strongest is not None
    assert support.without_strongest.similarity.reason is SimilarityReason.POOR_QUALITY


# Re-encodings.


@seeded
@given(known=facts, found=neighbourhoods, policy=policies, reencodings=reencoded)
def test_re_encodings_flip_as_the_verdict_judges_them(
    known: Any, found: Any, policy: Any, reencodings: Any
) -> None:
    assessment = assess(known, found, None, policy, reencodings)
    assert [each.reencoding for each in assessment.reencodings] == reencodings
    for each in assessment.reencodings:
        seen = each.reencoding.evidence
        assert each.flips_logit == logit_flips(assessment.evidence, seen, policy.classifier)
        assert each.flips_similarity == similarity_flips(
            assessment.evidence, seen, policy.threshold
        )
    flips = [each.flips_similarity for each in assessment.reencodings]
    if assessment.verdict.similarity.reason is SimilarityReason.UNSTABLE:
        assert any(flips)
    if assessment.verdict.similarity.reason is SimilarityReason.ABOVE_THRESHOLD:
        assert not any(flips)


def test_a_re_encoding_knows_its_nearest_known_fake() -> None:
    own = Threshold(0.7, "jpeg75")
    near = ReEncodedProbe.of("jpeg75", 1.5, neighbour(1, 0.9, generator="sdxl"), own)
    assert (near.nearest_similarity, near.generator, near.threshold) == (0.9, "sdxl", own)
    assert (near.evidence.nearest_fake, near.evidence.logit, near.evidence.threshold) == (
        0.9,
        1.5,
        own,
    )
    alone = ReEncodedProbe.of("jpeg75", 1.5, None, own)
    assert (alone.nearest_similarity, alone.generator, alone.threshold) == (None, None, own)


# The whole.


@seeded
@given(found=neighbourhoods, low=similarities, high=similarities, model=calibrations)
def test_a_nearer_known_fake_never_weakens_the_verdict(
    found: Any, low: Any, high: Any, model: Any
) -> None:
    """The ratio, the rate and the familiarity move with it, as a calibration makes them."""
    outcomes = []
    for at in sorted((low, high)):
        nearest = neighbour(77, at)
        nearer = Neighbourhood((nearest,), found.reals)
        assessment = assess(ProbeFacts(), nearer, model, POLICY)
        outcomes.append(assessment)
    first, second = outcomes
    # What is unfamiliar gets no verdict at all, so only sound pictures are compared.
    if first.quality.issue is None and second.quality.issue is None:
        assert ORDER.index(first.verdict.similarity.verdict) <= ORDER.index(
            second.verdict.similarity.verdict
        )
    if first.false_match_rate and second.false_match_rate:
        assert second.false_match_rate.rate.estimate <= first.false_match_rate.rate.estimate
    if first.likelihood_ratio and second.likelihood_ratio:
        assert first.likelihood_ratio.ratio.log10 <= second.likelihood_ratio.ratio.log10


@seeded
@given(
    known=facts, found=neighbourhoods, model=calibrations, policy=policies, reencodings=reencoded
)
def test_the_same_search_is_always_assessed_alike(
    known: Any, found: Any, model: Any, policy: Any, reencodings: Any
) -> None:
    one, other = (assess(known, found, model, policy, reencodings) for _ in range(2))
    for name in ("evidence", "verdict", "quality", "support", "likelihood_ratio", "attribution"):
        assert getattr(one, name) == getattr(other, name)
    assert one.verdict.classifier is None or known.logit is not None


@seeded
@given(
    known=facts,
    near=st.tuples(st.none() | similarities, st.none() | similarities),
    policy=policies,
    model=calibrations,
    reencodings=reencoded,
)
def test_similarities_to_other_pictures_are_judged_as_their_neighbours_are(
    known: ProbeFacts,
    near: tuple[float | None, float | None],
    policy: Policy,
    model: ProbeCalibration | None,
    reencodings: Sequence[ReEncodedProbe],
) -> None:
    fake, real = near
    found = Neighbourhood(
        () if fake is None else (neighbour(1, fake),),
        () if real is None else (neighbour(2, real, REAL),),
    )
    logits = LogitCalibration.of(applied(), AS_IS)
    expected = assess(known, found, model, policy, reencodings, logits).verdict
    seen = [each.evidence for each in reencodings]
    assert judge_similarities(known, fake, real, model, policy, logits, seen) == expected


def test_each_figure_is_computed_once() -> None:
    """Twice the ratio, where an entry supports the verdict: with it, and without it."""
    rates = counting(CountingRates, false_matches())
    one_sided = counting(CountingRatio, likelihood(1.0))
    two_sided = counting(CountingRatio, likelihood(1.0, -1.0))
    votes = counting(CountingAttribution, attribution("sdxl", "flux", "dalle"))
    models = {
        "false_matches": rates,
        "likelihood": one_sided,
        "two_sided": two_sided,
        "attribution": votes,
    }
    model = ProbeCalibration.of(applied(strata={AS_IS: stratum(**models)}), None, 100, 0.01)

    def reads(*at: float) -> tuple[int, ...]:
        for each in models.values():
            each.reads.clear()
        some = fakes(*at, generators="sdxl " * len(at))
        assess(ProbeFacts(logit=1.0), Neighbourhood(some, reals(0.3)), model, POLICY)
        return tuple(len(each.reads) for each in models.values())

    assert reads(0.7, 0.6) == (1, 0, 1, 0)  # nobody votes beside not_similar
    assert reads(0.9, 0.85, 0.6) == (1, 0, 2, 1)


# From the calibration to the verdict: no part of an answer contradicts another.

MODELS = {
    "none": None,
    "of rules 1": calibration(hits=None),
    "provisional": calibration(own_photographs=0, logit_rates=logit_rates()),
    "tells nothing": calibration(hits=hits(0.0, 0.0), logit_rates=logit_rates()),
    "too few": calibration(false_matches=false_matches(high=1.0), logit_rates=logit_rates()),
    "whole": calibration(familiar_from=0.1, logit_rates=logit_rates()),
}
GIVES_VERDICTS = ("whole",)
choices = st.builds(
    Choices,
    st.none() | st.just(Threshold(0.8, "the operator's")),
    st.none() | st.just(POLICY.classifier),
    st.sampled_from([0.02, 0.1]),
    st.sampled_from([0.01, 0.1]),
)


@seeded
@given(
    known=facts,
    found=neighbourhoods,
    name=st.sampled_from(sorted(MODELS)),
    chosen=choices,
    bias=st.floats(-4, 4),
)
def test_no_part_of_an_assessment_contradicts_another(
    known: Any, found: Any, name: str, chosen: Any, bias: float
) -> None:
    model = MODELS[name]
    rates = None if model is None else model.stratum.logit_rates
    probability = replace(classifier(), bias=bias)
    logits = None if model is None else LogitCalibration(4, AS_IS, rates, probability)
    policy = choose_policy(model, logits, chosen, LEADS)
    assessed = assess(known, found, model, policy, (), logits)
    similarity, opinion = assessed.verdict.similarity, assessed.verdict.classifier
    same_picture = [each for each in found.fakes if is_same_picture(each)]

    if not same_picture and similarity.verdict is not SimilarityOutcome.INCONCLUSIVE:
        assert name in GIVES_VERDICTS or chosen.threshold is not None
        assert name != "tells nothing"
    if similarity.verdict is SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES:
        assert assessed.nearest_known_fake in assessed.neighbourhood.fakes
        assert assessed.nearest_known_fake.entry.id in assessed.support.entry_ids
    if similarity.verdict is SimilarityOutcome.NOT_SIMILAR:
        assert not same_picture
        assert assessed.attribution is None
        assert not [each for each in found.fakes if is_lead(each, LEADS)]
    if similarity.reason is SimilarityReason.POSSIBLE_COPY:
        assert is_lead(assessed.nearest_known_fake, LEADS)
    if assessed.false_match_rate is not None:
        assert (assessed.hit_rate is None) == (model.stratum.hits is None)
    if opinion is not None and opinion.verdict is ClassifierOutcome.NO_TRACES:
        assert assessed.classifier is None or assessed.classifier.probability <= 0.5
        if rates is not None:
            assert assessed.classifier.of_fakes is not None
            measured = rates.fakes_at_or_below(opinion.policy.no_traces_logit)
            assert assessed.classifier.of_fakes.rate == measured
    if opinion is not None and opinion.verdict is ClassifierOutcome.SYNTHETIC:
        assert assessed.classifier is None or assessed.classifier.probability >= 0.5
