"""Decoding in threads of this process: fast to start, and confined in no way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from embedder.decoding.confinement import UNCONFINED, Confinement
from embedder.decoding.picture import Picture, PictureOrder, make_pictures
from embedder.decoding.wanted import Wanted
from embedder.pictures.limits import ImageLimits
from embedder.pictures.quiet import silence_decoders

# Each thread holds one decoded image. This is the most that all of them may hold as RGB when each
# image is the largest that the limits allow. A thread holds as much again while it converts or
# turns its image. With the default limit of 100 megapixels this allows 28 threads.
MAX_DECODED_BYTES = 8 * 2**30
# A sixth of the work (0.8 of 4.8 ms for a JPEG of 1.2 megapixels) holds the interpreter lock, so
# more threads would wait for one another.
MAX_THREADS = 32
# Beside a forward on the same cores, 1, 2 and 4 threads on two cores gave 125, 156 and 180 images/s
# of the built-in model (2026-11).
_THREADS_PER_CORE = 2
_MAX_BESIDE_FORWARD = 8


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_threads(limits: ImageLimits, cores: int) -> int:
    """Return how many threads make pictures: two for each core up to eight, from there on one for
    each core, as far as their images fit in memory.
    """
    wanted = max(min(_THREADS_PER_CORE * cores, _MAX_BESIDE_FORWARD), min(cores, MAX_THREADS))
    fitting = MAX_DECODED_BYTES // (3 * limits.max_image_pixels)
    return max(1, min(wanted, fitting))


class ThreadDecoders:
    """Makes pictures in threads. Implements `Decoders`.

    Urgent pictures have threads of their own, so that they wait for nothing else. Nothing is
    started before the first picture. A picture that exhausts this process's memory, crashes a
    native decoder or never ends is this process's trouble: `processes` confines it. `confinement`
    says why threads decode: whoever takes over a decoder has taken over this process.
    """

    def __init__(self, count: int, confinement: Confinement = UNCONFINED) -> None:
        if count < 1:
            raise ValueError("count must be at least 1")
        self.count = count
        self.confinement = confinement
        self._pool = ThreadPoolExecutor(
            count, thread_name_prefix="decode", initializer=silence_decoders
        )
        self._urgent_pool = ThreadPoolExecutor(
            count, thread_name_prefix="decode-urgent", initializer=silence_decoders
        )

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        """Make a picture in a thread; see `Decoders`."""
        (future,) = self.submit_all(data, (order,), urgent=urgent)
        return future

    def submit_all(
        self, data: bytes, orders: Sequence[PictureOrder], *, urgent: bool = False
    ) -> list[Future[Picture]]:
        """Make the pictures of a file in a thread; see `Decoders`."""
        pool = self._urgent_pool if urgent else self._pool
        wanted = Wanted(data, orders)
        work = pool.submit(_make, wanted)
        work.add_done_callback(lambda done: wanted.cancel() if done.cancelled() else None)
        return wanted.futures

    def prepare(self) -> None:
        """Do nothing: a thread starts at once."""

    def close(self) -> None:
        """Cancel what waits, and wait for what runs. May be called twice."""
        for pool in (self._pool, self._urgent_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (self._pool, self._urgent_pool):
            pool.shutdown(wait=True)


def _make(wanted: Wanted) -> None:
    if not wanted.begin():
        return
    try:
        for made in make_pictures(wanted.data, wanted.orders):
            wanted.deliver(made)
    except BaseException as err:  # a defect: whoever waits for the pictures must hear of it
        wanted.fail(err)
