"""The product that a server answers with: opened again when another model becomes active.

A request keeps the product that it began with until its answer is sent, so that no answer mixes two
models. A replaced product is closed when no request holds it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from api.errors import ServiceError
from api.lineup import Lineup, choose_model
from api.settings import Settings
from api.worker.background import BackgroundWorker
from api.worker.running import find_shipped
from api.worker.taking import work_on_open_jobs
from api.worker.upkeep import CalibrationUpkeep, UploadUpkeep, look_after_calibrations
from embedder.errors import EmbedderError
from index.errors import CorpusError

LOOK_SECONDS = 1.0  # between two looks at which model is active
RETRY_SECONDS = 60.0  # after a model that could not be opened
log = logging.getLogger(__name__)


class OpenLineup(Protocol):
    """Opens the product: `api.lineup.Lineup.open`."""

    def __call__(
        self, settings: Settings, *, migrate: bool = ..., background: bool = ...
    ) -> AbstractContextManager[Lineup]: ...


class _Open:
    """An open product, its worker, and how many requests hold it."""

    def __init__(self, parts: ExitStack, lineup: Lineup) -> None:
        self.lineup = lineup
        self.holders = 0
        self._parts = parts
        self._worker: BackgroundWorker | None = None
        self._upkeep: CalibrationUpkeep | None = None
        self._uploads: UploadUpkeep | None = None

    def start_work(self) -> None:
        """Look after uploads, and work on jobs unless the settings say otherwise."""
        lineup = self.lineup
        if lineup.settings.read_only:
            return
        self._uploads = UploadUpkeep(lineup.database, lineup.settings)
        if lineup.settings.server_works:
            self._worker = BackgroundWorker(
                lambda stop: work_on_open_jobs(lineup, stop, helping=False),
                grace_seconds=lineup.settings.shutdown_grace_seconds,
            )
            self._upkeep = CalibrationUpkeep(
                lambda: look_after_calibrations(lineup.database, lineup.space, find_shipped(lineup))
            )

    def ask_to_stop(self) -> None:
        """Ask the worker to stop, and wait for nothing."""
        if self._worker is not None:
            self._worker.ask_to_stop()

    def stop_work(self) -> None:
        """Stop the worker, which gives back what it holds."""
        if self._uploads is not None:
            self._uploads.close()
            self._uploads = None
        if self._upkeep is not None:
            self._upkeep.close()
            self._upkeep = None
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def close(self) -> None:
        """Stop the worker and close the product."""
        self.stop_work()
        self._parts.close()


class CurrentLineup:
    """The product of the active model; thread-safe.

    A thread looks once a second which model is active. A model that cannot be opened leaves the
    previous one in place.
    """

    def __init__(
        self,
        settings: Settings,
        open_lineup: OpenLineup = Lineup.open,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.settings = settings
        self._open_lineup = open_lineup
        self._look_seconds = look_seconds
        self._now = self._open(migrate=not settings.read_only)
        self._now.start_work()
        self._replaced: list[_Open] = []
        self._holding = threading.Lock()  # guards `_now` and the numbers of holders
        self._switching = threading.Lock()  # one thread at a time switches and closes
        self._not_before = 0.0
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="active-model", daemon=True)
        self._watcher.start()

    @contextmanager
    def held(self) -> Iterator[Lineup]:
        """The current product, which stays open while the block runs."""
        with self._holding:
            held = self._now
            held.holders += 1
        try:
            yield held.lineup
        finally:
            with self._holding:
                held.holders -= 1

    def look(self) -> None:
        """Switch to the active model if it is another one.

        Raises `EmbedderError`, `CorpusError`, `ServiceError`.
        """
        with self._switching:
            self._close_unheld()
            space = choose_model(self.settings, self._now.lineup.database).space
            if space is None or space.fingerprint == self._now.lineup.space.fingerprint:
                return
            opened = self._open(migrate=False)
            with self._holding:
                before, self._now = self._now, opened
            self._replaced.append(before)
            log.info("look-ups are now answered by the model %s", opened.lineup.space.model)
            before.stop_work()
            opened.start_work()
            self._close_unheld()

    def ask_to_stop(self) -> None:
        """Ask the work on jobs to stop, while requests go on; called by the handler of a signal."""
        self._now.ask_to_stop()

    def close(self) -> None:
        """Close everything; call it when all requests have ended."""
        self._stopped.set()
        self._watcher.join(self.settings.shutdown_grace_seconds)
        for opened in (self._now, *self._replaced):
            opened.close()

    def _open(self, *, migrate: bool) -> _Open:
        parts = ExitStack()
        lineup = parts.enter_context(
            self._open_lineup(self.settings, migrate=migrate, background=True)
        )
        return _Open(parts, lineup)

    def _watch(self) -> None:
        while not self._stopped.wait(self._look_seconds):
            if time.monotonic() < self._not_before:
                continue
            try:
                self.look()
            except Exception as err:  # the thread goes on, whatever it meets
                self._not_before = time.monotonic() + RETRY_SECONDS
                if not isinstance(err, (EmbedderError, CorpusError, ServiceError, OSError)):
                    log.exception("a defect of Lineup")
                log.warning(
                    "whether another model is active is checked again in %g s: %s",
                    RETRY_SECONDS,
                    err,
                )

    def _close_unheld(self) -> None:
        with self._holding:
            unheld = [opened for opened in self._replaced if not opened.holders]
        for opened in unheld:
            self._replaced.remove(opened)
            opened.close()
