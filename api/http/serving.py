"""Running the server: where it listens, and how it stops."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from api.decoding import log_confinement
from api.errors import AddressUnavailable, UnsafeListen
from api.http.app import create_app
from api.http.connections import Census, Connection, ConnectionLimits
from api.http.logs import make_log_config
from api.interpreter import SERVER_TURN_SECONDS, tuned_interpreter
from api.lineup import explain_migration
from api.settings import LOOPBACK_HOSTS, Settings
from api.worker.current import CurrentLineup
from api.worker.expendable import (
    CLOSE_SECONDS,
    exit_at_latest,
    exit_now,
    has_left_threads,
)
from embedder.decoding.free_memory import find_trim

GRACE_SECONDS = 10  # for requests in work, when the server stops
log = logging.getLogger("uvicorn.error")


def serve(settings: Settings, *, allow_unauthenticated: bool = False) -> None:
    """Serve until interrupted.

    What cannot be opened is an error of the command, with its exit code, before the server starts.

    Raises `UnsafeListen` beyond loopback, since there are no keys yet, `AddressUnavailable` if the
    server cannot listen there, and what `CurrentLineup` raises.
    """
    if settings.host not in LOOPBACK_HOSTS and not allow_unauthenticated:
        raise UnsafeListen(
            f"{settings.host} is reachable from other machines and this release has no keys: put "
            "a proxy that authenticates in front of 127.0.0.1, or add --allow-unauthenticated"
        )
    with ExitStack() as stack:
        listeners = [stack.enter_context(each) for each in bind(settings.host, settings.port)]
        stack.enter_context(tuned_interpreter(SERVER_TURN_SECONDS))
        migration = explain_migration(settings)
        current = CurrentLineup(settings)
        try:
            for each in listeners:
                each.listen()  # here, because uvicorn would answer a failure with a traceback
        except OSError as err:  # another server bound the address too, and listened first
            current.close()
            raise AddressUnavailable(
                settings.host, settings.port, err.strerror or str(err)
            ) from err
        config = make_config(create_app(settings, current), settings, log_level="info")
        if migration is not None:
            log.info("%s", migration)
        with current.held() as lineup:
            log_confinement(lineup.decoders, log)
        find_trim()()  # what loading took and does not need any more
        log.info("Lineup is at %s (stop it with Ctrl-C)", url_of(listeners[0]))
        with suppress(KeyboardInterrupt):  # it is raised again after the server has stopped
            _Server(config, settings.shutdown_grace_seconds, current).run(sockets=listeners)
        if has_left_threads():
            exit_now(0)


class _Server(uvicorn.Server):
    """A server that ends after its signal, whatever its threads do.

    From the signal on, requests in work have `GRACE_SECONDS`, and work on jobs has its own grace
    period.
    """

    def __init__(
        self, config: uvicorn.Config, grace_seconds: float, current: CurrentLineup
    ) -> None:
        super().__init__(config)
        self._current = current
        self._latest_seconds = max(GRACE_SECONDS, grace_seconds) + CLOSE_SECONDS

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        exit_at_latest(self._latest_seconds)
        self._current.ask_to_stop()
        super().handle_exit(sig, frame)


def make_config(app: ASGIApp, settings: Settings, *, log_level: str) -> uvicorn.Config:
    """Return how uvicorn runs the application: with the limits of connections."""
    census = Census(ConnectionLimits.of(settings))
    return uvicorn.Config(
        app,
        http=partial(Connection, census),  # type: ignore[arg-type]  # uvicorn only calls it
        ws="none",
        log_config=make_log_config(),
        log_level=log_level,
        timeout_keep_alive=settings.idle_timeout_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind a socket to each address of a host; `localhost` may be an IPv4 and an IPv6 address.

    They have one port, and listen once the server has started. An address that this machine does
    not have is left out if there is another. Raises `AddressUnavailable`.
    """
    listeners: list[socket.socket] = []
    problem: OSError | None = None
    try:
        for family, *_, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ):
            port = listeners[0].getsockname()[1] if listeners else port
            try:
                listeners.append(_bind(family, (address[0], port, *address[2:])))
            except OSError as err:
                if err.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                problem = err
        if problem is not None and not listeners:
            raise problem
    except OSError as err:
        for listener in listeners:
            listener.close()
        raise AddressUnavailable(host, port, err.strerror or str(err)) from err
    return listeners


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    # asyncio turns off Nagle's algorithm only where the protocol is named. With it, an answer in
    # two packets waits 40 ms for the client's acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
