"""The application as a whole: limits of bodies, trusted hosts, headers and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.testclient import TestClient

from api.http.answers import SAFE_HEADERS
from tests.api.conftest import Picture
from tests.api.http.client import Json, problem
from tests.clients import NO_BROWSER

CHUNK = bytes(64 * 1024)
CHUNKS = 100  # five times what the body may hold
FORM_BEGINNING = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def send_chunks(
    client: TestClient, path: str, headers: dict[str, str], beginning: bytes = b""
) -> tuple[httpx.Response, int]:
    """Send a body piece by piece; the answer, and how many pieces were taken before it."""
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        yield beginning
        for _ in range(CHUNKS):
            taken += 1
            yield CHUNK

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=NO_BROWSER
        ) as streaming:
            return await streaming.post(path, content=chunks(), headers=headers)

    return asyncio.run(post()), taken


def test_a_body_that_announces_too_much_is_refused_unread(client: TestClient) -> None:
    headers = {"content-type": "application/json", "content-length": str(CHUNKS * len(CHUNK))}

    response, taken = send_chunks(client, "/v1/lookups", headers)

    assert problem(response) == (413, "body-too-large")
    assert taken == 0


@pytest.mark.parametrize(
    ("path", "media_type", "beginning"),
    [
        ("/v1/lookups", "application/json", b""),
        ("/v1/lookups", "multipart/form-data; boundary=x", FORM_BEGINNING),
        ("/v1/corpora/camera/entries", "multipart/form-data; boundary=x", FORM_BEGINNING),
    ],
)
def test_a_body_that_streams_too_much_is_refused_before_its_end(
    client: TestClient, path: str, media_type: str, beginning: bytes
) -> None:
    response, taken = send_chunks(client, path, {"content-type": media_type}, beginning)

    assert problem(response) == (413, "body-too-large")
    assert taken <= CHUNKS // 4


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", ""])
def test_an_untrusted_host_is_refused(client: TestClient, host: str) -> None:
    assert problem(client.get("/livez", headers={"host": host})) == (400, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8787", "127.0.0.1:8787", "[::1]:8787"])
def test_loopback_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_change_asked_for_by_another_site_is_refused(client: TestClient, site: str) -> None:
    response = client.post(
        "/v1/corpora", json={"name": "planted"}, headers={"sec-fetch-site": site}
    )

    assert problem(response) == (403, "cross-site-request")
    assert client.get("/v1/corpora/planted").status_code == 404


def test_a_change_without_an_origin_needs_what_no_form_can_send(
    client: TestClient, picture: Picture
) -> None:
    files = {"image": picture(0)}
    response = client.post("/v1/lookups", files=files, headers={"X-Requested-By": ""})

    assert problem(response) == (403, "cross-site-request")
    own = {"X-Requested-By": "", "Origin": "http://localhost"}
    assert client.post("/v1/lookups", files=files, headers=own).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/livez", {}),
        ("GET", "/static/lineup.js", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/v1/entries/x", {}),
        ("PUT", "/v1/lookups", {}),
        ("HEAD", "/livez", {}),
        ("POST", "/v1/lookups", {"origin": "http://evil.example"}),
        ("GET", "/livez", {"host": "evil.example"}),
        ("POST", "/v1/lookups", {"content-length": str(2**40)}),
    ],
)
def test_every_answer_carries_the_headers_that_bind_a_browser(
    client: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answered = client.request(method, path, headers=headers).headers

    assert {name: answered[name] for name in SAFE_HEADERS} == SAFE_HEADERS


@pytest.mark.parametrize(
    ("status", "method", "path", "sent"),
    [
        (404, "GET", "/nowhere", {}),
        (404, "GET", "/static/nowhere.js", {}),
        (404, "GET", "/v1/entries/999999", {}),
        (405, "PUT", "/v1/lookups", {}),
        (
            415,
            "POST",
            "/v1/lookups",
            {"content": b"text", "headers": {"content-type": "text/plain"}},
        ),
        (415, "POST", "/v1/lookups", {"content": b"no media type"}),
        (415, "POST", "/v1/lookups", {"files": {"image": b"not an image"}}),
        (422, "POST", "/v1/lookups", {"json": {}}),
        (422, "POST", "/v1/lookups", {"json": {"sha256": "0" * 64, "k": 0}}),
        (422, "POST", "/v1/lookups", {"files": {"other": b""}}),
        (422, "POST", "/v1/corpora", {"json": {"name": "Not a name"}}),
        (422, "POST", "/v1/corpora", {"json": {"name": "fine", "misspelt": 1}}),
        (422, "GET", "/v1/corpora?limit=0", {}),
        (422, "GET", "/v1/entries/0", {}),
    ],
)
def test_every_error_is_a_problem(
    client: TestClient, status: int, method: str, path: str, sent: Json
) -> None:
    assert problem(client.request(method, path, **sent))[0] == status
