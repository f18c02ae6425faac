"""Building snapshots: from a view, from SQL alone, and with newly trained codes.

The caller holds the lock of the folder. Vectors are appended to the file of the previous snapshot,
unless dead positions are due to be left out. Memory stays bounded: rows pass in chunks, and only
the training sample is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection
from threadpoolctl import threadpool_limits

from index.cache.plans.comparison import Comparison
from index.cache.plans.config import IndexConfig
from index.cache.segments.replay import Members
from index.cache.segments.sealed import TunedCodes
from index.cache.segments.view import View
from index.cache.snapshots.manifest import Manifest
from index.cache.snapshots.planning import choose_plan
from index.cache.snapshots.snapshot import Contents, new_stem, write_snapshot
from index.cache.vectors.codes import Codes
from index.cache.vectors.rows import CHUNK, SCATTERED, MappedRows, Rows, write_rows
from index.errors import IndexDirectoryUnwritable
from index.failpoints import Failpoint, reach
from index.truth.spaces import Space

NOTHING_DEAD = np.empty(0, np.int64)
SEED = 20261124


class Builder:
    """Writes the snapshots of one embedding space into one folder."""

    def __init__(
        self,
        directory: Path,
        space: Space,
        config: IndexConfig,
        threads: int,
        find_time: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        """`find_time` returns when a change was logged, by its number."""
        self._directory = directory
        self._fingerprint = space.fingerprint
        self._dimension = space.dimension
        self._form = space.form
        self._config = config
        self._threads = threads
        self._find_time = find_time

    def append(self, view: View, previous: Manifest) -> Manifest:
        """Write a view as a snapshot that continues the previous one, from which the view's sealed
        segment was opened.

        Raises:
            IndexDirectoryUnwritable, SnapshotCorrupt

        """
        sealed, growing = view.parts
        assert isinstance(view.sealed.rows, MappedRows)
        new = growing.positions()
        contents = Contents(
            generation=view.generation,
            digest=view.digest,
            rows=self._write(previous.vectors, view.sealed.rows, _chunks(view.growing.rows, new)),
            facts=np.concatenate([view.sealed.facts, view.growing.facts[new]]),
            words=view.sealed.words,
            dead=NOTHING_DEAD if sealed.live is None else np.flatnonzero(~sealed.live.marks),
        )
        tuned = view.sealed.tuned
        if tuned is not None:
            codes = tuned.codes.copy()
            codes.add(_chunks(view.growing.rows, new), self._threads)
            tuned = TunedCodes(codes, tuned.tuning)
        return self._publish(contents, tuned, previous.trained_rows, previous.comparison)

    def write(
        self, view: View, previous: Manifest | None, lookups: NDArray[np.float32]
    ) -> Manifest:
        """Write a view as a snapshot of its members alone, in a new file of vectors. `previous` is
        the manifest of the snapshot from which the view's sealed segment was opened.

        Codes keep their training. They are left out if few enough members remain to compare all of
        them. `lookups` (l, d) are probes of stored look-ups.

        Raises:
            IndexDirectoryUnwritable, SnapshotCorrupt

        """
        if isinstance(view.sealed.rows, MappedRows):
            # a block that was correct when it was first read may have been damaged since
            view.sealed.rows.verify()
        facts = [view.sealed.facts[:0]]

        def vectors() -> Iterator[NDArray[np.float32]]:
            for some, rows in view.members():
                facts.append(some)
                yield rows

        rows = self._write(_new_name(view.generation), None, vectors())
        contents = Contents(
            generation=view.generation,
            digest=view.digest,
            rows=rows,
            facts=np.concatenate(facts),
            words=view.sealed.words,
            dead=NOTHING_DEAD,
        )
        trained_rows = previous.trained_rows if previous else 0
        if rows.size <= self._config.flat_limit:
            return self._publish(contents, None, 0, None)
        if view.sealed.tuned is None:
            comparison = previous.comparison if previous else None
            return self._publish(contents, None, trained_rows, comparison)
        codes = view.sealed.tuned.codes.empty_copy()
        codes.add(_chunks(rows, np.arange(rows.size)), self._threads)
        return self._choose(contents, codes, trained_rows, lookups)

    def write_from_sql(self, conn: Connection, space_id: int | None) -> Manifest:
        """Write a snapshot of the newest state from SQL alone, without codes.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged

        """
        members = Members(conn, space_id, self._dimension, self._form)
        # Closing ends the thread, so that nothing reads from the connection after an error.
        with closing(_read_ahead(members.chunks())) as chunks:
            rows = self._write(_new_name(members.generation), None, chunks)
        contents = Contents(
            members.generation, members.digest, rows, members.facts, members.words, NOTHING_DEAD
        )
        return self._publish(contents, None, 0, None)

    def train(self, contents: Contents, lookups: NDArray[np.float32]) -> Manifest:
        """Train codes for the contents of a snapshot and publish it with them.

        Raises:
            IndexDirectoryUnwritable, SnapshotCorrupt

        """
        rows, config = contents.rows, self._config
        living = np.arange(rows.size) if contents.live is None else contents.live.positions
        chosen = np.random.default_rng(SEED).choice(
            living, config.training_rows(len(living)), replace=False
        )
        sample = np.concatenate(list(_chunks(rows, np.sort(chosen), SCATTERED)))
        codes = Codes.train(sample, config.lists_for(rows.size), self._threads)
        codes.add(_chunks(rows, np.arange(rows.size)), self._threads)
        reach(Failpoint.CODES_TRAINED)
        return self._choose(contents, codes, rows.size, lookups)

    def measure(
        self, contents: Contents, codes: Codes, trained_rows: int, lookups: NDArray[np.float32]
    ) -> Manifest:
        """Measure the reach that codes need now and publish the snapshot with it. Raises like
        `train`.
        """
        return self._choose(contents, codes, trained_rows, lookups)

    def _choose(
        self, contents: Contents, codes: Codes, trained_rows: int, lookups: NDArray[np.float32]
    ) -> Manifest:
        """Choose the plan and write the snapshot; codes that it does not use are left out."""
        with threadpool_limits(self._threads, "blas"):  # NumPy has no argument for it
            choice = choose_plan(
                contents.segment(None), contents.live, codes, lookups, self._config
            )
        return self._publish(contents, choice.tuned, trained_rows, choice.comparison)

    def _publish(
        self,
        contents: Contents,
        tuned: TunedCodes | None,
        trained_rows: int,
        comparison: Comparison | None,
    ) -> Manifest:
        return write_snapshot(
            self._directory,
            contents,
            tuned,
            trained_rows,
            comparison,
            self._fingerprint,
            self._find_time(contents.generation),
        )

    def _write(
        self, name: str, previous: MappedRows | None, chunks: Iterator[NDArray[np.float32]]
    ) -> MappedRows:
        try:
            return write_rows(self._directory / name, previous, chunks, self._dimension, self._form)
        except OSError as err:
            if previous is None:
                (self._directory / name).unlink(missing_ok=True)
            raise IndexDirectoryUnwritable(self._directory, str(err)) from err


def _new_name(generation: int) -> str:
    return f"{new_stem(generation)}.vectors"


def _read_ahead(chunks: Iterator[NDArray[np.float32]]) -> Generator[NDArray[np.float32]]:
    """Yield the items of an iterator, while a thread computes the next one."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _chunks(
    rows: Rows, positions: NDArray[np.int64], size: int = CHUNK
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(positions), size):
        yield rows.take(positions[start : start + size])
        rows.release()
