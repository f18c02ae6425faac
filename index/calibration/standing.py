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
from typing import Self

from sqlalchemy import Connection

from index.calibration.calibration import Calibration
from index.calibration.reading import NamedCorpora, get_named_corpora
from index.truth.calibrations import (
    CalibrationHead,
    StoredCalibration,
    get_calibration,
    list_calibration_heads,
)
from index.truth.corpora import CorpusKind
from index.truth.coverage import find_embedded_corpora
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


@dataclass(frozen=True, slots=True)
class Standing:
    """The recent calibrations of a space and the corpora of known fakes, in one state of the
    database.

    `measured` are calibrations without their documents, the newest first, and so are `provisional`
    ones. `fakes` are the live corpora of known fakes. `embedded` are the ids of those that have
    embedded entries. Where there is a measured one, corpora that every calibration covers are left
    out: nothing asks about them.
    """

    measured: tuple[CalibrationHead, ...]
    provisional: tuple[CalibrationHead, ...]
    fakes: NamedCorpora
    embedded: frozenset[int]

    @classmethod
    def read(cls, conn: Connection, space: Space) -> Self:
        """Read what a transaction sees. Raises `TruthDamaged`."""
        measured, provisional = (
            list_calibration_heads(conn, space, RECENT, provisional=each) for each in (False, True)
        )
        fakes = get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE)
        others = set(fakes.ids)
        if measured:
            covered = [{*head.scope.against_ids} for head in (*measured, *provisional)]
            others -= covered[0].intersection(*covered[1:])
        embedded = find_embedded_corpora(conn, space, sorted(others)) if others else frozenset()
        return cls(measured, provisional, fakes, embedded)

    def find(
        self, corpora: Collection[str] | None, *, whole: bool
    ) -> tuple[CalibrationHead, Applies] | None:
        """Return the newest calibration that applies to a search in these corpora (None: all).

        `whole`: the search is restricted by corpora and their kind only. A provisional one applies
        only if no other does. None if none of the recent calibrations covers all searched known
        fakes.
        """
        searched = {row_id for _, row_id in self._list_fakes(corpora)}
        for heads in (self.measured, self.provisional):
            fitting = [head for head in heads if searched and self._covers(head, searched)]
            exact = [head for head in fitting if whole and searched >= set(head.scope.against_ids)]
            if exact:
                return exact[0], Applies.EXACT
            if fitting:
                return fitting[0], Applies.UPPER_BOUND
        return None

    def find_newest(self) -> CalibrationHead | None:
        """Return the newest calibration, whatever it covers; a provisional one only if there is no
        other. None if there is none.
        """
        return next(iter((*self.measured, *self.provisional)), None)

    def find_unseen(self, corpora: Collection[str] | None) -> tuple[str, ...]:
        """Return the searched corpora of known fakes (None: all) that have entries and that the
        newest calibration does not cover, provisional ones aside.
        """
        seen = self.measured[0].scope.against_ids if self.measured else ()
        return tuple(
            name
            for name, row_id in self._list_fakes(corpora)
            if row_id not in seen and row_id in self.embedded
        )

    def _list_fakes(self, corpora: Collection[str] | None) -> list[tuple[str, int]]:
        """Return the names and row ids of the corpora of known fakes among these (None: all)."""
        every = zip(self.fakes.names, self.fakes.ids, strict=True)
        return [(name, row_id) for name, row_id in every if corpora is None or name in corpora]

    def _covers(self, head: CalibrationHead, searched: set[int]) -> bool:
        """Whether it was measured against all of these corpora that have embedded entries."""
        return not (searched - set(head.scope.against_ids)) & self.embedded


class Calibrations:
    """Finds and parses the calibrations of one embedding space.

    Thread-safe. A stored calibration never changes, so parsed ones are kept.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._held: dict[tuple[int, datetime], Calibration] = {}
        self._lock = threading.Lock()

    def find(
        self,
        conn: Connection,
        standing: Standing,
        corpora: Collection[str] | None,
        *,
        whole: bool,
    ) -> Applied | None:
        """Return what `Standing.find` finds, with its document. Raises `TruthDamaged`."""
        found = standing.find(corpora, whole=whole)
        if found is None:
            return None
        head, applies = found
        return _make_applied(head, self.get(conn, head), applies)

    def find_newest(self, conn: Connection, standing: Standing) -> Applied | None:
        """Return what `Standing.find_newest` finds, with its document. Raises `TruthDamaged`.

        What it says of the logit does not depend on the searched corpora.
        """
        head = standing.find_newest()
        if head is None:
            return None
        return _make_applied(head, self.get(conn, head), Applies.UPPER_BOUND)

    def apply_again(self, conn: Connection, calibration_id: int, applies: Applies) -> Applied:
        """Return the calibration that applied to an earlier search.

        Raises `UnknownCalibration`, `TruthDamaged`.
        """
        stored = get_calibration(conn, calibration_id)
        return _make_applied(stored, self.get(conn, stored), applies)

    def get(self, conn: Connection, stored: CalibrationHead | StoredCalibration) -> Calibration:
        """Return a calibration, parsed. Raises `UnknownCalibration`, `TruthDamaged`.

        After a restore an id may be that of another calibration, which was made at another time.
        """
        key = stored.id, stored.created_at
        with self._lock:
            found = self._held.get(key)
        if found is None:
            found = Calibration.from_json(get_calibration(conn, stored.id).document)
            with self._lock:
                self._held[key] = found
                while len(self._held) > HELD:
                    del self._held[next(iter(self._held))]
        return found


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
