"""Middleware before every route: which hosts are answered, which pages may change something, and
how large a body may be.

Pure ASGI, so that a body is counted while it arrives, and is never held in memory to measure it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, CrossSiteRequest, ForeignHost
from api.http.problems import build_response

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What `enctype` of an HTML form can be, and no media type at all (Fetch standard, "CORS-safelisted
# request-header"): a browser sends other types to another site only after asking it.
FORM_MEDIA_TYPES = frozenset(
    {"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
)
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
OWN_SITES = frozenset({"none", "same-origin"})  # none: a person, not a page, asked for it
HOST = re.compile(r"(?P<name>[\w.~-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{0,5}))?", re.ASCII)
# Of a body that is no form, which is held in memory. The largest that means something is an order
# of 10,000 sources.
MAX_PLAIN_BYTES = 8 * 2**20
DEFAULT_PORTS = {"http": 80, "https": 443}


class BodyLimit:
    """Refuses a body larger than `max_body_bytes`.

    A request that announces a larger body is refused at once, another one when too many bytes have
    arrived. `larger` maps patterns of paths to limits of their own. A body that is no form is
    limited to `MAX_PLAIN_BYTES` on every path.
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
        headers = Headers(scope=scope)
        limit = next(limits, self._max_body_bytes)
        if not headers.get("content-type", "").lower().startswith("multipart/form-data"):
            limit = min(limit, MAX_PLAIN_BYTES)
        announced = headers.get("content-length", "")
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


class HostGuard:
    """Refuses requests for a host that is not Lineup's, against DNS rebinding.

    `allowed_hosts` are names without ports; `*.example.org` allows all names below, `*` any host.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(each.lower().strip("[]") for each in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if not self._is_allowed(host):
                await build_response(ForeignHost(host))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        parts = HOST.fullmatch(host)
        if parts is None:
            return False
        name = parts["name"].lower().strip("[]")
        parents = (f"*.{parent}" for parent in _list_parents(name))
        return not self._allowed.isdisjoint({name, "*", *parents})


def _list_parents(name: str) -> Iterator[str]:
    """Yield the domains that a name lies in: of a.b.c these are b.c and c."""
    while "." in name:
        name = name.partition(".")[2]
        yield name


class OriginGuard:
    """Refuses changes that a browser sends for a page of another site.

    A change is allowed if it comes from the server's own page, or from a page whose origin is
    listed. Browsers say where a change comes from: in `Origin`, and in `Sec-Fetch-Site` where the
    server's address is https or loopback. A client that sends neither is no browser of today; it
    must send something that no form can: another method than POST, another media type than those of
    forms, or the header `X-Requested-By`. See OWASP, Cross-Site Request Forgery Prevention.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Sequence[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(each.lower().rstrip("/") for each in allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] not in READING_METHODS:
            refusal = self._find_refusal(scope)
            if refusal is not None:
                await build_response(CrossSiteRequest(refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _find_refusal(self, scope: Scope) -> str | None:
        """Return why a change is refused; None if it is allowed."""
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        if any(not self._is_allowed(each, scope, headers.get("host", "")) for each in origins):
            return "a page of another site cannot change anything here: its origin is not allowed"
        site = headers.get("sec-fetch-site")
        if site in OWN_SITES or (site is not None and _are_listed(origins, self._allowed)):
            return None
        if site is not None:
            return "a page of another site cannot change anything here"
        if origins or _is_beyond_forms(scope["method"], headers):
            return None
        return (
            "a form of another site could send this: add the header X-Requested-By with any value, "
            "for example curl -H 'X-Requested-By: curl'"
        )

    def _is_allowed(self, origin: str, scope: Scope, host: str) -> bool:
        """Whether an origin is listed, or is the server's own.

        Its scheme may be https where the server sees http: a proxy in front of it speaks TLS.
        """
        origin = origin.lower()
        if origin in self._allowed:
            return True
        scheme, _, place = origin.partition("://")
        if scheme not in {scope["scheme"], "https"} or not HOST.fullmatch(place):
            return False
        return _with_port(place, scheme) == _with_port(host.lower(), scheme)


def _are_listed(origins: Sequence[str], allowed: frozenset[str]) -> bool:
    return bool(origins) and allowed.issuperset(each.lower() for each in origins)


def _is_beyond_forms(method: str, headers: Headers) -> bool:
    """Whether no HTML form, and no script without a question to the server first, can send this."""
    if method != "POST" or headers.get("x-requested-by"):
        return True
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return bool(MEDIA_TYPE.fullmatch(media_type)) and media_type not in FORM_MEDIA_TYPES


def _with_port(place: str, scheme: str) -> str:
    """Return a host with the port that is meant where none is written."""
    parts = HOST.fullmatch(place)
    if parts is None or parts["port"]:
        return place
    return f"{parts['name']}:{DEFAULT_PORTS[scheme]}"
