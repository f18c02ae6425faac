"""Run transactions in a thread of their own, in their order, so that the model never waits for a
disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

# One is written while the next is prepared; with more, a crash would lose more work.
WAITING = 2


class Committer:
    """Runs the transactions that it is given, one after another.

    After an error no further transaction runs. The next `submit`, `flush` or `close` raises it.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._failure: BaseException | None = None  # until it is raised
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether an error ended it."""
        return self._has_failed

    def submit(self, transaction: Callable[[], None]) -> None:
        """Queue a transaction; block while the queue is full."""
        self._raise_failure()
        self._queue.put(transaction)

    def flush(self) -> None:
        """Wait until everything submitted has run."""
        self._queue.join()
        self._raise_failure()

    def close(self) -> None:
        """Run what is queued and end the thread."""
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
                if not self._has_failed:
                    transaction()
            except BaseException as err:
                self._has_failed = True
                self._failure = err
            finally:
                self._queue.task_done()
