"""What routes receive, in a small application: the current `Lineup`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.http.problems import answer_with_problems
from api.http.routes.dependencies import Current, Opened


class Held:
    """Stands in for `CurrentLineup`: counts who holds it."""

    def __init__(self) -> None:
        self.holders = 0
        self.most = 0

    @contextmanager
    def held(self) -> Iterator[str]:
        self.holders += 1
        self.most = max(self.most, self.holders)
        try:
            yield "lineup"
        finally:
            self.holders -= 1


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    app.state.current = Held()

    @app.get("/held", response_model=None)
    def held(lineup: Opened, current: Current) -> list[object]:
        return [lineup, current.holders]  # type: ignore[attr-defined]

    answer_with_problems(app)
    return app


def test_the_lineup_is_held_while_the_route_runs_and_then_released(app: FastAPI) -> None:
    client = TestClient(app)
    assert client.get("/held").json() == ["lineup", 1]
    assert (app.state.current.holders, app.state.current.most) == (0, 1)
