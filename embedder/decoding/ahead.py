"""Pictures that are made ahead of their turn, in order and in bounded memory.

The forward of one batch runs in the caller's thread while decoders make the pictures of the next
batches. The source is read only in the caller's thread, so it may be a database cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

from embedder.decoding.picture import Decoders, Picture, PictureOrder

K = TypeVar("K")
Item = tuple[K, bytes, PictureOrder]
_Waiting = deque[tuple[K, Future[Picture], int]]


def make_pictures_ahead(
    decoders: Decoders, items: Iterable[Item[K]], *, ahead: int, max_bytes: int
) -> Generator[tuple[K, Future[Picture]], None, None]:
    """Yield each key with the future of its picture, in order. Take a future's result before the
    next one is asked for.

    At most `ahead` items are with the decoders. Their files and the most that their orders make
    take `max_bytes`, or they are one item. An exception of the source is raised after the items
    before it. Closing the iterator cancels what has not started, and waits for nothing.
    """
    waiting: _Waiting[K] = deque()
    source = _Source(items)
    taken_bytes = 0
    try:
        while True:
            while (item := source.peek()) is not None and len(waiting) < ahead:
                key, data, order = item
                size = len(data) + order.result_bytes
                if waiting and taken_bytes + size > max_bytes:
                    break
                waiting.append((key, decoders.submit(data, order), size))
                taken_bytes += size
                source.drop()
                del item, data  # the decoders hold the file now, as long as they need it
            if not waiting:
                break
            key, future, size = waiting.popleft()
            yield key, future
            taken_bytes -= size
            del key, future  # the caller owns them: hold nothing while waiting for the next one
        source.raise_failure()
    finally:
        for _, waits, _ in waiting:
            waits.cancel()


class _Source(Generic[K]):
    """Items with a view of the next one, and what their source raised once they end."""

    def __init__(self, items: Iterable[Item[K]]) -> None:
        self._items = iter(items)
        self._next: Item[K] | None = None
        self._failure: Exception | None = None
        self._is_exhausted = False

    def peek(self) -> Item[K] | None:
        """Return the next item without taking it; None at the end."""
        if self._next is None and not self._is_exhausted:
            try:
                self._next = next(self._items)
            except StopIteration:
                self._is_exhausted = True
            except Exception as err:  # raised later, after the items before it
                self._is_exhausted, self._failure = True, err
        return self._next

    def drop(self) -> None:
        """Take the next item away."""
        self._next = None

    def raise_failure(self) -> None:
        """Raise what the source raised."""
        if self._failure is not None:
            raise self._failure
