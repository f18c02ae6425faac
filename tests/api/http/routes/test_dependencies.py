"""What routes receive, in a small application: a place in the queue, and the current `Lineup`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.batcher import Admission
from api.http.problems import answer_with_problems
from api.http.routes.dependencies import Admitted, Current, Opened


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
    app.state.admission = Admission(1)

    @app.get("/held", response_model=None)
    def held(lineup: Opened, current: Current) -> list[object]:
        return [lineup, current.holders]  # type: ignore[attr-defined]

    @app.get("/admitted", dependencies=[Admitted])
    def admitted(fail: bool = False) -> int:
        if fail:
            raise RuntimeError("a defect")
        return 1

    answer_with_problems(app)
    return app


def test_the_lineup_is_held_while_the_route_runs_and_then_released(app: FastAPI) -> None:
    client = TestClient(app)
    assert client.get("/held").json() == ["lineup", 1]
    assert (app.state.current.holders, app.state.current.most) == (0, 1)


def test_a_place_is_taken_for_the_route_and_given_back_even_after_a_defect(app: FastAPI) -> None:
    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/admitted?fail=true").status_code == 500
    assert client.get("/admitted").json() == 1
    with app.state.admission.place():
        refused = client.get("/admitted")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:lineup:problem:overloaded")
    assert client.get("/admitted").status_code == 200
