"""Facts of entries that filters select by, as columns beside the vectors. A cache of `entries`.

The columns never become stale. An entry's corpus, generator, label and date are written once, and
an entry that is removed gets a tombstone. Free provenance is not here: SQL answers filters on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from index.truth.changes import MemberRow

# One record for each position. Little-endian on disk and in memory.
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
    """Numbered texts, append-only: a number stays valid for every older view.

    Only the thread that advances the live index adds texts; any thread may look them up.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = list(texts)
        self._numbers = {text: number for number, text in enumerate(self._texts)}

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self) -> list[str]:
        return list(self._texts)

    def number(self, text: str | None) -> int:
        """Return the number of a text, adding the text if it is new; NO_WORD for None."""
        if text is None:
            return NO_WORD
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return number

    def find_numbers(self, texts: Iterable[str]) -> list[int]:
        """Return the numbers of those texts that have one."""
        return [self._numbers[text] for text in texts if text in self._numbers]


def microseconds(instant: datetime | None) -> int:
    """Return an instant as microseconds since 1970, NO_INSTANT for None."""
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


def translate(facts: Facts, words: Words, into: Words) -> Facts:
    """Return facts (n,) whose numbers refer to `into` instead of `words`."""
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
