"""Compressed codes of all vectors of a sealed segment, in inverted lists, by FAISS.

The method is 4-bit product quantisation, scanned with SIMD registers as tables (André, Kermarrec,
Le Scouarnec, "Cache locality is not enough", VLDB 2015; faiss `IndexIVFPQFastScan`): 48 bytes for
384 dimensions. Reading all lists is an exhaustive scan, so that one structure serves both plans.
Positions are the ids. Codes only propose candidates; similarities come from the stored vectors.

Vectors are coded, not their residuals. On 200,000 x 384 of `hard` data, 500 candidates from all
lists contain 99.9 % of the 10 nearest, and 94 % with residuals; on `clustered` data both contain
all.

Known from the source of faiss 1.15.1: flat FastScan indexes refuse a selector, IVF FastScan takes
one; the number of OpenMP threads is a setting of the calling thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from index.cache.marks import Marks

BITS = 4
TRAINING_ROUNDS = 6
SEED = 20261124
FEWEST_TRAINED = 2**BITS  # as many rows as a code of one group of dimensions has values


class Codes:
    """Codes of positions 0 to size - 1.

    Immutable once it serves searches; safe for any number of threads.
    """

    def __init__(self, index: faiss.IndexIVFPQFastScan) -> None:
        self._index = index

    @classmethod
    def train(cls, sample: NDArray[np.float32], nlist: int, threads: int) -> Self:
        """Train on rows (t, d). The result has no position yet."""
        dimension = sample.shape[1]
        quantiser = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFPQFastScan(
            quantiser,
            dimension,
            nlist,
            dimension // _code_dimensions(dimension),
            BITS,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.by_residual = False
        for clustering in (index.cp, index.pq.cp):
            clustering.niter = TRAINING_ROUNDS
            clustering.min_points_per_centroid = 1
            clustering.seed = SEED
        index.cp.max_points_per_centroid = max(1, len(sample) // nlist)
        faiss.omp_set_num_threads(threads)
        index.train(np.ascontiguousarray(sample))
        return cls(index)

    @classmethod
    def read(cls, path: Path, size: int, dimension: int) -> Self:
        """Read a file that `write` made.

        The caller has checked its digest, because FAISS does not check what it reads.

        Raises:
            ValueError: it is another kind of index, or has another size or dimension.

        """
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as err:
            raise ValueError(f"FAISS cannot read it: {err}") from err
        if not isinstance(index, faiss.IndexIVFPQFastScan):
            raise ValueError(f"it holds a {type(index).__name__}")  # noqa: TRY004 - the file is wrong, not the call
        if (index.ntotal, index.d) != (size, dimension):
            raise ValueError(f"it holds {index.ntotal} x {index.d} instead of {size} x {dimension}")
        return cls(index)

    def write(self, path: Path) -> None:
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as err:  # how FAISS reports a full disk
            raise OSError(f"FAISS cannot write {path.name}: {err}") from err

    def copy(self) -> Codes:
        """Return a copy, to which codes can be added while the original serves searches."""
        copy = faiss.clone_index(self._index)
        assert isinstance(copy, faiss.IndexIVFPQFastScan)
        return Codes(copy)

    def empty_copy(self) -> Codes:
        """Return codes with the same training and without any position."""
        copy = self.copy()
        copy._index.reset()
        return copy

    def add(self, chunks: Iterable[NDArray[np.float32]], threads: int) -> None:
        """Encode rows (c, d) at the next positions."""
        faiss.omp_set_num_threads(threads)
        for rows in chunks:
            self._index.add(np.ascontiguousarray(rows, np.float32))

    @property
    def size(self) -> int:
        return int(self._index.ntotal)

    @property
    def nlist(self) -> int:
        return int(self._index.nlist)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return int(self._index.code_size)

    def candidates(
        self, probe: NDArray[np.float32], m: int, nprobe: int, live: Marks | None
    ) -> NDArray[np.int64]:
        """Return up to m live positions for a probe (d,) from the nprobe nearest lists, the best
        first.
        """
        faiss.omp_set_num_threads(1)  # starting threads takes longer than such a scan
        selector = None
        if live is not None:  # FAISS keeps bare pointers: selector and bits must outlive the search
            bits = live.packed
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        params = _reach(nprobe, selector)
        _, positions = self._index.search(
            probe[np.newaxis], min(m, self.size), params=params
        )  # (1, m)
        found: NDArray[np.int64] = positions[0]
        return found[found >= 0]

    def batch(
        self, probes: NDArray[np.float32], m: int, nprobe: int, threads: int
    ) -> NDArray[np.int64]:
        """Return positions (p, m) for probes (p, d), -1 where a probe's lists have fewer."""
        faiss.omp_set_num_threads(threads)
        params = _reach(nprobe)
        _, positions = self._index.search(probes, min(m, self.size), params=params)
        found: NDArray[np.int64] = positions
        return found


def _reach(nprobe: int, selector: faiss.IDSelector | None = None) -> faiss.SearchParametersIVF:
    params = faiss.SearchParametersIVF()
    params.nprobe = nprobe
    if selector is not None:
        params.sel = selector
    return params


def _code_dimensions(dimension: int) -> int:
    """Return how many dimensions share 4 bits: 4, or fewer if the dimension is not divisible."""
    return next(width for width in (4, 3, 2, 1) if dimension % width == 0)
