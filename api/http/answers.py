"""What every answer of the server carries, whatever sends it: a route, a guard, the framework, an
unexpected error, or the connection before there is a request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import InvalidRequest
from api.http.problems import build_response, describe_status
from api.problems import DEFECT, problem_of

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Of what a page could ask a browser for, Lineup's page needs nothing.
FEATURES = (
    "accelerometer",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "usb",
)
SAFE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    # No page of another site can show a thumbnail, or measure an answer by loading it.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
    # Not `no-referrer`: browsers that follow it send `Origin: null` with a form of our own page.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]
_NAMES = frozenset(name for name, _ in _ENCODED)
log = logging.getLogger(__name__)


class SafeAnswers:
    """The outermost middleware: adds `SAFE_HEADERS`, and answers what nothing else has answered.

    It stands outside of the middleware that Starlette puts around everything, which answers
    unexpected errors.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = is_replaced = False

        async def send_safely(message: Message) -> None:
            nonlocal is_started, is_replaced
            if message["type"] == "http.response.start":
                is_started = True
                own = [each for each in message["headers"] if each[0] not in _NAMES]
                message["headers"] = [*own, *_ENCODED]
                if message["status"] >= 400 and not _is_json(headers := Headers(scope=message)):
                    is_replaced = True
                    await describe_status(message["status"], headers)(scope, receive, send)
                    return
            if not is_replaced:
                await send(message)

        try:
            if "\0" in scope["path"]:  # no name has it, and no file system or database takes it
                raise InvalidRequest("the path contains U+0000")  # noqa: TRY301 - answered below
            await self._app(scope, receive, send_safely)
        except Exception as err:
            # Starlette raises an error again that a handler has logged and answered.
            if not is_started:
                if problem_of(err) is DEFECT:
                    log.exception("%s %s", scope["method"], scope["path"])
                await build_response(err)(scope, receive, send_safely)


def _is_json(headers: Headers) -> bool:
    """Whether an answer is JSON; the framework's own errors are plain text."""
    return headers.get("content-type", "").partition(";")[0].endswith(("/json", "+json"))
