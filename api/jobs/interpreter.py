"""How Python runs while very many rows pass: it looks for cycles seldom, and its threads take short
turns.

Both are settings of the whole process. Not for images: an exception and its frames are a cycle that
holds their bytes.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# New objects until cycles are looked for. A chunk of rows is some hundred thousand that are in
# none; with Python's own 700 a third of the time of making them went into looking (2026-11-25).
NEW_OBJECTS = 50_000
# The committing thread gives the interpreter away at each of the hundred statements of a chunk, and
# waits so long until the thread that makes rows gives it back. Python's own 5 ms made that a
# quarter of its time.
TURN_SECONDS = 0.0005


@dataclass
class _Settings:
    """What was set before the first of those who are at it now."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    new_objects: int = 0
    turn_seconds: float = 0.0


_before = _Settings()


@contextmanager
def set_for_rows() -> Iterator[None]:
    """While any such block is open, in whichever thread; then everything is as it was."""
    with _before.lock:
        if not _before.users:
            _before.new_objects, _before.turn_seconds = (
                gc.get_threshold()[0],
                sys.getswitchinterval(),
            )
            gc.set_threshold(max(NEW_OBJECTS, _before.new_objects))
            sys.setswitchinterval(min(TURN_SECONDS, _before.turn_seconds))
        _before.users += 1
    try:
        yield
    finally:
        with _before.lock:
            _before.users -= 1
            if not _before.users:
                gc.set_threshold(_before.new_objects)
                sys.setswitchinterval(_before.turn_seconds)
