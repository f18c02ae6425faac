from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.lookups.copies_json import (
    BoxAnswer,
    ComparedAnswer,
    CopiesAnswer,
    LeadLimitsAnswer,
    ViewHashAnswer,
)
from index.copies import (
    NO_LEADS,
    Box,
    CopyEvidence,
    Correspondence,
    LeadLimits,
    Symmetry,
    View,
    ViewHash,
)
from index.truth.perceptual import PerceptualHash

shares = st.floats(0, 1)
boxes = st.none() | st.lists(st.integers(0, 64), min_size=4, max_size=4, unique=True).map(
    lambda some: Box(min(some[:2]) / 64, min(some[2:]) / 64, max(some[:2]) / 64, max(some[2:]) / 64)
)
views = st.builds(View, st.sampled_from(Symmetry), boxes, boxes)
hashes = st.builds(PerceptualHash, st.binary(min_size=32, max_size=32), st.integers(0, 100))
numbers = st.floats(-1e6, 1e6)
correspondences = st.builds(
    Correspondence,
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.lists(numbers, min_size=9, max_size=9).map(tuple),
    st.floats(0.001, 1000),
    st.floats(-180, 180),
    st.booleans(),
    shares,
    shares,
)
evidence = st.builds(
    CopyEvidence,
    descriptor_similarity=st.none() | st.floats(-2, 2),
    verified=st.none() | st.booleans(),
    correspondence=st.none() | correspondences,
    false_match_probability=st.none() | shares,
)


@given(st.builds(ViewHash, views, hashes))
def test_the_hash_of_a_view_is_read_as_it_was_written(hashed: ViewHash) -> None:
    written = ViewHashAnswer.of(hashed).model_dump_json()
    assert ViewHashAnswer.model_validate_json(written).to_view_hash() == hashed


@given(evidence)
def test_what_was_compared_is_read_as_it_was_written(found: CopyEvidence) -> None:
    """A replay judges by it, so nothing may be rounded."""
    written = ComparedAnswer.of(7, found).model_dump_json()
    assert ComparedAnswer.model_validate_json(written).to_evidence() == found


@given(
    st.builds(
        LeadLimits,
        st.integers(31, 60),
        st.none() | st.floats(-1, 1),
        st.none() | st.floats(-1, 1),
        st.text(max_size=20),
    )
)
def test_limits_of_leads_are_read_as_they_were_written(limits: LeadLimits) -> None:
    written = LeadLimitsAnswer.of(limits).model_dump_json()
    assert LeadLimitsAnswer.model_validate_json(written).to_limits() == limits


@pytest.mark.parametrize(
    "edges", [(0.5, 0, 0.5, 1), (0.6, 0, 0.4, 1), (0, 1, 1, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1)]
)
def test_a_part_without_an_area_is_refused(edges: tuple[float, ...]) -> None:
    names = ("left", "top", "right", "bottom")
    with pytest.raises(ValidationError):
        BoxAnswer(**dict(zip(names, edges, strict=True)))


def test_entries_that_were_compared_are_listed_by_id() -> None:
    compared: dict[int, Any] = {9: CopyEvidence(verified=False), 2: CopyEvidence(verified=True)}
    answer = CopiesAnswer.of([], NO_LEADS, [], [], compared)
    assert [each.entry_id for each in answer.compared] == [2, 9]
    assert answer.leads.to_limits() == NO_LEADS
