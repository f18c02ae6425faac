"""Settings of the Python interpreter, for the whole process: set once, where a command begins.

Commands that pass very many rows, and worker processes, call `tuned_for_rows`; no task does.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# New objects between two searches for reference cycles.
NEW_OBJECTS = 50_000
# The longest turn of a thread that others wait for.
TURN_SECONDS = 0.0005


@contextmanager
def tuned_for_rows() -> Iterator[None]:
    """Search for cycles rarely and let threads take short turns, while the block runs."""
    thresholds, turn_seconds = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(max(NEW_OBJECTS, thresholds[0]), *thresholds[1:])
    sys.setswitchinterval(min(TURN_SECONDS, turn_seconds))
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(turn_seconds)
