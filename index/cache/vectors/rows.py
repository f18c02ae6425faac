"""Rows: vectors by position, in memory or in an append-only file that is mapped.

They are held in the form in which SQL stores them, float32 or float16, and handed out as float32.

Owns the file of vectors and the digests of its blocks. A block is compared with its digest when it
is first read. So opening a file costs nothing, and no answer is computed from damaged bytes. Bytes
beyond the rows that a manifest counts come from an interrupted write or from a newer snapshot, and
are not read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from index.cache.vectors.products import Best, find_best_at
from index.errors import SnapshotCorrupt
from index.failpoints import Failpoint, reach
from index.truth.vectors import HALF, STORED

# The number of rows with one digest: 98 kB of 384 float32 are hashed in some 60 microseconds.
BLOCK_ROWS = 64
DIGEST_BYTES = 32
# Rows read at a time by a pass over all of them: 12 MB of 384 float32.
CHUNK = 8192
# Single rows read at a time by a long random access: the system may map 1 MB around each.
SCATTERED = 64
# Up to so many rows NumPy converts float16 before FAISS has begun.
FEW_ROWS = 16
BlockDigests = NDArray[np.uint8]  # (blocks, 32)


class Rows(Protocol):
    """Vectors (n, d) float32 at positions 0 to n - 1. Immutable, safe for any number of threads."""

    @property
    def size(self) -> int: ...

    @property
    def form(self) -> np.dtype[Any]:
        """The form in which they are held."""
        ...

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return rows (m, d) at positions (m,). Raises SnapshotCorrupt."""
        ...

    def chunk(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the rows from start to stop, without copying those that are held as float32.

        Raises SnapshotCorrupt.
        """
        ...

    def find_best_at(
        self, positions: NDArray[np.int64], probes: NDArray[np.float32], k: int
    ) -> Best:
        """Return the positions (p, k) with the largest float32 similarities (p, k) to each probe
        (p, d) among its own positions (p, c), falling; -1 at the end where there are fewer.

        Raises SnapshotCorrupt.
        """
        ...

    def release(self) -> None:
        """Free the memory of rows that were read, for a pass over very many rows."""
        ...


class HeldRows:
    """Rows in memory, of any form. Implements `Rows`."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self._rows = rows

    @property
    def size(self) -> int:
        return len(self._rows)

    @property
    def form(self) -> np.dtype[Any]:
        return self._rows.dtype

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return widen(self._rows.take(positions, axis=0))

    def chunk(self, start: int, stop: int) -> NDArray[np.float32]:
        return widen(self._rows[start:stop])

    def find_best_at(
        self, positions: NDArray[np.int64], probes: NDArray[np.float32], k: int
    ) -> Best:
        return _find_best_at(self._rows, positions, probes, k)

    def release(self) -> None:
        """Do nothing: the rows stay in memory."""


class MappedRows:
    """The first `count` rows of a file. Implements `Rows`."""

    def __init__(
        self,
        path: Path,
        count: int,
        dimension: int,
        digests: BlockDigests,
        form: np.dtype[Any] = STORED,
    ) -> None:
        """Map a file of rows in a form.

        Raises:
            SnapshotCorrupt: the file is missing or shorter than `count` rows, or the number of
            digests is not the number of blocks.

        """
        self.path = path
        self.digests = digests
        self.form = form
        wanted = count * dimension * form.itemsize
        try:
            found = path.stat().st_size
            if found < wanted:
                raise SnapshotCorrupt(path, f"it has {found} bytes instead of {wanted}")
            self._map, self._rows = _map_rows(path, count, dimension, form)
            # Single rows are read through a second map, for which the system does not read ahead.
            self._scattered_map, self._scattered = _map_rows(path, count, dimension, form)
        except OSError as err:
            raise SnapshotCorrupt(path, f"it cannot be read: {err.strerror}") from err
        if digests.shape != (block_count(count), DIGEST_BYTES):
            raise SnapshotCorrupt(path, "the number of its digests is wrong")
        if self._scattered_map is not None:
            self._scattered_map.madvise(mmap.MADV_RANDOM)
        self.dimension = dimension
        self._verified = _Verified(len(digests))

    @property
    def size(self) -> int:
        return len(self._rows)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        if not self._verified.all:
            self._verify_at(positions)
        return widen(self._scattered.take(positions, axis=0))

    def find_best_at(
        self, positions: NDArray[np.int64], probes: NDArray[np.float32], k: int
    ) -> Best:
        if not self._verified.all:
            self._verify_at(positions)
        return _find_best_at(self._scattered, positions, probes, k)

    def chunk(self, start: int, stop: int) -> NDArray[np.float32]:
        if start < stop:
            self._verify(np.arange(start // BLOCK_ROWS, (stop - 1) // BLOCK_ROWS + 1))
        return widen(self._rows[start:stop])

    def release(self) -> None:
        for mapped in (self._map, self._scattered_map):
            if mapped is not None:
                mapped.madvise(mmap.MADV_DONTNEED)

    def trust(self, other: MappedRows) -> None:
        """Skip the comparison of blocks that an earlier map of the same file has compared."""
        if other.path == self.path:
            both = min(len(self.digests), len(other.digests))
            same = (self.digests[:both] == other.digests[:both]).all(axis=1)
            self._verified.add(np.flatnonzero(same & other._verified.marks[:both]))

    def verify(self) -> None:
        """Compare every block with its digest now, again if it was compared before.

        Raises SnapshotCorrupt.
        """
        self._verified = _Verified(len(self.digests))
        self._verify(np.arange(len(self.digests)))

    def _verify_at(self, positions: NDArray[np.int64]) -> None:
        """Compare the blocks of some positions with their digests, unless they were compared
        before. A position of -1 stands for none.
        """
        blocks = positions // BLOCK_ROWS
        known = self._verified.marks[blocks]
        if np.count_nonzero(known) == known.size:
            return
        unread = np.unique(blocks[~known & (positions >= 0)])
        # All at once, because a disk answers many requests as fast as one.
        self._advise(unread, mmap.MADV_WILLNEED)
        self._verify(unread)
        self._advise(unread, mmap.MADV_DONTNEED)  # the rows are read through the other map

    def _verify(self, blocks: NDArray[np.int64]) -> None:
        verified = self._verified
        for block in blocks[~verified.marks[blocks]]:
            start = int(block) * BLOCK_ROWS
            if _sha256(self._rows[start : start + BLOCK_ROWS]) != self.digests[block].tobytes():
                raise SnapshotCorrupt(
                    self.path, f"the rows from {start} on do not have the sha256 that was written"
                )
        verified.add(blocks)

    def _advise(self, blocks: NDArray[np.int64], advice: int) -> None:
        """Advise the system about the pages of one or more blocks."""
        assert self._map is not None
        block_bytes = BLOCK_ROWS * self.dimension * self.form.itemsize
        for start in (blocks * block_bytes).tolist():
            begin = start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(advice, begin, min(start + block_bytes, len(self._map)) - begin)


class _Verified:
    """Which blocks were compared with their digests. Any thread adds to it.

    A second comparison of everything begins with a new one, so that who is still adding to this one
    does not count there.
    """

    def __init__(self, blocks: int) -> None:
        self.marks = np.zeros(blocks, np.bool_)
        self.all = not blocks

    def add(self, blocks: NDArray[np.int64]) -> None:
        self.marks[blocks] = True
        self.all = bool(self.marks.all())


def widen(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows (n, d) of any form as float32.

    FAISS converts float16 by the processor's own instruction: 4 ms for 8,192 x 512, where NumPy
    takes 13 (2026-11-30).
    """
    if rows.dtype == STORED:
        return rows
    if rows.dtype != HALF or rows.shape[0] < FEW_ROWS:
        return rows.astype(np.float32, copy=False)
    quantiser = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16)
    before = faiss.omp_get_max_threads()  # of this thread, which goes on to search with them
    faiss.omp_set_num_threads(1)  # waiting for others costs more than it gains
    try:
        wide: NDArray[np.float32] = quantiser.sa_decode(np.ascontiguousarray(rows).view(np.uint8))
    finally:
        faiss.omp_set_num_threads(before)
    return wide


def _find_best_at(
    rows: NDArray[Any], positions: NDArray[np.int64], probes: NDArray[np.float32], k: int
) -> Best:
    """See `Rows.find_best_at`. Rows that are not float32 are widened, some probes at a time."""
    if rows.dtype == STORED:
        return find_best_at(rows, positions, probes, k)
    found = []
    for start in range(0, len(probes), max(1, CHUNK // positions.shape[1])):
        some = slice(start, start + max(1, CHUNK // positions.shape[1]))
        places, order = np.unique(positions[some].clip(0), return_inverse=True)
        local = np.where(positions[some] < 0, -1, order.reshape(positions[some].shape))
        best, similarities = find_best_at(widen(rows.take(places, axis=0)), local, probes[some], k)
        found.append((np.where(best < 0, -1, places[best]), similarities))
    best, similarities = (np.concatenate(each) for each in zip(*found, strict=True))
    return best, similarities


def _map_rows(
    path: Path, count: int, dimension: int, form: np.dtype[Any]
) -> tuple[mmap.mmap | None, NDArray[Any]]:
    """Return a map of the first `count` rows of a file, None for no rows, and these rows."""
    if not count:
        return None, np.empty((0, dimension), form)
    with path.open("rb") as file:
        mapped = mmap.mmap(
            file.fileno(), count * dimension * form.itemsize, access=mmap.ACCESS_READ
        )
    return mapped, np.frombuffer(mapped, form).reshape(count, dimension)


def block_count(rows: int) -> int:
    """Return how many blocks a number of rows fill, the last one perhaps in part."""
    return -(-rows // BLOCK_ROWS)


def write_rows(
    path: Path,
    previous: MappedRows | None,
    chunks: Iterable[NDArray[np.float32]],
    dimension: int,
    form: np.dtype[Any] = STORED,
) -> MappedRows:
    """Append chunks (c, d) behind the previous rows of a file, or create a file, and map it.

    The rows are written in a form, from which they come; so nothing is rounded.

    The file is synced when this returns. Earlier maps of it stay valid.

    Raises:
        OSError: the disk is full, or the folder is not writable.
        SnapshotCorrupt: the block that is appended to is damaged.

    """
    count = previous.size if previous else 0
    open_block = count // BLOCK_ROWS * BLOCK_ROWS  # the first row of the block to complete
    hasher = _BlockHasher(previous.digests[: open_block // BLOCK_ROWS] if previous else None)
    if previous:
        hasher.feed(previous.chunk(open_block, count).astype(form, copy=False))
    with path.open("r+b" if previous else "xb") as file:
        file.truncate(count * dimension * form.itemsize)
        file.seek(0, os.SEEK_END)
        for chunk in chunks:
            rows = np.ascontiguousarray(chunk, form)
            file.write(rows.data)
            hasher.feed(rows)
            count += len(rows)
        file.flush()
        reach(Failpoint.ROWS_WRITTEN)
        os.fsync(file.fileno())
    reach(Failpoint.ROWS_SYNCED)
    return MappedRows(path, count, dimension, hasher.digests(), form)


class _BlockHasher:
    """Digests of the blocks of rows that arrive in chunks of any length."""

    def __init__(self, digests: BlockDigests | None) -> None:
        self._digests = [] if digests is None else [digest.tobytes() for digest in digests]
        self._rest: NDArray[Any] | None = None

    def feed(self, rows: NDArray[Any]) -> None:
        if self._rest is not None and len(self._rest):
            rows = np.concatenate([self._rest, rows])
        whole = len(rows) // BLOCK_ROWS * BLOCK_ROWS
        for start in range(0, whole, BLOCK_ROWS):
            self._digests.append(_sha256(rows[start : start + BLOCK_ROWS]))
        self._rest = rows[whole:].copy()

    def digests(self) -> BlockDigests:
        """Return all digests, the last one perhaps of an incomplete block."""
        last = [_sha256(self._rest)] if self._rest is not None and len(self._rest) else []
        return np.frombuffer(b"".join(self._digests + last), np.uint8).reshape(-1, DIGEST_BYTES)


def _sha256(rows: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(rows).data).digest()
