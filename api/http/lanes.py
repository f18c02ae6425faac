"""Lanes: kinds of requests that do not take threads from one another.

Routes run in threads. In one pool for all, forty exports would leave no thread for a look-up, and
readiness could not be told. So each kind of request has a lane: some run, some wait, and the next
one is refused at once. The pool has a thread for each that may run. A request enters its lane when
its body has arrived, so that an upload that stalls takes nothing from anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import anyio.to_thread

from api.batcher import Admission
from api.settings import Settings

# Threads beside the lanes: for parts of bodies, files that are sent, and events of jobs.
SPARE_THREADS = 16
IMAGES_AT_ONCE = 40  # as many as threads in the usual pool of anyio; they mostly wait for the model


class Kind(StrEnum):
    """A kind of request."""

    IMAGES = "images"  # look-ups, replays and added images: they use the model
    BATCHES = "batches"  # of look-ups: one takes a core for as long as it has probes
    EXPORTS = "exports"  # until the file is sent: it lies on the disk so long
    INSPECTIONS = "inspections"
    EVALUATIONS = "evaluations"  # one takes every core for seconds to minutes
    THUMBNAILS = "thumbnails"
    CHANGES = "changes"  # they may wait for the database's write lock
    READS = "reads"
    NONE = "none"  # needs no thread, or enters a lane by itself


# How many run, and how many more wait. Few run where one takes a core for seconds; many may wait
# where a page sends them by the dozen.
SIZES = {
    Kind.BATCHES: (2, 8),
    Kind.EXPORTS: (2, 2),
    Kind.INSPECTIONS: (2, 2),
    Kind.EVALUATIONS: (1, 0),
    Kind.THUMBNAILS: (8, 256),
    Kind.CHANGES: (8, 64),
    Kind.READS: (24, 256),
}


class Lane:
    """At most `running` requests run, at most `waiting` more wait."""

    def __init__(self, running: int, waiting: int) -> None:
        self.running = running
        self.admission = Admission(running + waiting)
        # Not anyio's limiter, which lets the event loop turn once even where a place is free.
        self._turns = asyncio.Semaphore(running)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn while the block runs. Raises `Overloaded` at once if too many wait."""
        with self.admission.place():
            async with self._turns:
                yield


class Lanes:
    """The lanes of a server."""

    def __init__(self, settings: Settings) -> None:
        running = min(IMAGES_AT_ONCE, settings.queue_size)
        self._lanes = {kind: Lane(*size) for kind, size in SIZES.items()}
        self._lanes[Kind.IMAGES] = Lane(running, settings.queue_size - running)

    def __getitem__(self, kind: Kind) -> Lane:
        """The lane of a kind of request."""
        return self._lanes[kind]

    @property
    def images(self) -> Admission:
        """The places for requests with an image."""
        return self._lanes[Kind.IMAGES].admission

    def make_threads(self) -> None:
        """Let the running event loop have a thread for every request that may run."""
        threads = sum(lane.running for lane in self._lanes.values()) + SPARE_THREADS
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
