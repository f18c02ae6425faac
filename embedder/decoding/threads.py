"""Decoding in threads of this process: fast to start, and confined in no way."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from embedder.decoding.picture import Picture, PictureOrder, make_picture


class ThreadDecoders:
    """Makes pictures in threads. Implements `Decoders`.

    Urgent pictures have threads of their own, so that they wait for nothing else. Nothing is
    started before the first picture. A picture that exhausts this process's memory, crashes a
    native decoder or never ends is this process's trouble: `processes` confines it.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("count must be at least 1")
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._urgent_pool = ThreadPoolExecutor(count, thread_name_prefix="decode-urgent")

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        """Make a picture in a thread; see `Decoders`."""
        pool = self._urgent_pool if urgent else self._pool
        return pool.submit(make_picture, data, order)

    def close(self) -> None:
        """Cancel what waits, and wait for what runs. May be called twice."""
        for pool in (self._pool, self._urgent_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (self._pool, self._urgent_pool):
            pool.shutdown(wait=True)
