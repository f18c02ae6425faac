"""Stored look-ups. Each has a durable id and the exact text of its answer."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select

from index.errors import UnknownLookup
from index.jsontext import JSON, CanonicalText, canonical_json, join_members
from index.truth.schema import embedding_spaces, embeddings, images, lookups
from index.truth.spaces import Space, ensure_space_id
from index.truth.vectors import check_vector, from_bytes, rows_from_bytes, to_bytes

CHUNK = 1024  # answers in memory at a time: some 10 KB each
# What differs between two answers of the same look-up on the same generation: a digest of its
# evidence leaves it out. In the form of pydantic's `exclude`.
NOT_EVIDENCE: Any = {
    "id": True,
    "created_at": True,
    "stored": True,
    "timings": True,
    "evidence_sha256": True,
    "method": {"pending_changes"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """A stored look-up. `request_json` and `answer_json` are canonical JSON, byte for byte as
    stored.

    `probe_vector` (d,) is None in look-ups stored before schema 0004.
    """

    id: str
    created_at: datetime
    space_fingerprint: str
    generation: int
    probe_sha256: str | None
    request_json: str
    answer_json: str
    probe_vector: NDArray[np.float32] | None = None
    calibration_id: int | None = None

    @property
    def request(self) -> JSON:
        return _parse(self.request_json)

    @property
    def answer(self) -> JSON:
        return _parse(self.answer_json)


def take_evidence(answer: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the part of an answer that its digest covers, whatever release wrote it."""
    evidence = {key: value for key, value in answer.items() if NOT_EVIDENCE.get(key) is not True}
    if isinstance(method := evidence.get("method"), Mapping):
        left_out = NOT_EVIDENCE["method"]
        evidence["method"] = {key: method[key] for key in method if key not in left_out}
    return evidence


def digest_evidence(evidence: JSON) -> str:
    """The SHA-256 that two answers share if and only if they say the same."""
    return hashlib.sha256(canonical_json(evidence).encode()).hexdigest()


def seal_answer(answer: Mapping[str, JSON]) -> tuple[str, CanonicalText]:
    """Return the digest of an answer's evidence, and the text to store: the answer as canonical
    JSON, with that digest.

    Each part of the answer is encoded once. Raises ValueError for a number that JSON cannot hold.
    """
    texts = {key: canonical_json(value) for key, value in answer.items()}
    evidence = {key: text for key, text in texts.items() if NOT_EVIDENCE.get(key) is not True}
    evidence["method"] = canonical_json(take_evidence({"method": answer["method"]})["method"])
    digest = hashlib.sha256(join_members(evidence).encode()).hexdigest()
    texts["evidence_sha256"] = canonical_json(digest)
    return digest, CanonicalText(join_members(texts))


def find_wrong_answers(conn: Connection) -> Iterator[tuple[str, str]]:
    """Yield the ids of look-ups whose answers are not what was stored, each with the reason.

    Answers of before schema 0004 state no digest and are only parsed.
    """
    query = select(lookups.c.id, lookups.c.answer).order_by(lookups.c.created_at, lookups.c.id)
    for row in conn.execute(query, execution_options={"yield_per": CHUNK}):
        try:
            answer = _parse(row.answer)
        except ValueError:
            answer = None
        if not isinstance(answer, Mapping):
            yield row.id, "its answer cannot be read"
            continue
        stated = answer.get("evidence_sha256")
        if stated is not None and stated != digest_evidence(take_evidence(answer)):
            yield row.id, "its answer is not the one of which it states the digest"


def new_lookup_id() -> str:
    """Return an id that cannot be guessed (UUID 4). An answer contains it before it is stored."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, eq=False)
class NewLookup:
    """A look-up to be stored. `answer` is its answer, which contains `id`.

    `probe_vector` (d,) is None without an embedding, `calibration_id` where none applied.
    """

    generation: int
    request: JSON
    answer: JSON | CanonicalText
    id: str = field(default_factory=new_lookup_id)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    probe_sha256: str | None = None
    probe_vector: NDArray[np.float32] | None = None
    calibration_id: int | None = None


def save_lookups(
    conn: Connection, space: Space, new: Sequence[NewLookup], space_id: int | None = None
) -> None:
    """Store look-ups of one embedding space.

    Who knows the row id of the space gives it, and saves a statement.

    Raises:
        ForeignSpace
        InvalidVector
        ValueError: a request or answer has a number that JSON cannot hold, such as NaN.

    """
    if space_id is None:
        space_id = ensure_space_id(conn, space)
    rows = [
        {
            "id": each.id,
            "created_at": each.created_at,
            "space_id": space_id,
            "generation": each.generation,
            "probe_sha256": each.probe_sha256,
            "request": canonical_json(each.request),
            "answer": canonical_json(each.answer),
            "probe_vector": None
            if each.probe_vector is None
            else to_bytes(check_vector(each.probe_vector, space.dimension)),
            "calibration_id": each.calibration_id,
        }
        for each in new
    ]
    if rows:
        conn.execute(insert(lookups), rows)


def get_lookup(conn: Connection, lookup_id: str) -> Lookup:
    """Return a stored look-up. Raises UnknownLookup."""
    row = conn.execute(
        select(lookups, embedding_spaces.c.fingerprint)
        .join(embedding_spaces, embedding_spaces.c.id == lookups.c.space_id)
        .where(lookups.c.id == lookup_id)
    ).one_or_none()
    if row is None:
        raise UnknownLookup(lookup_id)
    return Lookup(
        id=row.id,
        created_at=row.created_at,
        space_fingerprint=row.fingerprint,
        generation=row.generation,
        probe_sha256=row.probe_sha256,
        request_json=row.request,
        answer_json=row.answer,
        probe_vector=None if row.probe_vector is None else from_bytes(row.probe_vector),
        calibration_id=row.calibration_id,
    )


def read_recent_probes(
    conn: Connection, space_id: int | None, dimension: int, limit: int
) -> NDArray[np.float32]:
    """Return the embeddings (l, d) of the probes of the latest look-ups in a space.

    Only probes whose image was ingested are among them.
    """
    rows = conn.execute(
        select(embeddings.c.vector)
        .join(images, images.c.id == embeddings.c.image_id)
        .join(lookups, lookups.c.probe_sha256 == images.c.sha256)
        .where(lookups.c.space_id == (space_id or 0), embeddings.c.space_id == (space_id or 0))
        .order_by(lookups.c.created_at.desc())
        .limit(limit)
    )
    return rows_from_bytes([bytes(vector) for vector in rows.scalars()], dimension)


def _parse(text: str) -> JSON:
    value: JSON = json.loads(text)
    return value
