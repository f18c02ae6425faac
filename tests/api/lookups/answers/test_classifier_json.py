"""What earlier releases wrote of the classifier is read with the words of today."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api.lookups.answers.classifier_json import ClassifierAnswer
from index.verdict import ClassifierOutcome, ClassifierReason

TODAY: dict[str, Any] = {
    "verdict": "no_traces",
    "reason": "no_traces_limit_reached",
    "explanation": "in other words",
    "logit": -2.0,
    "limits_source": "the data",
    "synthetic_logit": 3.0,
    "no_traces_logit": -1.0,
    "calibration": "uncalibrated",
}


def under_rules_1(**more: Any) -> dict[str, Any]:
    """The same with the words of then, and with a sigmoid."""
    kept = {name: value for name, value in TODAY.items() if name != "no_traces_logit"}
    words = {"verdict": "authentic", "reason": "authentic_limit_reached"}
    return kept | words | {"authentic_logit": -1.0, "probability": 0.12} | more


def test_the_words_of_rules_1_are_read() -> None:
    stored = under_rules_1()
    before = dict(stored)
    read = ClassifierAnswer.model_validate(stored)
    assert stored == before
    assert read == ClassifierAnswer.model_validate(TODAY | {"probability": 0.12})
    assert read.verdict is ClassifierOutcome.NO_TRACES
    assert read.reason is ClassifierReason.NO_TRACES_LIMIT_REACHED
    assert ClassifierAnswer.model_validate_json(read.model_dump_json()) == read


def test_todays_words_are_written() -> None:
    written = ClassifierAnswer.model_validate(under_rules_1()).model_dump(mode="json")
    assert (written["verdict"], written["reason"], written["no_traces_logit"]) == (
        "no_traces",
        "no_traces_limit_reached",
        -1.0,
    )
    assert "authentic" not in str(written)


@pytest.mark.parametrize("broken", ["text", None, TODAY | {"verdict": "genuine"}])
def test_what_is_no_opinion_is_refused(broken: Any) -> None:
    with pytest.raises(ValidationError):
        ClassifierAnswer.model_validate(broken)
