from __future__ import annotations

from typing import Any

import pytest

from index.copies import NO_LEADS, CopyEvidence, LeadLimits, View
from index.leads import is_edited_copy, is_lead, is_same_picture
from tests.index.assessing import neighbour, verified

LIMITS = LeadLimits(most_bits=44, least_similarity=0.6, least_refuted_similarity=0.8, source="test")


def hashed(bits: int, **more: Any) -> CopyEvidence:
    return CopyEvidence(view=View(), hamming_distance=bits, **more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, False),
        (CopyEvidence(), False),
        (hashed(44), True),
        (hashed(46), False),
        (hashed(40, verified=False), False),  # geometry refutes what a hash suggests
        (CopyEvidence(descriptor_similarity=0.6), True),
        (CopyEvidence(descriptor_similarity=0.59), False),
        (CopyEvidence(descriptor_similarity=0.79, verified=False), False),
        (CopyEvidence(descriptor_similarity=0.8, verified=False), True),
        (hashed(60, descriptor_similarity=0.7), True),
        (verified(descriptor_similarity=0.9), False),  # more than a lead
    ],
)
def test_a_lead_is_near_by_hash_or_by_descriptor(
    found: CopyEvidence | None, expected: bool
) -> None:
    assert is_lead(neighbour(1, 0.1, copy=found), LIMITS) is expected


def test_where_no_limit_was_measured_nothing_is_a_lead() -> None:
    for found in (hashed(32), CopyEvidence(descriptor_similarity=1.0)):
        assert not is_lead(neighbour(1, 0.1, copy=found), NO_LEADS)


def test_the_same_picture_is_no_lead() -> None:
    near = hashed(40)
    for same in (
        neighbour(1, 0.1, identical=True, copy=near),
        neighbour(1, 0.1, near_duplicate=True, copy=near),
        neighbour(1, 0.1, copy=verified()),
    ):
        assert is_same_picture(same)
        assert not is_lead(same, LIMITS)
    assert is_edited_copy(neighbour(1, 0.1, copy=verified()))
    for other in (None, near, CopyEvidence(verified=False)):
        assert not is_edited_copy(neighbour(1, 0.1, copy=other))
        assert not is_same_picture(neighbour(1, 0.1, copy=other))
