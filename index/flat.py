"""The one place that knows FAISS: an exact base of all vectors, `IndexFlatIP`, in memory or mapped from a file.

faiss has no type stubs; nothing of it leaves this module untyped. Read in faiss 1.15.1: `IO_FLAG_MMAP` copies a flat
index into memory, `IO_FLAG_MMAP_IFC` really maps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from index.segments import Candidates, rounding_slack

PLAN = "flat"


class FlatIndex:
    """Exact inner products over all vectors. Implements `segments.BaseIndex`."""

    plan = PLAN
    exact = True

    def __init__(self, index: faiss.IndexFlatIP, ids: NDArray[np.int64]) -> None:
        self._index = index
        self._ids = ids
        n, d = len(ids), index.d
        # The view lives as long as `index` does, which this object holds.
        self._rows: NDArray[np.float32] = (
            faiss.rev_swig_ptr(index.get_xb(), n * d).reshape(n, d) if n else np.empty((0, d), np.float32)
        )

    @classmethod
    def build(cls, dimension: int, chunks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> Self:
        """Build in memory from chunks of ids (c,), rising throughout, and their vectors (c, d)."""
        index = faiss.IndexFlatIP(dimension)
        ids = [np.empty(0, np.int64)]
        for some, rows in chunks:
            index.add(np.ascontiguousarray(rows, dtype=np.float32))
            ids.append(some)
        return cls(index, np.concatenate(ids))

    @classmethod
    def read(cls, path: Path, ids: NDArray[np.int64], dimension: int) -> Self:
        """Map a file that `write` made. The caller has checked its digest: FAISS trusts what it reads.

        Raises:
            ValueError: another kind of index, another number of vectors or another dimension.

        """
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as err:
            raise ValueError(f"FAISS cannot read it: {err}") from err
        if not isinstance(index, faiss.IndexFlatIP):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the call
                f"it holds a {type(index).__name__} instead of an IndexFlatIP"
            )
        if (index.ntotal, index.d) != (len(ids), dimension):
            raise ValueError(f"it holds {index.ntotal} x {index.d} instead of {len(ids)} x {dimension}")
        return cls(index, ids)

    def write(self, path: Path) -> None:
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as err:  # FAISS reports a full disk so
            raise OSError(f"FAISS cannot write {path.name}: {err}") from err

    @property
    def size(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        return self._ids

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self.size:
            return np.empty(0, np.int64)
        positions = np.searchsorted(self._ids, ids).clip(max=self.size - 1)
        found: NDArray[np.int64] = positions[self._ids[positions] == ids]
        return found

    def candidates(self, probe: NDArray[np.float32], m: int, live: NDArray[np.bool_] | None) -> Candidates:
        m = min(m, self.size)
        if m == 0:
            return Candidates(np.empty(0, np.int64), -np.inf)
        params = None
        if live is not None:
            # All three must outlive the search: FAISS keeps bare pointers.
            bits = np.packbits(live, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            params = faiss.SearchParameters()
            params.sel = selector
        similarities, positions = self._index.search(probe[np.newaxis], m, params=params)  # (1, m)
        found: NDArray[np.int64] = positions[0][positions[0] >= 0]
        all_of_them = len(found) < m or m == self.size
        floor = -np.inf if all_of_them else float(similarities[0, -1]) + rounding_slack(self._index.d)
        return Candidates(found, floor)

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._rows[positions]
