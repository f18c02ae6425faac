"""Which calibration applies to a search: the newest one that covers the searched corpora.

A provisional calibration, which rests on photographs that came with the model, applies only where
no other one does, however new it is.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from index.calibration.calibration import Calibration
from index.calibration.reading import get_named_corpora
from index.truth.calibrations import (
    CalibrationHead,
    StoredCalibration,
    get_calibration,
    list_calibration_heads,
)
from index.truth.corpora import CorpusKind
from index.truth.coverage import has_embedded
from index.truth.spaces import Space

RECENT = 20  # newest calibrations among which one that applies is looked for
# The rate is predicted for the current size, and still well at twice the size (docs/evidence.md); a
# tenth more is early.
GROWTH = 0.1
HELD = 4  # parsed calibrations kept in memory, up to a few MB each


class Applies(StrEnum):
    """How a calibration applies to a search."""

    EXACT = "exact"  # exactly the calibrated corpora are searched
    # Only part of them is. The maximum over a part is at most the maximum over all.
    UPPER_BOUND = "upper_bound"


@dataclass(frozen=True, slots=True)
class Applied:
    """A calibration that applies to a search."""

    id: int
    created_at: datetime
    generation: int
    against: tuple[str, ...]
    reference: tuple[str, ...]
    calibration: Calibration
    applies: Applies


class Calibrations:
    """Finds and parses the calibrations of one embedding space.

    Thread-safe. A stored calibration never changes, so parsed ones are kept.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._held: dict[int, Calibration] = {}
        self._lock = threading.Lock()

    def find(
        self, conn: Connection, corpora: Collection[str] | None, *, whole: bool
    ) -> Applied | None:
        """Return the newest calibration that applies to a search in these corpora (None: all).

        `whole`: the search is restricted by corpora and their kind only. A provisional one applies
        only if no other does. None if none of the recent calibrations covers all searched known
        fakes.
        """
        searched: set[int] | None = None
        for provisional in (False, True):
            heads = list_calibration_heads(conn, self._space, RECENT, provisional=provisional)
            if not heads:
                continue
            if searched is None:
                searched = set(_fake_ids(conn, corpora))
            fitting = [head for head in heads if searched and self._covers(conn, head, searched)]
            exact = [head for head in fitting if whole and searched >= set(head.scope.against_ids)]
            if exact:
                return _make_applied(exact[0], self.get(conn, exact[0].id), Applies.EXACT)
            if fitting:
                return _make_applied(fitting[0], self.get(conn, fitting[0].id), Applies.UPPER_BOUND)
        return None

    def find_newest(self, conn: Connection) -> Applied | None:
        """Return the newest calibration, whatever it covers; a provisional one only if there is no
        other. None if there is none.

        What it says of the logit does not depend on the searched corpora.
        """
        for provisional in (False, True):
            for head in list_calibration_heads(conn, self._space, 1, provisional=provisional):
                return _make_applied(head, self.get(conn, head.id), Applies.UPPER_BOUND)
        return None

    def apply_again(self, conn: Connection, calibration_id: int, applies: Applies) -> Applied:
        """Return the calibration that applied to an earlier search.

        Raises `UnknownCalibration`, `TruthDamaged`.
        """
        stored = get_calibration(conn, calibration_id)
        return _make_applied(stored, self.get(conn, calibration_id), applies)

    def unseen(self, conn: Connection, corpora: Collection[str] | None) -> tuple[str, ...]:
        """Return the searched corpora of known fakes (None: all) that have entries and that the
        newest calibration does not cover, provisional ones aside.
        """
        heads = list_calibration_heads(conn, self._space, 1, provisional=False)
        every, seen = (
            get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE),
            set(heads[0].scope.against_ids) if heads else set[int](),
        )
        return tuple(
            name
            for name, row_id in zip(every.names, every.ids, strict=True)
            if (corpora is None or name in corpora)
            and row_id not in seen
            and has_embedded(conn, self._space, [row_id])
        )

    def get(self, conn: Connection, calibration_id: int) -> Calibration:
        """Return a calibration, parsed. Raises `UnknownCalibration`, `TruthDamaged`."""
        with self._lock:
            found = self._held.get(calibration_id)
        if found is None:
            found = Calibration.from_json(get_calibration(conn, calibration_id).document)
            with self._lock:
                self._held[calibration_id] = found
                while len(self._held) > HELD:
                    del self._held[next(iter(self._held))]
        return found

    def _covers(self, conn: Connection, head: CalibrationHead, searched: set[int]) -> bool:
        """Whether it was measured against all of these corpora that have embedded entries."""
        others = sorted(searched - set(head.scope.against_ids))
        return not others or not has_embedded(conn, self._space, others)


def _make_applied(
    stored: CalibrationHead | StoredCalibration, calibration: Calibration, applies: Applies
) -> Applied:
    return Applied(
        id=stored.id,
        created_at=stored.created_at,
        generation=stored.generation,
        against=stored.scope.against,
        reference=stored.scope.reference_names,
        calibration=calibration,
        applies=applies,
    )


def _fake_ids(conn: Connection, corpora: Collection[str] | None) -> tuple[int, ...]:
    """Return the row ids of the corpora of known fakes among these."""
    if corpora is None:
        return get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE).ids
    every = get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE)
    return tuple(
        row_id for name, row_id in zip(every.names, every.ids, strict=True) if name in corpora
    )
