"""Requests that wait at the same time are handed to one call in a thread.

While a call of a kind is at work, the requests of that kind wait, and the next call takes them all.
It never waits for what has not arrived: a single request is handed on at once. A kind has calls of
its own, so that slow requests hold up only those that are as slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Asked = TypeVar("Asked")
Given = TypeVar("Given")
# Requests of one call. More would let the first of them wait longer, and save hardly anything.
MOST_TOGETHER = 32
# Turns of the event loop before a call, in which requests that have arrived are read. Without them
# the first of eight clients that got their answers together has a call of its own: 161 to 175
# look-ups a second instead of 183 to 186 (2 cores, 2026-11-30).
TURNS = 6


class Gathering(Generic[Asked, Given]):
    """Gathers what is asked within one event loop.

    `work` answers several requests of one kind, in their order; an exception among the answers is
    raised where it was asked.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], Sequence[Given | Exception]]) -> None:
        self._work = work
        self._waiting: dict[Hashable, list[tuple[Asked, asyncio.Future[Given]]]] = {}
        self._running: set[asyncio.Task[None]] = set()  # the event loop itself keeps no reference

    async def ask(self, kind: Hashable, asked: Asked) -> Given:
        """Return the answer of a request. Raises what `work` gives or raises."""
        answer: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        is_first = kind not in self._waiting
        self._waiting.setdefault(kind, []).append((asked, answer))
        if is_first:
            running = asyncio.create_task(self._run(kind))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
        return await answer

    async def _run(self, kind: Hashable) -> None:
        """Call until nothing of a kind waits."""
        waiting = self._waiting[kind]
        try:
            while waiting:
                for _turn in range(TURNS):
                    await asyncio.sleep(0)
                # A request that was cancelled no longer holds what its call would need.
                waiting[:] = [each for each in waiting if not each[1].done()]
                group = waiting[:MOST_TOGETHER]
                del waiting[:MOST_TOGETHER]
                if group:
                    await self._call(group)
        finally:
            del self._waiting[kind]

    async def _call(self, group: Sequence[tuple[Asked, asyncio.Future[Given]]]) -> None:
        given: Sequence[Given | Exception]
        try:
            given = await run_in_threadpool(self._work, [asked for asked, _ in group])
        except Exception as err:  # a boundary: each request gets the reason, and the loop goes on
            given = [err] * len(group)
        for (_, answer), each in zip(group, given, strict=True):
            if answer.done():  # its request was cancelled
                continue
            if isinstance(each, Exception):
                answer.set_exception(each)
            else:
                answer.set_result(each)
