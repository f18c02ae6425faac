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
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from index.cache.vectors.marks import Marks
from index.cache.vectors.products import Best, use_threads_for

BITS = 4
TRAINING_ROUNDS = 6
SEED = 20261124
# From so many lists on, the nearest centroids are found by codes of them.
QUICK_LISTS = 256
# Centroids that are compared for each list that is read. In 512 lists of 200,000 `clustered` rows,
# two lists found so have 99.60 % of the nearest ten, and 99.69 % if all centroids are compared, at
# 17.6 instead of 22.4 microseconds a search (2026-11-30).
CLOSER_CENTROIDS = 8
# Probes that FAISS searches for at a time, because it holds tables and candidates of all of them.
# After batches of 1,000 among 200,000 x 384 of `hard` data a process holds 25 MB of its own, and 71
# without this limit, at which batches are 6 % faster (2026-12-01).
PROBES_AT_ONCE = 192
FEWEST_TRAINED = 2**BITS  # as many rows as a code of one group of dimensions has values


class Codes:
    """Codes of positions 0 to size - 1.

    Immutable once it serves searches; safe for any number of threads.
    """

    def __init__(self, index: faiss.IndexIVFPQFastScan) -> None:
        self._index = index
        # What FAISS knows too, but not as quickly.
        self.size, self.nlist = int(index.ntotal), int(index.nlist)
        self._reaches: dict[int, faiss.SearchParametersIVF] = {}

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
        # The nearest centroid has the largest inner product. A centroid of many unlike rows is
        # short, so it would be missed, unless all have norm 1.
        index.cp.spherical = True
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
        copy.size = 0
        return copy

    def select(
        self, chunks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]], threads: int
    ) -> Codes:
        """Return codes of some positions (c,) with their rows (c, d), in one list."""
        centroid = faiss.IndexFlatIP(self._index.d)
        centroid.add(np.eye(1, self._index.d, dtype=np.float32))
        selected = _new_index(self._index, centroid, 1)
        faiss.omp_set_num_threads(threads)
        for positions, rows in chunks:
            selected.add_with_ids(np.ascontiguousarray(rows), positions)
        return Codes(selected)

    def decode(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors (n, d) that the codes of rows (n, d) stand for."""
        quantiser: Any = self._index.pq  # its stubs have the calls of C++
        decoded: NDArray[np.float32] = quantiser.decode(quantiser.compute_codes(rows))
        return decoded

    def add(self, chunks: Iterable[NDArray[np.float32]], threads: int) -> None:
        """Encode rows (c, d) at the next positions."""
        faiss.omp_set_num_threads(threads)
        for rows in chunks:
            self._index.add(np.ascontiguousarray(rows, np.float32))
        self.size = int(self._index.ntotal)
        self.__dict__.pop("_quick", None)  # its number of positions has changed

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return int(self._index.code_size)

    def search(
        self,
        probes: NDArray[np.float32],
        m: int,
        nprobe: int,
        live: Marks | None = None,
        *,
        threads: int | None = None,
    ) -> NDArray[np.int64]:
        """Return up to m live positions (p, m) for each of some probes (p, d) from its nprobe
        nearest lists, the best first, -1 where they have fewer.

        Without `threads` there are as many as the number of probes is worth.
        """
        return self.estimate(probes, m, nprobe, live, threads=threads)[0]

    def estimate(
        self,
        probes: NDArray[np.float32],
        m: int,
        nprobe: int,
        live: Marks | None = None,
        *,
        threads: int | None = None,
    ) -> Best:
        """Return what `search` does, and what the codes say of the inner products (p, m), falling;
        less than any where there is no position.
        """
        if threads is None:
            use_threads_for(len(probes))
        else:
            faiss.omp_set_num_threads(threads)
        probes = np.ascontiguousarray(probes)  # FAISS keeps a bare pointer to it
        p, m = len(probes), min(m, self.size)
        positions, estimates = np.empty((p, m), np.int64), np.empty((p, m), np.float32)
        index = self._index
        if nprobe * CLOSER_CENTROIDS <= self.nlist:
            index = self._quick or index
        reach = self._reach(nprobe) if live is None else _new_reach(nprobe, live)
        for start in range(0, p, PROBES_AT_ONCE):
            some = probes[start : start + PROBES_AT_ONCE]
            index.search_c(  # type: ignore[attr-defined]  # missing in its stubs
                len(some),
                faiss.swig_ptr(some),
                m,
                faiss.swig_ptr(estimates[start:]),
                faiss.swig_ptr(positions[start:]),
                reach,
            )
        return positions, estimates

    def _reach(self, nprobe: int) -> faiss.SearchParametersIVF:
        """Return search parameters, which any number of searches may use at once."""
        if nprobe not in self._reaches:
            self._reaches[nprobe] = _new_reach(nprobe)
        return self._reaches[nprobe]

    @cached_property
    def _quick(self) -> faiss.IndexIVFPQFastScan | None:
        """The same lists, whose centroids are found by codes of them, of which the best are
        compared: 8 microseconds for 1,024 x 384, where comparing all takes 20. Not for few
        centroids, and not for those of earlier versions, which are not of norm 1.
        """
        index, dimension = self._index, self._index.d
        centroids = faiss.downcast_index(index.quantizer)
        rows = centroids.reconstruct_n(0, index.nlist)
        if index.nlist < QUICK_LISTS or np.abs(np.vecdot(rows, rows) - 1.0).max() > 1e-3:
            return None
        coded = faiss.IndexPQFastScan(dimension, index.pq.M, BITS, faiss.METRIC_INNER_PRODUCT)
        coded.pq = index.pq
        coded.is_trained = True
        coded.add(rows)
        coarse = faiss.IndexRefine(coded, centroids)
        coarse.k_factor = CLOSER_CENTROIDS
        quick = _new_index(index, coarse, index.nlist)
        assert index.invlists is not None
        quick.replace_invlists(index.invlists, False)
        quick.ntotal = index.ntotal
        return quick


def _new_index(
    trained: faiss.IndexIVFPQFastScan, centroids: faiss.Index, nlist: int
) -> faiss.IndexIVFPQFastScan:
    """Return an index of other lists without any position, with the training of one."""
    index = faiss.IndexIVFPQFastScan(
        centroids, trained.d, nlist, trained.pq.M, BITS, faiss.METRIC_INNER_PRODUCT
    )
    index.by_residual = False
    index.pq = trained.pq
    index.is_trained = True
    return index


def _new_reach(nprobe: int, live: Marks | None = None) -> faiss.SearchParametersIVF:
    """Return search parameters that hold what they refer to."""
    selector = None
    if live is not None:  # FAISS keeps a bare pointer to the bits, which outlive the search
        selector = faiss.IDSelectorBitmap(len(live.packed), faiss.swig_ptr(live.packed))
    return faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)  # type: ignore[call-arg]


def _code_dimensions(dimension: int) -> int:
    """Return how many dimensions share 4 bits: 4, or fewer if the dimension is not divisible."""
    return next(width for width in (4, 3, 2, 1) if dimension % width == 0)
