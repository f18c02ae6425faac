"""Facts of entries that filters ask for, as columns beside the vectors. A cache of `entries`, whose
rows never change.

An entry's corpus, generator, label and date are written once and an entry that leaves is a
tombstone, so the columns are as true as the vectors. Free provenance JSON is not here: SQL is asked
for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from index.truth.changes import MemberRow

# One record a position. Little-endian on disk and in memory.
FACTS = np.dtype(
    [
        ("id", "<i8"),
        ("corpus_id", "<i8"),
        ("acquired_at", "<i8"),
        ("generator", "<i4"),
        ("label", "<i4"),
    ]
)
NO_INSTANT = int(np.iinfo(np.int64).min)
NO_WORD = -1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Facts = NDArray[np.void]


class Words:
    """Texts by number, append-only: numbers given once stay true for every older view.

    Only whoever advances the live index adds; anybody may look up at any time.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = list(texts)
        self._numbers = {text: number for number, text in enumerate(self._texts)}

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self) -> list[str]:
        return list(self._texts)

    def number(self, text: str | None) -> int:
        """Return the number of a text, giving it one if it is new; NO_WORD for None."""
        if text is None:
            return NO_WORD
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return number

    def known(self, texts: Iterable[str]) -> list[int]:
        """Return the numbers of those texts that have one."""
        return [self._numbers[text] for text in texts if text in self._numbers]


def microseconds(instant: datetime | None) -> int:
    """Return an instant as microseconds since 1970, NO_INSTANT for none."""
    return NO_INSTANT if instant is None else (instant - EPOCH) // timedelta(microseconds=1)


def facts_of(rows: Sequence[MemberRow], words: Words) -> Facts:
    """Return the facts (m,) of rows from SQL."""
    facts = np.empty(len(rows), FACTS)
    facts["id"] = [row.entry_id for row in rows]
    facts["corpus_id"] = [row.corpus_id for row in rows]
    facts["acquired_at"] = [microseconds(row.acquired_at) for row in rows]
    facts["generator"] = [words.number(row.generator) for row in rows]
    facts["label"] = [words.number(row.label) for row in rows]
    return facts


def translated(facts: Facts, words: Words, into: Words) -> Facts:
    """Return facts (n,) whose numbers are of other words."""
    out = facts.copy()
    for name in ("generator", "label"):
        numbers, places = np.unique(facts[name], return_inverse=True)
        texts = words.texts()
        out[name] = np.array(
            [into.number(None if n == NO_WORD else texts[n]) for n in numbers], "<i4"
        )[places]
    return out


def fact_record(
    entry_id: int,
    corpus_id: int,
    generator: str | None,
    label: str | None,
    acquired_at: datetime | None,
    words: Words,
) -> tuple[int, ...]:
    """Return one record, in the order of FACTS."""
    return (
        entry_id,
        corpus_id,
        microseconds(acquired_at),
        words.number(generator),
        words.number(label),
    )
