"""Verdicts in words: one sentence for each reason.

The page, the terminal and the JSON use the same sentences. No sentence can be read as a probability
that the probe is fake, and none joins the classifier with the similarity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from api.lookups.evidence_json import (
    AttributionAnswer,
    CalibrationUsed,
    CollectionRate,
    QualityAnswer,
    RateAnswer,
    RatioAnswer,
)
from api.lookups.json import SimilarityAnswer
from api.lookups.robustness_json import RestsOnAnswer, StabilityAnswer, WithoutStrongest
from embedder.pictures.delivery import Condition
from index.calibration.attribution import AttributionReason
from index.calibration.calibration import ANY_DELIVERY
from index.calibration.false_matches import RateMethod
from index.verdict import (
    ClassifierPolicy,
    ClassifierReason,
    ClassifierVerdict,
    QualityIssue,
    SimilarityReason,
    SimilarityVerdict,
)

NAMED = 3  # generators or corpora that a sentence names; the JSON has all of them
LISTED = 5  # entries that a sentence lists
PROPOSITIONS = (
    "first proposition: a generator in the corpora made it; alternative: it is a real image like "
    "those of the reference"
)
_SIMILARITY = {
    SimilarityReason.IDENTICAL_IMAGE: "the probe's file is identical to that of a known fake",
    SimilarityReason.NEAR_DUPLICATE_IMAGE: (
        "by its perceptual hash, the probe shows the same picture as a known fake: it is a copy of "
        "that fake, or the picture that the fake was made from"
    ),
    SimilarityReason.ALSO_KNOWN_REAL: (
        "the probe shows the same picture as a known fake and as a known-real image, by its bytes "
        "or its perceptual hash; these cannot tell which of the two it is a copy of"
    ),
    SimilarityReason.ABOVE_THRESHOLD: (
        "a known fake is at least as near as the threshold of {threshold}"
    ),
    SimilarityReason.BELOW_THRESHOLD: (
        "no known fake in the searched corpora is as near as the threshold of {threshold}"
    ),
    SimilarityReason.BETWEEN: (
        "no known fake is as near as the threshold of {threshold}, but the likelihood ratio "
        "supports a generator in the corpora"
    ),
    SimilarityReason.RATIO_DISAGREES: (
        "a known fake is at least as near as the threshold of {threshold}, but the likelihood "
        "ratio supports a known-real image"
    ),
    SimilarityReason.POOR_QUALITY: "the picture does not show enough for a verdict: {quality}",
    SimilarityReason.UNSTABLE: (
        "a re-encoding of the probe is on the other side of the threshold, which is {threshold} "
        "for the probe as sent"
    ),
    SimilarityReason.NO_THRESHOLD: (
        "no similarity threshold is known for this model; `lineup calibrate` or "
        "LINEUP_SIMILARITY_THRESHOLD sets one"
    ),
    SimilarityReason.NOTHING_COMPARED: "there was no known fake to compare the probe with",
    SimilarityReason.FAKES_NOT_REACHED: (
        "known-real images are nearer than any known fake in the list; search known fakes only, "
        "or ask for more neighbours"
    ),
}
_CLASSIFIER = {
    ClassifierReason.SYNTHETIC_LIMIT_REACHED: (
        "the logit is at or above the limit for synthetic ({limits})"
    ),
    ClassifierReason.NO_TRACES_LIMIT_REACHED: (
        "the logit is at or below the limit for no synthetic traces ({limits})"
    ),
    ClassifierReason.BETWEEN_LIMITS: "the logit is between the limits ({limits})",
    ClassifierReason.NO_LIMITS: "no limits were measured for this model's logit",
    ClassifierReason.POOR_QUALITY: "the picture does not show enough for a verdict: {quality}",
    ClassifierReason.UNSTABLE: "a re-encoding of the probe moves the logit over a limit ({limits})",
}
_UNKNOWN = {
    AttributionReason.NO_GENERATOR_DECLARED: "no near known fake has a declared generator",
    AttributionReason.NOTHING_NEAR_ENOUGH: (
        "no known fake with a declared generator is near enough"
    ),
    AttributionReason.SET_HOLDS_EVERYTHING: "no generator can be excluded",
    AttributionReason.TOO_MANY: "too many generators cannot be excluded",
    AttributionReason.NOT_ENOUGH_ENTRIES: (
        "most of the votes are of a generator with too few entries to name it"
    ),
    AttributionReason.COVERAGE_FAILS: (
        "it may be of a generator whose own images are often taken for others"
    ),
    AttributionReason.NONE_FITS: "no generator has the votes that its own images get",
}

# Each kind of delivery: the images that figures are for, and what a probe looks like.
_DELIVERED = {
    Condition.AS_IS: ("unchanged images", "an unchanged image"),
    Condition.JPEG90: ("images after JPEG 90", "an image after JPEG 90"),
    Condition.JPEG75: ("images after JPEG 75", "an image after JPEG 75"),
    Condition.JPEG50: ("images after JPEG 50", "an image after JPEG 50"),
    Condition.WEBP80: ("images after WebP 80", "an image after WebP 80"),
    Condition.HALF: ("images at half the size", "an image at half the size"),
    Condition.SCREENSHOT: ("screenshots", "a screenshot or a resized image"),
}


def explain_similarity(verdict: SimilarityVerdict, quality: QualityAnswer) -> str:
    """Why the similarity verdict is what it is."""
    return _SIMILARITY[verdict.reason].format(
        threshold=f"{verdict.threshold.value:.4f}" if verdict.threshold else "",
        quality=describe_quality(quality),
    )


def explain_classifier(verdict: ClassifierVerdict, quality: QualityAnswer) -> str:
    """Why the classifier's verdict is what it is."""
    return _CLASSIFIER[verdict.reason].format(
        limits=_limits(verdict.policy), quality=describe_quality(quality)
    )


def write_statements(
    similarity: SimilarityAnswer, stability: StabilityAnswer | None
) -> Iterator[tuple[str, str]]:
    """Further evidence beside the verdicts: topics, each with a sentence. What is not known is left
    out.
    """
    if similarity.false_match_rate:
        yield "rate", describe_rate(similarity.false_match_rate)
    if similarity.likelihood_ratio:
        yield "ratio", describe_ratio(similarity.likelihood_ratio)
    if similarity.attribution:
        yield "generator", describe_attribution(similarity.attribution)
    if similarity.nearest_known_real:
        real = similarity.nearest_known_real
        yield (
            "known real",
            f"cosine similarity {real.cosine_similarity:.4f}, entry {real.entry.id} of "
            f"{real.entry.corpus}",
        )
    if similarity.rests_on and similarity.rests_on.without_strongest:
        yield (
            "rests on",
            describe_rests_on(similarity.rests_on, similarity.rests_on.without_strongest),
        )
    if stability:
        yield "stability", describe_stability(stability)
    if similarity.calibration:
        yield "calibration", describe_calibration(similarity.calibration)
    elif similarity.uncalibrated_corpora:
        yield "calibration", describe_uncalibrated(similarity.uncalibrated_corpora)


def describe_calibration(used: CalibrationUsed) -> str:
    """Which calibration is used, and how well it fits the search."""
    figures = "images delivered in any way"
    if used.condition != ANY_DELIVERY:
        figures = _DELIVERED[Condition(used.condition)][0]
    words = f"number {used.id}, figures for {figures}"
    if used.probe_condition not in (None, used.condition):
        appearance = _DELIVERED[Condition(used.probe_condition)][1]
        words += f" (the probe looks like {appearance}, which was not measured)"
    if used.entries_since:
        change = "added" if used.entries_since > 0 else "removed"
        words += f"; {abs(used.entries_since):,} entries {change} since it was measured"
    if used.applies == "upper_bound":
        words += "; only part of its corpora was searched, so the true rate is at most this one"
    if not used.supports_threshold:
        words += "; too few known-real images for a threshold"
    return words


def describe_uncalibrated(corpora: list[str]) -> str:
    """Why no calibration applies."""
    named = ", ".join(corpora[:NAMED])
    if len(corpora) > NAMED:
        named += f" and {len(corpora) - NAMED} more"
    return (
        f"none applies: the newest calibration does not cover {named}; `lineup calibrate` measures "
        f"a new one"
    )


def describe_rests_on(rests_on: RestsOnAnswer, without: WithoutStrongest) -> str:
    """The entries that support the verdict, and the verdict without the strongest."""
    entries = ", ".join(map(str, rests_on.entry_ids[:LISTED]))
    if len(rests_on.entry_ids) > LISTED:
        entries += ", ..."
    noun = "entry" if len(rests_on.entry_ids) == 1 else "entries"
    change = "stays" if rests_on.stands else "is"
    return (
        f"{noun} {entries}; without entry {without.entry_id} the verdict {change} {without.verdict}"
    )


def describe_stability(stability: StabilityAnswer) -> str:
    """How far re-encodings move logit and similarity."""
    if stability.logit_low is None or stability.logit_high is None:
        return "no re-encoding of the probe can be used"
    words = (
        f"{len(stability.reencodings)} re-encodings: logit {stability.logit_low:+.2f} to "
        f"{stability.logit_high:+.2f}"
    )
    if stability.similarity_low is not None and stability.similarity_high is not None:
        words += f", similarity {stability.similarity_low:.4f} to {stability.similarity_high:.4f}"
    if stability.generators:
        words += f", nearest known fakes by {' or '.join(stability.generators)}"
    return words


def describe_rate(rate: RateAnswer) -> str:
    """How often a known-real image comes this near, with the interval and what it was measured
    on.
    """
    measured = f"{rate.images:,} images from {rate.sources:,} photographs"
    if rate.estimate == 0 or rate.method is RateMethod.RULE_OF_THREE:
        interval = f"95 % interval up to {percent(rate.high)}"
        return f"no measured known-real image comes this near ({interval}; {measured})"
    interval = f"95 % interval {percent(rate.low)} to {percent(rate.high)}"
    words = f"{percent(rate.estimate)} of known-real images come this near ({interval}; {measured})"
    return words + (f"; {describe_collection(rate.collections)}" if rate.collections else "")


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
    """The likelihood ratio with its interval, its bound, its verbal equivalent, and the two
    propositions.
    """
    limited = ", limited to what the data can support" if ratio.bounded else ""
    return (
        f"10^{ratio.log10:.1f} (10^{ratio.low:.1f} to 10^{ratio.high:.1f}{limited}): {ratio.words} "
        f"({PROPOSITIONS})"
    )


def describe_attribution(attribution: AttributionAnswer) -> str:
    """The generators that the nearest known fakes point to."""
    if attribution.unknown:
        return f"unknown: {_UNKNOWN[AttributionReason(attribution.reason)]}"
    shares = {each.generator: each.share for each in attribution.shares}
    named = [
        f"{name} ({percent(shares[name])} of the vote)" for name in attribution.candidates[:NAMED]
    ]
    more = len(attribution.candidates) - len(named)
    others = f" or one of {more} more" if more > 0 else ""
    return (
        f"{' or '.join(named)}{others}: such a set contains the right generator in "
        f"{percent(attribution.coverage)} of cases, if the corpora hold it"
    )


def describe_quality(quality: QualityAnswer) -> str:
    """Why a picture does not show enough."""
    match quality.issue:
        case None:
            return "no issue"
        case QualityIssue.TOO_SMALL:
            return (
                f"its shorter side of {quality.shortest_side} pixels is less than half of what the "
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


def percent(share: float) -> str:
    """A rate with two significant digits."""
    if share == 0:
        return "0 %"
    if share < 1e-5:
        return "under 0.001 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _limits(policy: ClassifierPolicy | None) -> str:
    if policy is None:
        return "none"
    return (
        f"no traces up to {policy.no_traces_logit:+.2f}, synthetic from "
        f"{policy.synthetic_logit:+.2f}"
    )
