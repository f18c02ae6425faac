"""The sealed segment of a view: rows, facts and, for a large corpus, compressed codes of all rows.
Immutable.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.cache.plans.config import Plan
from index.cache.plans.recall import MARGIN, Tuning
from index.cache.segments.facts import FACTS, Facts, Words
from index.cache.segments.segment import Candidates, Criteria, choose_best, scan, scan_at
from index.cache.segments.selected import Estimation, Selections, propose_selected
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows, Rows

# Up to this many selected rows are compared exactly, without asking the codes: some 1.4 ms for 384
# float32.
SELECTED_ROWS = 16_384
# Selected rows are compared by themselves if they are at most one row in this many: 40 ns a row of
# 192 float32, and 15 in a scan of all. So are their codes (2026-12-01).
SELECTED_SHARE = 4
# If a filter keeps at least this share of a probe's surroundings, correspondingly more lists are
# read; if it keeps less, all lists are.
LOCAL_SHARE = 1 / 32
# The first question of a filtered search is wider by these factors: where the filter keeps `MOST`
# of all rows, as after removals, and elsewhere. What it finds is enough if the filter keeps more
# of a probe's surroundings than 0.95 and 0.82, the roots of 1 / 1.1 and 1 / 1.5: see
# `_propose_selected`.
MOST = 0.99
WIDER_IF_MOST, WIDER = 1.1, 1.5
# Neighbours that are further away than those of the whole corpus lie closer together, and more
# candidates are needed to rank them: 1 / share as many, up to this factor. On 10,000 of 1,000,000
# `clustered` rows a factor of 8 gave a recall of 0.93.
MOST_WIDENED = 64
# The selections of this many recent filters are kept: a byte and a bit for each row.
REMEMBERED = 16
# What surrounds up to so many probes is kept until others are asked for: 12 KB each. A look-up asks
# about its probes twice, among known fakes and among known-real images.
PROBES_KEPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class TunedCodes:
    """Codes, and the reach at which they have the required recall."""

    codes: Codes
    tuning: Tuning


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """The nearest `count` positions (p, c) of all rows in `lists` lists, for probes (p, d)."""

    probes: NDArray[np.float32]
    count: int
    lists: int
    positions: NDArray[np.int64]

    def answers(self, probes: NDArray[np.float32], count: int, lists: int) -> bool:
        """Return whether this is what the same question would find."""
        asked = (self.count, self.lists) == (count, lists)
        return asked and np.array_equal(self.probes, probes)


def plan_of(tuned: TunedCodes | None) -> Plan:
    """Return the plan that codes and their reach amount to."""
    if tuned is None:
        return Plan.FLAT
    return Plan.CODES if tuned.tuning.nprobe >= tuned.codes.nlist else Plan.LISTS


class SealedSegment:
    """Implements `segments.Segment`. Without `tuned` codes every search scans all rows."""

    def __init__(
        self, rows: Rows, facts: Facts, words: Words, tuned: TunedCodes | None = None
    ) -> None:
        self.rows = rows
        self.facts = facts
        self.words = words
        self.tuned = tuned
        self._marks: dict[Criteria, Marks] = {}
        self._selections = Selections()
        self._around: _Around | None = None
        self._remembering = threading.Lock()

    @classmethod
    def empty(cls, dimension: int) -> SealedSegment:
        return cls(HeldRows(np.empty((0, dimension), np.float32)), np.empty(0, FACTS), Words())

    @property
    def size(self) -> int:
        return self.rows.size

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        return np.ascontiguousarray(self.facts["id"])

    def column(self, name: str) -> NDArray[np.int64] | NDArray[np.int32]:
        column: NDArray[np.int64] | NDArray[np.int32] = self.facts[name]
        return column

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Rising ids, and their positions unless the positions rise with them."""
        if (np.diff(self.ids) > 0).all():
            return self.ids, None
        order = np.argsort(self.ids, kind="stable")
        return self.ids[order], order

    def marks(self, criteria: Criteria) -> Marks:
        marks = self._marks.get(criteria)
        if marks is None:
            marks = Marks(criteria(self))  # other searches need not wait
        with self._remembering:
            self._marks.pop(criteria, None)
            self._marks[criteria] = marks  # the latest criteria are last
            if len(self._marks) > REMEMBERED:
                del self._marks[next(iter(self._marks))]
        return marks

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.locate(ids)[0]

    def locate(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the positions of those entry ids (m,) that are here, and for each id (m,) whether
        it is.
        """
        if not self.size:
            return np.empty(0, np.int64), np.zeros(len(ids), np.bool_)
        rising, order = self._sorted
        places = np.searchsorted(rising, ids).clip(max=self.size - 1)
        here: NDArray[np.bool_] = rising[places] == ids
        found = places[here]
        return found if order is None else order[found], here

    def warm(self, previous: SealedSegment) -> None:
        """Compute in advance what the next searches need: the sorted ids, what filters need, and
        the selections that the segment before this one had, with their codes.
        """
        self.find(self.ids[:1])
        self.prepare_for_filters()
        for criteria, before in list(previous._marks.items()):
            selected = self.marks(criteria)
            if previous._selections.has(before) and self._are_codes_compared(selected):
                self._code(selected)

    def prepare_for_filters(self) -> None:
        """Measure what the first filter that compares codes would wait for: 8 ms for 384
        dimensions. Does nothing if it was measured. Raises SnapshotCorrupt.
        """
        if self.tuned is not None:
            _ = self._estimation  # it is kept

    @property
    def is_coding_due(self) -> bool:
        """Whether a filter was used so often that it should have codes of its own."""
        return self._selections.find_due() is not None

    def code_selection(self) -> bool:
        """Make the codes of a filter if one should have them. Return whether one should. Raises
        SnapshotCorrupt.
        """
        selected = self._selections.find_due()
        if selected is not None:
            self._code(selected)
        return selected is not None

    def _code(self, selected: Marks) -> None:
        assert self.tuned is not None
        self._selections.code(selected, self.tuned.codes, self.rows)

    def _are_codes_compared(self, selected: Marks) -> bool:
        """Whether all codes of what a filter selects are compared."""
        few = min(SELECTED_ROWS, self.size // SELECTED_SHARE)
        return self.tuned is not None and few < selected.count <= self.size // SELECTED_SHARE

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.rows.take(positions)

    def candidates(
        self, probes: NDArray[np.float32], m: int, live: Marks | None, *, exact: bool
    ) -> Candidates:
        count = self.size if live is None else live.count
        few = min(SELECTED_ROWS, self.size // SELECTED_SHARE)
        if exact or self.tuned is None or count <= m or (live is not None and count <= few):
            return self._compare_all(probes, m, live)
        if live is not None and self._are_codes_compared(live.within):
            return self._choose_selected(self.tuned, probes, m, live)
        return self._choose(self.tuned, probes, m, live)

    def _compare_all(self, probes: NDArray[np.float32], m: int, live: Marks | None) -> Candidates:
        """Return the best of all live rows."""
        if live is not None and live.count <= max(m, self.size // SELECTED_SHARE):
            return scan_at(self.rows, live.positions, probes, m + MARGIN)
        return scan(self.rows, probes, m + MARGIN, live)

    def _choose_selected(
        self, tuned: TunedCodes, probes: NDArray[np.float32], m: int, live: Marks
    ) -> Candidates:
        """Return the best of what all codes of a filter propose."""
        within = live.within  # held until the end: it may be forgotten meanwhile
        own = self._selections.find(within)
        proposed = propose_selected(
            tuned.codes if own is None else own,
            self._estimation,
            self.rows,
            probes,
            m,
            None if own is not None and live is within else live,
            live.count,
        )
        chosen = choose_best(self.rows, proposed, probes, m)
        found = Candidates(chosen, None, np.zeros(len(chosen), np.bool_))
        left = np.flatnonzero(proposed[:, 0] < 0)
        if not len(left):
            return found
        return found.replaced_for(left, self._compare_all(probes[left], m, live))

    @cached_property
    def _estimation(self) -> Estimation:
        assert self.tuned is not None
        return Estimation.measure(self.tuned.codes, self.rows)

    def _choose(
        self,
        tuned: TunedCodes,
        probes: NDArray[np.float32],
        m: int,
        live: Marks | None,
        *,
        all_lists: bool = False,
    ) -> Candidates:
        """Return the best of what codes propose. A probe for which they propose fewer than m is
        answered from all lists, and in the end by a scan.
        """
        # As many candidates for each probe as its recall needs.
        codes, tuning = tuned.codes, tuned.tuning
        scale = max(1.0, (m + MARGIN) / tuning.m)
        count = math.ceil(tuning.candidates * scale)
        nprobe = codes.nlist if all_lists else min(codes.nlist, math.ceil(tuning.nprobe * scale))
        if live is None:
            proposed = codes.search(probes, count, nprobe)  # (p, c)
        else:
            proposed = self._propose_among(codes, probes, m, count, nprobe, live)
        chosen = choose_best(self.rows, proposed, probes, m)
        found = Candidates(chosen, None, np.zeros(len(chosen), np.bool_))
        has_few = chosen[:, m - 1] < 0
        if not np.count_nonzero(has_few):
            return found
        few = np.flatnonzero(has_few)
        if all_lists:
            return found.replaced_for(few, self._compare_all(probes[few], m, live))
        return found.replaced_for(few, self._choose(tuned, probes[few], m, live, all_lists=True))

    def _propose_among(
        self,
        codes: Codes,
        probes: NDArray[np.float32],
        m: int,
        count: int,
        nprobe: int,
        live: Marks,
    ) -> NDArray[np.int64]:
        """Return candidates (p, c) among the selected positions for each probe (p, d), c >= m; -1
        at the end of a row that has fewer. Where all are selected, `count` of them in `nprobe`
        lists would do.
        """
        wider = WIDER_IF_MOST if live.count >= MOST * self.size else WIDER
        lists = min(codes.nlist, math.ceil(wider * nprobe))
        around = self._find_around(codes, probes, math.ceil(wider * count), lists)  # (p, c)
        selected = [
            _propose_selected(codes, probe, near, count, nprobe, live)
            for probe, near in zip(probes, around, strict=True)
        ]
        proposed = np.full((len(selected), max(m, *map(len, selected))), -1, np.int64)
        for row, each in zip(proposed, selected, strict=True):
            row[: len(each)] = each
        return proposed

    def _find_around(
        self, codes: Codes, probes: NDArray[np.float32], count: int, lists: int
    ) -> NDArray[np.int64]:
        """Return the candidates (p, c) among all rows. Nobody changes them."""
        kept = self._around
        if kept is not None and kept.answers(probes, count, lists):
            return kept.positions
        found = codes.search(probes, count, lists)
        if len(probes) <= PROBES_KEPT:
            self._around = _Around(probes.copy(), count, lists, found)
        return found


def _propose_selected(
    codes: Codes,
    probe: NDArray[np.float32],
    around: NDArray[np.int64],
    count: int,
    nprobe: int,
    live: Marks,
) -> NDArray[np.int64]:
    """Return candidates (c,) for a probe (d,) among the selected positions, the best first.
    `around` (r,) are its candidates among all.

    The reach was measured for the neighbours of the whole corpus. If a selection keeps the share p
    of a probe's surroundings, its nearest m are among the m / p nearest of all, so the reach is
    widened by 1 / p. Where so many of those around are selected, codes are not asked again.
    """
    around = around[around >= 0]
    chosen = around[live.marks[around]]
    share = len(chosen) / max(1, len(around))
    count = math.ceil(count / max(share, 1 / MOST_WIDENED))
    if len(chosen) >= count or len(chosen) == len(around):
        return chosen[:count]
    lists = codes.nlist if share < LOCAL_SHARE else min(codes.nlist, math.ceil(nprobe / share))
    selected = codes.search(probe[np.newaxis], count, lists, live)
    return selected[selected >= 0]
