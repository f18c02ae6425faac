"""The entries that a search found near a probe: the known fakes and the known-real images.

Owns in which order neighbours stand once copies are known, and which candidates join them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from index.cache.searching.questions import Neighbour, SearchResult, neighbour_order
from index.copies import CopyEvidence, LeadLimits
from index.leads import is_edited_copy, is_lead, is_same_picture
from index.truth.corpora import CorpusKind


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The known fakes and the known-real images that a search found near a probe.

    The other fields follow from these two, and are computed when the object is made.
    `nearest_other_real` is the nearest known-real image that is another picture than the probe: a
    calibration compares other pictures too. `identical_to` and `same_picture_as` are the kinds of
    corpora that hold the probe's bytes, or its picture by perceptual hash; `edited_copy_of` those
    that hold a version of it, verified by local features.
    """

    fakes: tuple[Neighbour, ...]
    reals: tuple[Neighbour, ...]
    nearest_fake: Neighbour | None = field(init=False)
    nearest_real: Neighbour | None = field(init=False)
    nearest_other_real: Neighbour | None = field(init=False)
    identical_to: frozenset[CorpusKind] = field(init=False)
    same_picture_as: frozenset[CorpusKind] = field(init=False)
    edited_copy_of: frozenset[CorpusKind] = field(init=False)

    def __post_init__(self) -> None:
        found = (*self.fakes, *self.reals)
        derived = {
            "nearest_fake": find_nearest(self.fakes),
            "nearest_real": find_nearest(self.reals),
            "nearest_other_real": find_nearest(
                [each for each in self.reals if not is_same_picture(each)]
            ),
            "identical_to": frozenset(each.entry.kind for each in found if each.identical),
            "same_picture_as": frozenset(each.entry.kind for each in found if each.near_duplicate),
            "edited_copy_of": frozenset(each.entry.kind for each in found if is_edited_copy(each)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


def find_nearest(neighbours: Sequence[Neighbour]) -> Neighbour | None:
    """Return the most similar neighbour, the first of equal ones; copies may stand before it. None
    if there is none, or if the probe has no embedding.
    """
    measured = (each for each in neighbours if each.cosine_similarity is not None)
    return max(measured, key=lambda each: each.nearness, default=None)


def join_candidates(
    found: SearchResult,
    compared: Mapping[int, CopyEvidence],
    limits: LeadLimits,
    most_leads: int,
) -> SearchResult:
    """Return a result whose neighbours have what geometry found, by entry id, and with them those
    candidates that are copies, and the first leads among the others.

    The order is total: as the search has it for identical entries and near duplicates, then
    verified copies by falling number of inliers, then leads, then all others.
    """
    if not (compared or found.candidates or any(each.copy for each in found.neighbours)):
        return found
    listed = [_add_evidence(each, compared) for each in found.neighbours]
    ids = {each.entry.id for each in listed}
    others = [
        _add_evidence(each, compared) for each in found.candidates if each.entry.id not in ids
    ]
    listed += [each for each in others if is_same_picture(each)]
    leads = [each for each in others if is_lead(each, limits)]
    listed += sorted(leads, key=lambda each: _order(each, limits))[:most_leads]
    ordered = tuple(sorted(listed, key=lambda each: _order(each, limits)))
    return replace(found, neighbours=ordered, candidates=())


def _add_evidence(neighbour: Neighbour, compared: Mapping[int, CopyEvidence]) -> Neighbour:
    found = compared.get(neighbour.entry.id)
    if found is None or (found.verified is None and found.descriptor_similarity is None):
        return neighbour
    own = neighbour.copy or CopyEvidence()
    evidence = replace(
        own,
        descriptor_similarity=own.descriptor_similarity or found.descriptor_similarity,
        verified=found.verified,
        correspondence=found.correspondence,
        false_match_probability=found.false_match_probability,
    )
    return neighbour._replace(copy=evidence)


def _order(neighbour: Neighbour, limits: LeadLimits) -> tuple[bool, int, float, float, int]:
    """Return the sort key of a neighbour; see `join_candidates`."""
    other_file, nearness, similarity, entry_id = neighbour_order(neighbour)
    if math.isfinite(nearness):
        return other_file, 0, nearness, similarity, entry_id
    found = neighbour.copy
    if found is not None and found.correspondence is not None and is_edited_copy(neighbour):
        return other_file, 1, -found.correspondence.inliers, similarity, entry_id
    if found is not None and is_lead(neighbour, limits):
        bits = math.inf if found.hamming_distance is None else found.hamming_distance
        described = found.descriptor_similarity
        # What a descriptor finds is a copy more often than what a far hash finds.
        strength = bits if described is None else -described
        return other_file, 2, strength, similarity, entry_id
    return other_file, 3, 0, similarity, entry_id
