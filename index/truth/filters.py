"""Filters: which live entries a search may return.

SQL evaluates them, so their meaning always follows the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, select

from index.errors import InvalidFilter, InvalidProvenance
from index.truth.corpora import CorpusKind, find_corpus_ids
from index.truth.free_provenance import ProvenanceIs, provenance_criteria
from index.truth.provenance import normalise_generator, storable_text
from index.truth.schema import corpora, embeddings, entries


@dataclass(frozen=True, slots=True)
class Filter:
    """Criteria that must all hold. None turns a criterion off; an empty set selects nothing.

    Generators are compared in normalised form. `acquired_from` and `acquired_to` are instants with
    a time zone; `acquired_from` is included, `acquired_to` is not.
    """

    corpora: frozenset[str] | None = None
    kind: CorpusKind | None = None
    generators: frozenset[str] | None = None
    labels: frozenset[str] | None = None
    acquired_from: datetime | None = None
    acquired_to: datetime | None = None
    provenance: frozenset[ProvenanceIs] = frozenset()

    @property
    def selects_all(self) -> bool:
        """Whether the filter selects every entry."""
        return self == EVERYTHING

    def check(self) -> None:
        """Require values that can select something.

        Raises:
            InvalidFilter: a date has no time zone, a range ends before it begins, or the databases
                cannot store a text.

        """
        for instant in (self.acquired_from, self.acquired_to):
            if instant is not None and instant.tzinfo is None:
                raise InvalidFilter("a date in a filter has no time zone")
        if self.acquired_from and self.acquired_to and self.acquired_from > self.acquired_to:
            raise InvalidFilter("acquired_from is later than acquired_to")
        normalise_generators(self)
        normalise_labels(self)


EVERYTHING = Filter()


def select_ids(conn: Connection, space_id: int, chosen: Filter) -> NDArray[np.int64]:
    """Return the ids of the live entries of a space that a filter selects, ascending.

    Raises:
        InvalidFilter: the filter has an impossible value.
        UnknownCorpus: the filter names an unknown corpus; an empty result would hide the mistake.

    """
    chosen.check()
    query = _live_in(space_id).where(*_criteria(conn, chosen)).order_by(entries.c.id)
    return np.fromiter(conn.execute(query).scalars(), dtype=np.int64)


def normalise_generators(chosen: Filter) -> list[str] | None:
    """Return the generators in their stored form, or None if every generator is selected.

    Raises:
        InvalidFilter: the databases cannot store a name.

    """
    return None if chosen.generators is None else _normalise(chosen.generators, normalise_generator)


def normalise_labels(chosen: Filter) -> list[str] | None:
    """Return the labels in their stored form, or None if every label is selected.

    Raises:
        InvalidFilter: the databases cannot store a label.

    """
    return None if chosen.labels is None else _normalise(chosen.labels, storable_text)


def select_corpus_ids(conn: Connection, chosen: Filter) -> tuple[int, ...] | None:
    """Return the row ids of the live corpora that a filter selects, or None if it selects all.

    Raises:
        UnknownCorpus: the filter names an unknown corpus.

    """
    named = None if chosen.corpora is None else find_corpus_ids(conn, chosen.corpora)
    if chosen.kind is None:
        return named
    query = select(corpora.c.id).where(
        corpora.c.removed_at.is_(None), corpora.c.kind == chosen.kind
    )
    found = conn.execute(query.order_by(corpora.c.id)).scalars()
    return tuple(each for each in found if named is None or each in named)


def _live_in(space_id: int) -> Select[Any]:
    return (
        select(entries.c.id)
        .join(embeddings, embeddings.c.image_id == entries.c.image_id)
        .join(corpora, corpora.c.id == entries.c.corpus_id)
        .where(entries.c.removed_at.is_(None), embeddings.c.space_id == space_id)
    )


def _criteria(conn: Connection, chosen: Filter) -> list[ColumnElement[bool]]:
    criteria: list[ColumnElement[bool]] = []
    if chosen.corpora is not None:
        criteria.append(entries.c.corpus_id.in_(find_corpus_ids(conn, chosen.corpora)))
    if chosen.kind is not None:
        criteria.append(corpora.c.kind == chosen.kind)
    if (generators := normalise_generators(chosen)) is not None:
        criteria.append(entries.c.generator.in_(generators))
    if (labels := normalise_labels(chosen)) is not None:
        criteria.append(entries.c.label.in_(labels))
    if chosen.acquired_from is not None:
        criteria.append(entries.c.acquired_at >= chosen.acquired_from)
    if chosen.acquired_to is not None:
        criteria.append(entries.c.acquired_at < chosen.acquired_to)
    return criteria + provenance_criteria(
        conn.dialect.name, sorted(chosen.provenance, key=lambda each: each.keys)
    )


def _normalise(texts: frozenset[str], normalise: Callable[[str], str | None]) -> list[str]:
    try:
        return sorted({normal for text in texts if (normal := normalise(text))})
    except InvalidProvenance as err:
        raise InvalidFilter(err.reason) from err
