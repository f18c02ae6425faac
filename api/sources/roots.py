"""Which locations a job may read: the folders and URL prefixes that the operator named.

A location is allowed if it lies in or under a root after both are brought into their one spelling:
`urls` does this for the web, the file system for local paths (`beneath` also opens them). The URL
of any other storage must begin with the root as it is written, and must not chain file systems
(`zip://x::http://y`) or contain what some server would read as a way up. Nothing is connected to.

A root on the web may end in `#` and networks, joined by `+`: the private addresses that its host
may have, as in `https://images.example/sets#10.1.0.0/16`. Without it a name may only have
public addresses, and `localhost` only loopback ones; a host written as an address is that address.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ssrfguard import Policy

from api.errors import SourceNotAllowed
from api.sources.beneath import OutsideFolder, find_folder
from api.sources.locations import is_chained, is_url, local_path
from api.sources.urls import (
    UnclearURL,
    WebAddress,
    is_web,
    parse_web_address,
    require_clear_path,
)

Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class WebRoot:
    """A prefix on the web. `networks` are the addresses that its host may have although they are
    not public.
    """

    address: WebAddress
    networks: tuple[Network, ...]

    def holds(self, address: WebAddress) -> bool:
        return address.origin == self.address.origin and _begins_with(
            address.path, self.address.path
        )


class Roots:
    """Folders and URL prefixes. Raises ValueError for a root that can mean nothing."""

    def __init__(self, roots: Sequence[str]) -> None:
        self.folders = tuple(path for root in roots if (path := local_path(root)) is not None)
        self.web = tuple(_parse_web_root(root) for root in roots if is_web(root))
        self._storage = tuple(
            _split_storage(root) for root in roots if is_url(root) and not _is_known(root)
        )

    def require(self, location: str) -> None:
        """Raise `SourceNotAllowed` for a location outside of the roots, after following links."""
        if is_web(location):
            self.require_web(location)
        elif (path := local_path(location)) is not None:
            try:
                find_folder(path, self.folders)
            except (OutsideFolder, OSError, ValueError) as err:  # ValueError: a NUL within a path
                raise SourceNotAllowed(location) from err
        elif not self._holds_storage(location):
            raise SourceNotAllowed(location)

    def require_web(self, location: str) -> WebAddress:
        """Return a web address in its one spelling. Raises `SourceNotAllowed`."""
        try:
            address = parse_web_address(location)
        except UnclearURL as err:
            raise SourceNotAllowed(location, f"the URL {err}") from err
        if not any(root.holds(address) for root in self.web):
            raise SourceNotAllowed(location)
        return address

    def networks_of(self, address: WebAddress) -> tuple[Network, ...]:
        """Return the addresses that are not public and that the host may have nevertheless."""
        return tuple(
            network
            for root in self.web
            if root.address.origin == address.origin
            for network in root.networks
        )

    def _holds_storage(self, location: str) -> bool:
        if is_chained(location):
            return False
        scheme, rest = _split_storage(location)
        try:
            require_clear_path(rest)
        except UnclearURL:
            return False
        return any(
            scheme == root_scheme and (not root or _begins_with(rest, root))
            for root_scheme, root in self._storage
        )


def _parse_web_root(root: str) -> WebRoot:
    text, _, fragment = root.partition("#")
    try:
        address = parse_web_address(text)
        networks = tuple(ip_network(each.strip()) for each in fragment.split("+") if each.strip())
    except ValueError as err:
        raise ValueError(f"{_hide_credentials(root)}: {err}") from err
    if address.query is not None:
        raise ValueError(f"{_hide_credentials(root)}: a root cannot have a query")
    if address.host == "localhost" or address.host.endswith(".localhost"):  # RFC 6761
        networks += LOOPBACK
    with suppress(ValueError):  # a name
        networks += (ip_network(ip_address(address.host)),)
    try:
        Policy(allowed_networks=networks)  # which refuses networks that stand for others (NAT64)
    except ValueError as err:
        raise ValueError(f"{_hide_credentials(root)}: {err}") from err
    return WebRoot(address, networks)


def _hide_credentials(root: str) -> str:
    scheme, mark, rest = root.partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + mark + authority.rpartition("@")[2] + slash + path


def _split_storage(location: str) -> tuple[str, str]:
    scheme, _, rest = location.partition("://")
    return scheme.lower(), rest.rstrip("/")


def _is_known(root: str) -> bool:
    return is_web(root) or local_path(root) is not None


def _begins_with(path: str, root: str) -> bool:
    root = root.rstrip("/")
    return path.rstrip("/") == root or path.startswith(f"{root}/")
