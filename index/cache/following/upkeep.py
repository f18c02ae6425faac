"""The maintenance work of one index: writing snapshots, taking over newer ones, training codes.

Each piece of work holds the lock of the folder, so that one process does it at a time. Searches go
on meanwhile; the current view serves them until the new snapshot is opened.
"""

from __future__ import annotations

import os

from index.cache.following.current import CurrentView
from index.cache.following.folding import FoldPolicy, is_measuring_due, is_training_due
from index.cache.plans.config import IndexConfig
from index.cache.snapshots.folder import IndexFolder
from index.cache.snapshots.manifest import Manifest, read_manifest
from index.cache.snapshots.snapshot import check_files, directory_lock, set_aside
from index.errors import SnapshotCorrupt
from index.truth.changes import last_number
from index.truth.databases.database import Database
from index.truth.digest import digest_hex


class Upkeep:
    """The maintenance of one index. Every method is safe to call from any thread.

    All methods that do work raise IndexDirectoryUnwritable, TruthDamaged, SnapshotCorrupt or
    DatabaseUnavailable.
    """

    def __init__(
        self,
        database: Database,
        folder: IndexFolder,
        current: CurrentView,
        policy: FoldPolicy,
        config: IndexConfig,
    ) -> None:
        self._database = database
        self._folder = folder
        self._current = current
        self._policy = policy
        self._config = config

    def is_due(self, *, train: bool, hurry: bool = False) -> bool:
        """Return whether a snapshot should be written, or codes trained or measured.

        `hurry`: measuring need not wait until nothing changes.
        """
        current = self._current.current
        if self._policy.is_due(current.view, current.manifest) or self._are_hashes_due():
            return True
        return train and (
            is_training_due(current.manifest, self._config)
            or self._is_measuring_due(current.manifest, hurry=hurry)
        )

    def _is_measuring_due(self, manifest: Manifest | None, *, hurry: bool) -> bool:
        is_quiet = self._current.seconds_without_change() > self._policy.quiet_seconds
        return (hurry or is_quiet) and is_measuring_due(manifest, self._config)

    def _are_hashes_due(self) -> bool:
        """Return whether hashes should be written; never where nothing can be, since a snapshot
        without them serves as well.
        """
        return (
            self._current.current.manifest is not None
            and self._policy.are_hashes_due(self._current.pictures.read)
            and os.access(self._folder.path, os.W_OK)
        )

    def do_one(self, *, train: bool, wait: bool) -> bool:
        """Do the most urgent piece of maintenance. Return False if another process holds the
        folder.
        """
        with directory_lock(self._folder.path, wait=wait) as locked:
            if not locked:
                return False
            if self._take_over():
                return True
            current = self._current.current
            manifest = current.manifest
            if self._policy.is_due(current.view, manifest):
                compact = self._policy.is_compaction_due(current.view, self._config)
                self._use(self._folder.write(current, compact=compact))
            elif manifest is not None and self._are_hashes_due():
                self._write_hashes(manifest)
            elif train and manifest is not None and is_training_due(manifest, self._config):
                self._use(self._folder.train(manifest))
            elif train and manifest is not None and self._is_measuring_due(manifest, hurry=wait):
                self._use(self._folder.measure(manifest))
        return True

    def write_snapshot(self) -> Manifest:
        """Write the current view as a snapshot, unless the snapshot on disk is already the same."""
        with directory_lock(self._folder.path, wait=True):
            self._take_over()
            current = self._current.current
            manifest = current.manifest
            state = (current.view.generation, digest_hex(current.view.digest))
            if manifest and (manifest.generation, manifest.digest) == state:
                check_files(self._folder.path, manifest)
                return manifest
            return self._use(self._folder.write(current, compact=False))

    def compact(self) -> Manifest:
        """Write the current view as a snapshot without the positions of removed entries."""
        with directory_lock(self._folder.path, wait=True):
            self._take_over()
            return self._use(self._folder.write(self._current.current, compact=True))

    def absorb(self) -> None:
        """Bring the view to the newest state through snapshots, so that memory stays bounded."""
        with directory_lock(self._folder.path, wait=True):
            self._take_over()  # another process may have done the work while this one waited
            if self._current.count_pending() > self._current.view.count:
                # Most of SQL has to be read anyway, and codes will be trained again.
                self._use(self._folder.write_from_sql())
        view = self._current.view
        most = self._policy.growing_bytes // (view.form.itemsize * view.dimension)
        while self._current.follow(most):
            if self._current.view.growing.size >= most:
                self.write_snapshot()

    def _write_hashes(self, manifest: Manifest) -> None:
        written = self._folder.write_hashes(manifest, self._current.pictures.read)
        if self._current.adopt(written):
            self._share_hashes()

    def _share_hashes(self) -> None:
        """Hold the hashes beside the snapshot on disk in the memory of its file."""
        with self._database.read(unlimited=True) as conn:
            rows, generation = self._folder.open_hashes(conn), last_number(conn)
        if rows is not None:
            self._current.pictures.move_to(rows, generation)

    def _take_over(self) -> bool:
        """Use the snapshot on disk if another process has written it. The caller holds the folder's
        lock.
        """
        current = self._current.current
        try:
            manifest = read_manifest(self._folder.path)
            if manifest is None:
                self._current.detach()
                return False
            if manifest == current.manifest:
                return False
            if self._current.adopt(manifest):
                self._share_hashes()
                return True
            with self._database.read() as conn:
                self._folder.check(conn, manifest)
            self._use(manifest)
        except SnapshotCorrupt as err:
            set_aside(self._folder.path, err.reason, locked=True)
            self._current.detach()
            return False
        return True

    def _use(self, manifest: Manifest) -> Manifest:
        """Open a snapshot and move the current view onto it."""
        self._current.move_to(self._folder.open_manifest(manifest))
        return manifest
