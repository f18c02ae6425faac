"""Verification of candidates by geometry: does the probe show a stored picture, edited?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.lineup import Lineup
from embedder.copies.features import LocalFeatures
from index.cache.searching import Neighbour
from index.copies import CopyEvidence

# The most entries that one look-up verifies.
MAX_CANDIDATES = 20


def verify(
    lineup: Lineup, probe: LocalFeatures | None, candidates: Sequence[Neighbour]
) -> Mapping[int, CopyEvidence]:
    """Compare the probe with candidates, the most likely first; at most `MAX_CANDIDATES` of them.

    Returns by entry id what geometry adds to the candidate's own evidence: `verified` is True with
    a correspondence, False if it did not fit, None if it could not be compared. Without OpenCV or
    without features of the probe, nothing is compared. Never raises for an entry's file.
    """
    return {}
