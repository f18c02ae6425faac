"""Maintenance beside the searches: a thread that follows the change log, and one that writes
snapshots and trains.

The second starts when something is due and ends when nothing is. Neither ever raises into a search:
what goes wrong is logged and tried again later.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Protocol

from index.errors import CorpusError

logger = logging.getLogger(__name__)

# An entry that another process added is found this much later at most, and the time to apply it.
FOLLOW_SECONDS = 0.1
# So long following waits for building: both at once leave searches no core beside a writer. What
# few changes there are a search applies itself.
BUILDING_FIRST_SECONDS = 0.3
# So many changes are applied before searches may have the interpreter again.
CHANGES_AT_ONCE = 64
YIELD_SECONDS = 0.003
# Building begins when the log was followed to its end, so that searches have a core beside a
# writer; where that end does not come, after so many turns.
TURNS_WITHOUT_BUILDING = 256
# Building computes outside the interpreter for seconds; searches come first. Not more: a thread
# that others keep from running while it holds the interpreter holds up every search.
BUILDER_NICENESS = 5
# After maintenance that failed, or that another process was doing, wait before trying again.
PAUSE_SECONDS = 10.0


class Maintained(Protocol):
    """What is maintained: `index.cache.live.LiveIndex`."""

    def follow(self, limit: int) -> bool: ...
    def read_hashes(self) -> None: ...
    def maintain(self, *, train: bool, wait: bool) -> bool: ...
    def maintenance_due(self, *, train: bool) -> bool: ...


class Maintenance:
    """The threads of one live index."""

    def __init__(self, live: Maintained) -> None:
        self._live = live
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._follower: threading.Thread | None = None
        self._builder: threading.Thread | None = None
        self._not_before = 0.0

    @property
    def following(self) -> bool:
        """Whether a thread brings the view forward, so that searches need not."""
        return self._follower is not None

    def start(self, *, follow: bool) -> None:
        """Begin to follow the log, if asked to, and do what is due."""
        if follow:
            self._follower = threading.Thread(
                target=self._follow, name="lineup-follow", daemon=True
            )
            self._follower.start()
        self.look()

    def looked_up(self) -> None:
        """Look after a search; where a thread follows the log, it looks."""
        if not self.following:
            self.look()

    def look(self) -> None:
        """Start maintenance where some is due and none is going on."""
        if time.monotonic() < self._not_before or not self._live.maintenance_due(
            train=self.following
        ):
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
        while not self._stopped.wait(FOLLOW_SECONDS):
            if self._builder is not None:
                self._builder.join(BUILDING_FIRST_SECONDS)
            try:
                turns = 0
                while self._live.follow(CHANGES_AT_ONCE) and not self._stopped.wait(YIELD_SECONDS):
                    turns += 1
                    if turns % TURNS_WITHOUT_BUILDING == 0:
                        self.look()
                self._live.read_hashes()
            except CorpusError as err:
                logger.warning("the change log cannot be followed: %s", err)
            self.look()

    def _maintain(self) -> None:
        if self.following and sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BUILDER_NICENESS)
        self._not_before = time.monotonic() + PAUSE_SECONDS
        try:
            while not self._stopped.is_set() and self._live.maintain(
                train=self.following, wait=False
            ):
                self._not_before = 0.0
        except CorpusError as err:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            logger.warning("no snapshot was written: %s", err)
