"""Whose an error is: the database's for a moment, the whole job's, or that of one chunk."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from api.errors import ServiceError
from api.sources.item import UnreadableItem
from embedder.errors import EmbedderError, ImageError
from index.errors import (
    BlobCorrupt,
    CorpusError,
    DatabaseUnavailable,
    InvalidComputation,
    InvalidInput,
)

# A restart of PostgreSQL takes seconds, a failover to another machine some minutes.
PATIENCE_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 10.0
# What the operating system says about the machine and not about one item.
_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
_OF_ONE_ITEM = (UnreadableItem, ImageError, BlobCorrupt, InvalidInput)
T = TypeVar("T")
log = logging.getLogger(__name__)


class JobDefect(Exception):
    """A defect in what is done once for a whole job. Its cause has the traceback."""


def passes(err: BaseException) -> bool:
    """Whether the database fails for a moment: a deadlock, a lost connection, a restart."""
    return isinstance(err, DatabaseUnavailable)


def ends_job(err: BaseException) -> bool:
    """Whether an error is that of the whole job: trying chunk by chunk would not help.

    The source, the disk or the model needs somebody's attention. All errors that nobody foresaw
    are those of a chunk.
    """
    if isinstance(err, OSError):
        return err.errno in _OF_THE_MACHINE
    if isinstance(err, _OF_ONE_ITEM) and not isinstance(err, InvalidComputation):
        return False
    return isinstance(err, (CorpusError, ServiceError, EmbedderError, JobDefect))


class Patience:
    """Runs transactions, again after every failure that passes, with growing pauses."""

    def __init__(
        self,
        stop: threading.Event,
        seconds: float = PATIENCE_SECONDS,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._stop = stop
        self._seconds = seconds
        self._longest_pause = longest_pause_seconds

    def __call__(self, transaction: Callable[[], T]) -> T:
        """Return what the transaction returns.

        Raises what it raises; `DatabaseUnavailable` once the time is over or `stop` is set.
        """
        retrying = Retrying(
            retry=retry_if_exception(passes),
            wait=wait_random_exponential(multiplier=0.2, max=self._longest_pause),
            stop=stop_after_delay(self._seconds) | stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=_warn,
            reraise=True,
        )
        return retrying(transaction)

    def pause(self, number: int) -> None:
        """Wait before the n-th attempt, twice as long as before the one before it."""
        self._stop.wait(min(0.1 * 2.0**number, self._longest_pause))


def _warn(state: RetryCallState) -> None:
    if state.outcome is not None:
        log.warning("the database does not answer, tried again: %s", state.outcome.exception())
