"""Which calibration speaks for a lookup: the newest that was measured against the corpora that are
searched.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from index.calibration.calibration import Calibration
from index.calibration.reading import named_corpora
from index.truth.calibrations import CalibrationHead, calibration_heads, get_calibration
from index.truth.corpora import CorpusKind
from index.truth.coverage import has_embedded
from index.truth.spaces import Space

# Looked at for one that fits, the newest first.
RECENT = 20
HELD = 4  # calibrations kept parsed: some 100 kB each


class Applies(StrEnum):
    """How a calibration fits what is searched."""

    EXACT = "exact"  # the very corpora
    UPPER_BOUND = (
        "upper_bound"  # a part of them: the maximum over a part is at most the maximum over all
    )


@dataclass(frozen=True, slots=True)
class Applied:
    """A calibration that speaks for a lookup."""

    id: int
    created_at: datetime
    generation: int
    against: tuple[str, ...]
    reference: tuple[str, ...]
    calibration: Calibration
    applies: Applies


class Calibrations:
    """Parsed calibrations of one embedding space.

    Thread-safe: a row never changes, so what is held stays true.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._held: dict[int, Calibration] = {}
        self._lock = threading.Lock()

    def find(
        self, conn: Connection, corpora: Collection[str] | None, *, whole: bool
    ) -> Applied | None:
        """The newest calibration for a search in these corpora of known fakes (None: all of them),
        None without one.

        `whole`: nothing but the corpora and their kind restricts the search. Raises
        `UnknownCorpus`.
        """
        heads = calibration_heads(conn, self._space, RECENT)
        if not heads:
            return None
        searched = set(_fake_ids(conn, corpora))
        fitting = [head for head in heads if searched and self._covers(conn, head, searched)]
        exact = [head for head in fitting if whole and searched >= set(head.scope.against_ids)]
        if exact:
            return self._applied(conn, exact[0], Applies.EXACT)
        return self._applied(conn, fitting[0], Applies.UPPER_BOUND) if fitting else None

    def unseen(self, conn: Connection, corpora: Collection[str] | None) -> tuple[str, ...]:
        """The corpora for whose entries none speaks, of those searched: the newest calibration has
        not seen them.
        """
        heads = calibration_heads(conn, self._space, 1)
        if not heads:
            return ()
        every, seen = (
            named_corpora(conn, None, CorpusKind.KNOWN_FAKE),
            set(heads[0].scope.against_ids),
        )
        return tuple(
            name
            for name, row_id in zip(every.names, every.ids, strict=True)
            if (corpora is None or name in corpora)
            and row_id not in seen
            and has_embedded(conn, self._space, [row_id])
        )

    def get(self, conn: Connection, calibration_id: int) -> Calibration:
        """Raises `UnknownCalibration`, `TruthDamaged`."""
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
        """Whether it was measured against all of these corpora that hold anything."""
        others = sorted(searched - set(head.scope.against_ids))
        return not others or not has_embedded(conn, self._space, others)

    def _applied(self, conn: Connection, head: CalibrationHead, applies: Applies) -> Applied:
        return Applied(
            id=head.id,
            created_at=head.created_at,
            generation=head.generation,
            against=head.scope.against,
            reference=head.scope.reference,
            calibration=self.get(conn, head.id),
            applies=applies,
        )


def _fake_ids(conn: Connection, corpora: Collection[str] | None) -> tuple[int, ...]:
    """Row ids of the known-fake corpora among these."""
    if corpora is None:
        return named_corpora(conn, None, CorpusKind.KNOWN_FAKE).ids
    every = named_corpora(conn, None, CorpusKind.KNOWN_FAKE)
    return tuple(
        row_id for name, row_id in zip(every.names, every.ids, strict=True) if name in corpora
    )
