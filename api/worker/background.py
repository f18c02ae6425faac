"""The server's own worker: one thread that does the jobs nobody is at, beside the lookups."""

from __future__ import annotations

import logging
import threading

from api.lineup import Lineup
from api.worker.running import work_on_open_jobs

RESTART_SECONDS = 5.0
log = logging.getLogger(__name__)


class BackgroundWorker:
    """Started with the server, ended with it: what it was at is given back and goes on with the
    next start.
    """

    def __init__(self, lineup: Lineup) -> None:
        self._lineup = lineup
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the item in work end, then the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                work_on_open_jobs(self._lineup, self._stop, helping=False)
            except Exception:  # a defect in one job must not end the service of all others
                log.exception("the jobs' worker begins anew in %d s", RESTART_SECONDS)
                self._stop.wait(RESTART_SECONDS)
