"""The threads beside the searches: they follow the log to its end, build even if it has no end, and
survive errors.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from index.cache.following.maintenance import DEFAULT_PACE, Maintenance, Pace
from index.errors import IndexDirectoryUnwritable


class Log:
    """An index to maintain: it has changes for a number of turns, and one piece of work that is due
    after the first turn.
    """

    def __init__(self, turns: int, *, fails: bool = False, defective: bool = False) -> None:
        self.turns = turns
        self.fails = fails
        self.defective = defective
        self.followed = 0
        self.built_at: list[int] = []
        self.hashes_read_at: list[int] = []
        self.late_hashes_read = 0
        self.prepared = 0
        self.built = threading.Event()
        self.due = False

    def follow(self, limit: int) -> bool:  # noqa: ARG002 - as many as there are
        self.followed += 1
        self.due = not self.built_at
        return self.followed < self.turns

    def prepare_for_filters(self) -> None:
        self.prepared += 1
        if self.defective:
            raise MemoryError

    def read_hashes(self) -> None:
        self.hashes_read_at.append(self.followed)

    def read_late_hashes(self) -> bool:
        self.late_hashes_read += 1
        return True

    def is_maintenance_due(self, *, train: bool) -> bool:  # noqa: ARG002 - with or without
        return self.due

    def maintain(self, *, train: bool, wait: bool) -> bool:
        assert not wait
        self.trained = train
        self.due = False
        self.built_at.append(self.followed)
        self.built.set()
        if self.fails:
            raise IndexDirectoryUnwritable(Path(__file__), "a test")
        if self.defective:
            raise MemoryError
        return False


QUICK = Pace(follow_seconds=0.001, yield_seconds=0.0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def following(log: Log) -> Maintenance:
    maintained = Maintenance(log, QUICK)
    maintained.start(follow=True)
    return maintained


def test_building_begins_when_the_log_was_followed_to_its_end() -> None:
    log = Log(turns=DEFAULT_PACE.turns_without_building // 2)
    maintained = following(log)
    maintained.after_search()  # a search leaves it to the thread
    until(log.built.is_set)
    maintained.stop()
    assert log.built_at[0] >= log.turns
    assert log.hashes_read_at[0] >= log.turns
    assert log.prepared


def test_late_hashes_are_read_at_the_end_of_the_log_and_then_not_again_for_a_while() -> None:
    log = Log(turns=3)
    maintained = following(log)
    until(lambda: len(log.hashes_read_at) > 3)
    maintained.stop()
    assert log.late_hashes_read == 1


def test_building_begins_where_the_end_of_the_log_does_not_come() -> None:
    log = Log(turns=10**9)
    maintained = following(log)
    until(log.built.is_set)
    maintained.stop()
    assert log.built_at[0] >= DEFAULT_PACE.turns_without_building


def test_building_that_fails_is_logged_and_following_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log(turns=1, fails=True)
    maintained = following(log)
    until(log.built.is_set)
    seen = log.followed
    until(lambda: log.followed > seen + 2)
    maintained.stop()
    assert "no snapshot was written" in caplog.text


def test_a_defect_ends_neither_following_nor_later_building(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log(turns=1, defective=True)
    maintained = following(log)
    until(lambda: log.prepared > 3 and bool(log.built_at))
    maintained.stop()

    logged = {record.message for record in caplog.records}
    assert "a defect while the change log was followed" in logged
    assert "a defect in the maintenance of the index" in logged


def test_without_following_a_search_starts_what_is_due_and_trains_nothing() -> None:
    log = Log(turns=1)
    maintained = Maintenance(log)
    maintained.start(follow=False)
    assert log.built_at == []
    log.due = True
    maintained.after_search()
    maintained.stop()
    assert (log.built_at, log.trained) == ([0], False)
