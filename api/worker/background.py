"""The server's own worker: one thread that runs jobs without a worker, beside the look-ups."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

RESTART_SECONDS = 5.0
log = logging.getLogger(__name__)


class BackgroundWorker:
    """Runs `work` in a thread until it is closed.

    What is in work when the server stops continues with its next start.
    """

    def __init__(
        self,
        work: Callable[[threading.Event], object],
        *,
        restart_seconds: float = RESTART_SECONDS,
    ) -> None:
        """Start the thread. `work` gets the event that ends it."""
        self._work = work
        self._restart_seconds = restart_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the item in work finish, then end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work(self._stop)
            except Exception:  # a defect in one job must not end the service of all others
                log.exception("the worker starts again in %g s", self._restart_seconds)
                self._stop.wait(self._restart_seconds)
