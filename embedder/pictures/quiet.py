"""Suppression of what decoders say about hostile files, in any thread.

`warnings.catch_warnings` replaces the filters of the whole process, which is not safe when threads
leave it in another order than they entered. One narrow filter with a counter is. The TIFF library
writes its errors to standard error by itself, beside the error that Pillow raises; it is told not
to, once for the process, and so is Pillow's logger.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import PIL

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


@cache
def silence_decoders() -> None:
    """Let Pillow log nothing, and the TIFF library that its wheel brings write nothing to standard
    error; what they say is about files, and is in the errors that Pillow raises.

    In a Pillow that was built against the system's library, the messages of that library stay.
    """
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    package = Path(PIL.__file__).parent
    # where auditwheel (Linux), delocate (macOS) put the libraries of a wheel
    for folder in (package.parent / "pillow.libs", package / ".dylibs"):
        for library in folder.glob("libtiff*"):
            with suppress(OSError, AttributeError):  # a library that is not the one in use
                set_handler = ctypes.CDLL(str(library)).TIFFSetErrorHandler
                set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                set_handler(None)
