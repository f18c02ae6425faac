"""Searching a view: candidates from each segment, similarities from the stored vectors, entries
from SQL.

Every returned cosine similarity is computed in float64 from stored float32 vectors (`ranking`). If
candidates come from codes, the answer says so and states the recall.

Entries that show the probe's picture by perceptual hash are returned too, however far their
embeddings are: finding a copy that was compressed again is the purpose of a look-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.cache.pictures import (
    NOTHING_NEAR,
    NearImages,
    PictureHashes,
    SamePictures,
    find_live_entries,
)
from index.cache.ranking import Ranking, measure, rank
from index.cache.recall import Tuning
from index.cache.selection import select_parts
from index.cache.view import Part, View
from index.copies import CopyEvidence, ViewHash
from index.errors import InvalidFilter
from index.truth.digest import digest_hex
from index.truth.entries import Entry, find_entries
from index.truth.filters import Filter, select_identical_ids
from index.truth.perceptual import (
    MAX_HAMMING_DISTANCE,
    PerceptualHash,
    hamming_distance,
    near_duplicate,
)
from index.view_hashes import Views, find_evidence

# If the nearest entries were removed by changes that the view does not know yet, the next ones are
# requested, up to this many times.
REMOVAL_ROUNDS = 4
# Entries that a search proposes by hash as edited copies. Geometry looks at 20 at most.
MAX_CANDIDATES = 32
# Images whose entries are read at a time, until there are enough candidates.
IMAGES_AT_ONCE = 64
# Over this cosine similarity two embeddings are those of almost the same pixels, so the entry
# stands before near duplicates by hash, of which some show a face or a scene that only looks alike.
# Of 1,499 pictures of 53 collections, and 8,838 re-encodings of them, no two of different pictures
# came over 0.9994 with the built-in model; 217 re-encodings came over 0.9999 to their own picture,
# which they hardly changed (2026-11-30).
SAME_EMBEDDING = 0.9999


class TooFarBehind(Exception):
    """Too many entries near the probe were removed since the view. Ask a newer view."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry near the probe.

    `cosine_similarity` is in [-1, 1]; higher is nearer. It is None if the probe has no embedding.
    `identical` means equal bytes,
    `near_duplicate` the same picture by perceptual hash. The latter is None if a hash is missing or
    unreliable, and so is `hamming_distance`, in bits from 0 to 256. Both are those of the probe's
    nearest view. `copy` is what shows, or suggests, that the probe is an edited version of the
    entry's picture, None if nothing does.
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

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidFilter("k must be at least 1")
        self.chosen.check()


def search(
    conn: Connection,
    view: View,
    space_id: int | None,
    question: Question,
    pictures: PictureHashes,
    *,
    pending: int = 0,
) -> SearchResult:
    """Answer a question from a view, with a transaction that is `pending` changes ahead of it.

    Raises:
        InvalidFilter, UnknownCorpus, TooFarBehind

    """
    parts: Sequence[Part] = (
        select_parts(conn, space_id, view.parts, question.chosen) if space_id is not None else ()
    )
    identical, near = np.empty(0, np.int64), NOTHING_NEAR
    views = Views(question.probe_hash, question.views)
    if space_id is not None and question.probe_sha256 is not None:
        identical = select_identical_ids(conn, space_id, question.chosen, question.probe_sha256)
    if len(views):
        near = pictures.find(conn, views, view.generation)
    same_picture = find_live_entries(conn, near.same)
    for _ in range(REMOVAL_ROUNDS):
        ranking = _rank(parts, question, identical)
        best = ranking.best + _first_members(parts, same_picture, identical, question, ranking)
        proposed = _propose(conn, parts, near.further, question, {entry_id for entry_id, _ in best})
        wanted = [entry_id for entry_id, _ in (*best, *proposed)]
        found = find_entries(conn, wanted)
        if len(found) == len(wanted):
            break
        # A removal takes effect at its commit, even before the view knows it.
        removed = np.array([entry_id for entry_id in wanted if entry_id not in found], np.int64)
        parts = [part.without(part.segment.find(removed)) for part in parts]
    else:
        raise TooFarBehind
    same = frozenset(identical.tolist())
    neighbours, candidates = (
        [neighbour_of(found[i], similarity, i in same, question, views) for i, similarity in some]
        for some in (best, proposed)
    )
    tuned = view.sealed.tuned
    return SearchResult(
        neighbours=tuple(sorted(neighbours, key=neighbour_order)),
        generation=view.generation,
        digest=digest_hex(view.digest),
        exact=ranking.exact,
        searched=sum(part.count for part in parts),
        tuning=None if ranking.exact or tuned is None else tuned.tuning,
        pending_changes=pending,
        candidates=tuple(candidates),
    )


def _rank(parts: Sequence[Part], question: Question, identical: NDArray[np.int64]) -> Ranking:
    if question.probe is not None:
        return rank(parts, question.probe, question.k, first=identical, exact=question.exact)
    members = [part.segment.ids[part.members_among(part.segment.find(identical))] for part in parts]
    found = sorted(int(each) for some in members for each in some)
    return Ranking(np.array(found[: question.k], np.int64), None, exact=True)


def _first_members(
    parts: Sequence[Part],
    pictures: SamePictures,
    identical: NDArray[np.int64],
    question: Question,
    ranking: Ranking,
) -> list[tuple[int, float | None]]:
    """Return the first k near duplicates that are members and not ranked already, with their
    similarities.
    """
    if not len(pictures.entry_ids):
        return []
    ranked = {entry_id for entry_id, _ in ranking.best}
    bits = dict(zip(pictures.entry_ids.tolist(), pictures.bits.tolist(), strict=True))
    same = frozenset(identical.tolist())
    found = _members_among(parts, pictures.entry_ids, question.probe)
    others = [each for each in found.items() if each[0] not in ranked]
    others.sort(key=lambda each: order_of(each[0] in same, bits[each[0]], each[1], each[0]))
    return others[: question.k]


def _propose(
    conn: Connection,
    parts: Sequence[Part],
    further: NearImages,
    question: Question,
    listed: set[int],
) -> list[tuple[int, float | None]]:
    """Return the candidates that are not listed already, with their similarities; see
    `SearchResult`.
    """
    proposed: dict[int, float | None] = {}
    for start in range(0, len(further.ids), IMAGES_AT_ONCE):
        some = NearImages(*(each[start : start + IMAGES_AT_ONCE] for each in further))
        found = find_live_entries(conn, some).entry_ids
        members = _members_among(parts, found, question.probe)
        proposed |= {i: members[i] for i in found.tolist() if i in members and i not in listed}
        if len(proposed) >= MAX_CANDIDATES:
            break
    first = list(proposed.items())[:MAX_CANDIDATES]
    ids = [entry_id for entry_id, _ in question.candidates]
    members = _members_among(parts, np.array(ids, np.int64), question.probe)
    taken = {*listed, *(entry_id for entry_id, _ in first)}
    return first + [(i, members[i]) for i in ids if i in members and i not in taken]


def _members_among(
    parts: Sequence[Part], entry_ids: NDArray[np.int64], probe: NDArray[np.float32] | None
) -> dict[int, float | None]:
    """Return the similarities of those entries that are members."""
    found: dict[int, float | None] = {}
    for part in parts if len(entry_ids) else ():
        positions = part.members_among(part.segment.find(entry_ids))
        similarities = _measure(part, positions, probe)
        found |= zip(part.segment.ids[positions].tolist(), similarities, strict=True)
    return found


def neighbour_of(
    entry: Entry, similarity: float | None, identical: bool, question: Question, views: Views
) -> Neighbour:
    """Return an entry as a neighbour; its hash is compared with those of the probe's views."""
    own = entry.image.perceptual_hash
    nearest = views.measure_one(own)
    upright = question.probe_hash
    same, bits = near_duplicate(upright, own), None
    if same is not None and upright is not None and own is not None:
        bits = hamming_distance(upright, own)
    if nearest is not None:
        same = same or nearest.bits <= MAX_HAMMING_DISTANCE
        bits = nearest.bits if bits is None else min(bits, nearest.bits)
    evidence = find_evidence(nearest, dict(question.candidates).get(entry.id))
    return Neighbour(entry, similarity, identical, same, bits, evidence)


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


def _measure(
    part: Part, positions: NDArray[np.int64], probe: NDArray[np.float32] | None
) -> list[float | None]:
    """Return the cosine similarities (m,) of the entries at some positions; None without a probe's
    embedding.
    """
    if probe is None:
        return [None] * len(positions)
    return [*measure(part, positions, probe).tolist()]
