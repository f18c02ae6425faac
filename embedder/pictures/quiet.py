"""Suppression of Pillow's warnings about hostile files while an image is decoded, in any thread.

`warnings.catch_warnings` replaces the filters of the whole process, which is not safe when threads
leave it in another order than they entered. One narrow filter with a counter is.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside: list[object] = []  # the filter that the first decode added, once for each running decode
_MODULES = r"(PIL|pillow_heif)\b"


@contextmanager
def ignore_pillow_warnings() -> Iterator[None]:
    """Ignore warnings of Pillow's own modules while any thread is inside; keep all others."""
    with _lock:
        if not _inside:
            warnings.filterwarnings("ignore", module=_MODULES)
        added = _inside[0] if _inside else warnings.filters[0]
        _inside.append(added)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside and added in warnings.filters:
                # A list, although typeshed declares a Sequence.
                warnings.filters.remove(added)  # type: ignore[attr-defined]
