"""Readiness is answered whatever a check waits for, and one check runs at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.http.readiness import Readiness
from api.operations.checks_json import ReadyAnswer

READY = ReadyAnswer(ready=True, checks={"model": "ok"}, generation=1)


def test_those_who_ask_together_get_the_answer_of_one_check() -> None:
    ended, runs = threading.Event(), []

    def check() -> ReadyAnswer:
        runs.append(1)
        ended.wait(10)
        return READY

    async def ask() -> list[ReadyAnswer]:
        readiness = Readiness(check)
        asked = [asyncio.create_task(readiness.ask()) for _ in range(5)]
        await asyncio.sleep(0.05)
        ended.set()
        answers = await asyncio.gather(*asked)
        return [*answers, await readiness.ask()]

    assert asyncio.run(ask()) == [READY] * 6
    assert len(runs) == 2


def test_a_check_that_hangs_is_not_ready() -> None:
    ended = threading.Event()

    def check() -> ReadyAnswer:
        ended.wait(10)
        return READY

    async def ask() -> tuple[ReadyAnswer, ReadyAnswer]:
        readiness = Readiness(check, most_seconds=0.05)
        late = await readiness.ask()
        ended.set()
        async with asyncio.timeout(10):
            while not (after := await readiness.ask()).ready:
                pass
        return late, after

    late, after = asyncio.run(ask())
    assert (late.ready, after) == (False, READY)
    assert "no answer within" in late.checks["readiness"]


def test_a_defect_of_a_check_reaches_who_asks() -> None:
    def check() -> ReadyAnswer:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        asyncio.run(Readiness(check).ask())
