"""Named points at which a test may end this process. They do nothing unless a test installs a hook."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Failpoint(StrEnum):
    ROWS_WRITTEN = "rows.written"
    ROWS_SYNCED = "rows.synced"


_hook: Callable[[Failpoint], None] | None = None


def install(hook: Callable[[Failpoint], None] | None) -> None:
    """Call `hook` at every failpoint that this process reaches; None: no more."""
    global _hook  # noqa: PLW0603 - one process, one hook
    _hook = hook


def reached(point: Failpoint) -> None:
    """Say that a point was reached."""
    if _hook is not None:
        _hook(point)
