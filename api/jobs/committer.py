"""Transactions in a thread of their own, in the order given: the model goes on while a disk is
waited for.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

# One is written while the next one is made; more would only be lost by a crash.
WAITING = 2


class Committer:
    """Runs what it is given, one after another.

    What one of them raises is raised by the next `submit`, or `close`.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def submit(self, transaction: Callable[[], None]) -> None:
        """Run it soon; waits while others wait already."""
        self._raise_failure()
        self._queue.put(transaction)

    def flush(self) -> None:
        """Wait until everything submitted has run."""
        self._queue.join()
        self._raise_failure()

    def close(self) -> None:
        """Run what waits and end the thread."""
        self._queue.put(None)
        self._thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        while True:
            transaction = self._queue.get()
            try:
                if transaction is None:
                    return
                if self._failure is None:  # after a failure nothing more is written
                    transaction()
            except BaseException as err:
                self._failure = err
            finally:
                self._queue.task_done()
