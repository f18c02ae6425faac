"""What the tests of routes ask the application, and how they read its answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.lineup import Lineup

UNSEEN = 9  # the seed of a picture that no corpus holds

Json = dict[str, Any]


def opened_lineup(client: TestClient) -> Lineup:
    with client.app.state.current.held() as lineup:
        return lineup


def ask(client: TestClient, **request: Any) -> httpx.Response:
    return client.post(
        "/v1/lookups", content=json.dumps(request), headers={"content-type": "application/json"}
    )


def look_up(client: TestClient, image: bytes, **query: Any) -> Json:
    done = client.post("/v1/lookups", files={"image": image}, data={"query": json.dumps(query)})
    assert done.status_code == 201, done.text
    return done.json()


def neighbours(answer: Json) -> list[tuple[str, float]]:
    found = answer["similarity"]["neighbours"]
    return [
        (each["entry"]["sha256"], pytest.approx(each["cosine_similarity"], abs=1e-5))
        for each in found
    ]


def found_shas(answer: Json) -> set[str]:
    return {each["entry"]["sha256"] for each in answer["similarity"]["neighbours"]}


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the last word of the type, once the body is known to be a problem of RFC
    9457.
    """
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["title"]
    return response.status_code, body["type"].rpartition(":")[2]
