"""What a view is made of: a base, written once and opened by mmap, and a tail that grows.

Owns the interface that later takes compressed codes: a segment proposes candidates by whatever it likes and says what
it cannot exclude; it hands out the stored float32 vectors, from which alone similarities are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Positions (m,) int64 in a segment, best first.

    `floor` bounds what was left out: no other live position has a larger cosine similarity. -inf: nothing was left out.
    """

    positions: NDArray[np.int64]
    floor: float


class Segment(Protocol):
    """Vectors at positions 0..size-1, each belonging to one entry. Immutable, safe for any number of threads."""

    @property
    def size(self) -> int: ...

    @property
    def ids(self) -> NDArray[np.int64]:
        """Entry ids (n,) by position."""
        ...

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of those of these entry ids (m,) that are here."""
        ...

    def candidates(self, probe: NDArray[np.float32], m: int, live: NDArray[np.bool_] | None) -> Candidates:
        """Propose at least min(m, live) positions for a probe (d,) among those marked live; None: all of them."""
        ...

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored vectors (m, d) at positions (m,)."""
        ...


class BaseIndex(Segment, Protocol):
    """The written part of a view: ids rise, and it can be saved as one file."""

    @property
    def plan(self) -> str:
        """How candidates are found, as the manifest names it."""
        ...

    @property
    def exact(self) -> bool:
        """Whether `floor` is always a true bound, so that answers are exact."""
        ...

    def write(self, path: Path) -> None: ...


def rounding_slack(dimension: int) -> float:
    """Return how far a float32 inner product of two stored vectors may be from their cosine similarity.

    d * 2**-24 bounds the rounding of a sum in any order (Higham, Accuracy and Stability, section 3.1); 4e-6 covers two
    norms that are 1 to within `STORED_NORM_TOLERANCE` each, twice over.
    """
    return dimension * 2.0**-24 + 4e-6
