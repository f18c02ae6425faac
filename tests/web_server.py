"""A web server on a loopback address that sends files, ranges and whatever a hostile one would."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class WebServer:
    """`files` maps a path to its content, `redirects` to a target, `statuses` to another status.

    Paths in `dripping` send a header byte by byte and never end it. `asked` lists every request:
    its path, as it was sent, and its range. `connections` counts the connections.
    """

    host: str
    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    dripping: set[str] = field(default_factory=set)
    has_ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def forget(self) -> None:
        """Serve nothing, and know of no request."""
        for held in (self.files, self.redirects, self.statuses, self.headers):
            held.clear()
        self.dripping.clear()
        self.asked.clear()
        self.connections = 0

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # two writes an answer would wait 40 ms for each other
    served: WebServer  # set on a subclass

    def setup(self) -> None:
        super().setup()
        with self.served.counting:
            self.served.connections += 1
            self.served.open_connections += 1

    def finish(self) -> None:
        super().finish()
        with self.served.counting:
            self.served.open_connections -= 1

    def do_GET(self) -> None:
        served = self.served
        served.asked.append((self.path, self.headers["Range"]))
        if self.path in served.dripping:
            self._drip()
        elif self.path in served.redirects:
            self._answer(302, b"", {"Location": served.redirects[self.path]})
        elif self.path in served.statuses:
            self._answer(served.statuses[self.path], b"no", {})
        else:
            self._send_file(served.files.get(self.path.partition("?")[0]))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away
            self.close_connection = True

    def _send_file(self, content: bytes | None) -> None:
        if content is None:
            self._answer(404, b"", {})
            return
        headers = self.served.headers.get(self.path, {})
        asked = self.headers["Range"] if self.served.has_ranges else None
        wanted = _RANGE.fullmatch(asked or "")
        if wanted is None:
            self._answer(200, content, headers)
        elif int(wanted[1]) >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
            where = f"bytes {start}-{end - 1}/{len(content)}"
            self._answer(206, content[start:end], {"Content-Range": where, **headers})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.served.stopped.wait(0.02):
            self.wfile.write(b"x")


class _Listening(ThreadingHTTPServer):
    daemon_threads = True


class _ListeningOnIPv6(_Listening):
    address_family = socket.AF_INET6


@contextmanager
def serve_files(host: str = "127.0.0.1", **given: Any) -> Iterator[WebServer]:
    """Serve until the block ends."""
    handler = type("Handler", (_Handler,), {})
    listening = (_ListeningOnIPv6 if ":" in host else _Listening)((host, 0), handler)
    server = WebServer(host, listening.server_address[1], **given)
    handler.served = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        listening.shutdown()
        listening.server_close()
        thread.join()
