"""The server's own worker: one thread that runs jobs without a worker, beside the look-ups."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from api.worker.expendable import CLOSE_SECONDS

RESTART_SECONDS = 5.0
GRACE_SECONDS = 20.0  # the default of LINEUP_SHUTDOWN_GRACE_SECONDS
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
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """Start the thread. `work` gets the event that ends it, and then has `grace_seconds`."""
        self._work = work
        self._restart_seconds = restart_seconds
        self._grace_seconds = grace_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the work to end, and wait for nothing; its grace period begins."""
        self._stop.set()

    def close(self) -> None:
        """Ask the work to end, and wait for it in its grace period and a little longer."""
        self.ask_to_stop()
        self._thread.join(self._grace_seconds + CLOSE_SECONDS / 2)
        if self._thread.is_alive():
            log.warning("the worker did not stop in time; what it holds is given back")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work(self._stop)
            except Exception:  # a defect in one job must not end the service of all others
                log.exception("the worker starts again in %g s", self._restart_seconds)
                self._stop.wait(self._restart_seconds)
