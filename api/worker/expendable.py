"""Run work in a thread that can be left behind, so that nothing that an item does holds up others.

A source may hang, and a decoder or the model may take minutes in native code, where Python cannot
interrupt them. So one thread works and another one waits. The work is asked to stop through an
event. A thread that does not end in time is left behind: its leases are given back, so what it
still computes is not written.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

LOOK_SECONDS = 1.0  # between two looks whether the work is still wanted
# A job that was cancelled frees its worker within 5 seconds: one look and this.
CANCEL_SECONDS = 3.5
CLOSE_SECONDS = 10.0  # to close the database and the model, after the grace period
T = TypeVar("T")
_threads: list[threading.Thread] = []  # that were started, and may still run


class LeftBehind(Exception):
    """The work was told to stop and did not in time; its thread may still run."""


class _Result(Generic[T]):
    value: T
    error: BaseException | None = None


def run_expendable(
    work: Callable[[threading.Event], T],
    is_unwanted: Callable[[], bool],
    stop: threading.Event,
    *,
    grace_seconds: float,
    cancel_seconds: float = CANCEL_SECONDS,
    look_seconds: float = LOOK_SECONDS,
) -> T:
    """Run `work` in a thread and return what it returns, or raise what it raises.

    It gets an event that is set when `stop` is set, when `is_unwanted` says so, or when the waiting
    thread gets KeyboardInterrupt. After that it has `grace_seconds`, or `cancel_seconds` where it
    is unwanted, to end.

    Raises:
        LeftBehind: it did not.

    """
    result, own_stop, ended = _Result[T](), threading.Event(), threading.Event()

    def run() -> None:
        try:
            result.value = work(own_stop)
        except BaseException as err:
            result.error = err
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    _threads[:] = [each for each in _threads if each.is_alive()] + [thread]
    grace = grace_seconds
    try:
        if _wait_until_unwanted(ended, is_unwanted, stop, look_seconds):
            grace = cancel_seconds
    finally:  # also on KeyboardInterrupt
        own_stop.set()
        has_ended = ended.wait(grace)
    if not has_ended:
        raise LeftBehind("the work did not stop in time")
    if result.error is not None:
        raise result.error
    return result.value


def _wait_until_unwanted(
    ended: threading.Event,
    is_unwanted: Callable[[], bool],
    stop: threading.Event,
    look_seconds: float,
) -> bool:
    """Wait until the work has ended or should end; return whether it is unwanted."""
    looked = time.monotonic()
    while not ended.wait(min(look_seconds, 0.1)) and not stop.is_set():
        if time.monotonic() - looked >= look_seconds:
            if is_unwanted():
                return True
            looked = time.monotonic()
    return False


def has_left_threads() -> bool:
    """Whether a thread that was left behind still runs: the interpreter might wait for it."""
    return any(thread.is_alive() for thread in _threads)


def exit_now(code: int) -> NoReturn:
    """End the process without waiting for any thread. Close before what can be closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue
    os._exit(code)


def forget_exit() -> None:
    """Take back what `exit_at_latest` said."""
    faulthandler.cancel_dump_traceback_later()


def exit_at_latest(seconds: float) -> None:
    """End the process with code 1 after some seconds if it has not ended by then.

    It writes where every thread stands to standard error first. No thread needs the interpreter for
    that, so native code that never returns cannot prevent it.
    """
    try:
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    except (AssertionError, OSError, ValueError):  # standard error is closed, or no file
        timer = threading.Timer(seconds, os._exit, (1,))
        timer.daemon = True
        timer.start()
