"""The product that a server answers with: that of the active model, opened anew when another is
activated.

A request keeps what it began with until its answer is sent, so that no answer is of two models.
What nobody holds any more is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from api.errors import ServiceError
from api.lineup import Lineup, choose_model
from api.settings import Settings
from api.worker.background import BackgroundWorker
from api.worker.upkeep import CalibrationUpkeep
from embedder.errors import EmbedderError
from index.errors import CorpusError

LOOK_SECONDS = 1.0  # between two looks at which model is active
RETRY_SECONDS = 60.0  # after a model that could not be opened
log = logging.getLogger(__name__)


class _Open:
    """A product that is open, and how many requests hold it."""

    def __init__(self, settings: Settings, *, migrate: bool = False) -> None:
        self._parts = ExitStack()
        self.lineup = self._parts.enter_context(
            Lineup.open(settings, migrate=migrate, background=True)
        )
        self._worker: BackgroundWorker | None = None
        self._upkeep: CalibrationUpkeep | None = None
        self.holders = 0

    def work(self) -> None:
        """Begin with the jobs that nobody is at, where the server is to do any."""
        if self.lineup.settings.server_works:
            self._worker = BackgroundWorker(self.lineup)
            self._upkeep = CalibrationUpkeep(self.lineup)

    def rest(self) -> None:
        """Give back what the worker was at."""
        if self._upkeep is not None:
            self._upkeep.close()
            self._upkeep = None
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def close(self) -> None:
        self.rest()
        self._parts.close()


class CurrentLineup:
    """Thread-safe.

    A thread looks once a second; a model that cannot be opened leaves the one before in place.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._now = _Open(settings, migrate=True)
        self._now.work()
        self._replaced: list[_Open] = []
        self._holding = threading.Lock()  # `_now` and what is held
        self._switching = threading.Lock()  # one at a time looks, switches and closes
        self._not_before = 0.0
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="active-model", daemon=True)
        self._watcher.start()

    @contextmanager
    def held(self) -> Iterator[Lineup]:
        """The product as it is now; it stays open while it is held."""
        with self._holding:
            opened = self._now
            opened.holders += 1
        try:
            yield opened.lineup
        finally:
            with self._holding:
                opened.holders -= 1

    def look(self) -> None:
        """Switch to the model that is active, if it is another.

        Raises `EmbedderError`, `CorpusError`.
        """
        with self._switching:
            self._close_what_nobody_holds()
            space = choose_model(self.settings, self._now.lineup.database).space
            if space is None or space.fingerprint == self._now.lineup.space.fingerprint:
                return
            opened = _Open(self.settings)
            with self._holding:
                before, self._now = self._now, opened
            self._replaced.append(before)
            log.info("lookups are answered by the model %s", opened.lineup.space.model)
            before.rest()
            opened.work()
            self._close_what_nobody_holds()

    def close(self) -> None:
        """Close everything; requests have ended."""
        self._stopped.set()
        self._watcher.join()
        for opened in (self._now, *self._replaced):
            opened.close()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            if time.monotonic() < self._not_before:
                continue
            try:
                self.look()
            except (EmbedderError, CorpusError, ServiceError, OSError) as err:
                self._not_before = time.monotonic() + RETRY_SECONDS
                log.warning(
                    "whether another model is active is looked at again in %d s: %s",
                    RETRY_SECONDS,
                    err,
                )

    def _close_what_nobody_holds(self) -> None:
        with self._holding:
            free = [opened for opened in self._replaced if not opened.holders]
        for opened in free:
            self._replaced.remove(opened)
            opened.close()
