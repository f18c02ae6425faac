from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.lookups.answers.copies_json import (
    ComparedAnswer,
    CopiesAnswer,
    LeadLimitsAnswer,
)
from index.copies import (
    NO_LEADS,
    CopyEvidence,
    Correspondence,
    LeadLimits,
)

shares = st.floats(0, 1)
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


def test_entries_that_were_compared_are_listed_by_id() -> None:
    compared: dict[int, Any] = {9: CopyEvidence(verified=False), 2: CopyEvidence(verified=True)}
    answer = CopiesAnswer.of([], NO_LEADS, [], [], compared)
    assert [each.entry_id for each in answer.compared] == [2, 9]
    assert answer.leads.to_limits() == NO_LEADS
