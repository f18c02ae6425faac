"""Measures of work that are the same on every machine: tests of bounds use these, not a clock."""

from __future__ import annotations

import signal
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from PIL import Image

HANG_SECONDS = 60  # of processor time: minutes of it show an algorithm that does not end in time


@dataclass
class Measured:
    """What a block did; complete when the block has ended."""

    calls: int = 0
    peak_bytes: int = 0
    images: int = 0
    blocks: int = 0


@contextmanager
def count_calls() -> Iterator[Measured]:
    """Count the calls of Python functions and of functions of C, in this thread."""
    measured = Measured()
    before = sys.getprofile()

    def on_event(_frame: FrameType, event: str, _arg: object) -> None:
        if event in ("call", "c_call"):
            measured.calls += 1

    sys.setprofile(on_event)
    try:
        yield measured
    finally:
        sys.setprofile(before)


@contextmanager
def measure_memory() -> Iterator[Measured]:
    """Measure the largest amount of Python's memory in use, beyond what was in use before."""
    measured = Measured()
    tracemalloc.start()
    try:
        yield measured
    finally:
        measured.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@contextmanager
def count_images() -> Iterator[Measured]:
    """Count the images that Pillow allocates, and their blocks of memory."""
    measured = Measured()
    before = Image.core.get_stats()
    try:
        yield measured
    finally:
        after = Image.core.get_stats()
        measured.images = after["new_count"] - before["new_count"]
        measured.blocks = sum(
            after[name] - before[name] for name in ("allocated_blocks", "reused_blocks")
        )


@contextmanager
def forbid_hanging() -> Iterator[None]:
    """Fail after a minute of processor time. It does not measure: a slow machine passes too."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"did not end within {HANG_SECONDS} s of processor time")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
