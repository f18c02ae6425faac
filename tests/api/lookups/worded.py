"""Parts of an answer whose sentences can be read off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from api.lookups.answers.calibration_json import CalibrationUsed
from api.lookups.answers.evidence_json import (
    AttributionAnswer,
    QualityAnswer,
    RatioAnswer,
    ShareAnswer,
)
from api.lookups.answers.json import SimilarityAnswer
from api.lookups.answers.rates_json import (
    CollectionRate,
    DiscriminationAnswer,
    HitRateAnswer,
    LogitShareAnswer,
    MeasuredShare,
    RateAnswer,
)
from api.lookups.answers.robustness_json import LeftOutAnswer, ReEncodingAnswer, StabilityAnswer
from api.lookups.request import SearchFilter
from index.calibration.attribution import AttributionReason
from index.calibration.false_matches import RateMethod
from index.verdict import QualityIssue, SimilarityOutcome, SimilarityReason

CAMERA = CollectionRate(corpus="reals", source="camera", images=200, matches=0)
FACES = CollectionRate(corpus="faces", source=None, images=56, matches=13)
SHARE: dict[str, Any] = {
    "estimate": 0.0102,
    "low": 0.003,
    "high": 0.024,
    "method": RateMethod.EMPIRICAL,
    "images": 679,
    "sources": 679,
}


def quality(issue: QualityIssue | None = QualityIssue.FLAT) -> QualityAnswer:
    return QualityAnswer(issue=issue, shortest_side=96, pdq_quality=3, luminance_std=0.5)


def rate(**figures: Any) -> RateAnswer:
    return RateAnswer(**SHARE | figures)


def hits(**figures: Any) -> HitRateAnswer:
    facts: dict[str, Any] = {"estimate": 0.3, "low": 0.2, "high": 0.41, "images": 820}
    return HitRateAnswer(**SHARE | facts | {"sources": 400} | figures)


def logit_share(**figures: Any) -> LogitShareAnswer:
    return LogitShareAnswer(**SHARE | figures)


def discrimination(*, tells: bool = False) -> DiscriminationAnswer:
    return DiscriminationAnswer(
        similarity=0.99314,
        hit_rate=MeasuredShare(**SHARE | {"estimate": 0.4 if tells else 0.006}),
        false_match_rate=MeasuredShare(**SHARE),
        tells=tells,
    )


def ratio(**figures: Any) -> RatioAnswer:
    facts: dict[str, Any] = {"log10": 1.4, "low": 0.9, "high": 1.6, "bounds": (-1.5, 1.5)}
    words = {"bounded": False, "words": "moderate support", "scale": "ENFSI", "two_sided": True}
    counts = {"cllr": 0.2, "cllr_min": 0.1, "same_source_images": 9, "different_source_images": 9}
    return RatioAnswer(**facts | words | counts | figures)


def calibration(**facts: Any) -> CalibrationUsed:
    usual: dict[str, Any] = {
        "id": 3,
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "generation": 9,
        "applies": "exact",
        "against": ["fakes"],
        "reference": ["photographs"],
        "corpus_size": 40,
        "entries_since": 0,
        "probe_condition": "jpeg75",
        "condition": "jpeg75",
        "images": 28,
        "sources": 28,
        "supports_threshold": True,
    }
    return CalibrationUsed(**usual | facts)


def stability(**figures: Any) -> StabilityAnswer:
    one = ReEncodingAnswer(name="jpeg75", logit=1.0, nearest_similarity=0.9, generator="sdxl")
    usual: dict[str, Any] = {
        "reencodings": [one, one],
        "left_out": [LeftOutAnswer(name="half", reason="too_small")],
        "logit_low": -1.004,
        "logit_high": 2.0,
        "similarity_low": 0.81234,
        "similarity_high": 0.9,
        "generators": ["flux", "sdxl"],
    }
    return StabilityAnswer(**usual | figures)


def attribution(**facts: Any) -> AttributionAnswer:
    shares = [("sdxl", 0.6), ("flux", 0.25), ("dalle", 0.1), ("imagen", 0.05)]
    usual: dict[str, Any] = {
        "unknown": False,
        "reason": AttributionReason.NEAREST_KNOWN_FAKES,
        "candidates": ["sdxl"],
        "coverage": 0.9,
        "shares": [ShareAnswer(generator=name, share=share) for name, share in shares],
    }
    return AttributionAnswer(**usual | facts)


def similarity_answer(**parts: Any) -> SimilarityAnswer:
    bare: dict[str, Any] = {
        "verdict": SimilarityOutcome.INCONCLUSIVE,
        "reason": SimilarityReason.NO_THRESHOLD,
        "explanation": "",
        "threshold": None,
        "neighbours": [],
        "searched": 0,
        "filter": SearchFilter(),
    }
    return SimilarityAnswer(**bare | parts)
