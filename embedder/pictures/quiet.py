"""Keeps Pillow's warnings about hostile files to itself while an image is decoded, in any thread.

`warnings.catch_warnings` swaps the filters of the whole process and is not safe when threads leave
it in another order than they came. One narrow filter, counted in and out, is.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside: list[
    object
] = []  # one entry for each decode that runs: the filter that the first of them added
_MODULES = r"(PIL|pillow_heif)\b"


@contextmanager
def ignore_pillow_warnings() -> Iterator[None]:
    """Warnings raised by Pillow's own modules are ignored while any thread is in here; all others
    go their way.
    """
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
                warnings.filters.remove(added)  # type: ignore[attr-defined]  # a list, which typeshed calls a Sequence
