"""Marks: which positions of a segment are meant, as NumPy masks and as the packed bits that FAISS
takes. Immutable.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Marks:
    """A mark for each position (n,), with their count.

    What is derived is computed once and kept.
    """

    def __init__(self, marks: NDArray[np.bool_]) -> None:
        self.marks = marks

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.marks))

    @cached_property
    def packed(self) -> NDArray[np.uint8]:
        """One bit a position, the lowest bit first."""
        return np.packbits(self.marks, bitorder="little")

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The rising positions (m,) that are marked."""
        return np.flatnonzero(self.marks)

    def __and__(self, other: NDArray[np.bool_]) -> Marks:
        return Marks(self.marks & other)

    def without(self, positions: NDArray[np.int64]) -> Marks:
        """Return these marks with some positions cleared."""
        marks = self.marks.copy()
        marks[positions] = False
        return Marks(marks)

    def grown(self, more: int) -> Marks:
        """Return these marks with more positions behind them, all marked."""
        return Marks(np.concatenate([self.marks, np.ones(more, np.bool_)]))
