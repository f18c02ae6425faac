"""Settings of the Python interpreter, for the whole process: set once, where a command begins.

Commands that pass very many rows, worker processes and the server set them; no task does. Images
are not affected: the peak memory of an ingest of damaged files is the same with and without them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# New objects between two searches for reference cycles. Rows are in no cycle: with Python's own 700
# an ingest of 100,000 ready embeddings takes 11.5 s of processor time, with 50,000 9.4 s (2 cores,
# 2026-11-30).
NEW_OBJECTS = 50_000
# The longest turn of a thread that others wait for. The committing thread gives up its turn at each
# of the hundred statements of a chunk; with Python's own 5 ms it then waited for a quarter of its
# time (2026-11-25).
ROWS_TURN_SECONDS = 0.0005
# A search gives up its turn some fifty times, to SQLite and NumPy, while another thread applies
# changes; with 5 ms it would wait a tenth of a second.
SERVER_TURN_SECONDS = 0.0001


def search_cycles_rarely() -> None:
    """Search for reference cycles rarely from now on, in a process that runs one command.

    Loading modules makes hundreds of thousands of objects that stay: with Python's own 700 the
    modules of a look-up, without torch, take 0.74 s, with 50,000 0.66 s (2 cores, 2026-12-01).
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(max(NEW_OBJECTS, thresholds[0]), *thresholds[1:])


def exempt_loaded() -> None:
    """Exempt what exists now from all searches for cycles; only the first call has an effect.

    Call it when modules were loaded: they stay until the process ends, and Python would search
    them again and again while the number of objects grows.
    """
    if not gc.get_freeze_count():
        gc.freeze()


@contextmanager
def loading() -> Iterator[None]:
    """Search for no cycles while modules are loaded, and never again in what they leave behind.

    Loading a look-up's modules took 2.25 s with these searches and 1.45 s without, where torch
    alone takes 1.3 s with them (2026-11-30).
    """
    loaded, searches = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > loaded:
            gc.freeze()
        if searches:
            gc.enable()


@contextmanager
def tuned_interpreter(turn_seconds: float = ROWS_TURN_SECONDS) -> Iterator[None]:
    """Search for cycles rarely and let threads take short turns, while the block runs."""
    thresholds, before = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(max(NEW_OBJECTS, thresholds[0]), *thresholds[1:])
    sys.setswitchinterval(min(turn_seconds, before))
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(before)
