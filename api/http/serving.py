"""Running the server: where it listens, and how it stops."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress

import uvicorn

from api.errors import AddressUnavailable, UnsafeListen
from api.http.app import create_app
from api.interpreter import SERVER_TURN_SECONDS, tuned_interpreter
from api.settings import LOOPBACK_HOSTS, Settings
from api.worker.current import CurrentLineup

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
    with bind(settings.host, settings.port) as listener, tuned_interpreter(SERVER_TURN_SECONDS):
        config = uvicorn.Config(
            create_app(settings, CurrentLineup(settings)),
            log_level="info",
            timeout_graceful_shutdown=10,
        )
        log.info("Lineup is at %s (stop it with Ctrl-C)", url_of(listener))
        with suppress(KeyboardInterrupt):  # it is raised again after the server has stopped
            uvicorn.Server(config).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket; it listens once the server has started. Raises `AddressUnavailable`."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as err:
        raise AddressUnavailable(host, port, err.strerror or str(err)) from err
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as err:
        listener.close()
        raise AddressUnavailable(host, port, err.strerror or str(err)) from err
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
