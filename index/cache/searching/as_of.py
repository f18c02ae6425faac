"""Searching an earlier generation: every member of that generation is compared, from SQL alone.

Nothing is ever deleted from the tables that this reads, so an earlier generation can always be
searched again. The answer is exact. An answer of `index.cache.searching.answering` equals it if
that was exact too; if codes proposed the candidates, this one may contain a nearer neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from index.cache.searching.answering import MAX_CANDIDATES
from index.cache.searching.questions import (
    Question,
    SearchResult,
    neighbour_order,
    neighbours_of,
    order_of,
)
from index.cache.searching.ranking import cosine_similarities
from index.truth.changes import MemberRow, digest_at, members_at
from index.truth.digest import digest_hex
from index.truth.entries import find_entries_ever
from index.truth.filters import Filter, normalise_generators, normalise_labels
from index.truth.free_provenance import provenance_criteria
from index.truth.perceptual import HASH_BYTES, MAX_HAMMING_DISTANCE, PerceptualHash
from index.truth.removal import find_ids_removed_before
from index.truth.schema import corpora, entries, images
from index.truth.statements import is_any, slices
from index.truth.vectors import rows_from_bytes
from index.view_hashes import MAX_CANDIDATE_DISTANCE, Views

CHUNK = 4096


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A selected member: its similarity, whether it is the probe's image, and how many bits of its
    hash and of that of the probe's nearest view differ, None if no view is near.
    """

    entry_id: int
    image_id: int
    similarity: float | None
    identical: bool
    bits: int | None

    @property
    def distance(self) -> int | None:
        """The Hamming distance; None unless they show the same picture."""
        return None if self.bits is None or self.bits > MAX_HAMMING_DISTANCE else self.bits

    @property
    def rank(self) -> tuple[bool, float, int]:
        return not self.identical, -(self.similarity or 0.0), self.entry_id

    @property
    def order(self) -> tuple[bool, float, float, int]:
        return order_of(self.identical, self.distance, self.similarity, self.entry_id)


@dataclass(slots=True)
class _Search:
    """A question, and the best members of the pages read so far."""

    question: Question
    corpus_ids: frozenset[int] | None
    views: Views
    best: list[_Candidate] = field(default_factory=list)
    near_duplicates: list[_Candidate] = field(default_factory=list)
    further: list[_Candidate] = field(default_factory=list)
    proposed: dict[int, _Candidate] = field(default_factory=dict)
    searched: int = 0

    def offer(self, some: Sequence[_Candidate]) -> None:
        self.searched += len(some)
        # A probe without an embedding is near to nothing but its own image.
        ranked = [each for each in some if each.similarity is not None or each.identical]
        self.best = sorted([*self.best, *ranked], key=lambda each: each.rank)[: self.question.k]
        near = [each for each in some if each.bits is not None]
        self.near_duplicates += [each for each in near if each.distance is not None]
        self.further += [each for each in near if each.distance is None]
        ids = {entry_id for entry_id, _ in self.question.candidates}
        self.proposed |= {each.entry_id: each for each in some if each.entry_id in ids}

    def answer(self) -> list[_Candidate]:
        """Return the k nearest, and up to k near duplicates that are not among them."""
        listed = {each.entry_id for each in self.best}
        others = [each for each in self.near_duplicates if each.entry_id not in listed]
        others.sort(key=lambda each: each.order)
        return self.best + others[: self.question.k]

    def list_candidates(self, answer: Sequence[_Candidate]) -> list[_Candidate]:
        """Return the candidates that are not in the answer."""
        listed = {each.entry_id for each in answer}
        others = [each for each in self.further if each.entry_id not in listed]
        others.sort(key=lambda each: (each.bits, each.image_id, each.entry_id))
        first = others[:MAX_CANDIDATES]
        listed |= {each.entry_id for each in first}
        ids = [entry_id for entry_id, _ in self.question.candidates]
        return first + [self.proposed[i] for i in ids if i in self.proposed and i not in listed]


def search_at(
    conn: Connection, space_id: int, generation: int, questions: Sequence[Question]
) -> tuple[SearchResult, ...]:
    """Answer questions about a generation, exactly. The probes are vectors (d,) of norm 1."""
    kinds = {
        row.id: row for row in conn.execute(select(corpora.c.id, corpora.c.name, corpora.c.kind))
    }
    gone = find_ids_removed_before(conn, generation)
    searches = [
        _Search(each, _corpus_ids(each.chosen, kinds, gone), Views(each.probe_hash, each.views))
        for each in questions
    ]
    for rows in members_at(conn, space_id, generation, CHUNK):
        pictures = _read_images(conn, [row.entry_id for row in rows])
        for search in searches:
            search.offer(_compare(conn, search, rows, pictures))
    digest = digest_hex(digest_at(conn, space_id, generation))
    return tuple(_result(conn, search, generation, digest) for search in searches)


def _result(conn: Connection, search: _Search, generation: int, digest: str) -> SearchResult:
    answer = search.answer()
    others = search.list_candidates(answer)
    known = find_entries_ever(conn, [each.entry_id for each in (*answer, *others)])
    neighbours, candidates = (
        neighbours_of(
            [(known[each.entry_id], each.similarity, each.identical) for each in some],
            search.question,
            search.views,
        )
        for some in (answer, others)
    )
    return SearchResult(
        tuple(sorted(neighbours, key=neighbour_order)),
        generation,
        digest,
        exact=True,
        searched=search.searched,
        candidates=tuple(candidates),
    )


def _corpus_ids(
    chosen: Filter, kinds: Mapping[int, Any], gone: frozenset[int]
) -> frozenset[int] | None:
    """Return the corpora that a filter selects, None for all.

    Corpora that were removed since count too: their entries may have been members then. Those in
    `gone` were removed before, though not all of their entries were.
    """
    if chosen.corpora is None and chosen.kind is None and not gone:
        return None
    return frozenset(
        corpus_id
        for corpus_id, row in kinds.items()
        if corpus_id not in gone
        and (chosen.corpora is None or row.name in chosen.corpora)
        and (chosen.kind is None or row.kind == chosen.kind)
    )


def _read_images(conn: Connection, entry_ids: Sequence[int]) -> dict[int, Any]:
    """Return, for each entry, its image's sha256 and hash."""
    found: dict[int, Any] = {}
    for some in slices(entry_ids):
        query = select(
            entries.c.id,
            entries.c.image_id,
            images.c.sha256,
            images.c.pdq_hash,
            images.c.pdq_quality,
        )
        joined = query.join(images, images.c.id == entries.c.image_id).where(
            is_any(conn, entries.c.id, some)
        )
        found |= {row.id: row for row in conn.execute(joined)}
    return found


def _compare(
    conn: Connection, search: _Search, rows: Sequence[MemberRow], pictures: Mapping[int, Any]
) -> list[_Candidate]:
    """Compare the probe with those of the members that the question's filter selects."""
    question = search.question
    rows = [row for row in rows if _is_selected(search, row)]
    if question.chosen.provenance:
        selected = _with_provenance(conn, question.chosen, [row.entry_id for row in rows])
        rows = [row for row in rows if row.entry_id in selected]
    if not rows:
        return []
    similarities: list[float | None] = [None] * len(rows)
    if question.probe is not None:
        vectors: NDArray[np.float32] = rows_from_bytes(
            [bytes(row.vector) for row in rows], len(question.probe)
        )  # (n, d)
        similarities = [*cosine_similarities(vectors, question.probe).tolist()]
    bits = _measure(search.views, [pictures[row.entry_id] for row in rows])
    return [
        _Candidate(
            row.entry_id,
            pictures[row.entry_id].image_id,
            similarity,
            question.probe_sha256 is not None
            and pictures[row.entry_id].sha256 == question.probe_sha256,
            own,
        )
        for row, similarity, own in zip(rows, similarities, bits, strict=True)
    ]


def _is_selected(search: _Search, row: MemberRow) -> bool:
    chosen = search.question.chosen
    generators, labels = normalise_generators(chosen), normalise_labels(chosen)
    return (
        (search.corpus_ids is None or row.corpus_id in search.corpus_ids)
        and (generators is None or row.generator in generators)
        and (labels is None or row.label in labels)
        and _is_acquired_in_time(chosen, row)
    )


def _is_acquired_in_time(chosen: Filter, row: MemberRow) -> bool:
    if chosen.acquired_from is None and chosen.acquired_to is None:
        return True
    at = row.acquired_at
    return (
        at is not None
        and (chosen.acquired_from is None or at >= chosen.acquired_from)
        and (chosen.acquired_to is None or at < chosen.acquired_to)
    )


def _with_provenance(conn: Connection, chosen: Filter, entry_ids: Sequence[int]) -> set[int]:
    criteria = provenance_criteria(
        conn.dialect.name, sorted(chosen.provenance, key=lambda each: each.keys)
    )
    found: set[int] = set()
    for some in slices(entry_ids):
        query = select(entries.c.id).where(is_any(conn, entries.c.id, some), *criteria)
        found.update(conn.execute(query).scalars())
    return found


def _measure(views: Views, pictures: Sequence[Any]) -> list[int | None]:
    """Return how many bits of the hashes of images and of that of the nearest view differ; None
    where none is near.
    """
    measured: list[int | None] = [None] * len(pictures)
    if not len(views):
        return measured
    hashes = {
        row: PerceptualHash(bytes(each.pdq_hash), each.pdq_quality)
        for row, each in enumerate(pictures)
        if each.pdq_hash is not None
    }
    reliable = {row: own.bits for row, own in hashes.items() if own.reliable}
    bits = np.frombuffer(b"".join(reliable.values()), np.uint8).reshape(-1, HASH_BYTES)
    for row, distance in zip(reliable, views.measure(bits).distances.tolist(), strict=True):
        if distance <= MAX_CANDIDATE_DISTANCE:
            measured[row] = distance
    return measured
