"""What routes are handed: the opened product, and a place in the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.batcher import Admission
from api.lineup import Lineup
from api.worker.current import CurrentLineup


async def current_lineup(request: Request) -> CurrentLineup:
    """What the application's lifespan opened."""
    current: CurrentLineup = request.app.state.current
    return current


async def opened_lineup(request: Request) -> AsyncIterator[Lineup]:
    """The product of the active model, held until the answer is sent."""
    current: CurrentLineup = request.app.state.current
    with current.held() as lineup:
        yield lineup


async def admitted(request: Request) -> AsyncIterator[None]:
    """One of the bounded places, held until the answer is sent;

    `Overloaded` at once when none is free.
    """
    admission: Admission = request.app.state.admission
    with admission.place():
        yield


Current = Annotated[CurrentLineup, Depends(current_lineup)]
Opened = Annotated[Lineup, Depends(opened_lineup)]
Admitted = Depends(admitted)
