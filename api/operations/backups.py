"""Backups: written, restored and verified. No model is needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from api.lineup import open_database, open_thumbnails
from api.operations.backups_json import BackupAnswer, RestoreAnswer
from api.operations.checks_json import SpaceDigestAnswer
from api.settings import Settings
from index.backups.backup import back_up
from index.backups.manifest import BackupManifest
from index.backups.restore import restore
from index.backups.verification import verify_backup
from index.truth.spaces import SpaceKind


def make_backup(
    settings: Settings, archive: Path, *, thumbnails: bool, replace: bool
) -> BackupAnswer:
    """Write a backup of everything that belongs to the settings.

    Raises `BackupError`, `DatabaseError`.
    """
    started = time.perf_counter()
    store = open_thumbnails(settings) if thumbnails else None
    with open_database(settings) as database:
        report = back_up(database, settings.index_dir, store, archive, replace=replace)
    return _make_answer(archive, report.manifest, started, report.warnings)


def restore_backup(settings: Settings, archive: Path) -> RestoreAnswer:
    """Restore a backup into the database and the data folder of the settings.

    Raises `BackupError`, `DatabaseError`.
    """
    started = time.perf_counter()
    report = restore(archive, settings.url, settings.index_dir, open_thumbnails(settings))
    return RestoreAnswer(
        backup=_make_answer(archive, report.manifest, started),
        database=report.database,
        data_dir=str(settings.data_dir),
        thumbnails=report.thumbnails,
    )


def check_backup(archive: Path) -> BackupAnswer:
    """Verify a backup without restoring it. Raises `BackupError`."""
    started = time.perf_counter()
    return _make_answer(archive, verify_backup(archive), started)


def _make_answer(
    archive: Path, manifest: BackupManifest, started: float, warnings: Sequence[str] = ()
) -> BackupAnswer:
    return BackupAnswer(
        archive=str(archive),
        byte_size=archive.stat().st_size,
        created_at=manifest.created_at,
        lineup_version=manifest.lineup_version,
        database=manifest.database,
        schema_revision=manifest.schema_revision,
        generation=manifest.generation,
        spaces=[
            SpaceDigestAnswer(
                embedding_space=space.fingerprint,
                kind=SpaceKind(space.kind),
                model=space.model,
                dimension=space.dimension,
                digest=space.digest,
            )
            for space in manifest.spaces
        ],
        row_counts=dict(sorted(manifest.row_counts.items())),
        snapshots=list(manifest.snapshots),
        thumbnails=manifest.thumbnails,
        warnings=list(warnings),
        seconds=time.perf_counter() - started,
    )
