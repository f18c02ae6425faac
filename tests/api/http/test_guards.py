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

from api.http.answers import SafeAnswers
from api.http.guards import BodyLimit, HostGuard, OriginGuard

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
    scope = {"type": kind, "scheme": "http", "method": method, "path": path, "headers": raw}
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


HOME = {"host": "lineup.lan:8787"}
JSON = {"content-type": "application/json"}
FORMS = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]


def sends(headers: dict[str, str], *, method: str = "POST", allowed: tuple[str, ...] = ()) -> int:
    guard = OriginGuard(Reader(), allowed)
    sent, read = call(guard, method=method, headers={**HOME, **headers})
    assert read == (1 if status(sent) == 200 else 0)
    return status(sent)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "LINK"])
@pytest.mark.parametrize(
    ("site", "expected"),
    [("cross-site", 403), ("same-site", 403), ("new", 403), ("same-origin", 200), ("none", 200)],
)
def test_a_page_of_another_site_cannot_change_anything(
    method: str, site: str, expected: int
) -> None:
    assert sends({"sec-fetch-site": site, **JSON}, method=method) == expected


@pytest.mark.parametrize("media_type", [*FORMS, "application/json"])
@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://lineup.lan:8787", 200),
        ("HTTP://Lineup.LAN:8787", 200),
        ("https://lineup.lan:8787", 200),  # a proxy in front speaks TLS
        ("null", 403),
        ("", 403),
        ("http://lineup.lan", 403),
        ("http://lineup.lan:9000", 403),
        ("http://evil.example:8787", 403),
        ("http://lineup.lan:8787.evil.example", 403),
        ("http://lineup.lan:8787@evil.example", 403),
        ("ftp://lineup.lan:8787", 403),
        ("lineup.lan:8787", 403),
        ("chrome-extension://lineup.lan:8787", 403),
    ],
)
def test_only_the_own_origin_may_change_where_no_browser_says_the_site(
    origin: str, expected: int, media_type: str
) -> None:
    headers = {"origin": origin, "content-type": media_type, "x-requested-by": "page"}
    assert sends(headers) == expected


def test_a_second_origin_does_not_hide_behind_the_first() -> None:
    raw = [("host", "a"), ("origin", "http://a"), ("origin", "http://evil.example")]
    scope = {
        "type": "http",
        "scheme": "http",
        "method": "POST",
        "headers": [(name.encode(), value.encode()) for name, value in raw],
    }
    reader, sent = Reader(), []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(OriginGuard(reader)(scope, receive, send))
    assert status(sent) == 403


def test_an_origin_without_a_port_means_the_port_of_its_scheme() -> None:
    assert sends({"host": "a:80", "origin": "http://a"}) == 200
    assert sends({"host": "a", "origin": "http://a:80"}) == 200
    assert sends({"host": "a", "origin": "https://a"}) == 200
    assert sends({"host": "a", "origin": "https://a:80"}) == 403
    assert sends({"host": "[::1]", "origin": "http://[::1]:80"}) == 200
    assert sends({"host": "[::1]:80", "origin": "http://[::2]"}) == 403


def test_a_listed_origin_may_change_too() -> None:
    listed = ("https://desk.example.org/",)
    assert sends({"origin": "https://desk.example.org"}, allowed=listed) == 200
    cross = {"origin": "https://desk.example.org", "sec-fetch-site": "cross-site"}
    assert sends(cross, allowed=listed) == 200
    assert sends({**cross, "origin": "https://other.example.org"}, allowed=listed) == 403
    assert sends({"sec-fetch-site": "cross-site"}, allowed=listed) == 403


@pytest.mark.parametrize("media_type", [None, "", "nonsense", "a/b/c", "Text/PLAIN;x=y", *FORMS])
def test_without_an_origin_what_a_form_can_send_needs_a_header(media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    assert sends(headers) == 403
    assert sends({**headers, "x-requested-by": ""}) == 403
    assert sends({**headers, "x-requested-by": "curl"}) == 200


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_without_an_origin_what_no_form_can_send_is_enough(media_type: str) -> None:
    assert sends({"content-type": media_type}) == 200
    assert sends({}, method="DELETE") == 200


def test_the_refusal_says_what_to_send() -> None:
    sent, _ = call(OriginGuard(Reader()), headers=HOME)
    assert body(sent)["type"] == "urn:lineup:problem:cross-site-request"
    assert "curl -H 'X-Requested-By: curl'" in body(sent)["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_page_of_another_site_may_ask(method: str) -> None:
    headers = {"sec-fetch-site": "cross-site", "origin": "http://evil.example"}
    assert sends(headers, method=method) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("lineup.lan", 200),
        ("LINEUP.lan:8787", 200),
        ("[::1]:1", 200),
        ("desk.example.org", 200),
        ("a.desk.example.org", 200),
        ("example.org", 400),
        ("evilexample.org", 400),
        ("lineup.lan.evil.example", 400),
        ("lineup.lan:8787:1", 400),
        ("lineup.lan/", 400),
        ("evil@lineup.lan", 400),
        ("", 400),
        ("[::2]", 400),
        ("::1", 400),
    ],
)
def test_only_the_own_hosts_are_answered(host: str, expected: int) -> None:
    guard = HostGuard(Reader(), ["lineup.lan", "::1", "*.example.org"])
    sent, _ = call(guard, headers={"host": host})
    assert status(sent) == expected
    if expected == 400:
        assert body(sent)["type"] == "urn:lineup:problem:foreign-host"


def test_any_host_can_be_allowed() -> None:
    assert status(call(HostGuard(Reader(), ["*"]), headers={"host": "whatever"})[0]) == 200


@pytest.mark.parametrize(
    "guard",
    [
        lambda app: BodyLimit(app, 0, {}),
        OriginGuard,
        lambda app: HostGuard(app, []),
        SafeAnswers,
    ],
    ids=["BodyLimit", "OriginGuard", "HostGuard", "SafeAnswers"],
)
def test_what_is_not_http_passes_unchanged(guard: Any) -> None:
    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})

    sent, _ = call(
        guard(lifespan), [b"x"], kind="lifespan", headers={"sec-fetch-site": "cross-site"}
    )
    assert sent == [{"type": "lifespan.startup.complete"}]
