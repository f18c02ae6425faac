"""The question that a view is asked, its answer, and the order of the neighbours in it.
`index.cache.searching.answering` finds them.

Every returned cosine similarity is computed in float64 from stored float32 vectors
(`index.cache.searching.ranking`). If candidates come from codes, the answer says so and states
the recall.

Entries that show the probe's picture by perceptual hash are returned too, however far their
embeddings are: finding a copy that was compressed again is the purpose of a look-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.cache.plans.recall import Tuning
from index.copies import CopyEvidence, ViewHash
from index.errors import InvalidFilter
from index.truth.entries import Entry
from index.truth.filters import Filter
from index.truth.perceptual import (
    MAX_HAMMING_DISTANCE,
    PerceptualHash,
    hamming_distance,
    near_duplicate,
)
from index.view_hashes import NearestView, Views, find_evidence

# Over this cosine similarity two embeddings are those of almost the same pixels, so the entry
# stands before near duplicates by hash, of which some show a face or a scene that only looks alike.
# Of 1,499 pictures of 53 collections, and 8,838 re-encodings of them, no two of different pictures
# came over 0.9994 with the built-in model; 217 re-encodings came over 0.9999 to their own picture,
# which they hardly changed (2026-11-30).
SAME_EMBEDDING = 0.9999


class Neighbour(NamedTuple):  # not a dataclass: a batch of 1,000 questions makes 10,000 of them
    """An entry near the probe.

    `cosine_similarity` is in [-1, 1]; higher is nearer. It is None if the probe has no embedding.
    `identical` means equal bytes, `near_duplicate` the same picture by perceptual hash. The latter
    is None if a hash is missing or unreliable, and so is `hamming_distance`, in bits from 0 to 256.
    Both are those of the probe's nearest view. `copy` is what shows, or suggests, that the probe is
    an edited version of the entry's picture, None if nothing does.
    """

    entry: Entry
    cosine_similarity: float | None
    identical: bool
    near_duplicate: bool | None = None
    hamming_distance: int | None = None
    copy: CopyEvidence | None = None

    @property
    def nearness(self) -> float:
        """The cosine similarity; without one, less than any other."""
        return -math.inf if self.cosine_similarity is None else self.cosine_similarity


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Neighbours, and what they were chosen from.

    They are the k nearest entries and, in addition, the first k near duplicates of the probe that
    are further away. The order is total (`order_of`): identical entries, then those whose
    embedding is the same but for rounding, then near duplicates by rising Hamming distance, then
    all others; within each group falling similarity, then rising entry id. So the first neighbour
    does not depend on k.

    `generation` and `digest` name the state of the index. `searched` counts the live entries that
    the filter selected. `exact`: none of them is nearer than the neighbours; otherwise `tuning` has
    the recall last measured on this corpus. `pending_changes` counts changes that were committed
    and are not in the view yet; entries that they removed are left out already.

    `candidates` are entries that may be edited copies, and that are not among the neighbours: the
    first `MAX_CANDIDATES` whose hash a view of the probe is near, within `MAX_CANDIDATE_DISTANCE`
    bits and further than near duplicates, nearest first; then those that the question proposes.
    """

    neighbours: tuple[Neighbour, ...]
    generation: int
    digest: str
    exact: bool
    searched: int
    tuning: Tuning | None = None
    pending_changes: int = 0
    candidates: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A probe (d,) float32 of norm 1, digest and hash of its image, and which neighbours are
    wanted. Without an embedding, only the same picture and candidates are found.

    `views` are the hashes of the probe's views. `candidates` are entries that another search
    proposes as copies, with the cosine similarity of the copy descriptors.
    """

    probe: NDArray[np.float32] | None
    k: int
    chosen: Filter
    probe_sha256: str | None = None
    probe_hash: PerceptualHash | None = None
    exact: bool = False
    views: tuple[ViewHash, ...] = ()
    candidates: tuple[tuple[int, float], ...] = ()

    @property
    def asks_nearest_only(self) -> bool:
        """Whether it asks for nothing but the nearest members that columns select, if there is no
        entry with the probe's bytes and no image near it by hash.
        """
        return self.probe is not None and not self.chosen.provenance and not self.candidates

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidFilter("k must be at least 1")
        self.chosen.check()


def neighbours_of(
    found: Sequence[tuple[Entry, float | None, bool]], question: Question, views: Views
) -> list[Neighbour]:
    """Return entries, each with its cosine similarity and whether it is identical, as neighbours.
    Their hashes are compared with those of the probe's views.
    """
    proposed = dict(question.candidates)
    nearest = views.find_nearest([entry.image.perceptual_hash for entry, *_ in found])
    return [
        _neighbour(*each, question.probe_hash, view, proposed.get(each[0].id))
        for each, view in zip(found, nearest, strict=True)
    ]


def _neighbour(
    entry: Entry,
    similarity: float | None,
    identical: bool,
    upright: PerceptualHash | None,
    nearest: NearestView | None,
    described: float | None,
) -> Neighbour:
    own = entry.image.perceptual_hash
    same, bits = near_duplicate(upright, own), None
    if same is not None and upright is not None and own is not None:
        bits = hamming_distance(upright, own)
    if nearest is not None:
        same = same or nearest.bits <= MAX_HAMMING_DISTANCE
        bits = nearest.bits if bits is None else min(bits, nearest.bits)
    return Neighbour(entry, similarity, identical, same, bits, find_evidence(nearest, described))


def neighbour_order(neighbour: Neighbour) -> tuple[bool, float, float, int]:
    """Return the sort key of a neighbour; see `SearchResult`."""
    bits = neighbour.hamming_distance if neighbour.near_duplicate else None
    return order_of(neighbour.identical, bits, neighbour.cosine_similarity, neighbour.entry.id)


def order_of(
    identical: bool, bits: int | None, similarity: float | None, entry_id: int
) -> tuple[bool, float, float, int]:
    """Return the sort key of an entry; see `SearchResult`. `bits` is the Hamming distance of a near
    duplicate, None for another picture.
    """
    nearness = math.inf if bits is None else bits
    if similarity is not None and similarity > SAME_EMBEDDING:
        nearness = 0
    return not identical, nearness, math.inf if similarity is None else -similarity, entry_id
