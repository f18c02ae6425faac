"""The middleware around a small application: what it lets pass, what it refuses, and how early."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.guards import BodyLimit, CrossSiteGuard, SafeHeaders

LIMIT = 10
LARGER = {re.compile(r"/large/[^/]+"): 30}


class Reader:
    """An application that reads its body to the end and answers how many bytes it saw."""

    def __init__(self) -> None:
        self.received = 0
        self.is_disconnected = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.is_disconnected = True
                break
            self.received += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(self.received).encode()})


def call(
    app: ASGIApp,
    pieces: list[bytes] | None = None,
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    kind: str = "http",
) -> tuple[list[Message], int]:
    """Send one request; the messages of the answer, and how many pieces were read."""
    left = list(pieces or [b""])
    sent: list[Message] = []

    async def receive() -> Message:
        if not left:
            return {"type": "http.disconnect"}
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": kind, "method": method, "path": path, "headers": raw}
    asyncio.run(app(scope, receive, send))
    return sent, len(pieces or [b""]) - len(left)


def status(sent: list[Message]) -> int:
    (start,) = [message["status"] for message in sent if message["type"] == "http.response.start"]
    return int(start)


def body(sent: list[Message]) -> Any:
    return json.loads(b"".join(message.get("body", b"") for message in sent))


@pytest.mark.parametrize(
    ("announced", "refused"), [("11", True), ("10", False), ("nonsense", False), ("-1", False)]
)
def test_a_body_is_refused_by_the_length_that_it_announces(announced: str, refused: bool) -> None:
    reader = Reader()
    sent, read = call(BodyLimit(reader, LIMIT, {}), [b"abc"], headers={"content-length": announced})
    assert (status(sent), read) == ((413, 0) if refused else (200, 1))
    assert reader.received == (0 if refused else 3)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=8))
def test_a_body_without_a_length_passes_exactly_if_it_fits(pieces: list[bytes]) -> None:
    reader = Reader()
    sent, _ = call(BodyLimit(reader, LIMIT, {}), pieces)
    total = sum(map(len, pieces))
    assert status(sent) == (200 if total <= LIMIT else 413)
    assert reader.is_disconnected is (total > LIMIT)
    assert reader.received <= LIMIT


def test_reading_stops_with_the_piece_that_is_too_much() -> None:
    sent, read = call(BodyLimit(Reader(), LIMIT, {}), [b"12345"] * 100)
    assert (status(sent), read) == (413, 3)
    assert body(sent)["type"] == "urn:lineup:problem:body-too-large"
    assert "10 bytes" in body(sent)["detail"]


@pytest.mark.parametrize(
    ("path", "accepted"),
    [("/large/x", True), ("/large/x/y", False), ("/a/large/x", False), ("/", False)],
)
def test_some_paths_have_a_larger_limit(path: str, accepted: bool) -> None:
    sent, _ = call(BodyLimit(Reader(), LIMIT, LARGER), [bytes(30)], path=path)
    assert status(sent) == (200 if accepted else 413)
    assert status(call(BodyLimit(Reader(), LIMIT, LARGER), [bytes(31)], path=path)[0]) == 413


def test_an_error_of_the_application_that_too_much_caused_is_not_shown() -> None:
    async def fail_at_the_end(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise RuntimeError("the client is gone")

    assert status(call(BodyLimit(fail_at_the_end, LIMIT, {}), [bytes(11)])[0]) == 413
    with pytest.raises(RuntimeError, match="the client is gone"):
        call(BodyLimit(fail_at_the_end, LIMIT, {}), [bytes(10)])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("site", "refused"),
    [("cross-site", True), ("same-site", True), ("same-origin", False), ("none", False)],
)
def test_a_page_of_another_site_cannot_change_anything(
    method: str, site: str, refused: bool
) -> None:
    reader = Reader()
    sent, read = call(CrossSiteGuard(reader), method=method, headers={"sec-fetch-site": site})
    assert (status(sent), read) == ((403, 0) if refused else (200, 1))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_page_of_another_site_may_read(method: str) -> None:
    sent, _ = call(
        CrossSiteGuard(Reader()), method=method, headers={"sec-fetch-site": "cross-site"}
    )
    assert status(sent) == 200


def test_a_client_that_is_no_browser_may_change() -> None:
    assert status(call(CrossSiteGuard(Reader()))[0]) == 200


def test_headers_forbid_guessing_framing_and_loading_from_elsewhere() -> None:
    sent, _ = call(SafeHeaders(Reader()))
    headers = dict(sent[0]["headers"])
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"referrer-policy"] == b"no-referrer"
    policy = dict(
        part.split(" ", 1) for part in headers[b"content-security-policy"].decode().split("; ")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert sent[1] == {"type": "http.response.body", "body": b"0"}


@pytest.mark.parametrize(
    "guard",
    [lambda app: BodyLimit(app, 0, {}), CrossSiteGuard, SafeHeaders],
    ids=["BodyLimit", "CrossSiteGuard", "SafeHeaders"],
)
def test_what_is_not_http_passes_unchanged(guard: Any) -> None:
    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})

    sent, _ = call(
        guard(lifespan), [b"x"], kind="lifespan", headers={"sec-fetch-site": "cross-site"}
    )
    assert sent == [{"type": "lifespan.startup.complete"}]
