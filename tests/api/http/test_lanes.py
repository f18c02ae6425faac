"""Lanes: some run, some wait, the next is refused, and no lane takes the threads of another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.errors import Overloaded
from api.http.lanes import SPARE_THREADS, Kind, Lane, Lanes
from api.http.problems import answer_with_problems
from api.http.routing import lane, make_router
from api.settings import Settings


def test_some_run_some_wait_and_the_next_is_refused() -> None:
    async def run() -> tuple[int, int]:
        chosen, ended, most = Lane(2, 3), asyncio.Event(), 0
        running = 0

        async def request() -> None:
            nonlocal running, most
            async with chosen.turn():
                running += 1
                most = max(most, running)
                await ended.wait()
                running -= 1

        asked = [asyncio.create_task(request()) for _ in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await request()
        ended.set()
        await asyncio.gather(*asked)
        async with chosen.turn():
            return most, running

    assert asyncio.run(run()) == (2, 0)


@pytest.mark.parametrize("queue_size", [1, 40, 64])
def test_as_many_look_ups_run_or_wait_as_the_settings_say(queue_size: int) -> None:
    lanes = Lanes(Settings(data_dir=Path("nowhere"), queue_size=queue_size))
    assert lanes.images.capacity == queue_size


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def make_app(lanes: Lanes, ended: threading.Event) -> ASGIApp:
    app = FastAPI()
    app.state.lanes = lanes
    router = make_router()

    @router.get("/inspect")
    @lane(Kind.INSPECTIONS)
    def inspect() -> int:
        ended.wait(10)
        return 1

    @router.get("/read")
    def read() -> int:
        return 2

    app.include_router(router)
    answer_with_problems(app)
    return app


def test_requests_that_do_not_end_keep_only_their_own_kind_waiting(ended: threading.Event) -> None:
    """Even where the pool of threads is no larger than the lanes."""

    async def run() -> tuple[list[int], list[int]]:
        lanes = Lanes(Settings(data_dir=Path("nowhere")))
        lanes.make_threads()
        transport = httpx.ASGITransport(make_app(lanes, ended))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            asked = [
                asyncio.create_task(client.get("/inspect")) for _ in range(SPARE_THREADS + 100)
            ]
            while sum(not each.done() for each in asked) > 4:  # the others are refused
                await asyncio.sleep(0.01)
            reads = [(await client.get("/read")).status_code for _ in range(3)]
            ended.set()
            return reads, [each.status_code for each in await asyncio.gather(*asked)]

    reads, inspections = asyncio.run(run())
    assert reads == [200] * 3
    assert inspections.count(200) == 4
    assert set(inspections) == {200, 503}
