"""Views are read as they were written, and parts that are none are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.lookups.views_json import BoxAnswer, ViewHashAnswer
from index.copies import Box, Symmetry, View, ViewHash
from index.truth.perceptual import PerceptualHash

boxes = st.none() | st.lists(st.integers(0, 64), min_size=4, max_size=4, unique=True).map(
    lambda some: Box(min(some[:2]) / 64, min(some[2:]) / 64, max(some[:2]) / 64, max(some[2:]) / 64)
)
views = st.builds(View, st.sampled_from(Symmetry), boxes, boxes)
hashes = st.builds(PerceptualHash, st.binary(min_size=32, max_size=32), st.integers(0, 100))


@given(st.builds(ViewHash, views, hashes))
def test_the_hash_of_a_view_is_read_as_it_was_written(hashed: ViewHash) -> None:
    written = ViewHashAnswer.of(hashed).model_dump_json()
    assert ViewHashAnswer.model_validate_json(written).to_view_hash() == hashed


@pytest.mark.parametrize(
    "edges", [(0.5, 0, 0.5, 1), (0.6, 0, 0.4, 1), (0, 1, 1, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1)]
)
def test_a_part_without_an_area_is_refused(edges: tuple[float, ...]) -> None:
    names = ("left", "top", "right", "bottom")
    with pytest.raises(ValidationError):
        BoxAnswer(**dict(zip(names, edges, strict=True)))
