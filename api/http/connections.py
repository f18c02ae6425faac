"""Connections that can neither stay nor stall: time limits and numbers that uvicorn does not have.

A header, a body and an answer must each make progress. A connection that makes none is answered
with 408 and closed, so that sockets that drip keep nothing. A body needs no place in a queue while
it arrives, only its connection; the numbers of connections are limited for each address and in all.
Where they are used up, the connection that has waited longest for a header makes room.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from api.errors import (
    HeaderTooLarge,
    MalformedRequest,
    RequestTooSlow,
    ServiceError,
    TooManyConnections,
)
from api.http.answers import SAFE_HEADERS, SafeAnswers
from api.http.problems import build_response
from api.settings import Settings

PROBES = frozenset({"/livez", "/readyz"})
# Connections above the limit that are read as far as their header, so that probes are answered.
RESERVED = 32
HEADER_TOO_LARGE = 431  # the hint of h11


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection may cost."""

    connections: int
    connections_per_address: int
    header_seconds: float
    body_seconds: float  # of a whole body
    stall_seconds: float  # the time in which `stall_bytes` must pass, in or out
    stall_bytes: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        """Return the limits that an operator has chosen."""
        return cls(
            settings.max_connections,
            settings.max_connections_per_address,
            settings.header_timeout_seconds,
            settings.body_timeout_seconds,
            settings.stall_timeout_seconds,
            settings.stall_timeout_seconds * settings.min_bytes_per_second,
        )


class Phase(Enum):
    """What a connection waits for."""

    HEADER = auto()  # the rest of a header, or the first one
    BODY = auto()  # the rest of a body
    ANSWER = auto()  # the application
    IDLE = auto()  # another request; uvicorn ends it


class Census:
    """The open connections; all of them live in one event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._connections: set[Connection] = set()
        self._by_address: Counter[str] = Counter()

    def add(self, connection: Connection) -> TooManyConnections | None:
        """Count a connection; return why it is one too many, or None.

        A connection that waits for a header makes room for it if there is one.
        """
        self._connections.add(connection)
        self._by_address[connection.address] += 1
        limits = self.limits
        if self._by_address[connection.address] > limits.connections_per_address:
            neighbours = [each for each in self._connections if each.address == connection.address]
            if not _end_longest_wait(neighbours, connection):
                return TooManyConnections(limits.connections_per_address, "your address")
        if len(self._connections) > limits.connections and not _end_longest_wait(
            self._connections, connection
        ):
            return TooManyConnections(limits.connections, "this server")
        return None

    @property
    def is_beyond_reserve(self) -> bool:
        """Whether even the connections for probes are used up."""
        return len(self._connections) > self.limits.connections + RESERVED

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._by_address -= Counter({connection.address: 1})  # keeps no zeros


def _end_longest_wait(connections: Iterable[Connection], newest: Connection) -> bool:
    """End the connection that has waited longest for a header; return whether there was one."""
    waiting = [
        each
        for each in connections
        if each is not newest and each.phase in {Phase.HEADER, Phase.IDLE}
    ]
    if not waiting:
        return False
    min(waiting, key=lambda each: each.since).abandon()
    return True


class Connection(H11Protocol):
    """One connection: uvicorn's protocol over h11, with limits."""

    def __init__(
        self,
        census: Census,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.phase = Phase.HEADER
        self.since = self.loop.time()  # when the phase began
        self.address = ""
        self._census = census
        self._limits = census.limits
        self._received = 0  # bytes of the connection
        self._seen = 0  # of them, at the last look
        self._was_paused = False  # since then, because the application is slower than the client
        self._unsent = 0  # bytes in the buffer of the transport at the last look
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # as uvicorn's
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        self.address = _group(self.client)
        refusal = self._census.add(self)
        if refusal is not None:
            if self._census.is_beyond_reserve:
                self.abandon()
                return
            self.app = SafeAnswers(_RefuseAll(self.app, refusal))
        self._read_on(Phase.HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._census.remove(self)
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()
        self._watch_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is no HTTP. uvicorn calls this while it handles the error."""
        err = sys.exception()
        if isinstance(err, h11.RemoteProtocolError):
            if err.error_status_hint == HEADER_TOO_LARGE:
                self._refuse(HeaderTooLarge())
                return
            msg = str(err).partition(":")[0]  # what follows are bytes of the request
        self._refuse(MalformedRequest(msg))

    @property
    def _has_asked(self) -> bool:
        """Whether a whole header has arrived; uvicorn's cycle is None until then."""
        return bool(self.cycle)

    def abandon(self) -> None:
        """Close the connection without an answer; what is buffered is lost."""
        self._stop_timers()
        self.transport.abort()

    def _look(self) -> None:
        """See what the connection waits for now."""
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self._was_paused = True
        phase = self._find_phase()
        if phase is not self.phase:
            self._read_on(phase)

    def _find_phase(self) -> Phase:
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.conn.their_state is not h11.IDLE:
            return Phase.ANSWER
        is_begun = not self._has_asked or bool(self.conn.trailing_data[0])
        return Phase.HEADER if is_begun else Phase.IDLE

    def _read_on(self, phase: Phase) -> None:
        """Begin a phase with the time that it may take."""
        self.phase = phase
        self.since = self.loop.time()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        if phase is Phase.HEADER:
            self._reading = self.loop.call_later(self._limits.header_seconds, self._end_header)
        elif phase is Phase.BODY:
            self._look_at_body_later()

    def _end_header(self) -> None:
        if self._received == 0:
            self.abandon()  # nothing was asked: browsers open connections that they may not use
        else:
            self._refuse(
                RequestTooSlow(f"the header took more than {self._limits.header_seconds:g} s")
            )

    def _look_at_body_later(self) -> None:
        self._seen = self._received
        self._was_paused = self.flow.read_paused
        self._reading = self.loop.call_later(self._limits.stall_seconds, self._look_at_body)

    def _look_at_body(self) -> None:
        limits = self._limits
        if self.cycle.response_complete:
            self.transport.close()  # the answer did not need the rest of the body
        elif self.loop.time() - self.since > limits.body_seconds:
            self._refuse(RequestTooSlow(f"the body took more than {limits.body_seconds:g} s"))
        elif self._received - self._seen < limits.stall_bytes and not self._was_paused:
            self._refuse(
                RequestTooSlow(
                    f"fewer than {limits.stall_bytes:,.0f} bytes of the body came within "
                    f"{limits.stall_seconds:g} s"
                )
            )
        else:
            self._look_at_body_later()

    def _watch_writing(self) -> None:
        """See to it that the client reads its answer."""
        if self._writing is None and self.transport.get_write_buffer_size():
            self._unsent = self.transport.get_write_buffer_size()
            self._writing = self.loop.call_later(self._limits.stall_seconds, self._look_at_writing)

    def _look_at_writing(self) -> None:
        self._writing = None
        unsent = self.transport.get_write_buffer_size()
        is_all_written = (
            self.flow.write_paused
            or self.transport.is_closing()
            or not self._has_asked
            or self.cycle.response_complete
        )
        sent = self._unsent - unsent
        if unsent and is_all_written and sent < min(self._limits.stall_bytes, self._unsent):
            self.abandon()
        else:
            self._watch_writing()

    def _refuse(self, err: ServiceError) -> None:
        """Answer with an error if no answer has begun, and close the connection."""
        if self.transport.is_closing():
            return
        if self._has_asked:  # the application sees a client that is gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = build_response(err)
            headers = [
                *self.server_state.default_headers,
                *response.raw_headers,
                *((name.encode(), value.encode()) for name, value in SAFE_HEADERS.items()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(
                    status_code=response.status_code,
                    headers=headers,
                    reason=HTTPStatus(response.status_code).phrase,
                ),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._watch_writing()

    def _stop_timers(self) -> None:
        for timer in (self._reading, self._writing):
            if timer is not None:
                timer.cancel()
        self._reading = self._writing = None


class _RefuseAll:
    """Stands before the application for a connection too many: only probes are answered."""

    def __init__(self, app: ASGIApp, refusal: TooManyConnections) -> None:
        self._app = app
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        response = build_response(self._refusal)
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


def _group(client: tuple[str, int] | None) -> str:
    """Return what stands for a client's address: of IPv6 its /64, which one machine has whole."""
    if client is None:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if address.version == 4:
        return client[0]
    return str(ipaddress.ip_network((address, 64), strict=False))
