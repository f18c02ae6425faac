"""The figures beside the verdicts in words: rates, ratio, generator.

No sentence says more than its figures: where no image was counted it says none, and where the data
do not support a figure it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from api.lookups.answers.evidence_json import (
    AttributionAnswer,
    QualityAnswer,
    RatioAnswer,
    RatioSupport,
)
from api.lookups.answers.numbers import percent, percent_at_most, times
from api.lookups.answers.rates_json import (
    CollectionRate,
    DiscriminationAnswer,
    GeneratorHitsAnswer,
    HitRateAnswer,
    LogitShareAnswer,
    MeasuredShare,
    RateAnswer,
)
from index.calibration.attribution import AttributionReason
from index.calibration.false_matches import RateMethod
from index.verdict import QualityIssue

NAMED = 3  # generators that a sentence names; the JSON has all of them
TELLS_NOTHING = "similarity does not tell fakes from photographs in these corpora with this model"
FAKES, REALS = (
    "pictures of generators in these corpora",
    ("known-real images like those of the reference"),
)
_UNKNOWN = {
    AttributionReason.NO_GENERATOR_DECLARED: "no near known fake has a declared generator",
    AttributionReason.NOTHING_NEAR_ENOUGH: (
        "no known fake with a declared generator is near enough"
    ),
    AttributionReason.SET_HOLDS_EVERYTHING: "no generator can be excluded",
    AttributionReason.TOO_MANY: "more than five generators cannot be excluded",
    AttributionReason.NOT_ENOUGH_ENTRIES: (
        "most of the votes are of a generator with too few entries to name it"
    ),
    AttributionReason.COVERAGE_FAILS: (
        "it may be of a generator whose own images are often taken for others"
    ),
    AttributionReason.NONE_FITS: "no generator has the votes that its own images get",
}


def describe_rate(rate: RateAnswer) -> str:
    """How often a known-real image comes this near, with the interval and what it was measured
    on.
    """
    words = describe_share(
        rate, "known-real image", "photograph", ("comes this near", "come this near")
    )
    is_divided = rate.collections and not _counts_none(rate)
    return words + (f"; {describe_collection(rate.collections)}" if is_divided else "")


def describe_hits(hits: HitRateAnswer, *, tells_nothing: bool) -> str:
    """How often a known fake comes this near to another one, and whether that is worth nothing."""
    verbs = ("comes this near to another one", "come this near to another one")
    words = describe_share(hits, "known fake", "source", verbs)
    return f"{words}; {TELLS_NOTHING}" if tells_nothing else words


def describe_discrimination(discrimination: DiscriminationAnswer, digits: int) -> str:
    """That similarity tells nothing, with both rates."""
    real, fake = discrimination.false_match_rate, discrimination.hit_rate
    return (
        f"{TELLS_NOTHING}: {_share_and_interval(real)} of known-real images have a known fake at a "
        f"similarity of {discrimination.similarity:.{digits}f} or more, and "
        f"{_share_and_interval(fake)} of known fakes have another one"
    )


def describe_hits_by_generator(generators: Sequence[GeneratorHitsAnswer]) -> str:
    """The hits of each generator, the largest share first. What is not counted is left out."""
    counted = [(each, each.matches) for each in generators if each.matches is not None]
    counted.sort(key=lambda each: (-each[1] / each[0].images, each[0].generator))
    return ", ".join(f"{each.generator} {matches} of {each.images}" for each, matches in counted)


def describe_share(share: MeasuredShare, image: str, source: str, verbs: tuple[str, str]) -> str:
    """A share of images that do something: `verbs` for one of them and for several."""
    one, several = verbs
    if _counts_none(share):
        bound = f"at most {percent_at_most(share.high)}{_range_of(share)}, with 95 % confidence"
        if share.method is RateMethod.TAIL and share.estimate > 0:
            bound = f"{percent(share.estimate)} by the fitted tail, {bound}"
        return f"none of {share.images:,} {image}s {one} ({bound}; {_origin(share, source)})"
    low, high = percent(share.low), percent_at_most(share.high)
    interval = f"95 % interval {low} to {high}{_range_of(share)}"
    measured = f"{share.images:,} images from {_count(share.sources, source)}"
    if share.matches is not None:
        measured = f"{share.matches:,} of {share.images:,} {_origin(share, source)}"
    return f"{percent(share.estimate)} of {image}s {several} ({interval}; {measured})"


def describe_logit_share(share: LogitShareAnswer) -> str:
    """The share of the images of one kind that get the same verdict, with its interval."""
    if _counts_none(share):
        return _share_and_interval(share)
    interval = f"{percent(share.low)} to {percent_at_most(share.high)}"
    return f"{percent(share.estimate)} ({interval}; {share.images:,} images)"


def describe_collection(collections: Sequence[CollectionRate]) -> str:
    """The smallest and the largest share among reference collections, and whose the largest is."""
    shares = [each.matches / each.images for each in collections]
    most = collections[shares.index(max(shares))]
    return (
        f"by collection {percent(min(shares))} to {percent(max(shares))} ({most.matches} of "
        f"{most.images} of {name_collection(most)})"
    )


def name_collection(collection: CollectionRate) -> str:
    """The corpus, and the source where there is one."""
    if collection.source is None:
        return collection.corpus
    return f"{collection.corpus}, {collection.source}"


def describe_ratio(ratio: RatioAnswer) -> str:
    """How many times more often such similarities are found on one side than on the other, with the
    interval, the bound and the verbal equivalent. The more frequent side comes first.
    """
    is_turned = ratio.log10 < 0
    first, second = (REALS, FAKES) if is_turned else (FAKES, REALS)
    factors = sorted(10.0 ** (-each if is_turned else each) for each in (ratio.low, ratio.high))
    often = times(10.0 ** abs(ratio.log10))
    limit = ", the most that the data can support" if ratio.bounded else ""
    interval = f"95 % interval {times(factors[0])} to {times(factors[1])}{limit}"
    if often == "1":
        return (
            f"similarities like these are about as frequent among {first} (first proposition) as "
            f"among {second} (alternative; {interval}): {ratio.words}"
        )
    names = ["first proposition", "alternative"]
    more, less = reversed(names) if is_turned else names
    return (
        f"similarities like these are found about {often} times more often among {first} ({more}) "
        f"than among {second} ({less}; {interval}): {ratio.words}"
    )


def describe_unsupported_ratio(support: RatioSupport) -> str:
    """Why no ratio is stated."""
    left_out = support.cllr_left_out
    cost = f"their cost is {support.cllr:.2f}"
    if left_out is not None and left_out > support.cllr:
        cost = f"their cost is {left_out:.2f} where a collection was left out"
    return f"the data do not support a ratio ({cost}; at 1 ratios carry no information)"


def describe_attribution(attribution: AttributionAnswer) -> str:
    """The generators that the nearest known fakes point to, or that the same picture declares."""
    if attribution.unknown:
        return f"cannot be told: {_UNKNOWN[AttributionReason(attribution.reason)]}"
    if attribution.reason == AttributionReason.SAME_PICTURE:
        entries = ", ".join(map(str, attribution.declared_by))
        declared = "entry" if len(attribution.declared_by) == 1 else "entries"
        return (
            f"{' or '.join(attribution.candidates)}: declared by {declared} {entries} with the "
            f"same picture"
        )
    shares = {each.generator: each.share for each in attribution.shares}
    named = [
        f"{name} ({percent(shares[name])} of the vote)" for name in attribution.candidates[:NAMED]
    ]
    more = len(attribution.candidates) - len(named)
    others = f" or one of {more} more" if more > 0 else ""
    words = f"{' or '.join(named)}{others}"
    if attribution.coverage is None:
        return words
    least = min(attribution.coverages, key=lambda each: each.coverage, default=None)
    if least is not None:
        return (
            f"{words}: if one of them made it, such a set contains it in "
            f"{percent(least.coverage)} of cases or more (95 % interval {percent(least.low)} to "
            f"{percent(least.high)} for {least.generator}, {least.images:,} images)"
        )
    return (
        f"{words}: such a set contains the right generator in {percent(attribution.coverage)} of "
        f"cases, if the corpora hold it"
    )


def describe_quality(quality: QualityAnswer) -> str:
    """Why a picture does not show enough."""
    match quality.issue:
        case None:
            return "no issue"
        case QualityIssue.TOO_SMALL if quality.shortest_side is None:
            return "only its hash is known, which is compared, and no embedding"
        case QualityIssue.TOO_SMALL:
            return (
                f"its shorter side of {quality.shortest_side} pixels is too short for what the "
                f"model reads"
            )
        case QualityIssue.FLAT:
            return "it has hardly any structure"
        case QualityIssue.UNFAMILIAR:
            return (
                "it is further from everything in the corpora than 99.5 % of the calibration's "
                "images are"
            )
        case _:
            assert_never(quality.issue)


def _counts_none(share: MeasuredShare) -> bool:
    """Whether none of the measured images was counted. The estimate may be above zero."""
    if share.matches is not None:
        return share.matches == 0
    return share.method is RateMethod.RULE_OF_THREE or share.estimate == 0


def _share_and_interval(share: MeasuredShare) -> str:
    if _counts_none(share):
        return f"none of {share.images:,} (at most {percent_at_most(share.high)})"
    low, high = percent(share.low), percent_at_most(share.high)
    return f"{percent(share.estimate)} ({low} to {high})"


def _range_of(share: MeasuredShare) -> str:
    return " for a collection that was left out" if share.across_collections else ""


def _origin(share: MeasuredShare, source: str) -> str:
    return f"from {_count(share.sources, source)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
