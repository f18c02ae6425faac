"""Answers as earlier releases stored them, made from answers of today."""

from __future__ import annotations

import copy
from typing import Any

# Fields that came with rules 2 or later.
LATER_FIELDS = {
    "method": ("rules", "precision_check", "computed"),
    "classifier": (
        "miss_rate",
        "clear_rate",
        "false_alarm_rate",
        "detection_rate",
        "synthetic_from",
        "no_traces_from",
        "digits",
        "calibration_id",
    ),
    "similarity": (
        "barrier",
        "next_step",
        "digits",
        "nearest_known_fake",
        "hit_rate",
        "discrimination",
        "ratio_support",
    ),
}
VERDICTS = {"no_traces": "authentic", "no_traces_limit_reached": "authentic_limit_reached"}


def as_rules_2(answer: Any) -> Any:
    """The answer as a release without copies stored it."""
    earlier = copy.deepcopy(answer)
    earlier["method"]["rules"] = 2
    earlier.pop("copies", None)
    similarity = earlier["similarity"]
    nearest = (similarity.get("nearest_known_fake"), similarity.get("nearest_known_real"))
    for neighbour in (*similarity["neighbours"], *nearest):
        if neighbour:
            neighbour.pop("copy_evidence", None)
    for name in ("describe_ms", "verify_ms"):
        earlier["timings"].pop(name, None)
    return earlier


def as_rules_1(answer: Any) -> Any:
    """The answer as a release with schema 0006 stored it: the same values in its words."""
    earlier = as_rules_2(answer)
    earlier.pop("caution", None)
    for part, names in LATER_FIELDS.items():
        for name in names:
            (earlier.get(part) or {}).pop(name, None)
    if classifier := earlier.get("classifier"):
        for name in ("verdict", "reason"):
            classifier[name] = VERDICTS.get(classifier[name], classifier[name])
        classifier["authentic_logit"] = classifier.pop("no_traces_logit", None)
    return earlier


def as_schema_0004(answer: Any) -> Any:
    """The answer as a release with schema 0004 stored it."""
    earlier = as_rules_1(answer)
    similarity = earlier["similarity"]
    for each in (*similarity["neighbours"], similarity.get("nearest_known_real")):
        if each and each["relation"] == "below_threshold":
            each["relation"] = "unrelated"
    if stability := earlier.get("stability"):
        stability["views"] = stability.pop("reencodings")
    return earlier
