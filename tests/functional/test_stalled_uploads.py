"""Stalled uploads: sockets that drip keep nobody from an answer.

64 uploads that did not end once answered every look-up with 503 for as long as the sockets dripped,
while `/readyz` said that all was well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from fastapi import FastAPI

from api.http.lanes import Kind
from api.settings import Settings
from tests.api.conftest import Picture, picture  # noqa: F401 - a fixture
from tests.clients import NO_BROWSER
from tests.functional.browsing import serving
from tests.functional.sockets import begin_upload, dripping, read_all

DRIPS = 70  # more than places for look-ups, and than threads of the usual pool
CONNECTIONS = 150
STALL_SECONDS = 2.0

Server = tuple[str, FastAPI]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("stalled"),
        device="cpu",
        offline=True,
        server_works=False,
        max_connections=CONNECTIONS,
        max_connections_per_address=CONNECTIONS,
        header_timeout_seconds=STALL_SECONDS,
        stall_timeout_seconds=STALL_SECONDS,
    )
    with serving(settings) as (url, app):
        with connect(url) as client:
            client.post("/v1/corpora", json={"name": "fakes", "kind": "known_fake"})
        yield url, app


def connect(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=30)


def look_up(url: str, image: bytes) -> int:
    with connect(url) as client:
        return client.post("/v1/lookups", files={"image": image}).status_code


@pytest.mark.parametrize(
    ("path", "part", "is_ended"),
    [
        ("/v1/lookups", "image", True),  # the end is waited for, which takes seconds
        ("/v1/corpora/fakes/entries", "image", False),
        ("/v1/corpora/fakes/ingests", "source", False),
        pytest.param("/v1/corpora/fakes/entries", "image", True, marks=pytest.mark.prove),
        pytest.param("/v1/corpora/fakes/ingests", "source", True, marks=pytest.mark.prove),
    ],
)
def test_look_ups_are_answered_while_uploads_drip(
    server: Server,
    picture: Picture,  # noqa: F811
    path: str,
    part: str,
    is_ended: bool,
) -> None:
    url, _ = server
    with dripping(url, begin_upload(url, path, part), DRIPS) as sockets, connect(url) as client:
        assert look_up(url, picture(0)) == 201
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["saturated"]) == (200, False)
        if is_ended:
            began = time.monotonic()
            assert {read_all(each).problem for each in sockets} == {"request-too-slow"}
            assert time.monotonic() - began < 5 * STALL_SECONDS
    assert look_up(url, picture(0)) == 201


def test_look_ups_are_answered_while_more_headers_drip_than_connections_may_be_open(
    server: Server,
    picture: Picture,  # noqa: F811
) -> None:
    url, _ = server
    with dripping(url, b"POST /v1/lookups HTTP/1.1\r\nX: ", CONNECTIONS + 20):
        assert look_up(url, picture(0)) == 201
        with connect(url) as client:
            assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.NONE])
def test_a_lane_that_is_full_keeps_only_its_own_requests_waiting(
    server: Server,
    picture: Picture,  # noqa: F811
    kind: Kind,
) -> None:
    """Each place of the lane is taken by a request that does not end."""
    url, app = server
    admission = app.state.lanes[kind].admission
    with connect(url) as client, ExitStack() as places:
        for _ in range(admission.capacity):
            places.enter_context(admission.place())
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["saturated"] is (kind is Kind.IMAGES)
        requests = {
            Kind.IMAGES: lambda: client.post("/v1/lookups", files={"image": picture(0)}),
            Kind.BATCHES: lambda: client.post("/v1/lookups/batch", json={"probes": [{}]}),
            Kind.EXPORTS: lambda: client.get("/v1/corpora/fakes/export"),
            Kind.INSPECTIONS: lambda: client.get("/v1/corpora/fakes/inspection"),
            Kind.EVALUATIONS: lambda: client.post("/v1/evaluations", json={"source": "/x"}),
            Kind.THUMBNAILS: lambda: client.get("/v1/entries/1/thumbnail"),
            Kind.CHANGES: lambda: client.delete("/v1/entries/1"),
            Kind.READS: lambda: client.get("/v1/corpora"),
        }
        for other, send in requests.items():
            response = send()
            assert (response.status_code == 503) is (other is kind), (other, response.text)
            if other is kind:
                assert int(response.headers["retry-after"]) >= 1
    assert admission.seconds_full == 0
