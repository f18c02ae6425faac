"""Verdicts in words: one sentence for each reason, the same on the page, in the terminal and in the JSON.

No sentence can be read as a probability of being fake, and none joins the classifier with the similarity.
"""

from __future__ import annotations

from typing import assert_never

from index import ClassifierPolicy, ClassifierReason, ClassifierVerdict, SimilarityReason, SimilarityVerdict


def explain_similarity(judged: SimilarityVerdict) -> str:
    """Why the similarity verdict is what it is."""
    threshold = f"{judged.threshold.value:.3f}" if judged.threshold else ""
    match judged.reason:
        case SimilarityReason.IDENTICAL_IMAGE:
            return "these very bytes are an entry among the known fakes"
        case SimilarityReason.NEAR_DUPLICATE_IMAGE:
            return "the same picture as a known fake, by perceptual hash: a copy of it, or what it was made from"
        case SimilarityReason.ABOVE_THRESHOLD:
            return f"a known fake is at least as near as the threshold of {threshold}"
        case SimilarityReason.BELOW_THRESHOLD:
            return f"no known fake in the searched corpora is as near as the threshold of {threshold}"
        case SimilarityReason.NO_THRESHOLD:
            return "no similarity threshold is known for this model; LINEUP_SIMILARITY_THRESHOLD sets one"
        case SimilarityReason.NOTHING_COMPARED:
            return "no known fake was there to compare with"
        case SimilarityReason.FAKES_NOT_REACHED:
            return "known real images are nearer than any known fake in the list; ask for known fakes only, or for more"
        case _:
            assert_never(judged.reason)


def explain_classifier(judged: ClassifierVerdict) -> str:
    """Why the classifier's verdict is what it is."""
    limits = _limits(judged.policy)
    match judged.reason:
        case ClassifierReason.SYNTHETIC_LIMIT_REACHED:
            return f"its logit is not under the limit of synthetic ({limits})"
        case ClassifierReason.AUTHENTIC_LIMIT_REACHED:
            return f"its logit is not over the limit of authentic ({limits})"
        case ClassifierReason.BETWEEN_LIMITS:
            return f"its logit is between the limits ({limits})"
        case ClassifierReason.NO_LIMITS:
            return "no limits were measured for this model's logit"
        case _:
            assert_never(judged.reason)


def _limits(policy: ClassifierPolicy | None) -> str:
    if policy is None:
        return "none"
    return f"authentic to {policy.authentic_logit:+.2f}, synthetic from {policy.synthetic_logit:+.2f}"
