"""Readiness over HTTP: one check at a time, in a thread of its own.

However many requests are in work, and whatever a check waits for, `/readyz` is answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from api.operations.checks_json import ReadyAnswer

# Orchestrators give a probe some seconds; checks take milliseconds, or their own time limits.
MOST_SECONDS = 5.0


class Readiness:
    """Those who ask while a check runs get its answer; none is older than the question before."""

    def __init__(
        self, check: Callable[[], ReadyAnswer], most_seconds: float = MOST_SECONDS
    ) -> None:
        self._check = check
        self._most_seconds = most_seconds
        self._running: Future[ReadyAnswer] | None = None

    async def ask(self) -> ReadyAnswer:
        """Return what the check finds; not ready if it finds nothing in time."""
        if self._running is None or self._running.done():
            self._running = self._start()
        answer = asyncio.wrap_future(self._running)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), self._most_seconds)
        except TimeoutError:
            late = f"no answer within {self._most_seconds:g} s"
            return ReadyAnswer(ready=False, checks={"readiness": late}, generation=None)

    def _start(self) -> Future[ReadyAnswer]:
        running: Future[ReadyAnswer] = Future()

        def run() -> None:
            try:
                running.set_result(self._check())
            except Exception as err:  # a boundary: the one who asked gets it
                running.set_exception(err)

        # Not of a pool, which the end of the process would wait for.
        threading.Thread(target=run, name="readiness", daemon=True).start()
        return running
