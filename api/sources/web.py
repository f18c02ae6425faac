"""Reading files on the web, by http and https, through a client that connects only where it may.

`ssrfguard` resolves a name once, checks every address that it gets, and connects to the address
that it checked: a name whose answer moves in between leads nowhere else. Redirects are followed
here, one by one. With roots (a job that a client asked of a server) each must stay on its host and
port and within the roots, and only public addresses are connected to, besides those that the roots
name. Without roots (the operator's own command) private addresses may be named, but a redirect to
another host must lead to a public one. Link-local addresses, among them the metadata services of
clouds, are never connected to, unless a root is that very address.

Every request is bounded: in bytes, in redirects, and in time from the connection to the last byte.
Answers are never decompressed. A proxy of the environment would resolve names itself, so it is
refused.
"""

from __future__ import annotations

import errno
import io
import re
import socket
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from threading import Lock, Timer
from typing import Any, BinaryIO, Final, cast

import httpx
from ssrfguard import (
    DEFAULT_DENIED,
    AddressTable,
    Policy,
    ProxyUnsupportedError,
    Resolver,
    SSRFGuardError,
)
from ssrfguard.httpx import Client

from api.errors import SourceNotAllowed
from api.sources.item import UnreadableItem
from api.sources.roots import Network, Roots
from api.sources.urls import UnclearURL, WebAddress, parse_web_address

MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0  # for each address of a host, and at most four are tried
SILENCE_SECONDS = 20.0  # between two pieces of an answer
REQUEST_SECONDS = 60.0  # from the connection to the last byte: 1.7 MB/s for an image of 100 MB
BLOCK_BYTES = 4 * 2**20  # of one range; fsspec takes 5 MiB
KEPT_BLOCKS = 4  # a Parquet file is read at its end, then at several columns
MAX_CLIENTS = 32  # hosts with an open connection: a manifest can name any number of them
# A manifest or table from a server that sends whole files only is kept in memory up to this size.
WHOLE_FILE_BYTES = 32 * 2**20

# What the operator may name: RFC 1918, RFC 6598, RFC 4193, loopback. More specific rows of the
# table, such as the metadata services within these networks, stay refused.
_OPERATORS_NETWORKS = frozenset(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "fc00::/7",
            "::1/128",
        ),
    )
)
_OPERATORS_TABLE = AddressTable(
    tuple(block for block in DEFAULT_DENIED.blocks if block.network not in _OPERATORS_NETWORKS)
)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")  # RFC 9110 section 14.4
_REDIRECTS = (301, 302, 303, 307, 308)


class NoSuchFile(UnreadableItem):
    """The server says that there is no such file."""

    def __init__(self) -> None:
        super().__init__("not_found", "no such file")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: its first bytes, and whether these are all."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool

    @property
    def version(self) -> str | None:
        """What tells this content of the file from another one, if the server says it."""
        return self.headers.get("etag") or self.headers.get("last-modified")


class Web:
    """Connections to the web, within roots or (None) as the operator asks. Safe for threads.

    Errors are `SourceNotAllowed` for what must not be connected to, and `UnreadableItem`.
    """

    def __init__(
        self,
        roots: Roots | None,
        resolver: Resolver | None = None,
        *,
        only_public: bool = False,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._roots = roots
        self._only_public = only_public
        self._request_seconds = request_seconds
        self._resolver = resolver
        self._clients: OrderedDict[tuple[Any, ...], _BoundedClient] = OrderedDict()
        self._lock = Lock()

    def read(self, location: str, max_bytes: int) -> bytes:
        """Read a file; of one larger than `max_bytes`, its first ``max_bytes + 1`` bytes."""
        return self._fetch(location, max_bytes + 1).body

    def exists(self, location: str) -> bool:
        try:
            self._fetch(location, 1, _range_of(0, 1))
        except NoSuchFile:
            return False
        return True

    def open(self, location: str) -> BinaryIO:
        """Open a file to read and to seek in, by ranges; one whose server sends whole files only,
        up to `WHOLE_FILE_BYTES`, is held in memory.
        """
        first = self._fetch(location, WHOLE_FILE_BYTES, _range_of(0, BLOCK_BYTES), BLOCK_BYTES)
        if first.status == httpx.codes.PARTIAL_CONTENT:
            file = cast("io.RawIOBase", _RangedFile(self, location, first))
            return cast("BinaryIO", io.BufferedReader(file))
        if not first.is_whole:
            raise UnreadableItem("unreadable", "cannot be read at any position")
        return io.BytesIO(first.body)

    def fetch_range(self, location: str, start: int, size: int) -> Fetched:
        return self._fetch(location, size, _range_of(start, size))

    def close(self) -> None:
        """Close idle connections; the next request opens new ones."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), OrderedDict()
        for client in clients:
            client.close()

    def _fetch(
        self,
        location: str,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        max_partial_bytes: int | None = None,
    ) -> Fetched:
        first = address = self._parse(location)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                client = self._client(address, is_elsewhere=address.origin != first.origin)
                fetched = client.fetch(address.url, headers or {}, max_bytes, max_partial_bytes)
                if fetched.status not in _REDIRECTS or "location" not in fetched.headers:
                    return _require_content(fetched)
                address = self._redirect(location, address, fetched.headers["location"])
        except ProxyUnsupportedError as err:
            words = "a proxy is configured, which would choose the address itself; see NO_PROXY"
            raise UnreadableItem("unreadable", words) from err
        except SSRFGuardError as err:
            raise SourceNotAllowed(
                location, "its host has an address that must not be connected to"
            ) from err
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as err:
            raise UnreadableItem("unreadable", _describe(err)) from err
        raise UnreadableItem("unreadable", f"more than {MAX_REDIRECTS} redirects")

    def _parse(self, location: str) -> WebAddress:
        if self._roots is not None:
            return self._roots.require_web(location)
        try:
            return parse_web_address(location)
        except UnclearURL as err:
            raise UnreadableItem("unreadable", f"the URL {err}") from err

    def _redirect(self, location: str, address: WebAddress, reference: str) -> WebAddress:
        try:
            target = address.join(reference)
        except UnclearURL as err:
            raise SourceNotAllowed(location, f"it redirects to a URL that {err}") from err
        if self._roots is not None:
            if target.origin != address.origin:
                raise SourceNotAllowed(location, "it redirects to another host, port or scheme")
            try:
                return self._roots.require_web(target.url)
            except SourceNotAllowed as err:
                raise SourceNotAllowed(location, "it redirects out of the roots") from err
        if address.scheme == "https" and target.scheme == "http":
            raise SourceNotAllowed(location, "it redirects from https to http")
        return target

    def _client(self, address: WebAddress, *, is_elsewhere: bool) -> _BoundedClient:
        networks: Sequence[Network] = ()
        table = DEFAULT_DENIED
        if self._roots is not None:
            networks = self._roots.networks_of(address)
        elif not (is_elsewhere or self._only_public):
            table = _OPERATORS_TABLE
        key = (*address.origin, is_elsewhere)
        with self._lock:
            if key not in self._clients:
                policy = Policy(
                    allowed_schemes=frozenset({address.scheme}),
                    allowed_hosts=frozenset({address.host}),
                    allowed_ports=frozenset({address.port}),
                    denied_networks=table,
                    allowed_networks=tuple(networks),
                )
                self._clients[key] = _BoundedClient(policy, self._resolver, self._request_seconds)
            self._clients.move_to_end(key)
            client, oldest = self._clients[key], None
            if len(self._clients) > MAX_CLIENTS:
                _, oldest = self._clients.popitem(last=False)
        if oldest is not None:
            oldest.close()  # waits for what it is sending, but nobody else waits for that
        return client


class _BoundedClient:
    """One connection to one host and port. A request that takes too long is cut off."""

    def __init__(self, policy: Policy, resolver: Resolver | None, seconds: float) -> None:
        self._seconds = seconds
        self._client = Client(
            policy=policy,
            resolver=resolver,
            follow_redirects=False,
            headers={"accept-encoding": "identity", "user-agent": "lineup"},
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            verify=_load_authorities(),
        )
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._is_late = False

    def fetch(
        self,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        max_partial_bytes: int | None,
    ) -> Fetched:
        """Raises `SSRFGuardError`, `httpx.HTTPError`, OSError."""
        with self._lock:
            self._is_late = False
            # The time-outs of httpx begin again with every byte; this one does not.
            timer = Timer(self._seconds, self._cut_off)
            timer.daemon = True
            timer.start()
            try:
                return self._send(url, headers, max_bytes, max_partial_bytes)
            except httpx.HTTPError as err:
                if self._is_late:
                    raise TimeoutError(f"took longer than {self._seconds:g} seconds") from err
                raise
            except RuntimeError as err:  # closed by another thread since it was chosen
                raise OSError("the connection was closed") from err
            finally:
                timer.cancel()

    def close(self) -> None:
        with self._lock:
            self._client.close()

    def _send(
        self,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        max_partial_bytes: int | None,
    ) -> Fetched:
        request = self._client.build_request(
            "GET", url, headers=headers, extensions={"trace": self._watch}
        )
        response = self._client.send(request, stream=True)
        try:
            is_partial = response.status_code == httpx.codes.PARTIAL_CONTENT
            most = max_partial_bytes if is_partial and max_partial_bytes else max_bytes
            body, is_whole = b"", True
            if response.is_success:
                body, is_whole = _read_up_to(response, most)
            return Fetched(response.status_code, dict(response.headers), body, is_whole)
        finally:
            response.close()  # an answer that was not read to its end takes its connection along

    def _watch(self, event: str, facts: Mapping[str, Any]) -> None:
        """Keep the socket of the connection, which httpx gives to nobody before an answer."""
        if event == "connection.connect_tcp.complete":
            self._socket = facts["return_value"].get_extra_info("socket")
            if self._is_late:
                self._cut_off()

    def _cut_off(self) -> None:
        self._is_late = True
        if self._socket is not None:
            with suppress(OSError):  # it may be closed already
                # not the method of an SSL socket, which another thread is reading
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _RangedFile(io.RawIOBase):
    """A file on the web, read by ranges in blocks; the last blocks are kept."""

    def __init__(self, web: Web, location: str, first: Fetched) -> None:
        self._web = web
        self._location = location
        self._version = first.version
        self._size = _total_of(first, 0)
        self._position = 0
        if len(first.body) != min(BLOCK_BYTES, self._size):
            raise UnreadableItem("unreadable", "the server sends another range than was asked for")
        self._blocks: OrderedDict[int, bytes] = OrderedDict({0: first.body})

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a position before the file")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- any buffer of bytes
        if self._position >= self._size:
            return 0
        number, within = divmod(self._position, BLOCK_BYTES)
        piece = self._block(number)[within : within + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start = number * BLOCK_BYTES
        wanted = min(BLOCK_BYTES, self._size - start)
        try:
            fetched = self._web.fetch_range(self._location, start, wanted)
            is_other = fetched.version != self._version or _total_of(fetched, start) != self._size
        except (UnreadableItem, SourceNotAllowed) as err:  # an error of storage, as a disk's
            raise OSError(errno.EIO, str(err)) from err
        if is_other or len(fetched.body) != wanted:
            raise OSError(errno.EIO, "the file changed while it was read, or its answer is cut")
        self._blocks[number] = fetched.body
        if len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return fetched.body


@cache
def _load_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # takes 20 ms


def _range_of(start: int, size: int) -> dict[str, str]:
    return {"range": f"bytes={start}-{start + size - 1}"}


def _total_of(fetched: Fetched, start: int) -> int:
    """Return the length of the whole file, of an answer that begins at `start`."""
    found = _CONTENT_RANGE.fullmatch(fetched.headers.get("content-range", ""))
    if fetched.status != httpx.codes.PARTIAL_CONTENT or not found or found[1] != str(start):
        raise UnreadableItem("unreadable", "the server sends another range than was asked for")
    return int(found[3])


def _require_content(fetched: Fetched) -> Fetched:
    """Return an answer with content. An empty file has no range, which servers answer with 416."""
    content_range = fetched.headers.get("content-range", "")
    if fetched.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and (
        content_range == "bytes */0"
    ):
        return Fetched(httpx.codes.OK, fetched.headers, b"", is_whole=True)
    if fetched.status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise NoSuchFile
    if fetched.status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise UnreadableItem("unreadable", f"the server answered {fetched.status}")
    if fetched.headers.get("content-encoding", "identity") != "identity":
        raise UnreadableItem("unreadable", "the server compressed the file without being asked")
    return fetched


def _read_up_to(response: httpx.Response, most: int) -> tuple[bytes, bool]:
    """Read at most `most` bytes, as they were sent; say whether the answer ends there."""
    pieces: list[bytes] = []
    left = most
    for piece in response.iter_raw():
        pieces.append(piece[:left])
        left -= len(piece)
        if left < 0:
            return b"".join(pieces), False
    return b"".join(pieces), True


def _describe(err: BaseException) -> str:
    words: Final = str(err) or type(err).__name__
    return f"cannot be fetched: {words.splitlines()[0]}"
