"""Verdicts in words: one sentence for each reason, the same on the page, in the terminal and in the
JSON.

No sentence can be read as a probability of being fake, and none joins the classifier with the
similarity.
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
from api.lookups.robustness_json import StabilityAnswer
from index.verdict import (
    ClassifierPolicy,
    ClassifierReason,
    ClassifierVerdict,
    QualityIssue,
    SimilarityReason,
    SimilarityVerdict,
)

NAMED = 3  # generators or corpora that a sentence names; the JSON has all of them
PROPOSITIONS = (
    "first: a generator of the corpora made it; alternative: a real image like those "
    "of the reference"
)
_SIMILARITY = {
    SimilarityReason.IDENTICAL_IMAGE: "these very bytes are an entry among the known fakes",
    SimilarityReason.NEAR_DUPLICATE_IMAGE: "the same picture as a known fake, by perceptual hash: "
    "a copy of it, or "
    "what it was made from",
    SimilarityReason.ALSO_KNOWN_REAL: "the same picture as a known fake and as a known-real "
    "image, by its bytes or its "
    "hash: a copy of either, which a hash cannot tell",
    SimilarityReason.ABOVE_THRESHOLD: "a known fake is at least as near as the threshold of "
    "{threshold}",
    SimilarityReason.BELOW_THRESHOLD: "no known fake in the searched corpora is as near as the "
    "threshold of "
    "{threshold}",
    SimilarityReason.BETWEEN: "no known fake is as near as the threshold of {threshold}, but the "
    "likelihood ratio "
    "supports a generator in the corpora",
    SimilarityReason.RATIO_DISAGREES: "a known fake is as near as the threshold of {threshold}, "
    "but the likelihood "
    "ratio supports a known-real image",
    SimilarityReason.POOR_QUALITY: "the picture says too little: {quality}",
    SimilarityReason.UNSTABLE: "re-encoding the probe carries it over the threshold of "
    "{threshold}, or back",
    SimilarityReason.NO_THRESHOLD: "no similarity threshold is known for this model; `lineup "
    "calibrate` or "
    "LINEUP_SIMILARITY_THRESHOLD sets one",
    SimilarityReason.NOTHING_COMPARED: "no known fake was there to compare with",
    SimilarityReason.FAKES_NOT_REACHED: "known real images are nearer than any known fake in the "
    "list; ask for known "
    "fakes only, or for more",
}
_CLASSIFIER = {
    ClassifierReason.SYNTHETIC_LIMIT_REACHED: "its logit is not under the limit of synthetic "
    "({limits})",
    ClassifierReason.AUTHENTIC_LIMIT_REACHED: "its logit is not over the limit of authentic "
    "({limits})",
    ClassifierReason.BETWEEN_LIMITS: "its logit is between the limits ({limits})",
    ClassifierReason.NO_LIMITS: "no limits were measured for this model's logit",
    ClassifierReason.POOR_QUALITY: "the picture says too little: {quality}",
    ClassifierReason.UNSTABLE: "re-encoding the probe carries its logit over a limit ({limits})",
}


def explain_similarity(judged: SimilarityVerdict, quality: QualityAnswer) -> str:
    """Why the similarity verdict is what it is."""
    return _SIMILARITY[judged.reason].format(
        threshold=f"{judged.threshold.value:.4f}" if judged.threshold else "",
        quality=quality_words(quality),
    )


def explain_classifier(judged: ClassifierVerdict, quality: QualityAnswer) -> str:
    """Why the classifier's verdict is what it is."""
    return _CLASSIFIER[judged.reason].format(
        limits=_limits(judged.policy), quality=quality_words(quality)
    )


def statements(
    similarity: SimilarityAnswer, stability: StabilityAnswer | None
) -> Iterator[tuple[str, str]]:
    """What stands beside the verdicts: topics with their words; nothing where nothing is known."""
    if similarity.false_match_rate:
        yield "rate", rate_words(similarity.false_match_rate)
    if similarity.likelihood_ratio:
        yield "ratio", ratio_words(similarity.likelihood_ratio)
    if similarity.attribution:
        yield "generator", attribution_words(similarity.attribution)
    if similarity.nearest_known_real:
        real = similarity.nearest_known_real
        yield (
            "known real",
            f"nearest {real.cosine_similarity:.4f}, entry {real.entry.id} of {real.entry.corpus}",
        )
    if similarity.rests_on and similarity.rests_on.without_strongest:
        yield "rests on", _rests_on(similarity)
    if stability:
        yield "stability", _stability(stability)
    if similarity.calibration:
        yield "calibration", _calibration(similarity.calibration)
    elif similarity.uncalibrated_corpora:
        yield "calibration", _unseen(similarity.uncalibrated_corpora)


def _calibration(used: CalibrationUsed) -> str:
    said = f"calibration {used.id}, {used.condition}"
    if used.probe_condition not in (None, used.condition):
        said += f" (the probe seems {used.probe_condition})"
    if used.entries_since:
        said += f", {used.entries_since:+,} entries since"
    if used.applies == "upper_bound":
        said += ", of all its corpora: for this part of them the rate is at most that"
    return (
        said
        if used.supports_threshold
        else f"{said}; too few known-real images for a threshold of its own"
    )


def _unseen(corpora: list[str]) -> str:
    named = ", ".join(corpora[:NAMED]) + (
        f" and {len(corpora) - NAMED} more" if len(corpora) > NAMED else ""
    )
    return (
        f"none speaks for these corpora: the newest has not seen {named}; `lineup calibrate` "
        f"measures again"
    )


def _rests_on(similarity: SimilarityAnswer) -> str:
    rests = similarity.rests_on
    assert rests is not None
    assert rests.without_strongest is not None
    entries = ", ".join(map(str, rests.entry_ids[:5])) + (
        ", ..." if len(rests.entry_ids) > 5 else ""
    )
    without = rests.without_strongest
    what = "entry" if len(rests.entry_ids) == 1 else "entries"
    return f"{what} {entries}; without {without.entry_id} the verdict is {without.verdict}"


def _stability(stability: StabilityAnswer) -> str:
    if stability.logit_low is None or stability.logit_high is None:
        return "no re-encoding is large enough for the model"
    said = (
        f"{len(stability.reencodings)} re-encodings: logit {stability.logit_low:+.2f} to "
        f"{stability.logit_high:+.2f}"
    )
    if stability.similarity_low is not None and stability.similarity_high is not None:
        said += f", similarity {stability.similarity_low:.4f} to {stability.similarity_high:.4f}"
    return said + (f", nearest {' or '.join(stability.generators)}" if stability.generators else "")


def rate_words(rate: RateAnswer) -> str:
    """How often a photograph comes this near, with the interval and what it was measured on."""
    measured = f"{rate.images:,} images of {rate.sources:,} photographs"
    if rate.estimate == 0:
        return f"no known-real image comes this near (at most {percent(rate.high)}; {measured})"
    interval = f"{percent(rate.low)} to {percent(rate.high)}"
    said = f"{percent(rate.estimate)} of known-real images come this near ({interval}; {measured})"
    return said + (f"; {collection_words(rate.collections)}" if rate.collections else "")


def collection_words(collections: Sequence[CollectionRate]) -> str:
    """The least and the largest share among reference collections, and whose the largest is."""
    shares = [each.matches / each.images for each in collections]
    most = collections[shares.index(max(shares))]
    return (
        f"by collection {percent(min(shares))} to {percent(max(shares))} ({most.matches} of "
        f"{most.images} of "
        f"{collection_name(most)})"
    )


def collection_name(collection: CollectionRate) -> str:
    """The corpus, and the source where there is one."""
    return (
        collection.corpus
        if collection.source is None
        else f"{collection.corpus}, {collection.source}"
    )


def ratio_words(ratio: RatioAnswer) -> str:
    """The likelihood ratio with its interval, what it cannot exceed, its verbal equivalent, and
    what is weighed.
    """
    cut = ", cut at what the data can support" if ratio.bounded else ""
    return (
        f"10^{ratio.log10:.1f} (10^{ratio.low:.1f} to 10^{ratio.high:.1f}{cut}): {ratio.words} "
        f"({PROPOSITIONS})"
    )


def attribution_words(attribution: AttributionAnswer) -> str:
    """The generators that the nearest known fakes point to."""
    if attribution.unknown:
        return f"unknown: {attribution.reason.replace('_', ' ')}"
    shares = {each.generator: each.share for each in attribution.shares}
    named = [
        f"{name} ({percent(shares[name])} of the vote)" for name in attribution.candidates[:NAMED]
    ]
    more = len(attribution.candidates) - len(named)
    others = f" or one of {more} more" if more > 0 else ""
    right = (
        f"{percent(attribution.coverage)} of such sets hold the right one, where the corpora "
        f"have it"
    )
    return f"{' or '.join(named)}{others}: {right}"


def quality_words(quality: QualityAnswer) -> str:
    """Why a picture says too little."""
    match quality.issue:
        case None:
            return "nothing is wrong with it"
        case QualityIssue.TOO_SMALL:
            return (
                f"its shorter side of {quality.shortest_side} pixels is less than half of what "
                f"the model looks at"
            )
        case QualityIssue.FLAT:
            return "it has hardly any structure"
        case QualityIssue.UNFAMILIAR:
            return (
                "it is further from everything in the corpora than images of the calibration "
                "are from one another"
            )
        case _:
            assert_never(quality.issue)


def percent(share: float) -> str:
    """A rate as a person reads it: two digits that mean something."""
    if 0 < share < 1e-5:
        return "under 0.001 %"
    return (
        "0 %" if share == 0 else f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
    )


def _limits(policy: ClassifierPolicy | None) -> str:
    if policy is None:
        return "none"
    return (
        f"authentic to {policy.authentic_logit:+.2f}, synthetic from {policy.synthetic_logit:+.2f}"
    )
