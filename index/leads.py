"""Leads: when an entry that geometry did not verify is perhaps a version of the probe's picture.

A lead is not evidence of a copy. It says where to look. It comes from a perceptual hash that is
further away than those of near duplicates, or from a copy descriptor. Where geometry compared the
two pictures and found no transform, the lead of a hash is refuted; that of a descriptor stands only
if it is strong, because some edits leave no keypoints. The limits are chosen in `index.policy`.
"""

from __future__ import annotations

from index.cache.searching.questions import Neighbour
from index.copies import CopyEvidence, LeadLimits


def is_edited_copy(neighbour: Neighbour) -> bool:
    """Return whether geometry verified that the probe and the entry show the same picture."""
    return neighbour.copy is not None and neighbour.copy.verified is True


def is_same_picture(neighbour: Neighbour) -> bool:
    """Return whether the entry is the probe's picture: by its bytes, its hash or geometry."""
    return neighbour.identical or neighbour.near_duplicate is True or is_edited_copy(neighbour)


def is_lead(neighbour: Neighbour, limits: LeadLimits) -> bool:
    """Return whether the entry is perhaps a version of the probe's picture, and not surely one."""
    if neighbour.copy is None or is_same_picture(neighbour):
        return False
    return _is_lead_by_hash(neighbour.copy, limits) or _is_lead_by_descriptor(
        neighbour.copy, limits
    )


def _is_lead_by_hash(found: CopyEvidence, limits: LeadLimits) -> bool:
    bits = found.hamming_distance
    return found.verified is None and bits is not None and bits <= limits.most_bits


def _is_lead_by_descriptor(found: CopyEvidence, limits: LeadLimits) -> bool:
    is_refuted = found.verified is False
    least = limits.least_refuted_similarity if is_refuted else limits.least_similarity
    similarity = found.descriptor_similarity
    return similarity is not None and least is not None and similarity >= least
