"""Searching an earlier generation: every member of that generation is compared, from SQL alone.

Nothing is ever deleted from the tables that this reads, so an earlier generation can always be
searched again. The answer is exact. An answer of `index.cache.searching` equals it if that was
exact too; if codes proposed the candidates, this one may contain a nearer neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from index.cache.searching import (
    Neighbour,
    Question,
    SearchResult,
    cosine_similarities,
    neighbour_of,
    neighbour_order,
    order_of,
)
from index.truth.changes import MemberRow, digest_at, members_at
from index.truth.digest import digest_hex
from index.truth.entries import find_entries_ever
from index.truth.filters import Filter, normalise_generators, normalise_labels
from index.truth.free_provenance import provenance_criteria
from index.truth.perceptual import MAX_HAMMING_DISTANCE, PerceptualHash, hamming_distance
from index.truth.removal import find_ids_removed_before
from index.truth.schema import corpora, entries, images
from index.truth.statements import is_any, slices
from index.truth.vectors import rows_from_bytes

CHUNK = 4096


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A selected member: its similarity, whether it is the probe's image, and the Hamming distance
    of the hashes, None unless they show the same picture.
    """

    entry_id: int
    similarity: float | None
    identical: bool
    distance: int | None

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
    best: list[_Candidate] = field(default_factory=list)
    near_duplicates: list[_Candidate] = field(default_factory=list)
    searched: int = 0

    def offer(self, some: Sequence[_Candidate]) -> None:
        self.searched += len(some)
        # A probe without an embedding is near to nothing but its own image.
        ranked = [each for each in some if each.similarity is not None or each.identical]
        self.best = sorted([*self.best, *ranked], key=lambda each: each.rank)[: self.question.k]
        self.near_duplicates += [each for each in some if each.distance is not None]

    def answer(self) -> list[_Candidate]:
        """Return the k nearest, and up to k near duplicates that are not among them."""
        listed = {each.entry_id for each in self.best}
        others = [each for each in self.near_duplicates if each.entry_id not in listed]
        others.sort(key=lambda each: each.order)
        return self.best + others[: self.question.k]


def search_at(
    conn: Connection, space_id: int, generation: int, questions: Sequence[Question]
) -> tuple[SearchResult, ...]:
    """Answer questions about a generation, exactly. The probes are vectors (d,) of norm 1."""
    kinds = {
        row.id: row for row in conn.execute(select(corpora.c.id, corpora.c.name, corpora.c.kind))
    }
    gone = find_ids_removed_before(conn, generation)
    searches = [_Search(each, _corpus_ids(each.chosen, kinds, gone)) for each in questions]
    for rows in members_at(conn, space_id, generation, CHUNK):
        pictures = _read_images(conn, [row.entry_id for row in rows])
        for search in searches:
            search.offer(_compare(conn, search, rows, pictures))
    digest = digest_hex(digest_at(conn, space_id, generation))
    return tuple(_result(conn, search, generation, digest) for search in searches)


def _result(conn: Connection, search: _Search, generation: int, digest: str) -> SearchResult:
    answer = search.answer()
    known = find_entries_ever(conn, [each.entry_id for each in answer])
    neighbours: list[Neighbour] = [
        neighbour_of(
            known[each.entry_id], each.similarity, each.identical, search.question.probe_hash
        )
        for each in answer
    ]
    ordered = tuple(sorted(neighbours, key=neighbour_order))
    return SearchResult(ordered, generation, digest, exact=True, searched=search.searched)


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
    return [
        _Candidate(
            row.entry_id,
            similarity,
            question.probe_sha256 is not None
            and pictures[row.entry_id].sha256 == question.probe_sha256,
            _distance(question.probe_hash, pictures[row.entry_id]),
        )
        for row, similarity in zip(rows, similarities, strict=True)
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


def _distance(probe: PerceptualHash | None, image: Any) -> int | None:  # noqa: ANN401 -- a row of images
    """Return the Hamming distance if both hashes are reliable and show the same picture."""
    if probe is None or image.pdq_hash is None or not probe.reliable:
        return None
    own = PerceptualHash(bytes(image.pdq_hash), image.pdq_quality)
    distance = hamming_distance(probe, own)
    return distance if own.reliable and distance <= MAX_HAMMING_DISTANCE else None
