"""What stands before every route: a bound on the body, a refusal of other sites' pages, headers for
browsers.

Pure ASGI, so that a body is counted while it streams in and never held whole to be measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, CrossSiteRequest
from api.http.problems import problem_response

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src "
    "'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class BodyLimit:
    """Refuses a body over `max_body_bytes`: by its announced length at once, else when the bytes
    have come.

    `larger` has limits of their own for requests whose path fits a pattern.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, larger: Mapping[re.Pattern[str], int]
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = (
            limit for pattern, limit in self._larger.items() if pattern.fullmatch(scope["path"])
        )
        limit = next(limits, self._max_body_bytes)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await problem_response(BodyTooLarge(limit))(scope, receive, send)
            return
        await self._bounded(limit, scope, receive, send)

    async def _bounded(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Once too much has come, the application sees its client gone and its answer is replaced
        by ours.
        """
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return {"type": "http.disconnect"} if seen > limit else message

        async def unless_over(message: Message) -> None:
            if seen <= limit:
                await send(message)

        try:
            await self._app(scope, counted, unless_over)
        except Exception:
            if seen <= limit:
                raise
        if seen > limit:
            await problem_response(BodyTooLarge(limit))(scope, receive, send)


class CrossSiteGuard:
    """Refuses changes that a browser sends on behalf of another site's page (Fetch Metadata,
    W3C).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["method"] not in READING_METHODS:
            site = Headers(scope=scope).get("sec-fetch-site", "none")
            if site not in {"none", "same-origin"}:
                await problem_response(
                    CrossSiteRequest("a page of another site may not change anything here")
                )(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SafeHeaders:
    """Adds the headers that keep a browser from guessing types, framing the page or loading from
    elsewhere.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, self._with_headers(send))

    @staticmethod
    def _with_headers(send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            await send(message)

        return with_headers
