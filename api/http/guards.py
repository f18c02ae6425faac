"""Middleware before every route: a limit on the body, a check of the sender's site, and headers for
browsers.

Pure ASGI, so that a body is counted while it arrives, and is never held in memory to measure it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, CrossSiteRequest
from api.http.problems import build_response

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src "
    "'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class BodyLimit:
    """Refuses a body larger than `max_body_bytes`.

    A request that announces a larger body is refused at once, another one when too many bytes have
    arrived. `larger` maps patterns of paths to limits of their own.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, larger: Mapping[re.Pattern[str], int]
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = (
            limit for pattern, limit in self._larger.items() if pattern.fullmatch(scope["path"])
        )
        limit = next(limits, self._max_body_bytes)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await build_response(BodyTooLarge(limit))(scope, receive, send)
            return
        await self._run_limited(limit, scope, receive, send)

    async def _run_limited(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application. If too many bytes arrive, it sees a disconnected client, and
        `BodyTooLarge` replaces its answer.
        """
        received = 0

        async def count_and_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return {"type": "http.disconnect"} if received > limit else message

        async def send_unless_over(message: Message) -> None:
            if received <= limit:
                await send(message)

        try:
            await self._app(scope, count_and_receive, send_unless_over)
        except Exception:
            if received <= limit:
                raise
        if received > limit:
            await build_response(BodyTooLarge(limit))(scope, receive, send)


class CrossSiteGuard:
    """Refuses changes that a browser sends for a page of another site (W3C Fetch Metadata)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] not in READING_METHODS:
            site = Headers(scope=scope).get("sec-fetch-site", "none")
            if site not in {"none", "same-origin"}:
                await build_response(
                    CrossSiteRequest("a page of another site cannot change anything here")
                )(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SafeHeaders:
    """Adds headers that forbid a browser to guess types, to frame the page, and to load from other
    sites.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, self._add_headers(send))

    @staticmethod
    def _add_headers(send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            await send(message)

        return send_with_headers
