"""What computed an embedding: the device and the precision of the matrix products.

Equal bytes come out almost, not exactly, equal on another device or in another precision. So each
embedding names what computed it; rows of before schema 0007 and most ready embeddings do not.
Owns also which computations the embeddings of a corpus come from, for look-ups.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select

from index.errors import InvalidComputation
from index.truth.schema import (
    changes,
    computations,
    corpora,
    corpus_computations,
    embeddings,
    entries,
)
from index.truth.statements import insert_missing, insert_rows

DEVICE_PATTERN = re.compile(r"[a-z0-9][a-z0-9:._-]{0,63}")
PRECISION_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Computation(NamedTuple):  # not a dataclass: it is hashed for every ready embedding
    """A device, such as `cpu` or `cuda:1`, and the precision of the matrix products on it."""

    device: str
    precision: str

    def check(self) -> None:
        """Require names that such things have.

        Raises:
            InvalidComputation: a name is empty, too long, or has an unexpected character.

        """
        if not DEVICE_PATTERN.fullmatch(self.device):
            raise InvalidComputation("a device is 1 to 64 of a-z, 0-9 and :._-")
        if not PRECISION_PATTERN.fullmatch(self.precision):
            raise InvalidComputation("a precision is 1 to 32 of a-z, 0-9 and ._-")


def ensure_computation_ids(
    conn: Connection, wanted: Iterable[Computation | None]
) -> Mapping[Computation | None, int | None]:
    """Return the row ids of these computations, registering new ones. None is None: not known.

    Raises:
        InvalidComputation

    """
    ids: dict[Computation | None, int | None] = {None: None}
    for each in sorted({computation for computation in wanted if computation is not None}):
        each.check()
        found = _find_id(conn, each)
        if found is None:
            row = {"device": each.device, "precision": each.precision}
            insert_missing(conn, computations, [row])
            found = _find_id(conn, each)
        ids[each] = found
    return ids


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
    conn: Connection, space_id: int | None, generation: int, names: Collection[str] | None
) -> tuple[Computation | None, ...]:
    """Return what computed the embeddings that live corpora had up to a generation, sorted.

    `names` None means all corpora. None, the last in the answer, stands for embeddings of which
    nobody recorded it. Embeddings whose entries were removed since count too.
    """
    query = (
        select(computations.c.device, computations.c.precision)
        .select_from(corpus_computations)
        .join(corpora, corpora.c.id == corpus_computations.c.corpus_id)
        .join(computations, computations.c.id == corpus_computations.c.computation_id, isouter=True)
        .where(
            corpus_computations.c.space_id == (space_id or 0),
            corpus_computations.c.first_generation <= generation,
            corpora.c.removed_at.is_(None),
        )
        .distinct()
    )
    if names is not None:
        query = query.where(corpora.c.name.in_(sorted(names)))
    found = {computation_from_columns(*row) for row in conn.execute(query)}
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


def computation_from_columns(device: str | None, precision: str | None) -> Computation | None:
    """Return the computation of a row that was joined with `computations`, None if it has none."""
    return None if device is None or precision is None else Computation(device, precision)


def _find_id(conn: Connection, computation: Computation) -> int | None:
    return conn.execute(
        select(computations.c.id).where(
            computations.c.device == computation.device,
            computations.c.precision == computation.precision,
        )
    ).scalar_one_or_none()
