"""Marks: a set of positions of a segment, as a NumPy mask and as the packed bits that FAISS takes.
Immutable.
"""

from __future__ import annotations

from functools import cached_property
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray


class Marks:
    """A boolean for each position (n,). The count, bits and positions are computed once and
    kept.
    """

    def __init__(self, marks: NDArray[np.bool_], within: Marks | None = None) -> None:
        self.marks = marks
        self._within = None if within is None else ref(within)

    @property
    def within(self) -> Marks:
        """Other marks, of which these are those of members; these themselves if there are none."""
        within = None if self._within is None else self._within()
        return self if within is None else within

    @classmethod
    def all_of(cls, size: int) -> Marks:
        """Return marks on every one of `size` positions."""
        return cls(np.ones(size, np.bool_))

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.marks))

    @cached_property
    def packed(self) -> NDArray[np.uint8]:
        """One bit a position, the lowest bit first."""
        return np.packbits(self.marks, bitorder="little")

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The marked positions (m,), rising."""
        return np.flatnonzero(self.marks)

    @cached_property
    def _among(self) -> WeakKeyDictionary[Marks, Marks]:
        return WeakKeyDictionary()

    def among(self, members: Marks) -> Marks:
        """Return those of these marks that members have too: one object while both are in use."""
        both = self._among.get(members)
        if both is None:
            both = self._among[members] = Marks(self.marks & members.marks, within=self)
        return both

    def without(self, positions: NDArray[np.int64]) -> Marks:
        """Return these marks with some positions cleared."""
        marks = self.marks.copy()
        marks[positions] = False
        return Marks(marks)

    def extend(self, more: int) -> Marks:
        """Return these marks with `more` marked positions behind them."""
        return Marks(np.concatenate([self.marks, np.ones(more, np.bool_)]))
