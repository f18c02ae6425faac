"""Choosing the plan of an index by measured cost.

Each plan is measured on the corpus at hand: `flat` (every vector), `codes` (every code) and `lists`
(the codes of the nearest lists), the latter two at the reach that recall requires. The time is that
of real searches by one thread, rows from SQL not included. The quickest plan is taken; the exact
one too where it is only a little slower (`IndexConfig.exact_allowance`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from index.cache.plans.comparison import Comparison, PlanFigures
from index.cache.plans.config import IndexConfig, Plan
from index.cache.plans.recall import RecallMeasurement, draw_probes
from index.cache.searching.ranking import rank
from index.cache.segments.sealed import SealedSegment, TunedCodes
from index.cache.segments.view import Part
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows

# Probes whose searches are timed, each this many times; the quickest counts, and the first one
# brings its rows into memory.
TIMED_PROBES = 64
ROUNDS = 3
# A scan takes about the same time for every probe, and long enough to be measured with few.
SCANNED_PROBES = 8
# Rows on which a scan is timed. All rows take as much longer as they are more: beyond the
# processor's caches a scan reads memory at a constant rate.
SCANNED_ROWS = 65_536
NONE_FIRST = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Choice:
    """The codes that searches use, None if they compare every vector, and what was compared."""

    tuned: TunedCodes | None
    comparison: Comparison


def choose_plan(
    sealed: SealedSegment,
    live: Marks | None,
    codes: Codes,
    lookups: NDArray[np.float32],
    config: IndexConfig,
) -> Choice:
    """Measure every plan on the live positions of a sealed segment, and take the quickest one that
    has the required recall. `codes` are those of all its positions, `lookups` (l, d) probes of
    stored look-ups.

    Raises:
        SnapshotCorrupt

    """
    trial = _Trial(sealed, live, codes, lookups, config)
    flat = trial.measure_flat()
    alternatives = [trial.measure_codes(), *([trial.measure_lists()] if codes.nlist > 1 else [])]
    best = min(alternatives, key=lambda each: each.seconds)
    is_exact = flat.seconds <= config.exact_allowance * best.seconds
    comparison = Comparison(
        plans=tuple(each.figures for each in (flat, *alternatives)),
        rows=sealed.size,
        k=config.recall_k,
        recall_target=config.recall_target,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Choice(None if is_exact else best.tuned, comparison)


@dataclass(frozen=True, slots=True)
class _Alternative:
    """A measured plan. `seconds` is infinite if the plan cannot reach the required recall."""

    plan: Plan
    recall: float
    seconds: float = math.inf
    tuned: TunedCodes | None = None

    @property
    def figures(self) -> PlanFigures:
        tuning = self.tuned.tuning if self.tuned else None
        return PlanFigures(
            plan=self.plan,
            recall=self.recall,
            milliseconds=round(self.seconds * 1e3, 4) if self.seconds < math.inf else None,
            nprobe=tuning.nprobe if tuning else None,
            candidates=tuning.candidates if tuning else None,
        )


class _Trial:
    """One measurement of all plans, with the same probes."""

    def __init__(
        self,
        sealed: SealedSegment,
        live: Marks | None,
        codes: Codes,
        lookups: NDArray[np.float32],
        config: IndexConfig,
    ) -> None:
        self._sealed = sealed
        self._live = live
        self._codes = codes
        self._config = config
        self._probes = draw_probes(sealed.rows, live, config.recall_probes, lookups)
        self._recall = RecallMeasurement(sealed.rows, live, self._probes, config)

    def measure_flat(self) -> _Alternative:
        """Time the comparison of every vector."""
        size = min(self._sealed.size, SCANNED_ROWS)
        rows = HeldRows(self._sealed.rows.chunk(0, size))
        scanned = SealedSegment(rows, self._sealed.facts[:size], self._sealed.words)
        seconds = self._time_searches(Part(scanned, None), SCANNED_PROBES)
        return _Alternative(Plan.FLAT, 1.0, seconds * self._sealed.size / size)

    def measure_codes(self) -> _Alternative:
        """Time the comparison of every code."""
        return self._measure_reach(Plan.CODES, self._codes.nlist)

    def measure_lists(self) -> _Alternative:
        """Time the nearest lists. More of them need fewer candidates: their number is raised while
        that is quicker.
        """
        best = _Alternative(Plan.LISTS, 0.0)
        for nprobe in _list_counts(self._codes.nlist):
            reached = self._measure_reach(Plan.LISTS, nprobe)
            if best.tuned is None:
                best = reached if reached.recall >= best.recall else best
            elif reached.seconds > best.seconds:
                break
            else:
                best = reached
        return best

    def _measure_reach(self, plan: Plan, nprobe: int) -> _Alternative:
        tuning, recall = self._recall.tune(self._codes, nprobe)
        if tuning is None:
            return _Alternative(plan, recall)
        tuned = TunedCodes(self._codes, tuning)
        segment = SealedSegment(self._sealed.rows, self._sealed.facts, self._sealed.words, tuned)
        seconds = self._time_searches(Part(segment, self._live), TIMED_PROBES)
        return _Alternative(plan, recall, seconds, tuned)

    def _time_searches(self, part: Part, count: int) -> float:
        """Return the median seconds of a search."""
        k, quickest = self._config.recall_k, []
        for probe in self._probes.vectors[:count]:
            times = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                rank([part], probe, k, NONE_FIRST, exact=False)
                times.append(time.perf_counter() - start)
            quickest.append(min(times))
            self._sealed.rows.release()
        return float(np.median(quickest))


def _list_counts(nlist: int) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12 ... below the number of lists."""
    count = 1
    while count < nlist:
        yield count
        if count > 1 and count * 3 // 2 < nlist:
            yield count * 3 // 2
        count *= 2
