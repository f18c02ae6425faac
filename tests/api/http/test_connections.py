"""Connections of a small application, over real sockets: what may be slow, and what is ended."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from api.http.answers import SAFE_HEADERS, SafeAnswers
from api.http.connections import _group
from api.settings import Settings
from tests.functional.browsing import running
from tests.functional.sockets import Answer, ask, begin_upload, connect, dripping, read_all

LARGE = 32 * 2**20  # more than the buffers of a socket take
HEAD = "Host: 127.0.0.1\r\n"
LAST = f"{HEAD}Connection: close\r\n\r\n"


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, except on /unread; answer its length, on /large much more."""
    if scope["type"] != "http":
        return
    length, has_more = 0, scope["path"] != "/unread"
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        has_more = message["more_body"]
    body = bytes(LARGE) if scope["path"] == "/large" else str(length).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


def limits(**chosen: float) -> Settings:
    return Settings(
        data_dir=Path("nowhere"),
        header_timeout_seconds=0.4,
        stall_timeout_seconds=0.6,
        min_bytes_per_second=10_000,
        idle_timeout_seconds=2,
        **chosen,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(SafeAnswers(answer), limits()) as opened:
        yield opened


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """A server that has few connections."""
    chosen = limits(max_connections=6, max_connections_per_address=4, body_timeout_seconds=1.0)
    with running(SafeAnswers(answer), chosen) as opened:
        yield opened


def assert_safe(answered: Answer) -> None:
    assert {name: answered.headers[name.lower()] for name in SAFE_HEADERS} == SAFE_HEADERS


@pytest.mark.parametrize(
    ("request_", "status", "problem"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "malformed-request"),  # TLS
        ("GET / HTTP/1.1\r\n\r\n", 400, "malformed-request"),
        (f"GET / HTTP/1.1\r\n{HEAD}{HEAD}\r\n", 400, "malformed-request"),
        (f"GET /\x00 HTTP/1.1\r\n{LAST}", 400, "malformed-request"),
        (f"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n{LAST}", 400, "malformed-request"),
        (f"POST / HTTP/1.1\r\nContent-Length: -1\r\n{LAST}", 400, "malformed-request"),
        (
            f"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{LAST}zz\r\n",
            400,
            "malformed-request",
        ),
        (f"GET /{'a' * 100_000} HTTP/1.1\r\n", 431, "header-too-large"),
    ],
)
def test_what_is_not_http_is_a_problem_with_its_headers(
    url: str, request_: str | bytes, status: int, problem: str
) -> None:
    answered = ask(url, request_)
    assert (answered.status, answered.problem) == (status, problem)
    assert_safe(answered)


def test_a_header_that_does_not_end_is_ended(url: str) -> None:
    answered = ask(url, f"GET / HTTP/1.1\r\n{HEAD}")
    assert (answered.status, answered.problem) == (408, "request-too-slow")
    assert_safe(answered)


def test_a_connection_that_asks_nothing_is_closed_without_an_answer(url: str) -> None:
    assert ask(url, b"").data == b""


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [(b"GET / HTTP/1.1\r\nX: ", "header"), (begin_upload("http://127.0.0.1"), "bytes of the body")],
    ids=["header", "body"],
)
def test_a_drip_is_no_progress(url: str, beginning: bytes, reason: str) -> None:
    began = time.monotonic()
    with dripping(url, beginning, 3) as sockets:
        answers = [read_all(each) for each in sockets]
    assert time.monotonic() - began < 5
    for each in answers:
        assert (each.status, each.problem) == (408, "request-too-slow")
        assert reason in each.body.decode()


def test_a_slow_body_that_makes_progress_may_take_long(url: str) -> None:
    pieces = [bytes(20_000)] * 12
    with connect(url) as opened:
        opened.sendall(
            f"POST / HTTP/1.1\r\nContent-Length: {20_000 * len(pieces)}\r\n{LAST}".encode()
        )
        for piece in pieces:
            opened.sendall(piece)
            time.sleep(0.1)
        answered = read_all(opened)
    assert (answered.status, answered.body) == (200, b"240000")


def test_a_body_that_takes_too_long_in_all_is_ended(small: str) -> None:
    with connect(small) as opened:
        opened.sendall(f"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n{LAST}".encode())
        for _ in range(100):
            try:
                opened.sendall(bytes(2000))
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the server took all of it")


def test_an_answer_does_not_wait_for_the_rest_of_a_body_that_nobody_reads(url: str) -> None:
    with connect(url) as opened:
        opened.sendall(f"POST /unread HTTP/1.1\r\nContent-Length: 100\r\n{HEAD}\r\n".encode())
        answered = read_all(opened)
    assert answered.status == 200


def test_an_answer_that_is_not_read_is_broken_off(url: str) -> None:
    with connect(url) as opened:
        opened.sendall(f"GET /large HTTP/1.1\r\n{LAST}".encode())
        time.sleep(1.5)
        answered = read_all(opened)
    assert answered.status == 200
    assert len(answered.body) < LARGE
    assert len(ask(url, f"GET /large HTTP/1.1\r\n{LAST}").body) == LARGE


def test_a_connection_may_ask_again_and_idle_ends(url: str) -> None:
    with connect(url) as opened:
        for _ in range(3):
            opened.sendall(f"GET / HTTP/1.1\r\n{HEAD}\r\n".encode())
            received = b""
            while not received.endswith(b"\r\n\r\n0"):
                received += opened.recv(65536)
            time.sleep(0.5)  # longer than a header may take, shorter than idle
        opened.sendall(f"GET / HTTP/1.1\r\n{HEAD}".encode())
        assert read_all(opened).problem == "request-too-slow"
    assert ask(url, f"GET / HTTP/1.1\r\n{HEAD}\r\n").status == 200


def test_a_connection_that_waits_makes_room_for_the_next(small: str) -> None:
    with ExitStack() as waiting:
        sockets = [waiting.enter_context(connect(small)) for _ in range(4)]
        sockets[0].sendall(f"GET / HTTP/1.1\r\n{HEAD}".encode())
        time.sleep(0.1)
        assert ask(small, f"GET / HTTP/1.1\r\n{LAST}").status == 200
        assert read_all(sockets[0]).data == b""  # the one that has waited longest
        sockets[1].sendall(f"GET / HTTP/1.1\r\n{LAST}".encode())
        assert read_all(sockets[1]).status == 200


def test_where_all_send_bodies_the_next_is_refused_and_probes_are_answered(small: str) -> None:
    with ExitStack() as sending:
        for _ in range(4):
            opened = sending.enter_context(connect(small))
            expecting = b"\r\nExpect: 100-continue\r\n"
            opened.sendall(begin_upload(small).replace(b"\r\n", expecting, 1))
            assert b"100 Continue" in opened.recv(65536)  # the server waits for the body
        refused = ask(small, f"GET / HTTP/1.1\r\n{LAST}")
        assert (refused.status, refused.problem) == (503, "too-many-connections")
        assert refused.headers["retry-after"] == "1"
        assert "your address" in refused.body.decode()
        assert_safe(refused)
        assert ask(small, f"GET /livez HTTP/1.1\r\n{LAST}").status == 200
    assert ask(small, f"GET / HTTP/1.1\r\n{LAST}").status == 200


def test_an_address_of_ipv6_is_its_network() -> None:
    assert _group(("2001:db8::1", 1)) == _group(("2001:db8::ffff:2", 2)) == "2001:db8::/64"
    assert _group(("fe80::1%eth0", 1)) == "fe80::/64"
    assert _group(("192.0.2.1", 1)) == "192.0.2.1"
    assert _group(None) == ""


def test_a_client_that_closes_at_once_leaves_nothing(small: str) -> None:
    for _ in range(20):
        with closing(connect(small)) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            opened.sendall(begin_upload(small))
    deadline = time.monotonic() + 10  # the server may still read what was closed
    while (status := ask(small, f"GET / HTTP/1.1\r\n{LAST}").status) != 200:
        assert (status, time.monotonic() < deadline) == (503, True)
