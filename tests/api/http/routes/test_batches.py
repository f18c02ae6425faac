"""Batches of look-ups as a client meets them: the real application, database, index and model."""

from __future__ import annotations

from contextlib import ExitStack
from hashlib import sha256
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.http.lanes import Kind
from tests.api.conftest import Picture
from tests.api.http.client import ask, problem

JSON = {"content-type": "application/json"}
BY_HASH = {"pdq_hash": "0f" * 32, "pdq_quality": 90}


def send(client: TestClient, *probes: Any, **query: Any) -> httpx.Response:
    return client.post("/v1/lookups/batch", json={"query": query, "probes": probes})


def test_each_probe_has_an_answer_or_a_problem_in_its_place(
    client: TestClient, picture: Picture, space: str
) -> None:
    known = sha256(picture(0)).hexdigest()
    embedding = [1.0] + [0.0] * 191
    response = send(
        client,
        {"name": "known", "sha256": known},
        {"name": "unknown", "sha256": "0" * 64},
        {"name": "upper case", "sha256": "A" * 64},
        {"embedding": embedding, "embedding_space": space, "logit": 0.5},
        {"embedding": [3.0, *embedding[1:]], "embedding_space": space},
        {"embedding": embedding, "embedding_space": "0" * 64},
        "text",
        {"name": "hash", "pdq_hash": "0f" * 32, "pdq_quality": 90},
        k=3,
    )

    assert response.status_code == 200, response.text
    body = response.json()
    outcomes = body["outcomes"]
    assert (body["answered"], body["failed"]) == (3, 5)
    assert [each["name"] for each in outcomes] == [
        *("known", "unknown", "upper case", None, None, None, None, "hash"),
    ]
    problems = [each["problem"] for each in outcomes]
    assert [each and (each["status"], each["type"].rpartition(":")[2]) for each in problems] == [
        None,
        (404, "unknown-image"),
        (422, "invalid-request"),
        None,
        (422, "invalid-embedding"),
        (409, "foreign-embedding-space"),
        (422, "invalid-request"),
        None,
    ]
    assert [each["field"] for each in problems[2]["errors"]] == ["sha256"]
    assert [each["lookup"] is None for each in outcomes] == [each is not None for each in problems]
    alone = ask(client, sha256=known, k=3).json()
    assert outcomes[0]["lookup"]["evidence_sha256"] == alone["evidence_sha256"]
    for each in outcomes:
        if each["lookup"]:
            stored = client.get(f"/v1/lookups/{each['lookup']['id']}")
            assert stored.json() == each["lookup"]


def test_a_wrong_query_or_too_many_probes_fail_the_request(client: TestClient) -> None:
    probe = {"sha256": "0" * 64}
    assert problem(send(client, BY_HASH, filter={"corpora": ["nowhere"]})) == (
        404,
        "unknown-corpus",
    )
    for response in (
        send(client),
        send(client, *[probe] * 257),
        send(client, *[probe] * 20, k=1000),
        send(client, probe, stability=True),
        client.post("/v1/lookups/batch", json=[probe]),
        client.post("/v1/lookups/batch", content=b"{", headers=JSON),
    ):
        assert problem(response) == (422, "invalid-request")
    assert problem(client.post("/v1/lookups/batch", files={"image": b"x"})) == (
        415,
        "unsupported-body",
    )


def test_a_body_with_too_many_bytes_or_values_is_refused(client: TestClient) -> None:
    large = b'{"probes": [{"name": "%b"}]}' % (b"a" * (8 * 2**20))
    assert problem(client.post("/v1/lookups/batch", content=large, headers=JSON)) == (
        413,
        "body-too-large",
    )
    response = send(client, {"embedding": [0.0] * 50_000}, {"embedding": [0.0] * 50_000})
    assert problem(response) == (422, "invalid-request")


@pytest.mark.parametrize(("full", "status"), [(Kind.IMAGES, 200), (Kind.BATCHES, 503)])
def test_batches_have_a_lane_of_their_own(client: TestClient, full: Kind, status: int) -> None:
    admission = client.app.state.lanes[full].admission
    with ExitStack() as places:
        for _ in range(admission.capacity):
            places.enter_context(admission.place())
        assert send(client, BY_HASH).status_code == status
