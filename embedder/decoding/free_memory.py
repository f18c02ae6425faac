"""Memory that a process freed and its C library keeps: given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def find_trim() -> Callable[[], object]:
    """Return glibc's function that gives free memory back; elsewhere one that does nothing.

    Call this before a process gives up its rights; what it returns may be called later.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return lambda: None
    return lambda: trim(0)
