"""Running the server: where it listens, and how it stops."""

from __future__ import annotations

import uvicorn

from api.errors import UnsafeListen
from api.http.app import create_app
from api.interpreter import SERVER_TURN_SECONDS, tuned_interpreter
from api.settings import LOOPBACK_HOSTS, Settings


def serve(settings: Settings, *, allow_unauthenticated: bool = False) -> None:
    """Serve until interrupted.

    Raises `UnsafeListen` beyond loopback, since there are no keys yet.
    """
    if settings.host not in LOOPBACK_HOSTS and not allow_unauthenticated:
        raise UnsafeListen(
            f"{settings.host} is reachable from other machines and this release has no keys: put "
            f"a proxy that "
            "authenticates in front of 127.0.0.1, or say --allow-unauthenticated"
        )
    with tuned_interpreter(SERVER_TURN_SECONDS):
        uvicorn.run(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            log_level="info",
            timeout_graceful_shutdown=10,
        )
