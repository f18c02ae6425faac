"""Rows: float32 vectors by position, held in memory or in an append-only file that is mapped.

Owns the file of vectors and the digests of its blocks. A block is compared with its digest when it
is first read, so that opening costs nothing and no answer is ever computed from bytes that are not
what was written. Bytes beyond the rows that a manifest counts are from a write that was
interrupted, or from a newer snapshot: nobody reads them.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.errors import SnapshotCorrupt
from index.failpoints import Failpoint, reach
from index.truth.vectors import STORED

# Rows with one digest: 98 kB of 384 float32 are hashed in some 60 microseconds, and 32 bytes for
# them are little.
BLOCK_ROWS = 64
DIGEST_BYTES = 32
# Rows read at a time where all of them pass: 12 MB of 384 float32.
CHUNK = 8192
# Single rows read at a time where very many are: with each the system may map 1 MB around it.
SCATTERED = 64
BlockDigests = NDArray[np.uint8]  # (blocks, 32)


class Rows(Protocol):
    """Vectors (n, d) float32 at positions 0..n-1. Immutable, safe for any number of threads."""

    @property
    def size(self) -> int: ...

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return rows (m, d) at positions (m,). Raises SnapshotCorrupt."""
        ...

    def chunk(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the rows from start to stop without copying them. Raises SnapshotCorrupt."""
        ...

    def release(self) -> None:
        """Let go of what was read so far: for whoever passes over very many rows, so that memory
        stays bounded.
        """
        ...


class HeldRows:
    """Rows in memory. Implements `Rows`."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows

    @property
    def size(self) -> int:
        return len(self._rows)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._rows.take(positions, axis=0)

    def chunk(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._rows[start:stop]

    def release(self) -> None:
        """They are in memory."""


class MappedRows:
    """The first `count` rows of a file. Implements `Rows`."""

    def __init__(self, path: Path, count: int, dimension: int, digests: BlockDigests) -> None:
        """Map a file.

        Raises:
            SnapshotCorrupt: it is missing or shorter than `count` rows, or there are not as many
            digests as blocks.

        """
        self.path = path
        self.digests = digests
        wanted = count * dimension * STORED.itemsize
        try:
            found = path.stat().st_size
            if found < wanted:
                raise SnapshotCorrupt(path, f"it has {found} bytes instead of {wanted}")
            self._map, self._rows = _mapped(path, count, dimension)
            # Single rows are read through a map of their own, for which the system reads nothing
            # ahead.
            self._scattered_map, self._scattered = _mapped(path, count, dimension)
        except OSError as err:
            raise SnapshotCorrupt(path, f"it cannot be read: {err.strerror}") from err
        if digests.shape != (block_count(count), DIGEST_BYTES):
            raise SnapshotCorrupt(path, "its digests are not those of so many rows")
        if self._scattered_map is not None:
            self._scattered_map.madvise(mmap.MADV_RANDOM)
        self.dimension = dimension
        self._verified = np.zeros(len(digests), np.bool_)  # set by any thread

    @property
    def size(self) -> int:
        return len(self._rows)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        blocks = positions // BLOCK_ROWS
        if not self._verified[blocks].all():
            unread = np.unique(blocks[~self._verified[blocks]])
            self._advise(
                unread, mmap.MADV_WILLNEED
            )  # all at once: a disk answers many questions as fast as one
            self._verify(unread)
            self._advise(unread, mmap.MADV_DONTNEED)  # the rows are read through the other map
        return self._scattered.take(positions, axis=0)

    def chunk(self, start: int, stop: int) -> NDArray[np.float32]:
        if start < stop:
            self._verify(np.arange(start // BLOCK_ROWS, (stop - 1) // BLOCK_ROWS + 1))
        return self._rows[start:stop]

    def release(self) -> None:
        for mapped in (self._map, self._scattered_map):
            if mapped is not None:
                mapped.madvise(mmap.MADV_DONTNEED)

    def trust(self, other: MappedRows) -> None:
        """Take over what was compared already of an earlier map of the same file."""
        if other.path == self.path:
            both = min(len(self.digests), len(other.digests))
            same = (self.digests[:both] == other.digests[:both]).all(axis=1)
            self._verified[:both] |= same & other._verified[:both]

    def verify(self) -> None:
        """Compare every block with its digest now, also those that were compared before.

        Raises SnapshotCorrupt.
        """
        self._verified[:] = False
        self._verify(np.arange(len(self._verified)))

    def _verify(self, blocks: NDArray[np.int64]) -> None:
        for block in blocks[~self._verified[blocks]]:
            start = int(block) * BLOCK_ROWS
            if _sha256(self._rows[start : start + BLOCK_ROWS]) != self.digests[block].tobytes():
                raise SnapshotCorrupt(
                    self.path, f"rows {start} and following do not have the sha256 that was written"
                )
            self._verified[block] = True

    def _advise(self, blocks: NDArray[np.int64], advice: int) -> None:
        """Tell the system what is going to be done with the pages of some blocks, of which there is
        at least one.
        """
        assert self._map is not None
        block_bytes = BLOCK_ROWS * self.dimension * STORED.itemsize
        for start in (blocks * block_bytes).tolist():
            begin = start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(advice, begin, min(start + block_bytes, len(self._map)) - begin)


def _mapped(path: Path, count: int, dimension: int) -> tuple[mmap.mmap | None, NDArray[np.float32]]:
    """Return a map of the first `count` rows of a file and the rows (count, d) in it; no rows need
    no map.
    """
    if not count:
        return None, np.empty((0, dimension), np.float32)
    with path.open("rb") as file:
        mapped = mmap.mmap(
            file.fileno(), count * dimension * STORED.itemsize, access=mmap.ACCESS_READ
        )
    return mapped, np.frombuffer(mapped, STORED).reshape(count, dimension)


def block_count(rows: int) -> int:
    """Return how many blocks so many rows fill or begin."""
    return -(-rows // BLOCK_ROWS)


def write_rows(
    path: Path, before: MappedRows | None, chunks: Iterable[NDArray[np.float32]], dimension: int
) -> MappedRows:
    """Append chunks (c, d) behind the rows that a file is known to hold, or begin a file; map what
    it holds then.

    The file is synced when this returns. Whoever mapped it before still reads what they mapped.

    Raises:
        OSError: the disk is full, or the folder cannot be written. SnapshotCorrupt: the block that
        is appended to is damaged.

    """
    count = before.size if before else 0
    begun = count // BLOCK_ROWS * BLOCK_ROWS  # where the block begins that is appended to
    hasher = _BlockHasher(before.digests[: begun // BLOCK_ROWS] if before else None)
    if before:
        hasher.feed(before.chunk(begun, count))
    with path.open("r+b" if before else "xb") as file:
        file.truncate(count * dimension * STORED.itemsize)
        file.seek(0, os.SEEK_END)
        for chunk in chunks:
            rows = np.ascontiguousarray(chunk, STORED)
            file.write(rows.data)
            hasher.feed(rows)
            count += len(rows)
        file.flush()
        reach(Failpoint.ROWS_WRITTEN)
        os.fsync(file.fileno())
    reach(Failpoint.ROWS_SYNCED)
    return MappedRows(path, count, dimension, hasher.digests())


class _BlockHasher:
    """Digests of the blocks of rows that arrive in chunks of any length."""

    def __init__(self, digests: BlockDigests | None) -> None:
        self._digests = [] if digests is None else [digest.tobytes() for digest in digests]
        self._rest: NDArray[np.float32] | None = None

    def feed(self, rows: NDArray[np.float32]) -> None:
        if self._rest is not None and len(self._rest):
            rows = np.concatenate([self._rest, rows])
        whole = len(rows) // BLOCK_ROWS * BLOCK_ROWS
        for start in range(0, whole, BLOCK_ROWS):
            self._digests.append(_sha256(rows[start : start + BLOCK_ROWS]))
        self._rest = rows[whole:].copy()

    def digests(self) -> BlockDigests:
        """Return all digests, with that of a block that is only begun."""
        last = [_sha256(self._rest)] if self._rest is not None and len(self._rest) else []
        return np.frombuffer(b"".join(self._digests + last), np.uint8).reshape(-1, DIGEST_BYTES)


def _sha256(rows: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(rows).data).digest()
