"""What routes are handed: the opened product, and a place in the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.batcher import Admission
from api.lineup import Lineup


async def opened_lineup(request: Request) -> Lineup:
    """The product that the application's lifespan opened."""
    lineup: Lineup = request.app.state.lineup
    return lineup


async def admitted(request: Request) -> AsyncIterator[None]:
    """One of the bounded places, held until the answer is sent; `Overloaded` at once when none is free."""
    admission: Admission = request.app.state.admission
    with admission.place():
        yield


Opened = Annotated[Lineup, Depends(opened_lineup)]
Admitted = Depends(admitted)
