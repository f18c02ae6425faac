"""The request of an evaluation: what is refused, and what stands where nothing is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.evaluation.request import MOST_SEED, EvaluationRequest
from embedder.pictures.delivery import Condition


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_images", 1),
        ("max_images", 0),
        ("max_images", -5),
        ("max_images", 2.5),
        ("condition_images", 1),
        ("condition_images", 0),
        ("seed", -1),
        ("seed", MOST_SEED + 1),
        ("seed", "x"),
        ("conditions", ["jpeg1"]),
        ("conditions", "jpeg75"),
        ("pattern", "x" * 1001),
        ("source", None),
        ("image", "a.png"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_its_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        EvaluationRequest.model_validate({"source": "/images"} | {field: value})
    assert caught.value.errors()[0]["loc"][0] == field


def test_a_source_is_required() -> None:
    with pytest.raises(ValidationError, match="source"):
        EvaluationRequest.model_validate({})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_images", 2),
        ("condition_images", 2),
        ("seed", 0),
        ("seed", MOST_SEED),
        ("pattern", "x" * 1000),
        ("conditions", [each.value for each in Condition]),
    ],
)
def test_the_ends_of_a_range_are_allowed(field: str, value: Any) -> None:
    request = EvaluationRequest.model_validate({"source": "/images"} | {field: value})
    assert getattr(request, field) == value


def test_by_default_everything_is_measured_as_it_is() -> None:
    assert EvaluationRequest(source="/images").model_dump() == {
        "source": "/images",
        "pattern": None,
        "path_column": None,
        "image_column": None,
        "conditions": [],
        "max_images": None,
        "condition_images": None,
        "seed": 0,
    }


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EvaluationRequest(source="/images").seed = 1  # type: ignore[misc]


PLAIN = st.characters(exclude_categories=("Cs", "Cc"))  # a request is refused for those


@given(
    st.builds(
        EvaluationRequest,
        source=st.text(PLAIN, min_size=1, max_size=500),
        pattern=st.none() | st.text(PLAIN, max_size=500),
        conditions=st.lists(st.sampled_from(Condition)),
        max_images=st.none() | st.integers(2, 10**9),
        seed=st.integers(0, MOST_SEED),
    )
)
def test_a_request_is_the_same_after_a_round_trip(request: EvaluationRequest) -> None:
    assert EvaluationRequest.model_validate_json(request.model_dump_json()) == request
