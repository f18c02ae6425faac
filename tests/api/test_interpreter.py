"""Settings of the interpreter hold while a command runs, and are as before afterwards."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator

import pytest

from api.interpreter import (
    NEW_OBJECTS,
    ROWS_TURN_SECONDS,
    SERVER_TURN_SECONDS,
    loading,
    tuned_interpreter,
)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    thresholds, turn_seconds = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(turn_seconds)


def current() -> tuple[int, float]:
    return gc.get_threshold()[0], sys.getswitchinterval()


def fail() -> None:
    with tuned_interpreter():
        raise ZeroDivisionError


def test_settings_are_as_before_however_the_block_ends() -> None:
    gc.set_threshold(700, 11, 12)
    sys.setswitchinterval(0.005)

    with pytest.raises(ZeroDivisionError):
        fail()
    with tuned_interpreter():
        assert current() == (NEW_OBJECTS, pytest.approx(ROWS_TURN_SECONDS, rel=0.05))
        assert gc.get_threshold()[1:] == (11, 12)

    assert gc.get_threshold() == (700, 11, 12)
    assert sys.getswitchinterval() == pytest.approx(0.005, rel=0.05)


def test_what_is_finer_already_stays() -> None:
    gc.set_threshold(NEW_OBJECTS * 2)

    with tuned_interpreter(SERVER_TURN_SECONDS), tuned_interpreter():
        assert current() == (NEW_OBJECTS * 2, pytest.approx(SERVER_TURN_SECONDS, rel=0.05))


def test_no_cycles_are_searched_while_modules_load_and_what_they_leave_is_exempt() -> None:
    before = gc.get_freeze_count()
    with loading():
        assert not gc.isenabled()
    assert gc.get_freeze_count() == before, "nothing was loaded"

    sys.modules.pop("wave", None)
    with loading():
        importlib.import_module("wave")
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.unfreeze()
