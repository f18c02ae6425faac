"""One spelling for each web address, so that comparing it and opening it cannot differ.

Follows RFC 3986 section 6.2.2: scheme and host in lower case, no default port, unreserved
characters decoded, dot segments removed; international names become ASCII. What remains and could
be read differently by another program (encoded dot segments, backslashes, control characters,
credentials, hosts written as numbers) is refused, not guessed. Opens nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin, urlsplit

from ssrfguard import Policy, SSRFGuardError

WEB_SCHEMES = ("http", "https")
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 8192  # nginx, Apache and IIS refuse longer request lines too
MAX_DECODINGS = 5  # a name that is still encoded after five rounds hides something

_SAFE_IN_PATH = "/:@!$&'()*+,;=~%"  # RFC 3986 section 3.3, and what is encoded already
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")  # RFC 3986 section 2.3
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# overlong UTF-8 of `.`, `/` and `\`, and the encoding that IIS invented: some servers decode them
_OVERLONG = (b"\xc0\xae", b"\xc0\xaf", b"\xc1\x9c")
_OTHER_ENCODING = re.compile(r"%u(?:00(?:2e|2f|5c)|ff0e|ff0f|2215|2216)", re.IGNORECASE)


class UnclearURL(ValueError):
    """A URL that two programs could read differently, or that no client should send."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A web address in its one spelling. `host` is a name in ASCII or an IP address, without
    brackets; `path` begins with a slash; `query` is None without one.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        query = "" if self.query is None else f"?{self.query}"
        return f"{self.scheme}://{host}{port}{self.path}{query}"

    def join(self, reference: str) -> WebAddress:
        """Return the address that a redirect to `reference` leads to. Raises `UnclearURL`."""
        if _CONTROL.search(reference) or "\\" in reference:
            raise UnclearURL("has a backslash or a control character")
        try:
            target = urljoin(self.url, reference)
        except ValueError as err:
            raise UnclearURL(f"is not a URL: {err}") from err
        return parse_web_address(target)


def is_web(location: str) -> bool:
    return location.partition("://")[0].lower() in WEB_SCHEMES and "://" in location


def parse_web_address(url: str) -> WebAddress:
    """Parse an http or https URL; a fragment is dropped. Raises `UnclearURL`."""
    if len(url) > MAX_URL_LENGTH:
        raise UnclearURL(f"is longer than {MAX_URL_LENGTH} characters")
    if _CONTROL.search(url):  # urlsplit would remove some of them silently
        raise UnclearURL("has a control character")
    if "\\" in url:
        raise UnclearURL("has a backslash")
    try:
        parts = urlsplit(url)
        port = DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError as err:
        raise UnclearURL(f"is not a URL: {err}") from err
    if parts.scheme not in WEB_SCHEMES or not port:
        raise UnclearURL("is no http or https URL")
    if "@" in parts.netloc:
        raise UnclearURL("carries credentials; what stands before the @ is no host")
    return WebAddress(
        parts.scheme,
        _normalise_host(f"{parts.scheme}://{parts.netloc}/", port),
        port,
        _normalise_path(parts.path),
        quote(_STRAY_PERCENT.sub("%25", parts.query), safe=_SAFE_IN_QUERY) if parts.query else None,
    )


def require_clear_path(path: str) -> None:
    """Raise `UnclearURL` for a path with a dot segment, a backslash or a control character that
    some server would see, however often they are encoded.
    """
    for text in _decodings(path):
        if "\\" in text or _CONTROL.search(text):
            raise UnclearURL("has an encoded backslash or control character")
        if _OTHER_ENCODING.search(text) or any(bad in unquote_to_bytes(text) for bad in _OVERLONG):
            raise UnclearURL("encodes a character in a way that hides it")
        # `..;a` is `..` to servers that know path parameters
        if any(part.partition(";")[0].strip() in (".", "..") for part in text.split("/")):
            raise UnclearURL("has an encoded `.` or `..`")


def _decodings(path: str) -> Iterator[str]:
    """Yield the path as it is, and after each round of decoding, with compatible characters (a
    full-width dot) replaced by what they look like.
    """
    for _ in range(MAX_DECODINGS):
        yield unicodedata.normalize("NFKC", path)
        decoded = unquote(path, errors="replace")
        if decoded == path:
            return
        path = decoded
    raise UnclearURL("is encoded too many times")


def _normalise_host(origin: str, port: int) -> str:
    anywhere = Policy(  # only the spelling is judged here; where a host leads is judged later
        allowed_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        allowed_ports=frozenset({port}),
        max_url_length=MAX_URL_LENGTH,
    )
    try:
        target = anywhere.check_url(origin)
    except SSRFGuardError as err:
        raise UnclearURL(getattr(err, "reason", str(err))) from err
    return target.host.rstrip(".") if target.address is None else str(target.address)


def _normalise_path(path: str) -> str:
    text = _ENCODED.sub(_decode_unreserved, _STRAY_PERCENT.sub("%25", path))
    path = _remove_dot_segments(quote(text, safe=_SAFE_IN_PATH))
    require_clear_path(path)
    return path


def _decode_unreserved(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()


def _remove_dot_segments(path: str) -> str:
    """Return the path without `.` and `..`; what leads above the first folder stays there."""
    *folders, last = path.split("/")[1:] or [""]
    kept: list[str] = []
    for part in folders:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if last == "..":
        del kept[-1:]
    return "/" + "".join(part + "/" for part in kept) + ("" if last in (".", "..") else last)
