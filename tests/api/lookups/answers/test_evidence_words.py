"""The sentences of rates, ratio and generator. No sentence says more than its figures."""

from __future__ import annotations

from typing import Any

import pytest

from api.lookups.answers.evidence_json import CoverageAnswer, RatioSupport
from api.lookups.answers.evidence_words import (
    describe_attribution,
    describe_discrimination,
    describe_hits,
    describe_hits_by_generator,
    describe_logit_share,
    describe_quality,
    describe_rate,
    describe_ratio,
    describe_unsupported_ratio,
)
from api.lookups.answers.rates_json import GeneratorHitsAnswer
from index.calibration.attribution import AttributionReason
from index.calibration.false_matches import RateMethod
from index.verdict import QualityIssue
from tests.api.lookups.worded import (
    CAMERA,
    FACES,
    attribution,
    discrimination,
    hits,
    logit_share,
    quality,
    rate,
    ratio,
)

EMPIRICAL, TAIL, THREE = RateMethod.EMPIRICAL, RateMethod.TAIL, RateMethod.RULE_OF_THREE
FEW = {"images": 28, "sources": 5, "low": 0.0, "high": 0.6}
# Method, images counted, estimate: what is said of the 28 images of 5 photographs.
NONE = (
    "none of 28 known-real images comes this near (at most 60 %, with 95 % confidence; from 5 "
    "photographs)"
)
RATES = [
    (THREE, 0, 0.0, NONE),
    (THREE, 0, 0.036, NONE),
    (THREE, None, 0.0, NONE),
    (THREE, None, 0.036, NONE),
    (EMPIRICAL, 0, 0.036, NONE),
    (EMPIRICAL, None, 0.0, NONE),
    (
        TAIL,
        0,
        0.0002,
        "none of 28 known-real images comes this near (0.02 % by the fitted tail, at most 60 %, "
        "with 95 % confidence; from 5 photographs)",
    ),
    (
        EMPIRICAL,
        1,
        0.0357,
        "3.6 % of known-real images come this near (95 % interval 0 % to 60 %; 1 of 28 from 5 "
        "photographs)",
    ),
    (
        TAIL,
        1,
        0.0357,
        "3.6 % of known-real images come this near (95 % interval 0 % to 60 %; 1 of 28 from 5 "
        "photographs)",
    ),
    (
        EMPIRICAL,
        14,
        0.5,
        "50 % of known-real images come this near (95 % interval 0 % to 60 %; 14 of 28 from 5 "
        "photographs)",
    ),
    (
        EMPIRICAL,
        None,
        0.5,
        "50 % of known-real images come this near (95 % interval 0 % to 60 %; 28 images from 5 "
        "photographs)",
    ),
    (
        TAIL,
        None,
        0.0001,
        "0.01 % of known-real images come this near (95 % interval 0 % to 60 %; 28 images from 5 "
        "photographs)",
    ),
]


@pytest.mark.parametrize(("method", "matches", "estimate", "expected"), RATES)
def test_a_rate_says_how_many_images_came_this_near(
    method: RateMethod, matches: int | None, estimate: float, expected: str
) -> None:
    """Where none did, no share is stated as if some had."""
    found = rate(**FEW | {"method": method, "matches": matches, "estimate": estimate})
    assert describe_rate(found) == expected
    counted = hits(**FEW | {"method": method, "matches": matches, "estimate": estimate})
    alike = describe_hits(counted, tells_nothing=False)
    words = expected.replace("known-real", "known").replace("images come", "fakes come")
    words = words.replace("known images", "known fakes").replace(" photographs", " sources")
    assert alike == words.replace("this near", "this near to another one")


def test_the_table_has_every_method_with_no_image_one_and_several() -> None:
    kinds = {(method, matches) for method, matches, _, _ in RATES}
    assert {method for method, _ in kinds} == set(RateMethod)
    assert {matches for _, matches in kinds} == {None, 0, 1, 14}


def test_an_interval_that_holds_elsewhere_says_so() -> None:
    elsewhere = rate(across_collections=True)
    assert "95 % interval 0.3 % to 2.4 % for a collection that was left out;" in describe_rate(
        elsewhere
    )
    assert "at most 2.4 % for a collection that was left out, with" in describe_rate(
        rate(matches=0, across_collections=True)
    )
    assert "left out" not in describe_rate(rate())


def test_one_photograph_is_one() -> None:
    assert describe_rate(rate(sources=1)).endswith("679 images from 1 photograph)")


def test_a_rate_over_unlike_collections_says_whose_the_largest_share_is() -> None:
    words = (
        "1 % of known-real images come this near (95 % interval 0.3 % to 2.4 %; 679 images from "
        "679 photographs)"
    )
    assert describe_rate(rate()) == words
    assert (
        describe_rate(rate(collections=[CAMERA, FACES]))
        == f"{words}; by collection 0 % to 23 % (13 of 56 of faces)"
    )
    most = CAMERA.model_copy(update={"matches": 100})
    assert describe_rate(rate(collections=[most, FACES])).endswith(
        "by collection 23 % to 50 % (100 of 200 of reals, camera)"
    )
    assert "by collection" not in describe_rate(rate(matches=0, collections=[CAMERA, FACES]))


def test_a_hit_rate_says_when_it_is_worth_nothing() -> None:
    plain = (
        "30 % of known fakes come this near to another one (95 % interval 20 % to 41 %; 820 images "
        "from 400 sources)"
    )
    assert describe_hits(hits(), tells_nothing=False) == plain
    assert describe_hits(hits(), tells_nothing=True) == (
        f"{plain}; similarity does not tell fakes from photographs in these corpora with this model"
    )
    assert describe_discrimination(discrimination(), 4) == (
        "similarity does not tell fakes from photographs in these corpora with this model: 1 % "
        "(0.3 % to 2.4 %) of known-real images have a known fake at a similarity of 0.9931 or "
        "more, and "
        "0.6 % (0.3 % to 2.4 %) of known fakes have another one"
    )


def test_the_hits_of_generators_are_listed_the_largest_share_first() -> None:
    counted = [("a", 10, 1), ("b", 4, 4), ("c", 10, None), ("d", 20, 2), ("e", 5, 0)]
    answers = [
        GeneratorHitsAnswer(generator=name, images=images, matches=matches)
        for name, images, matches in counted
    ]
    assert describe_hits_by_generator(answers) == "b 4 of 4, a 1 of 10, d 2 of 20, e 0 of 5"


def test_the_share_of_a_verdict_has_its_interval() -> None:
    assert describe_logit_share(logit_share()) == "1 % (0.3 % to 2.4 %; 679 images)"
    assert (
        describe_logit_share(logit_share(matches=0, high=0.0044)) == "none of 679 (at most 0.44 %)"
    )


def test_a_ratio_is_a_number_of_times_and_names_both_propositions_once() -> None:
    assert describe_ratio(ratio()) == (
        "similarities like these are found about 25 times more often among pictures of generators "
        "in these corpora (first proposition) than among known-real images like those of the "
        "reference (alternative; 95 % interval 7.9 to 40): moderate support"
    )
    assert describe_ratio(ratio(log10=1.5, high=1.5, bounded=True)).endswith(
        "(alternative; 95 % interval 7.9 to 32, the most that the data can support): moderate "
        "support"
    )


def test_a_ratio_under_one_is_turned_around() -> None:
    assert describe_ratio(ratio(log10=-0.6, low=-0.9, high=0.1)) == (
        "similarities like these are found about 4 times more often among known-real images like "
        "those of the reference (alternative) than among pictures of generators in these corpora "
        "(first proposition; 95 % interval 0.79 to 7.9): moderate support"
    )


@pytest.mark.parametrize("log10", [0.0, 0.01, -0.01])
def test_a_ratio_of_one_is_no_difference(log10: float) -> None:
    words = describe_ratio(ratio(log10=log10, low=-0.2, high=0.2))
    assert "about as frequent among" in words
    assert "times more often" not in words
    assert words.count("first proposition") == words.count("alternative") == 1


@pytest.mark.parametrize("log10", [-6.0, -1.2, -0.3, 0.0, 0.3, 1.2, 6.0])
def test_no_ratio_is_printed_as_a_power_or_as_less_than_one_time(log10: float) -> None:
    words = describe_ratio(ratio(log10=log10, low=log10, high=log10))
    assert "10^" not in words
    assert "about 0" not in words


def test_a_ratio_that_the_data_do_not_support_says_what_it_costs() -> None:
    elsewhere = RatioSupport(supported=False, cllr=0.78, cllr_left_out=1.05)
    assert describe_unsupported_ratio(elsewhere) == (
        "the data do not support a ratio (their cost is 1.05 where a collection was left out; at 1 "
        "ratios carry no information)"
    )
    here = RatioSupport(supported=False, cllr=0.97, cllr_left_out=None)
    assert "(their cost is 0.97; at 1" in describe_unsupported_ratio(here)


def test_candidates_are_named_with_their_shares_and_the_rest_counted() -> None:
    assert describe_attribution(attribution()) == (
        "sdxl (60 % of the vote): such a set contains the right generator in 90 % of cases, if the "
        "corpora hold it"
    )
    everyone = describe_attribution(attribution(candidates=["sdxl", "flux", "dalle", "imagen"]))
    assert "sdxl (60 % of the vote) or flux (25 % of the vote) or dalle (10 % " in everyone
    assert "or one of 1 more:" in everyone
    assert "imagen" not in everyone


def test_a_set_is_worth_what_it_is_for_the_generator_that_it_misses_most() -> None:
    covered = {"entries": 50, "images": 40, "low": 0.8, "high": 0.97}
    coverages = [
        CoverageAnswer(generator="sdxl", coverage=0.95, **covered),
        CoverageAnswer(generator="flux", coverage=0.9, **covered),
    ]
    both = attribution(candidates=["sdxl", "flux"], coverages=coverages)
    assert describe_attribution(both) == (
        "sdxl (60 % of the vote) or flux (25 % of the vote): if one of them made it, such a set "
        "contains it in 90 % of cases or more (95 % interval 80 % to 97 % for flux, 40 images)"
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"candidates": ["sdxl"], "declared_by": [7]},
            "sdxl: declared by entry 7 with the same picture",
        ),
        (
            {"candidates": ["sdxl", "flux"], "declared_by": [7, 9]},
            "sdxl or flux: declared by entries 7, 9 with the same picture",
        ),
    ],
)
def test_a_name_that_the_same_picture_declares_is_quoted(
    facts: dict[str, Any], expected: str
) -> None:
    usual = {"reason": AttributionReason.SAME_PICTURE, "coverage": None, "shares": []}
    assert describe_attribution(attribution(**usual | facts)) == expected


def test_each_reason_to_name_no_generator_has_its_words() -> None:
    named = {AttributionReason.NEAREST_KNOWN_FAKES, AttributionReason.SAME_PICTURE}
    unknown = [each for each in AttributionReason if each not in named]
    words = {
        describe_attribution(attribution(unknown=True, candidates=[], reason=each))
        for each in unknown
    }
    assert len(words) == len(unknown)
    assert all(each.startswith("cannot be told: ") and "sdxl" not in each for each in words)


@pytest.mark.parametrize(
    ("issue", "expected"),
    [
        (None, "no issue"),
        (QualityIssue.TOO_SMALL, "96 pixels"),
        (QualityIssue.FLAT, "structure"),
        (QualityIssue.UNFAMILIAR, "further from everything"),
    ],
)
def test_each_quality_issue_has_its_words(issue: QualityIssue | None, expected: str) -> None:
    others = {
        describe_quality(quality(each)) for each in (None, *QualityIssue) if each is not issue
    }
    assert expected in describe_quality(quality(issue))
    assert describe_quality(quality(issue)) not in others
    assert len(others) == len(QualityIssue)
