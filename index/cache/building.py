"""Building snapshots: a view folded into one, codes trained for one, one made from SQL. The caller
holds the folder.

Vectors are appended to the file of the snapshot before, unless it is time to leave out dead
positions. Memory stays bounded: rows pass in chunks, and only a training sample is held.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection
from threadpoolctl import threadpool_limits

from index.cache.codes import Codes
from index.cache.config import IndexConfig
from index.cache.recall import draw_probes, tune
from index.cache.replay import Members
from index.cache.rows import CHUNK, SCATTERED, MappedRows, Rows, write_rows
from index.cache.sealed import TunedCodes
from index.cache.snapshots import Contents, Manifest, new_stem, write_snapshot
from index.cache.view import View
from index.errors import IndexDirectoryUnwritable
from index.failpoints import Failpoint, reach

NOTHING_DEAD = np.empty(0, np.int64)
SEED = 20261124


class Builder:
    """Writes the snapshots of one embedding space into one folder, with some threads."""

    def __init__(
        self, directory: Path, fingerprint: str, dimension: int, config: IndexConfig, threads: int
    ) -> None:
        self._directory = directory
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._config = config
        self._threads = threads

    def append(self, view: View, before: Manifest) -> Manifest:
        """Write a view as a snapshot that goes on where the one on disk ends, from which its base
        was opened.

        Raises:
            IndexDirectoryUnwritable, SnapshotCorrupt

        """
        base, tail = view.parts
        assert isinstance(view.base.rows, MappedRows)
        added = tail.positions()
        contents = Contents(
            generation=view.generation,
            digest=view.digest,
            rows=self._write(before.vectors, view.base.rows, _chunks(view.tail.rows, added)),
            facts=np.concatenate([view.base.facts, view.tail.facts[added]]),
            words=view.base.words,
            dead=NOTHING_DEAD if base.live is None else np.flatnonzero(~base.live.marks),
        )
        tuned = view.base.tuned
        if tuned is None:
            return write_snapshot(
                self._directory, contents, None, before.trained_rows, self._fingerprint
            )
        codes = tuned.codes.copy()
        codes.add(_chunks(view.tail.rows, added), self._threads)
        still = TunedCodes(codes, tuned.tuning)
        return write_snapshot(
            self._directory, contents, still, before.trained_rows, self._fingerprint
        )

    def write(self, view: View, trained_rows: int, lookups: NDArray[np.float32]) -> Manifest:
        """Write a view as a snapshot of its members alone, in a new file of vectors.

        Codes keep their training, unless so few members are left that all are compared from now on.

        Raises:
            IndexDirectoryUnwritable, SnapshotCorrupt

        """
        if isinstance(view.base.rows, MappedRows):
            # what was right when it was read first may have been damaged since
            view.base.rows.verify()
        facts = [view.base.facts[:0]]

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
            words=view.base.words,
            dead=NOTHING_DEAD,
        )
        if view.base.tuned is None:
            return self._publish(contents, None, trained_rows, lookups)
        if rows.size <= self._config.flat_limit:
            return self._publish(contents, None, 0, lookups)
        codes = view.base.tuned.codes.emptied()
        codes.add(_chunks(rows, np.arange(rows.size)), self._threads)
        return self._publish(contents, codes, trained_rows, lookups)

    def write_from_sql(self, conn: Connection, space_id: int | None) -> Manifest:
        """Write a snapshot of the newest state from SQL alone, without codes.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged

        """
        members = Members(conn, space_id, self._dimension)
        with closing(
            _ahead(members.chunks())
        ) as chunks:  # nobody reads from this connection after an error
            rows = self._write(_new_name(members.generation), None, chunks)
        contents = Contents(
            members.generation, members.digest, rows, members.facts, members.words, NOTHING_DEAD
        )
        return write_snapshot(self._directory, contents, None, 0, self._fingerprint)

    def train(self, contents: Contents, lookups: NDArray[np.float32]) -> Manifest:
        """Train codes for what a snapshot holds and publish it with them.

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
        return self._publish(contents, codes, rows.size, lookups)

    def measure(
        self, contents: Contents, codes: Codes, trained_rows: int, lookups: NDArray[np.float32]
    ) -> Manifest:
        """Publish a snapshot again, with the reach that its codes need now. Raises like `train`."""
        return self._publish(contents, codes, trained_rows, lookups)

    def _publish(
        self,
        contents: Contents,
        codes: Codes | None,
        trained_rows: int,
        lookups: NDArray[np.float32],
    ) -> Manifest:
        """Measure how far codes must reach and write the snapshot; codes that never reach the
        recall are left out.
        """
        tuned = None
        if codes is not None:
            probes = draw_probes(contents.rows, contents.live, self._config.recall_probes, lookups)
            with threadpool_limits(self._threads, "blas"):  # NumPy has no argument for it
                tuning = tune(codes, contents.rows, contents.live, probes, self._config)
            tuned = TunedCodes(codes, tuning) if tuning else None
        return write_snapshot(self._directory, contents, tuned, trained_rows, self._fingerprint)

    def _write(
        self, name: str, before: MappedRows | None, chunks: Iterator[NDArray[np.float32]]
    ) -> MappedRows:
        try:
            return write_rows(self._directory / name, before, chunks, self._dimension)
        except OSError as err:
            if before is None:
                (self._directory / name).unlink(missing_ok=True)
            raise IndexDirectoryUnwritable(self._directory, str(err)) from err


def _new_name(generation: int) -> str:
    return f"{new_stem(generation)}.vectors"


def _ahead(chunks: Iterator[NDArray[np.float32]]) -> Generator[NDArray[np.float32]]:
    """Yield what an iterator gives, while the next of it is being made in a thread."""
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = beside.submit(next, chunks, None)
            yield chunk


def _chunks(
    rows: Rows, positions: NDArray[np.int64], size: int = CHUNK
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(positions), size):
        yield rows.take(positions[start : start + size])
        rows.release()
