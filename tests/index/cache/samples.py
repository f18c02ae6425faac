"""Small random rows, facts and members for the tests of the cache, reproducible from a seed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from index.cache.segments.facts import FACTS, Words, facts_of
from index.cache.segments.growing import GrowingSegment
from index.cache.segments.sealed import SealedSegment
from index.cache.vectors.rows import HeldRows
from index.truth.changes import MemberRow
from index.truth.vectors import to_bytes

DIMENSION = 6
GENERATORS = [None, "sdxl", "flux.1", "stylegan2"]
LABELS = [None, "portrait"]


def unit_rows(n: int, dimension: int = DIMENSION, seed: int = 0) -> Any:
    """Vectors (n, d) of norm 1 without equal similarities."""
    rows = np.random.default_rng(seed).standard_normal((n, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered_rows(n: int, dimension: int = 16, seed: int = 0, centres: int = 20) -> Any:
    """Vectors around a few centres, as embeddings are."""
    middle = np.random.default_rng(99).standard_normal((centres, dimension))
    random = np.random.default_rng(seed)
    rows = middle[random.integers(0, centres, n)] + 0.4 * random.standard_normal((n, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def facts_with_ids(ids: Any) -> Any:
    facts = np.zeros(len(ids), FACTS)
    facts["id"] = ids
    return facts


def sealed_of(rows: Any, ids: Any = None) -> SealedSegment:
    ids = np.arange(1, len(rows) + 1) if ids is None else ids
    return SealedSegment(HeldRows(rows), facts_with_ids(ids), Words())


def growing_of(rows: Any, ids: Any = None) -> GrowingSegment:
    ids = np.arange(1, len(rows) + 1) if ids is None else ids
    return GrowingSegment.empty(rows.shape[1], Words()).append(facts_with_ids(ids), rows)


def member(entry_id: int, dimension: int = DIMENSION) -> MemberRow:
    """A member whose vector and facts follow from its id."""
    (vector,) = unit_rows(1, dimension, seed=entry_id)
    acquired = None if entry_id % 5 == 0 else datetime(2026, 1, 1 + entry_id % 28, tzinfo=UTC)
    return MemberRow(
        entry_id,
        to_bytes(vector),
        1 + entry_id % 3,
        GENERATORS[entry_id % len(GENERATORS)],
        LABELS[entry_id % len(LABELS)],
        acquired,
    )


def sealed_members(ids: Any, dimension: int = DIMENSION) -> SealedSegment:
    """A sealed segment of members with facts and words."""
    words, rows = Words(), [member(i, dimension) for i in ids]
    vectors = np.array([np.frombuffer(row.vector, "<f4") for row in rows], np.float32)
    return SealedSegment(HeldRows(vectors.reshape(-1, dimension)), facts_of(rows, words), words)
