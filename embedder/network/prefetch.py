"""Work that is launched ahead of the results that are awaited; knows nothing about images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def take_ahead(source: Iterable[Item], count: int) -> Iterator[Item]:
    """Yield the items in order, each after `count` more were taken from the source.

    An exception of the source is raised after all items before it.
    """
    waiting: deque[Item] = deque()
    try:
        for item in source:
            waiting.append(item)
            if len(waiting) > count:
                yield waiting.popleft()
    except Exception:
        yield from _drain(waiting)
        raise
    yield from _drain(waiting)


def _drain(waiting: deque[Item]) -> Iterator[Item]:
    while waiting:
        yield waiting.popleft()
