from __future__ import annotations

from collections.abc import Callable

from index.truth.remembered import MOST, Remembered


def reads(log: list[str], name: str) -> Callable[[], str]:
    def read() -> str:
        log.append(name)
        return name

    return read


def test_a_value_is_read_once_in_a_state_and_again_in_every_other_one() -> None:
    remembered, log = Remembered(), list[str]()
    for state, name in ((1, "a"), (1, "b"), (2, "c"), (1, "d"), (1, "e"), (None, "f"), (None, "g")):
        remembered.get(state, "key", reads(log, name))
    assert log == ["a", "c", "d", "f"]
    assert remembered.get(None, "key", reads(log, "z")) == "f"
    assert remembered.get(None, "other", reads(log, "h")) == "h"
    assert remembered.find(None, "other", str) == "h"
    assert remembered.find(1, "other", str) is None
    assert remembered.find(None, "third", str) is None


def test_reading_may_remember_more_and_what_fails_is_read_again() -> None:
    remembered, log = Remembered(), list[str]()
    outer = remembered.get(1, "outer", lambda: "of " + remembered.get(1, "in", reads(log, "in")))
    assert (outer, remembered.get(1, "in", reads(log, "again"))) == ("of in", "in")
    for _ in range(2):
        try:
            remembered.get(1, "fails", lambda: str(1 // len(log[:0])))
        except ZeroDivisionError:
            log.append("failed")
    assert log == ["in", "failed", "failed"]


def test_values_of_one_state_are_bounded() -> None:
    remembered, log = Remembered(), list[str]()
    for number in range(MOST + 1):
        remembered.get(1, number, reads(log, str(number)))
    remembered.get(1, MOST, reads(log, "newest"))
    remembered.get(1, 0, reads(log, "oldest"))
    assert log[MOST + 1 :] == ["oldest"]
