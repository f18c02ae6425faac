"""Work that threads do ahead, in order and in bounded memory; knows nothing about images or models.

The forward of one batch runs in the caller's thread while the items of the next batches are
prepared here: Pillow and numpy release the interpreter lock where they spend their time. The source
is read only in the caller's thread, so it may be a database cursor.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prepare_ahead(
    items: Iterable[Item],
    prepare: Callable[[Item], Result],
    weigh: Callable[[Result], int],
    *,
    workers: int,
    ahead: int,
    max_weight: int,
) -> Generator[Result, None, None]:
    """Yield `prepare(item)` for each item, in order; at most `ahead` items are taken before their
    turn.

    Once the waiting results weigh `max_weight` (bytes) or more, only the item whose turn it is
    continues: at most `max_weight` and one result per worker are held. An exception of the source
    is raised after the results of the items before it; an exception of `prepare` is raised in the
    item's turn. Closing the iterator drops what has not started.
    """
    source, failure = iter(items), None
    waiting: deque[Future[Result]] = deque()
    scale = _WaitingWeight(max_weight)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    taken = 0
    try:
        exhausted = False
        while True:
            while not exhausted and len(waiting) < ahead:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                except Exception as err:  # raised below, after the items before it
                    exhausted, failure = True, err
                else:
                    waiting.append(
                        pool.submit(_prepare_weighed, item, prepare, weigh, scale, taken)
                    )
                    taken += 1
            if not waiting:
                break
            result = waiting.popleft().result()
            scale.hand_over(weigh(result))
            yield result
            del result  # the caller owns it: do not hold it while waiting for the next one
        if failure is not None:
            raise failure
    finally:
        scale.release_all()
        pool.shutdown(wait=True, cancel_futures=True)


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


def _prepare_weighed(
    item: Item,
    prepare: Callable[[Item], Result],
    weigh: Callable[[Result], int],
    scale: _WaitingWeight,
    turn: int,
) -> Result:
    scale.wait_for_room(turn)
    result = prepare(item)
    scale.put(weigh(result))
    return result


class _WaitingWeight:
    """The weight of the waiting results.

    The item whose turn it is never waits, so there is no deadlock.
    """

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._weight = 0
        self._turn = 0
        self._closed = False
        self._changed = threading.Condition()

    def wait_for_room(self, turn: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._weight < self._max_weight or turn <= self._turn
            )

    def put(self, weight: int) -> None:
        with self._changed:
            self._weight += weight

    def hand_over(self, weight: int) -> None:
        with self._changed:
            self._weight -= weight
            self._turn += 1
            self._changed.notify_all()

    def release_all(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
