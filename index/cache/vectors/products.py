"""Inner products of probes with rows in memory, by FAISS: one call for any number of probes, on the
rows where they are, without the interpreter's lock.

FAISS takes bare pointers. Every array is contiguous and outlives the call. The number of threads is
a setting of the calling thread.
"""

from __future__ import annotations

import os

import faiss
import numpy as np
from numpy.typing import NDArray

from index.cache.vectors.marks import Marks

# Probes for which another thread is worth its start, some 10 microseconds.
PROBES_PER_THREAD = 16
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Best = tuple[NDArray[np.int64], NDArray[np.float32]]


def use_threads_for(probes: int) -> None:
    """Let the calling thread search with as many threads as a number of probes is worth.

    One probe has one: starting threads takes longer than its search.
    """
    faiss.omp_set_num_threads(min(THREADS, 1 + probes // PROBES_PER_THREAD))


def find_best(
    rows: NDArray[np.float32], probes: NDArray[np.float32], k: int, live: NDArray[np.uint8] | None
) -> Best:
    """Return the places (p, k) of the rows (n, d) with the largest inner products (p, k) with
    probes (p, d), falling; -1 and -inf where there are fewer than k.

    `live` has a bit for each row, the lowest first: whether it is compared.
    """
    use_threads_for(len(probes))
    best = np.empty((len(probes), k), np.int64), np.empty((len(probes), k), np.float32)
    selector = None if live is None else faiss.IDSelectorBitmap(len(live), faiss.swig_ptr(live))
    faiss.knn_inner_product(
        faiss.swig_ptr(probes),
        faiss.swig_ptr(rows),
        rows.shape[1],
        len(probes),
        len(rows),
        k,
        faiss.swig_ptr(best[1]),
        faiss.swig_ptr(best[0]),
        selector,
    )
    return _mark_missing(best)


def find_best_at(
    rows: NDArray[np.float32],
    positions: NDArray[np.int64],
    probes: NDArray[np.float32],
    k: int,
) -> Best:
    """Return, as `find_best`, the best of the rows at each probe's own positions (p, c).

    -1 stands at the end of a probe's positions if it has fewer than c.
    """
    use_threads_for(len(probes))
    best = np.empty((len(probes), k), np.int64), np.empty((len(probes), k), np.float32)
    faiss.knn_inner_products_by_idx(  # type: ignore[attr-defined]  # missing in its stubs
        faiss.swig_ptr(probes),
        faiss.swig_ptr(rows),
        faiss.swig_ptr(positions),
        rows.shape[1],
        len(probes),
        len(rows),
        positions.shape[1],
        k,
        faiss.swig_ptr(best[1]),
        faiss.swig_ptr(best[0]),
        positions.shape[1],
    )
    return best


def pack(live: Marks | None, start: int, stop: int) -> NDArray[np.uint8] | None:
    """Return the bits of the positions from start, a multiple of 8, to stop."""
    return None if live is None else live.packed[start // 8 : -(-stop // 8)]


def _mark_missing(best: Best) -> Best:
    best[1][best[0] < 0] = -np.inf
    return best
