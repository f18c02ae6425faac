"""The folder of one index: opens the snapshot in it if it agrees with the database, and writes new
snapshots.

Owns the agreement between a snapshot and SQL. `index.cache.snapshots.snapshot` owns the files,
`index.cache.snapshots.building` how a snapshot is computed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.cache.plans.config import IndexConfig
from index.cache.searching.pictures import ReadHashes
from index.cache.segments.replay import Members
from index.cache.segments.sealed import SealedSegment, TunedCodes
from index.cache.segments.view import View
from index.cache.snapshots.building import Builder
from index.cache.snapshots.manifest import Manifest, read_manifest
from index.cache.snapshots.saved_hashes import history_at, is_of_history, open_hashes
from index.cache.snapshots.snapshot import (
    Contents,
    directory_lock,
    open_snapshot,
    set_aside,
    write_snapshot_hashes,
)
from index.cache.vectors.rows import HeldRows
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from index.truth.changes import count_members, digest_at, find_time, last_number
from index.truth.databases.database import Database
from index.truth.digest import digest_hex
from index.truth.lookups import read_recent_probes
from index.truth.spaces import Space, find_space_id
from index.truth.statements import disable_mmap
from index.view_hashes import HashRows

logger = logging.getLogger(__name__)

# The number of stored look-ups, the latest ones, whose probes recall is measured with.
LOOKUP_PROBES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """A view, and the manifest of the snapshot that its sealed segment was opened from; None if
    that segment is in memory only.
    """

    view: View
    manifest: Manifest | None


class IndexFolder:
    """The snapshots of one embedding space in one folder, beside their database."""

    def __init__(
        self,
        database: Database,
        space: Space,
        directory: Path,
        config: IndexConfig,
        *,
        threads: int,
    ) -> None:
        self.path = directory / space.fingerprint[:16]
        self.space_id: int | None = None  # None while the database does not know the space
        self._database = database
        self._space = space
        self._config = config
        self._builder = Builder(self.path, space, config, threads, self._find_time)

    def find_space(self, conn: Connection) -> int | None:
        """Return the row id of the space, and keep it in `space_id`."""
        self.space_id = find_space_id(conn, self._space)
        return self.space_id

    def open(self, *, locked: bool = False) -> Current | None:
        """Open the snapshot on disk. Return None if there is none.

        A snapshot that is damaged or disagrees with the database is set aside. `locked`: this
        thread holds the folder's lock.
        """
        try:
            # The manifest is read before the transaction begins, so that a correct one cannot be
            # newer than the database.
            manifest = read_manifest(self.path)
            if manifest is None:
                return None
            with self._database.read(unlimited=True) as conn:
                self.check(conn, manifest)
            return self.open_manifest(manifest)
        except SnapshotCorrupt as err:
            set_aside(self.path, err.reason, locked=locked)
            return None

    def open_manifest(self, manifest: Manifest) -> Current:
        """Open the snapshot of a manifest. Raises SnapshotCorrupt."""
        contents, tuned = self._open_files(manifest)
        view = View.of_sealed(
            contents.segment(tuned),
            contents.live,
            contents.generation,
            contents.digest,
            self._space.dimension,
        )
        return Current(view, manifest)

    def check(self, conn: Connection, manifest: Manifest) -> None:
        """Raise SnapshotCorrupt unless a snapshot agrees with the change log."""
        space_id = self.find_space(conn)
        if manifest.generation > last_number(conn):
            raise SnapshotCorrupt(
                self.path, "it is newer than the database, which was restored or replaced"
            )
        if manifest.digest != digest_hex(digest_at(conn, space_id, manifest.generation)):
            raise SnapshotCorrupt(self.path, "its digest is not the one that the change log states")
        if manifest.changed_at not in (None, _find_time(conn, manifest.generation)):
            # Equal images, but their corpora, generators or labels may be others.
            raise SnapshotCorrupt(self.path, "it is of another time than its change in the log")

    def build(self) -> Current:
        """Build the index from SQL.

        An index that is too large for memory is built on disk, by one process while others wait
        for it.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """
        with self._database.read(unlimited=True) as conn:
            space_id, limit = self.find_space(conn), self._config.flat_limit
            # There are at most as many members as changes.
            is_large = last_number(conn) > limit and count_members(conn, space_id) > limit
        if is_large:
            try:
                with directory_lock(self.path, wait=True):
                    return self.open(locked=True) or self.open_manifest(self.write_from_sql())
            except IndexDirectoryUnwritable as err:
                logger.warning("the index is held in memory: %s", err)
        return self._build_in_memory()

    def _build_in_memory(self) -> Current:
        dimension, form = self._space.dimension, self._space.form
        with self._database.read(unlimited=True) as conn:
            members = Members(conn, self.space_id, dimension, form)
            chunks = (chunk.astype(form, copy=False) for chunk in members.chunks())
            rows = np.concatenate([np.empty((0, dimension), form), *chunks])
            sealed = SealedSegment(HeldRows(rows), members.facts, members.words)
            view = View.of_sealed(sealed, None, members.generation, members.digest, dimension)
        return Current(view, None)

    def write_from_sql(self) -> Manifest:
        """Write a snapshot of the newest state from SQL alone.

        The caller holds the folder's lock.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        with self._database.read(unlimited=True) as conn, disable_mmap(conn):
            return self._builder.write_from_sql(conn, self.find_space(conn))

    def write(self, current: Current, *, compact: bool) -> Manifest:
        """Write a view as a snapshot; `compact` leaves out the positions of removed entries.

        The caller holds the folder's lock.

        Raises:
            IndexDirectoryUnwritable, SnapshotCorrupt, DatabaseUnavailable

        """
        manifest = current.manifest
        if manifest is None or compact:
            return self._builder.write(current.view, manifest, self._lookup_probes())
        return self._builder.append(current.view, manifest)

    def train(self, manifest: Manifest) -> Manifest:
        """Train codes for a snapshot and publish it with them. Raises like `write`."""
        contents, _ = self._open_files(manifest)
        return self._builder.train(contents, self._lookup_probes())

    def measure(self, manifest: Manifest) -> Manifest:
        """Measure the recall of a snapshot's codes again and publish it with the reach that they
        need now. Raises like `write`.
        """
        contents, tuned = self._open_files(manifest)
        assert tuned is not None
        return self._builder.measure(
            contents, tuned.codes, manifest.trained_rows, self._lookup_probes()
        )

    def open_hashes(self, conn: Connection) -> HashRows | None:
        """Return the hashes beside the snapshot on disk; None if there are none of this database.

        A damaged file is named in the log.
        """
        try:
            manifest = read_manifest(self.path)
            if manifest is None or manifest.hashes is None:
                return None
            if is_of_history(conn, manifest.hashes):
                return open_hashes(self.path, manifest.hashes)
        except SnapshotCorrupt as err:
            logger.warning("%s; the hashes are read from SQL", err)
        return None

    def write_hashes(self, manifest: Manifest, hashes: ReadHashes) -> Manifest:
        """Publish a snapshot with other hashes. The caller holds the folder's lock.

        Raises:
            IndexDirectoryUnwritable, DatabaseUnavailable

        """
        with self._database.read(unlimited=True) as conn:
            history = history_at(conn, hashes.generation)
        rows = hashes.held.sort()
        return write_snapshot_hashes(self.path, manifest, rows, hashes.generation, history)

    def _find_time(self, generation: int) -> str | None:
        with self._database.read() as conn:
            return _find_time(conn, generation)

    def _open_files(self, manifest: Manifest) -> tuple[Contents, TunedCodes | None]:
        return open_snapshot(
            self.path,
            manifest,
            self._space.fingerprint,
            self._space.dimension,
            self._space.form,
        )

    def _lookup_probes(self) -> NDArray[np.float32]:
        with self._database.read(unlimited=True) as conn:
            return read_recent_probes(conn, self.space_id, self._space.dimension, LOOKUP_PROBES)


def _find_time(conn: Connection, generation: int) -> str | None:
    """Return the time of a change, as a manifest states it."""
    time = find_time(conn, generation)
    return None if time is None else time.isoformat()
