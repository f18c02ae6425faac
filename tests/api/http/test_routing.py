"""Routes: what every one refuses, whoever reads its request."""

from __future__ import annotations

import threading

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from api.http.lanes import Kind
from api.http.problems import answer_with_problems
from api.http.routing import lane, make_router

router = make_router()


@router.post("/alone/{name}")
@lane(Kind.NONE)
async def read_alone(request: Request) -> Response:
    return Response(threading.current_thread().name, 202, {"X-Name": request.path_params["name"]})


@router.post("/found")
@lane(Kind.NONE)
async def take_found(request: Request, number: int = 0) -> dict[str, int]:
    return {"number": number}


@router.post("/beside")
@lane(Kind.NONE)
def run_beside(request: Request) -> str:
    return threading.current_thread().name


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    answer_with_problems(app)
    return TestClient(app)


@pytest.mark.parametrize(
    "path", ["/alone/a?k=1", "/found?k=1", "/beside?k=1", "/found?number=1&number=2"]
)
def test_a_query_that_a_route_does_not_have_is_refused(client: TestClient, path: str) -> None:
    answer = client.post(path)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:lineup:problem:invalid-request"


def test_a_path_that_cannot_be_stored_is_refused(client: TestClient) -> None:
    assert client.post("/alone/a%00b").status_code == 422


def test_an_endpoint_that_takes_only_the_request_answers_by_itself(client: TestClient) -> None:
    answer = client.post("/alone/a", content=b"not JSON")
    assert (answer.status_code, answer.headers["x-name"]) == (202, "a")


def test_other_endpoints_are_called_with_what_they_take(client: TestClient) -> None:
    assert client.post("/found?number=7").json() == {"number": 7}


def test_an_endpoint_that_may_block_runs_beside_the_event_loop(client: TestClient) -> None:
    loop = client.post("/alone/a").text
    assert client.post("/beside").json() != loop
