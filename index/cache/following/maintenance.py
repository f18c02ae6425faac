"""The threads beside the searches: one follows the change log, one writes snapshots and trains.

The second starts when maintenance is due and ends when none is. Neither raises into a search: an
error is logged, also that of a defect, and the work is tried again later.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from index.errors import CorpusError

logger = logging.getLogger(__name__)

# Changes applied before searches may have the interpreter again.
CHANGES_AT_ONCE = 64
# Building computes outside the interpreter for seconds, and searches come first. The value is not
# higher, because a thread that is kept from running while it holds the interpreter delays every
# search.
BUILDER_NICENESS = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the threads work.

    `follow_seconds`: an entry that another process added is found after this time at most, plus the
    time to apply it. `building_first_seconds`: following waits this long for building, because both
    at once leave searches no core beside a writer; searches apply a few changes themselves.
    `late_hashes_seconds`: hashes that came without a change in the log are read once in this time
    at most, because all hashes are read for it: some 2 s for a million.
    `yield_seconds`: the pause between two turns of following. `turns_without_building`: building
    normally begins when the log was followed to its end, so that searches have a core beside a
    writer; if the end does not come, it begins after this many turns. `pause_seconds`: the wait
    after maintenance that failed, or that another process was doing.
    """

    follow_seconds: float = 0.1
    building_first_seconds: float = 0.3
    late_hashes_seconds: float = 60.0
    yield_seconds: float = 0.003
    turns_without_building: int = 256
    pause_seconds: float = 10.0


DEFAULT_PACE = Pace()


class MaintainedIndex(Protocol):
    """What the threads work on: `index.cache.live.LiveIndex`."""

    def follow(self, limit: int) -> bool: ...
    def prepare_for_filters(self) -> None: ...
    def read_hashes(self) -> None: ...
    def read_late_hashes(self) -> bool: ...
    def maintain(self, *, train: bool, wait: bool) -> bool: ...
    def is_maintenance_due(self, *, train: bool) -> bool: ...


class Maintenance:
    """The threads of one live index."""

    def __init__(self, live: MaintainedIndex, pace: Pace = DEFAULT_PACE) -> None:
        self._live = live
        self._pace = pace
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._follower: threading.Thread | None = None
        self._builder: threading.Thread | None = None
        self._not_before = 0.0
        self._no_late_hashes_before = 0.0

    @property
    def is_following(self) -> bool:
        """Whether a thread brings the view forward, so that searches need not."""
        return self._follower is not None

    def start(self, *, follow: bool) -> None:
        """Begin to follow the log, if requested, and start maintenance if it is due."""
        if follow:
            self._follower = threading.Thread(
                target=self._follow, name="lineup-follow", daemon=True
            )
            self._follower.start()
        self.start_if_due()

    def after_search(self) -> None:
        """Start maintenance if it is due, unless a thread that follows the log does so."""
        if not self.is_following:
            self.start_if_due()

    def start_if_due(self) -> None:
        """Start the building thread if maintenance is due and the thread is not running."""
        if time.monotonic() < self._not_before:
            return
        if not self._live.is_maintenance_due(train=self.is_following):
            return
        with self._starting:
            if self._builder is None or not self._builder.is_alive():
                builder = threading.Thread(target=self._maintain, name="lineup-snapshot")
                builder.start()
                self._builder = builder

    def stop(self) -> None:
        """End following, and wait for maintenance that has begun."""
        self._stopped.set()
        for thread in (self._follower, self._builder):
            if thread is not None:
                thread.join()

    def _follow(self) -> None:
        pace = self._pace
        while not self._stopped.wait(pace.follow_seconds):
            if self._builder is not None:
                self._builder.join(pace.building_first_seconds)
            try:
                turns = 0
                while self._live.follow(CHANGES_AT_ONCE) and not self._stopped.wait(
                    pace.yield_seconds
                ):
                    turns += 1
                    if turns % pace.turns_without_building == 0:
                        self.start_if_due()
                self._live.prepare_for_filters()
                self._live.read_hashes()
                self._read_late_hashes()
            except CorpusError as err:
                logger.warning("the change log cannot be followed: %s", err)
            except Exception:  # a boundary: a defect ends this turn, and not the thread
                logger.exception("a defect while the change log was followed")
            self.start_if_due()

    def _read_late_hashes(self) -> None:
        is_time = time.monotonic() >= self._no_late_hashes_before
        if is_time and self._live.read_late_hashes():
            self._no_late_hashes_before = time.monotonic() + self._pace.late_hashes_seconds

    def _maintain(self) -> None:
        if self.is_following and sys.platform == "linux":  # where a thread has its own priority
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BUILDER_NICENESS)
        self._not_before = time.monotonic() + self._pace.pause_seconds
        try:
            while not self._stopped.is_set() and self._live.maintain(
                train=self.is_following, wait=False
            ):
                self._not_before = 0.0
        except CorpusError as err:
            self._not_before = time.monotonic() + self._pace.pause_seconds
            logger.warning("no snapshot was written: %s", err)
        except Exception:  # a boundary, as above
            self._not_before = time.monotonic() + self._pace.pause_seconds
            logger.exception("a defect in the maintenance of the index")
