"""Whose an error is, and how long the database is waited for."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from api.errors import InvalidRequest
from api.jobs.failures import JobDefect, Patience, ends_job, passes
from api.sources.item import UnreadableItem, UnusableSource
from embedder.errors import CorruptImage, ModelUnavailable
from index.errors import (
    BlobCorrupt,
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidComputation,
    InvalidProvenance,
    StorageFull,
    UnknownCorpus,
)

OF_THE_JOB = [
    UnusableSource("x", "gone"),
    UnknownCorpus("x"),
    InvalidRequest("x"),
    InvalidComputation("x"),
    ModelUnavailable("x"),
    StorageFull("x", "y"),
    JobDefect("x"),
    OSError(errno.ENOSPC, "No space left on device"),
]
OF_AN_ITEM = [
    ZeroDivisionError(),
    OverflowError(),
    MemoryError(),
    RecursionError(),
    OSError("of no kind"),
    UnreadableItem("x", "y"),
    CorruptImage("png", "x"),
    InvalidProvenance("x"),
    BlobCorrupt(Path("x"), "y"),
]


@pytest.mark.parametrize("err", OF_THE_JOB, ids=lambda err: type(err).__name__)
def test_some_errors_end_the_job(err: Exception) -> None:
    assert ends_job(err)
    assert not passes(err)


@pytest.mark.parametrize("err", OF_AN_ITEM, ids=lambda err: type(err).__name__)
def test_all_others_are_those_of_an_item(err: Exception) -> None:
    assert not ends_job(err)
    assert not passes(err)


def test_failures_of_the_database_that_pass_are_waited_for() -> None:
    attempts = []

    def fail_twice() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise DatabaseBusy("a lock")
        return 7

    assert Patience(threading.Event(), 10, 0.001)(fail_twice) == 7


@pytest.mark.parametrize("err", [ZeroDivisionError(), StorageFull("x", "y")])
def test_no_other_error_is_tried_again(err: Exception) -> None:
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise err

    with pytest.raises(type(err)):
        Patience(threading.Event(), 10, 0.001)(fail)
    assert len(attempts) == 1


@pytest.mark.parametrize("is_stopped", [True, False])
def test_patience_ends_with_its_time_or_when_it_is_stopped(is_stopped: bool) -> None:
    stop = threading.Event()
    if is_stopped:
        stop.set()

    def fail() -> None:
        raise DatabaseUnavailable("it is gone")

    with pytest.raises(DatabaseUnavailable, match="it is gone"):
        Patience(stop, 600 if is_stopped else 0.05, 0.001)(fail)
