"""Calibrations as rows. A calibration never changes; a later one is a new row.

Owns also the embeddings of reference images after each kind of delivery, which calibrations are
measured on. What a calibration's document means is the topic of `index.calibration`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, insert, select

from index.errors import TruthDamaged, UnknownCalibration
from index.jsontext import JSON, canonical_json
from index.truth.changes import record_amendment
from index.truth.computations import (
    COMPUTATION_COLUMNS,
    Computation,
    computation_from_row,
    ensure_computation_ids,
    with_computation,
)
from index.truth.jobs.job import lock_job
from index.truth.schema import (
    LARGEST_ID,
    calibrations,
    embedding_spaces,
    reference_embeddings,
)
from index.truth.spaces import Space, ensure_space_id, find_space_id, lock_space
from index.truth.statements import insert_missing, is_any, slices
from index.truth.vectors import rows_from_bytes, to_bytes


@dataclass(frozen=True, slots=True)
class ShippedReference:
    """The photographs that came with the model, as a calibration used them.

    `name` is shown beside the names of corpora; it contains spaces, so no corpus can have it.
    `sha256` is that of the file with their vectors.
    """

    name: str
    sha256: str
    photographs: int


@dataclass(frozen=True, slots=True)
class CalibrationScope:
    """What a calibration was asked for, and the corpora that it measured.

    `against` are corpora of known fakes, `reference` those of known-real images, each by name with
    its row ids beside it. `asked` is the request, in which corpora may be left open.
    `job_id` is None where no job measured it. `shipped` are the photographs that came with the
    model, None if none were used. A provisional calibration rests on them, or nearly so.
    """

    asked: Mapping[str, Any]
    against: tuple[str, ...] = ()
    against_ids: tuple[int, ...] = ()
    reference: tuple[str, ...] = ()
    reference_ids: tuple[int, ...] = ()
    job_id: int | None = None
    shipped: ShippedReference | None = None
    is_provisional: bool = False

    @property
    def reference_names(self) -> tuple[str, ...]:
        """The names of the corpora of known-real images, and of what came with the model."""
        return self.reference if self.shipped is None else (*self.reference, self.shipped.name)

    def to_json(self) -> dict[str, Any]:
        """As it is stored, and as the API shows it."""
        return {
            "asked": dict(self.asked),
            "against": list(self.against),
            "against_ids": list(self.against_ids),
            "reference": list(self.reference),
            "reference_ids": list(self.reference_ids),
            "job": self.job_id,
            "shipped": None if self.shipped is None else asdict(self.shipped),
            "provisional": self.is_provisional,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote, in this release or an earlier one.

        Raises KeyError, TypeError where it is something else.
        """
        shipped = stored.get("shipped")
        return cls(
            asked=stored["asked"],
            against=tuple(stored["against"]),
            against_ids=tuple(stored["against_ids"]),
            reference=tuple(stored["reference"]),
            reference_ids=tuple(stored["reference_ids"]),
            job_id=stored["job"],
            shipped=None if shipped is None else ShippedReference(**shipped),
            is_provisional=stored.get("provisional", False),
        )


@dataclass(frozen=True, slots=True)
class CalibrationHead:
    """A calibration without its document, which is large."""

    id: int
    generation: int
    created_at: datetime
    scope: CalibrationScope


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """A calibration as stored. `document_json` is what was measured, as canonical JSON.

    `computation` is what embedded its reference images after each kind of delivery, and None if
    nobody recorded it.
    """

    id: int
    space_fingerprint: str
    generation: int
    created_at: datetime
    scope: CalibrationScope
    document_json: str
    computation: Computation | None = None

    @property
    def document(self) -> Mapping[str, Any]:
        document: Mapping[str, Any] = json.loads(self.document_json)
        return document


@dataclass(frozen=True, slots=True, eq=False)
class DeliveredEmbeddings:
    """Embeddings of images under one condition: image ids (n,), vectors (n, d) float32, logits (n,)
    float64.
    """

    image_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]


def save_calibration(
    conn: Connection,
    space: Space,
    generation: int,
    scope: CalibrationScope,
    document: JSON,
    computation: Computation | None = None,
) -> int:
    """Store a calibration and return its id.

    Raises ForeignSpace, InvalidComputation; ValueError for a number that JSON cannot hold.
    """
    text = canonical_json(document)
    space_id = ensure_space_id(conn, space)
    row = {
        "space_id": space_id,
        "generation": generation,
        "created_at": datetime.now(UTC),
        "request": canonical_json(scope.to_json()),
        "document": text,
        "document_sha256": _sha256(text),
        "job_id": scope.job_id,
        "computation_id": ensure_computation_ids(conn, space_id, [computation])[computation],
        "provisional": scope.is_provisional,
    }
    calibration_id: int = conn.execute(
        insert(calibrations).returning(calibrations.c.id), row
    ).scalar_one()
    record_amendment(conn)
    return calibration_id


def save_calibration_of_job(
    conn: Connection,
    space: Space,
    generation: int,
    scope: CalibrationScope,
    document: JSON,
    computation: Computation | None = None,
) -> int:
    """Store the calibration of the job that the scope names; return its id.

    A job has one calibration: if another worker has stored one, its id is returned. Raises like
    `save_calibration`.
    """
    assert scope.job_id is not None
    lock_job(conn, scope.job_id)  # on PostgreSQL a second writer sees the first only after it
    stored = find_calibration_of_job(conn, scope.job_id)
    if stored is not None:
        return stored.id
    return save_calibration(conn, space, generation, scope, document, computation)


def save_calibration_after(
    conn: Connection,
    space: Space,
    last_id: int | None,
    generation: int,
    scope: CalibrationScope,
    document: JSON,
    computation: Computation | None = None,
) -> int:
    """Store a calibration unless a later one than `last_id` was stored; return the latest id.

    `last_id` is the latest of the space when this one was measured, None without any. So of two
    processes that measure the same, one stores it. Raises like `save_calibration`.
    """
    lock_space(conn, space)
    heads = list_calibration_heads(conn, space, 1)
    if heads and heads[0].id != last_id:
        return heads[0].id
    return save_calibration(conn, space, generation, scope, document, computation)


def get_calibration(conn: Connection, calibration_id: int) -> StoredCalibration:
    """Return a calibration.

    Raises:
        UnknownCalibration
        TruthDamaged: its document is not the one that was stored.

    """
    found = None
    if 0 < calibration_id <= LARGEST_ID:
        found = conn.execute(_CALIBRATIONS.where(calibrations.c.id == calibration_id)).one_or_none()
    if found is None:
        raise UnknownCalibration(calibration_id)
    return _read_row(found)


def find_calibration_of_job(conn: Connection, job_id: int) -> StoredCalibration | None:
    """Return the calibration that a job measured, None if it has measured none.

    Raises TruthDamaged.
    """
    query = _CALIBRATIONS.where(calibrations.c.job_id == job_id).order_by(calibrations.c.id.desc())
    found = conn.execute(query.limit(1)).one_or_none()
    return None if found is None else _read_row(found)


def list_calibration_heads(
    conn: Connection,
    space: Space,
    limit: int,
    *,
    provisional: bool | None = None,
    by_job: bool = False,
) -> tuple[CalibrationHead, ...]:
    """Return the latest calibrations of a space without their documents, the newest first.

    `provisional`: only those that are, or are not; None for both. `by_job`: only those that
    somebody asked for. Raises TruthDamaged.
    """
    columns = (
        calibrations.c.id,
        calibrations.c.generation,
        calibrations.c.created_at,
        calibrations.c.request,
    )
    query = select(*columns).where(calibrations.c.space_id == (find_space_id(conn, space) or 0))
    if provisional is not None:
        query = query.where(calibrations.c.provisional == provisional)
    if by_job:
        query = query.where(calibrations.c.job_id.is_not(None))
    rows = conn.execute(query.order_by(calibrations.c.id.desc()).limit(limit))
    return tuple(
        CalibrationHead(row.id, row.generation, row.created_at, _read_scope(row.id, row.request))
        for row in rows
    )


def list_calibrations(
    conn: Connection, before: int | None = None, limit: int = 100
) -> tuple[StoredCalibration, ...]:
    """Return calibrations of all spaces, the newest first, starting before an id.

    Raises TruthDamaged.
    """
    query = _CALIBRATIONS.order_by(calibrations.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(calibrations.c.id < min(before, LARGEST_ID))
    return tuple(_read_row(row) for row in conn.execute(query))


def find_wrong_calibrations(conn: Connection) -> Iterator[int]:
    """Yield the ids of calibrations whose documents have changed since they were stored."""
    query = select(calibrations.c.id, calibrations.c.document, calibrations.c.document_sha256)
    for row in conn.execute(query.order_by(calibrations.c.id)):
        if _sha256(row.document) != row.document_sha256:
            yield row.id


def add_delivered(
    conn: Connection,
    space: Space,
    new: Sequence[tuple[int, str, NDArray[np.float32], float]],
    computation: Computation | None = None,
) -> frozenset[tuple[int, str]]:
    """Store (image id, condition, vector (d,), logit), all computed in one way; return the pairs
    that were not there before.

    Raises ForeignSpace, InvalidComputation.
    """
    ordered = sorted(new, key=lambda each: each[:2])
    columns: dict[str, list[Any]] = {
        "image_id": [image_id for image_id, *_ in ordered],
        "condition": [condition for _, condition, *_ in ordered],
        "vector": [to_bytes(vector) for _, _, vector, _ in ordered],
        "logit": [logit for *_, logit in ordered],
    }
    pair = (reference_embeddings.c.image_id, reference_embeddings.c.condition)
    space_id = ensure_space_id(conn, space)
    computation_id = ensure_computation_ids(conn, space_id, [computation])[computation]
    inserted = insert_missing(
        conn,
        reference_embeddings,
        columns,
        *pair,
        space_id=space_id,
        computation_id=computation_id,
    )
    if computation is not None and computation.check is not None:
        record_amendment(conn)  # the check may be new
    return frozenset((image_id, condition) for image_id, condition in inserted)


def find_missing_deliveries(
    conn: Connection, space: Space, image_ids: Sequence[int], conditions: Sequence[str]
) -> list[tuple[int, list[str]]]:
    """Return, of these images, those that are not embedded under all conditions, each with what is
    missing.
    """
    there: dict[int, set[str]] = {}
    for some in slices(sorted(set(image_ids))):
        query = select(reference_embeddings.c.image_id, reference_embeddings.c.condition)
        for image_id, condition in conn.execute(
            query.where(
                reference_embeddings.c.space_id == (find_space_id(conn, space) or 0),
                is_any(conn, reference_embeddings.c.image_id, some),
            )
        ):
            there.setdefault(image_id, set()).add(condition)
    lacking = (
        (image_id, [each for each in conditions if each not in there.get(image_id, ())])
        for image_id in dict.fromkeys(image_ids)
    )
    return [(image_id, missing) for image_id, missing in lacking if missing]


def read_delivered_embeddings(
    conn: Connection, space: Space, condition: str, image_ids: Sequence[int]
) -> DeliveredEmbeddings:
    """Return those of these images that were embedded under a condition, by rising id."""
    rows: list[Any] = []
    for some in slices(sorted(image_ids)):
        query = select(
            reference_embeddings.c.image_id,
            reference_embeddings.c.vector,
            reference_embeddings.c.logit,
        )
        rows += conn.execute(
            query.where(
                reference_embeddings.c.space_id == (find_space_id(conn, space) or 0),
                reference_embeddings.c.condition == condition,
                is_any(conn, reference_embeddings.c.image_id, some),
            ).order_by(reference_embeddings.c.image_id)
        ).all()
    return DeliveredEmbeddings(
        np.array([row.image_id for row in rows], np.int64),
        rows_from_bytes([bytes(row.vector) for row in rows], space.dimension),
        np.array([row.logit for row in rows], np.float64),
    )


_CALIBRATIONS: Select[Any] = (
    select(calibrations, embedding_spaces.c.fingerprint, *COMPUTATION_COLUMNS)
    .select_from(with_computation(calibrations))
    .join(embedding_spaces, embedding_spaces.c.id == calibrations.c.space_id)
)


def _read_row(row: Row[Any]) -> StoredCalibration:
    if _sha256(row.document) != row.document_sha256:
        raise TruthDamaged(f"calibration {row.id} is not what was stored")
    return StoredCalibration(
        row.id,
        row.fingerprint,
        row.generation,
        row.created_at,
        _read_scope(row.id, row.request),
        row.document,
        computation_from_row(row),
    )


def _read_scope(calibration_id: int, request: str) -> CalibrationScope:
    try:
        return CalibrationScope.from_json(json.loads(request))
    except (KeyError, TypeError, ValueError) as err:
        raise TruthDamaged(
            f"what calibration {calibration_id} was asked for cannot be read"
        ) from err


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
