"""Clients that speak HTTP badly: raw sockets, which send what a test gives them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

WAIT_SECONDS = 10.0
NO_BROWSER = "X-Requested-By: tests\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"
PART = '--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'


@dataclass(frozen=True)
class Answer:
    """What a server sent until it closed the connection."""

    data: bytes

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        head = self.data.partition(b"\r\n\r\n")[0].decode()
        lines = (line.partition(": ") for line in head.split("\r\n")[1:])
        return {name.lower(): value for name, _, value in lines}

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def problem(self) -> str:
        """The last word of the problem's type."""
        document: dict[str, Any] = json.loads(self.body)
        assert self.headers["content-type"] == "application/problem+json"
        assert document["status"] == self.status
        return str(document["type"]).rpartition(":")[2]


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    opened = socket.create_connection((place.hostname or "", place.port or 80), WAIT_SECONDS)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def read_all(opened: socket.socket) -> Answer:
    """Read until the server closes the connection."""
    data = bytearray()
    with suppress(ConnectionResetError):
        while piece := opened.recv(65536):
            data += piece
    return Answer(bytes(data))


def ask(url: str, request: str | bytes) -> Answer:
    with connect(url) as opened:
        opened.sendall(request.encode() if isinstance(request, str) else request)
        return read_all(opened)


def begin_upload(url: str, path: str = "/v1/lookups", part: str = "image") -> bytes:
    """The beginning of a request whose body does not come."""
    place = urlsplit(url).netloc
    head = f"POST {path} HTTP/1.1\r\nHost: {place}\r\n{NO_BROWSER}{FORM}"
    return f"{head}Content-Length: 100000\r\n\r\n{PART.format(name=part)}".encode()


@contextmanager
def dripping(url: str, beginning: bytes, count: int) -> Iterator[Sequence[socket.socket]]:
    """Connections that send a beginning, and then a byte each now and then."""
    stopped = threading.Event()
    with ExitStack() as opened:
        sockets = [opened.enter_context(connect(url)) for _ in range(count)]
        for each in sockets:
            with suppress(OSError):
                each.sendall(beginning)

        def drip() -> None:
            while not stopped.wait(0.1):
                for each in sockets:
                    with suppress(OSError):
                        each.send(b"a")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield sockets
        finally:
            stopped.set()
            thread.join()
