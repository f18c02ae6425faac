"""The corpora that filters select, held in memory while the head of the log stands.

A corpus cannot be renamed. Its removal is a change or an amendment, so what a filter selects stays
true while both numbers stand, but for corpora that are made meanwhile: they have no entries yet.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from index.truth.changes import Head
from index.truth.filters import Filter, select_corpus_ids
from index.truth.remembered import Remembered


class CorpusSelection(NamedTuple):
    """The row ids of the corpora that a filter selects; None stands for all of them."""

    ids: tuple[int, ...] | None


_ALL = CorpusSelection(None)


class CorpusIds:
    """Selections of corpora. For any thread."""

    def __init__(self) -> None:
        self._remembered = Remembered()

    def held(self, chosen: Filter, head: Head) -> CorpusSelection | None:
        """Return which corpora a filter selects; None if that is not held for this head."""
        if chosen.corpora is None and chosen.kind is None:
            return _ALL
        return self._remembered.find(head, (chosen.corpora, chosen.kind), CorpusSelection)

    def find(self, conn: Connection, chosen: Filter, head: Head) -> CorpusSelection:
        """Return which corpora a filter selects; `head` is what the transaction sees.

        Raises:
            UnknownCorpus: the filter names an unknown corpus.

        """
        if chosen.corpora is None and chosen.kind is None:
            return _ALL
        return self._remembered.get(
            head,
            (chosen.corpora, chosen.kind),
            lambda: CorpusSelection(select_corpus_ids(conn, chosen)),
        )
