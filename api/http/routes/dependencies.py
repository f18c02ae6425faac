"""What routes receive: the opened `Lineup`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.lineup import Lineup
from api.worker.current import CurrentLineup


async def get_current(request: Request) -> CurrentLineup:
    """Return what the application's lifespan opened."""
    current: CurrentLineup = request.app.state.current
    return current


async def hold_lineup(request: Request) -> AsyncIterator[Lineup]:
    """Hold the `Lineup` of the active model until the answer is sent."""
    current: CurrentLineup = request.app.state.current
    with current.held() as lineup:
        yield lineup


Current = Annotated[CurrentLineup, Depends(get_current)]
Opened = Annotated[Lineup, Depends(hold_lineup)]
