"""Verdicts in words: one sentence for each reason, and the sentences of the evidence beside them.

The page, the terminal and the JSON use the same sentences. No sentence can be read as a probability
that the probe is fake, and none joins the classifier with the similarity.
"""

from __future__ import annotations

from collections.abc import Iterator

from api.copies.stages import StageOutcome
from api.lookups.answers.calibration_json import CalibrationUsed
from api.lookups.answers.calibration_words import (
    describe_calibration,
    describe_uncalibrated,
    name_images,
)
from api.lookups.answers.classifier_json import ClassifierAnswer
from api.lookups.answers.copies_json import CopiesAnswer
from api.lookups.answers.evidence_json import QualityAnswer
from api.lookups.answers.evidence_words import (
    TELLS_NOTHING,
    describe_attribution,
    describe_discrimination,
    describe_hits,
    describe_logit_share,
    describe_quality,
    describe_rate,
    describe_ratio,
    describe_unsupported_ratio,
)
from api.lookups.answers.json import SimilarityAnswer
from api.lookups.answers.numbers import LOGIT_DIGITS, SIMILARITY_DIGITS
from api.lookups.answers.rates_json import DiscriminationAnswer, LogitShareAnswer
from api.lookups.answers.robustness_json import StabilityAnswer
from api.lookups.answers.robustness_words import describe_rests_on, describe_stability
from api.lookups.answers.stage_words import STAGE_NAMES
from embedder.pictures.delivery import Condition
from index.verdict import (
    ClassifierPolicy,
    ClassifierReason,
    ClassifierVerdict,
    LimitOrigin,
    SimilarityReason,
    SimilarityVerdict,
)

_SIMILARITY = {
    SimilarityReason.IDENTICAL_IMAGE: "the probe's file is identical to that of a known fake",
    SimilarityReason.NEAR_DUPLICATE_IMAGE: (
        "by its perceptual hash, the probe shows the same picture as a known fake: it is a copy of "
        "that fake, or the picture that the fake was made from"
    ),
    SimilarityReason.EDITED_COPY: (
        "by its local features, the probe is an edited version of the same picture as a known "
        "fake: it is made from that fake, or from the picture that the fake was made from"
    ),
    SimilarityReason.ALSO_KNOWN_REAL: (
        "the probe shows the same picture as a known fake and as a known-real image, by its bytes, "
        "its perceptual hash or its local features; these cannot tell which of the two it is a "
        "copy of"
    ),
    SimilarityReason.ABOVE_THRESHOLD: (
        "a known fake is at least as near as the threshold of {threshold}"
    ),
    SimilarityReason.BELOW_THRESHOLD: (
        "no known fake in the searched corpora is as near as the threshold of {threshold}"
    ),
    SimilarityReason.POSSIBLE_COPY: (
        "no known fake is as near as the threshold, but one of them is perhaps a version of the "
        "same picture; this is a lead and was not verified: compare the two by eye"
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
    SimilarityReason.NOT_CALIBRATED: (
        "not calibrated: it was not measured how near known-real images come to the known fakes "
        "in these corpora"
    ),
    SimilarityReason.TELLS_NOTHING: TELLS_NOTHING,
    SimilarityReason.NO_THRESHOLD: (
        "the calibration has too few known-real images for a threshold at this false-match rate"
    ),
    SimilarityReason.NOTHING_COMPARED: "there was no known fake to compare the probe with",
    SimilarityReason.FAKES_NOT_REACHED: (
        "known-real images are nearer than any known fake in the list; search known fakes only, "
        "or ask for more neighbours"
    ),
}
# Why a search that a calibration covers is not calibrated, or has no threshold.
_PROVISIONAL = (
    "not calibrated on known-real images of this installation: the figures below rest on those "
    "that came with the model, and give no verdict"
)
_WITHOUT_HIT_RATES = (
    "not calibrated: the calibration was measured before hit rates were, so it does not say what a "
    "similarity is worth"
)
_DOES_NOT_HOLD = (
    "there is no threshold: the rates of the calibration do not hold for collections that were "
    "left out"
)
_CLASSIFIER = {
    ClassifierReason.SYNTHETIC_LIMIT_REACHED: (
        "the logit is at or above the limit for synthetic ({limits})"
    ),
    ClassifierReason.NO_TRACES_LIMIT_REACHED: (
        "the logit is at or below the limit for no synthetic traces ({limits})"
    ),
    ClassifierReason.BETWEEN_LIMITS: "the logit is between the limits ({limits})",
    ClassifierReason.NO_LIMITS: (
        "no limit of this model's logit is known that tells the known fakes from known-real images"
    ),
    ClassifierReason.POOR_QUALITY: "the picture does not show enough for a verdict: {quality}",
    ClassifierReason.UNSTABLE: "a re-encoding of the probe moves the logit over a limit ({limits})",
    ClassifierReason.PROBABILITY_DISAGREES: (
        "the logit reaches a limit ({limits}), but the calibrated probability is on the other side "
        "of one half"
    ),
}


def explain_similarity(
    verdict: SimilarityVerdict,
    quality: QualityAnswer,
    used: CalibrationUsed | None = None,
    discrimination: DiscriminationAnswer | None = None,
    digits: int = SIMILARITY_DIGITS,
    copies: CopiesAnswer | None = None,
) -> str:
    """Why the similarity verdict is what it is. `used` is the calibration that applies, `copies`
    says which stages looked for copies: beside `not_similar` stands what was not looked for.
    """
    if verdict.reason is SimilarityReason.TELLS_NOTHING and discrimination is not None:
        return describe_discrimination(discrimination, digits)
    if used is not None:
        if verdict.reason is SimilarityReason.NOT_CALIBRATED:
            return _PROVISIONAL if used.provisional else _WITHOUT_HIT_RATES
        if verdict.reason is SimilarityReason.NO_THRESHOLD and not used.holds:
            return _DOES_NOT_HOLD
    words = _SIMILARITY[verdict.reason].format(
        threshold=f"{verdict.threshold.value:.{digits}f}" if verdict.threshold else "",
        quality=describe_quality(quality),
    )
    if verdict.reason is SimilarityReason.BELOW_THRESHOLD and copies is not None:
        words += f"; no copy of one was found{_name_limits(copies)}"
    return words


def explain_classifier(
    verdict: ClassifierVerdict,
    quality: QualityAnswer,
    of_fakes: LogitShareAnswer | None = None,
    of_reals: LogitShareAnswer | None = None,
    digits: int = LOGIT_DIGITS,
    fell_back_from: str | None = None,
) -> str:
    """Why the classifier's verdict is what it is, and how many images of each kind get it.

    `fell_back_from` names the delivery of the probe if the limits are those of unchanged images.
    """
    words = _CLASSIFIER[verdict.reason].format(
        limits=describe_limits(verdict.policy, digits), quality=describe_quality(quality)
    )
    if verdict.reason is ClassifierReason.NO_TRACES_LIMIT_REACHED:
        if of_fakes is None or of_reals is None:
            return f"{words}; how many fakes come out like this is not measured on these corpora"
        return f"{words}; {_alike(of_fakes, of_reals, fell_back_from)}"
    if verdict.reason is ClassifierReason.SYNTHETIC_LIMIT_REACHED:
        if of_fakes is None or of_reals is None:
            words += "; how many photographs come out like this is not measured on these corpora"
        else:
            words += f"; {_alike(of_fakes, of_reals, fell_back_from)}"
        if quality.issue is not None:
            words += f"; these figures may not hold for the picture: {describe_quality(quality)}"
    return words


def describe_limits(policy: ClassifierPolicy | None, digits: int = LOGIT_DIGITS) -> str:
    """The limits of the logit, and where each was measured."""
    if policy is None:
        return "none"
    sides = [
        ("no traces up to", policy.no_traces_logit, policy.no_traces_from),
        ("synthetic from", policy.synthetic_logit, policy.synthetic_from),
    ]
    given = [
        (f"{words} {logit:+.{digits}f}", origin)
        for words, logit, origin in sides
        if logit is not None
    ]
    origins = {origin for _, origin in given}
    if len(origins) == 1:
        limit = "limits" if len(given) > 1 else "limit"
        return f"{', '.join(words for words, _ in given)}: {_whose(origins.pop(), limit)}"
    return ", ".join(f"{words} by {_whose(origin, 'limit')}" for words, origin in given)


def write_statements(
    similarity: SimilarityAnswer,
    stability: StabilityAnswer | None,
    classifier: ClassifierAnswer | None = None,
    copies: CopiesAnswer | None = None,
) -> Iterator[tuple[str, str]]:
    """Further evidence beside the verdicts: topics, each with a sentence. What is not known is left
    out.
    """
    yield from _write_figures(similarity)
    if copies is not None and copies.not_looked_for is not None:
        yield "copies", copies.not_looked_for
    real = similarity.nearest_known_real
    if real is not None and real.cosine_similarity is not None:
        yield (
            "known real",
            f"cosine similarity {real.cosine_similarity:.{similarity.digits}f}, entry "
            f"{real.entry.id} of {real.entry.corpus}",
        )
    if similarity.rests_on and similarity.rests_on.without_strongest:
        yield (
            "rests on",
            describe_rests_on(similarity.rests_on, similarity.rests_on.without_strongest),
        )
    if stability:
        logit_digits = classifier.digits if classifier else LOGIT_DIGITS
        yield "stability", describe_stability(stability, similarity.digits, logit_digits)
    if similarity.calibration:
        yield "calibration", describe_calibration(similarity.calibration)
    elif similarity.uncalibrated_corpora:
        yield "calibration", describe_uncalibrated(similarity.uncalibrated_corpora)
    if similarity.next_step:
        yield "next step", similarity.next_step


def _write_figures(similarity: SimilarityAnswer) -> Iterator[tuple[str, str]]:
    """How often wrong, how often right, how strong, which generator."""
    if similarity.false_match_rate:
        yield "rate", describe_rate(similarity.false_match_rate)
    if similarity.hit_rate:
        # Where this is the reason of the verdict, its sentence says so already.
        tells_nothing = similarity.barrier is SimilarityReason.TELLS_NOTHING
        is_unsaid = tells_nothing and similarity.reason is not SimilarityReason.TELLS_NOTHING
        yield "hits", describe_hits(similarity.hit_rate, tells_nothing=is_unsaid)
    elif similarity.false_match_rate and similarity.calibration:
        images = name_images(similarity.calibration.condition)
        yield (
            "hits",
            f"how often a known fake comes this near to another one was not measured for {images}, "
            "so it is open what this rate is worth",
        )
    if similarity.likelihood_ratio:
        yield "ratio", describe_ratio(similarity.likelihood_ratio)
    elif similarity.ratio_support and not similarity.ratio_support.supported:
        yield "ratio", describe_unsupported_ratio(similarity.ratio_support)
    if similarity.attribution:
        yield "generator", describe_attribution(similarity.attribution)


def _name_limits(copies: CopiesAnswer) -> str:
    """That not every kind of copy was looked for, if so. The sentence about copies says why."""
    if copies.not_looked_for is None:
        return ""
    missing = [
        f"no {STAGE_NAMES[each.stage]}"
        for each in copies.stages
        if each.outcome not in (StageOutcome.RAN, StageOutcome.NO_CANDIDATES)
    ]
    why = f" ({', '.join(missing)})" if missing else ""
    return f", as far as copies were looked for{why}"


def _alike(
    of_fakes: LogitShareAnswer, of_reals: LogitShareAnswer, fell_back_from: str | None
) -> str:
    words = (
        f"of the known fakes in the calibrated corpora, {describe_logit_share(of_fakes)} come out "
        f"like this; of the known-real images, {describe_logit_share(of_reals)}"
    )
    if fell_back_from is None:
        return words
    return (
        f"{words} (measured on {name_images(Condition.AS_IS)}; known fakes were not measured as "
        f"{name_images(fell_back_from)})"
    )


def _whose(origin: LimitOrigin, limit: str) -> str:
    if origin is LimitOrigin.CALIBRATION:
        return f"the {limit} of the calibration"
    return f"the model's own {limit}, measured elsewhere"
