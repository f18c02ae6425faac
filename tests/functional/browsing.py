"""A running server, and how Chromium is started to see its page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.http.app import create_app
from api.http.serving import bind, make_config, url_of
from api.settings import Settings

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # the tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
START_SECONDS = 60.0


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, FastAPI]]:
    """Lineup's server in a thread, on a port that the kernel chose."""
    app = create_app(settings)
    with running(app, settings) as url:
        yield url, app


@contextmanager
def running(app: ASGIApp, settings: Settings) -> Iterator[str]:
    """A server of any application in a thread, with the limits that the settings give."""
    (listener,) = bind("127.0.0.1", 0)
    listener.listen(1024)
    server = uvicorn.Server(make_config(app, settings, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],), name="server")
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server ended before it listened"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.01)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
