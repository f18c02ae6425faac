"""What routes receive: the opened `Lineup`, and a place in the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.batcher import Admission
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


async def take_place(request: Request) -> AsyncIterator[None]:
    """Take one of the limited places until the answer is sent.

    Raises `Overloaded` at once if none is free.
    """
    admission: Admission = request.app.state.admission
    with admission.place():
        yield


Current = Annotated[CurrentLineup, Depends(get_current)]
Opened = Annotated[Lineup, Depends(hold_lineup)]
Admitted = Depends(take_place)
