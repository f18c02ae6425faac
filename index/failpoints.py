"""Named points at which a test can end this process.

They do nothing unless a test installs a hook.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Failpoint(StrEnum):
    """Points between two steps whose results another process, or the next process, can see."""

    IMAGES_WRITTEN = "images_written"
    EMBEDDINGS_WRITTEN = "embeddings_written"
    ENTRIES_WRITTEN = "entries_written"
    ENTRY_MARKED = "entry_marked"
    CORPUS_MARKED = "corpus_marked"
    NUMBERS_TAKEN = "numbers_taken"
    CHANGES_WRITTEN = "changes_written"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    ROWS_WRITTEN = "rows_written"
    ROWS_SYNCED = "rows_synced"
    FILE_WRITTEN = "file_written"
    FILE_SYNCED = "file_synced"
    FILE_RENAMED = "file_renamed"
    FILES_COMPLETE = "files_complete"
    MANIFEST_PUBLISHED = "manifest_published"
    LEFTOVERS_REMOVED = "leftovers_removed"
    CODES_TRAINED = "codes_trained"
    SNAPSHOT_OPENED = "snapshot_opened"
    SNAPSHOT_HELD = "snapshot_held"
    CHUNK_FINISHED = "chunk_finished"
    ARCHIVE_WRITTEN = "archive_written"  # not read back yet
    TARGET_FOUND_EMPTY = "target_found_empty"  # before the archive is verified


_hook: Callable[[Failpoint], None] | None = None


def install(hook: Callable[[Failpoint], None] | None) -> None:
    """Call `hook` at every failpoint that this process reaches; None removes the hook."""
    global _hook  # noqa: PLW0603 - one process, one hook
    _hook = hook


def reach(point: Failpoint) -> None:
    """Call the hook, if one is installed."""
    if _hook is not None:
        _hook(point)
