"""The corpora that filters select, held in memory while the head of the log stands.

A corpus cannot be renamed. Its removal is a change or an amendment, so what a filter selects stays
true while both numbers stand, but for corpora that are made meanwhile: they have no entries yet.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from index.truth.changes import Head
from index.truth.corpora import CorpusKind
from index.truth.filters import Filter, select_corpus_ids

# Filters of which each names other corpora; a server's look-ups have two or three.
SELECTIONS_HELD = 1_000


class CorpusSelection(NamedTuple):
    """The row ids of the corpora that a filter selects; None stands for all of them."""

    ids: tuple[int, ...] | None


_ALL = CorpusSelection(None)
_Selections = dict[tuple[frozenset[str] | None, CorpusKind | None], CorpusSelection]


class CorpusIds:
    """Selections of corpora. For any thread."""

    def __init__(self) -> None:
        self._held: tuple[Head, _Selections] = (Head(-1, -1, is_emptying=False), {})

    def held(self, chosen: Filter, head: Head) -> CorpusSelection | None:
        """Return which corpora a filter selects; None if that is not held for this head."""
        if chosen.corpora is None and chosen.kind is None:
            return _ALL
        of_head, selections = self._held
        return selections.get((chosen.corpora, chosen.kind)) if of_head == head else None

    def find(self, conn: Connection, chosen: Filter, head: Head) -> CorpusSelection:
        """Return which corpora a filter selects; `head` is what the transaction sees.

        Raises:
            UnknownCorpus: the filter names an unknown corpus.

        """
        found = self.held(chosen, head)
        if found is None:
            found = CorpusSelection(select_corpus_ids(conn, chosen))
            of_head, selections = self._held
            if of_head != head or len(selections) >= SELECTIONS_HELD:
                selections = {}
            self._held = (head, {**selections, (chosen.corpora, chosen.kind): found})
        return found
