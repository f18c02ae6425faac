"""What routes receive: the opened `Lineup`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import Depends, Request

from api.lineup import Lineup
from api.worker.current import CurrentLineup


async def get_current(request: Request) -> CurrentLineup:
    """Return what the application's lifespan opened."""
    current: CurrentLineup = request.app.state.current
    return current


def hold_now(request: Request) -> AbstractContextManager[Lineup]:
    """Return what holds the `Lineup` of the active model for a block of an endpoint that takes
    nothing but the request.
    """
    current: CurrentLineup = request.app.state.current
    return current.held()


async def hold_lineup(request: Request) -> AsyncIterator[Lineup]:
    """Hold the `Lineup` of the active model until the answer is sent."""
    with hold_now(request) as lineup:
        yield lineup


Current = Annotated[CurrentLineup, Depends(get_current)]
Opened = Annotated[Lineup, Depends(hold_lineup)]
