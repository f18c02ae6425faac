"""What computed an embedding: the device and the precision of the matrix products.

Equal bytes come out almost, not exactly, equal on another device or in another precision. So each
embedding names what computed it; rows of before schema 0007 and most ready embeddings do not.
Owns also which computations the embeddings of a corpus come from, for look-ups.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Join, Row, Table, and_, func, select

from index.errors import InvalidComputation
from index.truth.schema import (
    changes,
    computations,
    corpora,
    corpus_computations,
    embedding_spaces,
    embeddings,
    entries,
    precision_checks,
)
from index.truth.spaces import Space
from index.truth.statements import insert_missing, insert_rows

EXACT = ("cpu", "float32")
DEVICE_PATTERN = re.compile(r"[a-z0-9][a-z0-9:._-]{0,63}")
PRECISION_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class PrecisionCheck(NamedTuple):
    """How far a computation moves the answers of a model, from float32 on a CPU.

    `smallest_cosine` is that of two embeddings of one picture, and `largest_logit_difference` is
    absolute, both the worst of `images` pictures.
    """

    images: int
    smallest_cosine: float
    largest_logit_difference: float


class Computation(NamedTuple):  # not a dataclass: it is hashed for every ready embedding
    """A device, such as `cpu` or `cuda:1`, and the precision of the matrix products on it.

    `check` is what was measured for the embedding space at hand. It is None for float32 on a CPU,
    with which others are compared, and where nobody measured it.
    """

    device: str
    precision: str
    check: PrecisionCheck | None = None

    @property
    def is_exact(self) -> bool:
        """Whether this is what the others are compared with."""
        return (self.device, self.precision) == EXACT

    def validate(self) -> None:
        """Require names that such things have, and figures that can be measured.

        Raises:
            InvalidComputation: a name is empty, too long, or has an unexpected character; a figure
                is impossible.

        """
        if not DEVICE_PATTERN.fullmatch(self.device):
            raise InvalidComputation("a device is 1 to 64 of a-z, 0-9 and :._-")
        if not PRECISION_PATTERN.fullmatch(self.precision):
            raise InvalidComputation("a precision is 1 to 32 of a-z, 0-9 and ._-")
        if self.check is not None and not (
            self.check.images > 0
            and -1.0 <= self.check.smallest_cosine <= 1.0
            and 0.0 <= self.check.largest_logit_difference < math.inf
        ):
            raise InvalidComputation("a precision is checked by a cosine and a finite difference")


def ensure_computation_ids(
    conn: Connection, space_id: int, wanted: Iterable[Computation | None]
) -> Mapping[Computation | None, int | None]:
    """Return the row ids of these computations, registering new ones. None is None: not known.

    The check of a computation is stored for the space, unless one was stored before.

    Raises:
        InvalidComputation

    """
    ids: dict[Computation | None, int | None] = {None: None}
    known = {computation for computation in wanted if computation is not None}
    # By name alone: a check cannot be compared with None.
    for each in sorted(known, key=lambda computation: computation[:2]):
        each.validate()
        found = _find_id(conn, each)
        if found is None:
            row = {"device": each.device, "precision": each.precision}
            insert_missing(conn, computations, [row])
            found = _find_id(conn, each)
        assert found is not None
        if each.check is not None:
            _ensure_check(conn, space_id, found, each.check)
        ids[each] = found
    return ids


def _ensure_check(
    conn: Connection, space_id: int, computation_id: int, check: PrecisionCheck
) -> None:
    stored = select(precision_checks.c.images).where(
        precision_checks.c.space_id == space_id,
        precision_checks.c.computation_id == computation_id,
    )
    if conn.execute(stored).one_or_none() is None:
        row = {"space_id": space_id, "computation_id": computation_id, **check._asdict()}
        insert_missing(conn, precision_checks, [row])


def record_in_corpora(
    conn: Connection, first_numbers: Mapping[tuple[int, int, int | None], int]
) -> None:
    """Record the computations of new members of corpora.

    `first_numbers` maps corpus, space and computation to the number of the first change that added
    such a member. The caller holds the lock of the change log, so nobody else adds the same rows.
    """
    corpus_ids = sorted({corpus_id for corpus_id, *_ in first_numbers})
    known = {
        (row.corpus_id, row.space_id, row.computation_id)
        for row in conn.execute(
            select(corpus_computations).where(corpus_computations.c.corpus_id.in_(corpus_ids))
        )
    }
    rows = [
        {
            "corpus_id": corpus_id,
            "space_id": space_id,
            "computation_id": computation_id,
            "first_generation": number,
        }
        for (corpus_id, space_id, computation_id), number in first_numbers.items()
        if (corpus_id, space_id, computation_id) not in known
    ]
    if rows:
        insert_rows(conn, corpus_computations, rows)


def find_computations(
    conn: Connection, space: Space, generation: int, names: Collection[str] | None
) -> tuple[Computation | None, ...]:
    """Return what computed the embeddings that live corpora had up to a generation, sorted.

    `names` None means all corpora. None, the last in the answer, stands for embeddings of which
    nobody recorded it. Embeddings whose entries were removed since count too.
    """
    query = (
        select(*COMPUTATION_COLUMNS)
        .select_from(with_computation(corpus_computations))
        .join(corpora, corpora.c.id == corpus_computations.c.corpus_id)
        .join(embedding_spaces, embedding_spaces.c.id == corpus_computations.c.space_id)
        .where(
            embedding_spaces.c.fingerprint == space.fingerprint,
            corpus_computations.c.first_generation <= generation,
            corpora.c.removed_at.is_(None),
        )
        .distinct()
    )
    if names is not None:
        query = query.where(corpora.c.name.in_(sorted(names)))
    found = {computation_from_row(row) for row in conn.execute(query)}
    known = sorted(each for each in found if each is not None)
    return (*known, None) if None in found else tuple(known)


def find_unlisted_corpora(conn: Connection) -> list[int]:
    """Return the ids of corpora that do not list what computed one of their embeddings, or list it
    for later generations only.

    Reads the whole log; a check needs it.
    """
    members = (
        select(
            entries.c.corpus_id,
            changes.c.space_id,
            embeddings.c.computation_id,
            func.min(changes.c.number).label("first"),
        )
        .select_from(changes)
        .join(entries, entries.c.id == changes.c.entry_id)
        .join(
            embeddings,
            and_(
                embeddings.c.image_id == entries.c.image_id,
                embeddings.c.space_id == changes.c.space_id,
            ),
        )
        .where(changes.c.kind == "add")
        .group_by(entries.c.corpus_id, changes.c.space_id, embeddings.c.computation_id)
    )
    listed = {
        (row.corpus_id, row.space_id, row.computation_id): row.first_generation
        for row in conn.execute(select(corpus_computations))
    }
    return sorted(
        {
            row.corpus_id
            for row in conn.execute(members)
            if listed.get((row.corpus_id, row.space_id, row.computation_id), row.first + 1)
            > row.first
        }
    )


# What `computation_from_row` reads.
COMPUTATION_COLUMNS = (
    computations.c.device,
    computations.c.precision,
    precision_checks.c.images.label("checked_images"),
    precision_checks.c.smallest_cosine,
    precision_checks.c.largest_logit_difference,
)


def with_computation(table: Table | Join) -> Join:
    """Join rows that have a space and a computation with what `computation_from_row` reads."""
    return table.join(computations, computations.c.id == table.c.computation_id, isouter=True).join(
        precision_checks,
        and_(
            precision_checks.c.space_id == table.c.space_id,
            precision_checks.c.computation_id == table.c.computation_id,
        ),
        isouter=True,
    )


def computation_from_row(row: Row[*tuple[Any, ...]]) -> Computation | None:
    """Return what computed a row that has the `COMPUTATION_COLUMNS`, None if nobody recorded it."""
    if row.device is None:
        return None
    check = None
    if row.checked_images is not None:
        check = PrecisionCheck(
            row.checked_images, row.smallest_cosine, row.largest_logit_difference
        )
    return Computation(row.device, row.precision, check)


def _find_id(conn: Connection, computation: Computation) -> int | None:
    return conn.execute(
        select(computations.c.id).where(
            computations.c.device == computation.device,
            computations.c.precision == computation.precision,
        )
    ).scalar_one_or_none()
