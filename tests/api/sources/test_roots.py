"""Whatever the roots allow lies within them, however a location is written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.errors import SourceNotAllowed
from api.sources.roots import LOOPBACK, Roots
from api.sources.urls import parse_web_address


def allows(roots: list[str], location: str) -> bool:
    try:
        Roots(roots).require(location)
    except SourceNotAllowed:
        return False
    return True


@pytest.mark.parametrize(
    "location",
    [
        "http://host/in/../secret",
        "http://host/in/%2e%2e/secret",
        "http://host/in/%252e%252e/secret",
        "http://host/in-too/a",
        "http://host/",
        "http://host:81/in/a",
        "https://host/in/a",
        "http://other/in/a",
        "http://host.other/in/a",
        "http://host@other/in/a",
        "http://user@host/in/a",
        "http://host/IN/a",
        "http://host//in/a",
        "ftp://host/in/a",
        "zip://a.png::http://host/in/a.zip",
        "simplecache::http://host/in/a",
        "/in/a",
        "file:///in/a",
    ],
)
def test_a_root_on_the_web_is_one_scheme_host_port_and_path(location: str) -> None:
    assert not allows(["http://host/in"], location)


@pytest.mark.parametrize(
    "location",
    [
        "http://host/in",
        "http://host/in/",
        "http://host/in?list=1",
        "HTTP://HOST:80/in/a",
        "http://host./in/a/../b",
        "http://host/%69n/a",
        "http://host/x/../in/a",
    ],
)
def test_other_spellings_of_what_lies_in_the_root_are_allowed(location: str) -> None:
    assert allows(["http://host/in"], location)
    assert allows(["/elsewhere", "http://host/in/"], location)


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("s3://bucket/in/a", True),
        ("S3://bucket/in/a", True),
        ("s3://bucket/in", True),
        ("s3://bucket/in/100%.png", True),
        ("s3://bucket/in-too/a", False),
        ("s3://other/in/a", False),
        ("gs://bucket/in/a", False),
        ("s3://bucket/in/../out/a", False),
        ("s3://bucket/in/%2e%2e/out", False),
        ("s3://bucket/in/..%2fout", False),
        ("s3://bucket/in/..\\out", False),
        ("s3://bucket/in/a.zip::file:///etc/passwd", False),
        ("zip://a::s3://bucket/in/a.zip", False),
        ("local:///etc/passwd", False),
        ("s3://bucket", False),
    ],
)
def test_a_root_in_a_storage_is_a_prefix(location: str, allowed: bool) -> None:
    assert allows(["s3://bucket/in/"], location) is allowed


def test_a_whole_protocol_can_be_a_root() -> None:
    assert allows(["memory://"], "memory://any/thing")
    assert not allows(["memory://"], "memory://any/../thing")
    assert not allows(["memory://"], "s3://any/thing")


def test_without_roots_nothing_is_allowed(tmp_path: Path) -> None:
    for location in (str(tmp_path), "http://host/", "s3://bucket/x", "file:///", "-", ""):
        assert not allows([], location)


@pytest.mark.parametrize(
    "root",
    [
        "http://user:secret@host/",
        "http://host/in?x",
        "http://host/%252e%252e",
        "http://host/in#nonsense",
        "http://host/in#10.0.0.1/8",
        "http://[64:ff9b::7f00:1]/",
        "https:///in",
    ],
)
def test_a_root_that_can_mean_nothing_is_refused(root: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        Roots([root])
    assert "secret" not in str(caught.value)


def test_which_addresses_a_host_may_have_that_are_not_public() -> None:
    roots = Roots(
        [
            "https://images.example/a#10.1.0.0/16+fd00:1::/64",
            "https://images.example/b#10.2.0.0/16",
            "http://images.example/",
            "http://localhost:81/",
            "http://192.168.7.9/",
            "http://[::1]/",
        ]
    )

    def networks(url: str) -> tuple[str, ...]:
        return tuple(map(str, roots.networks_of(parse_web_address(url))))

    assert networks("https://images.example/b/x") == (
        "10.1.0.0/16",
        "fd00:1::/64",
        "10.2.0.0/16",
    )
    assert networks("http://images.example/x") == ()
    assert networks("http://localhost:81/x") == tuple(map(str, LOOPBACK))
    assert networks("http://localhost/x") == ()
    assert networks("http://192.168.7.9/x") == (str(ip_network("192.168.7.9")),)
    assert networks("http://[::1]/x") == ("::1/128",)


@given(st.text(max_size=20))
def test_any_text_is_allowed_or_not(text: str) -> None:
    for location in (text, f"http://{text}", f"s3://{text}", f"file://{text}"):
        allows(["http://host/in", "s3://bucket/in", "/nowhere"], location)


TOKENS = (
    *("in", "out", "a", "..", ".", "/", "//", "%2f", "%2F", "%5c", "\\", ";x", "?", "#", "@", ":"),
    *(
        "%2e",
        "%2E",
        "%252e",
        "%25252e",
        "%c0%ae",
        "%u002e",
        "\uff0e",
        "\u2025",
        "%",
        "host",
        "%00",
        " ",
    ),
)


def liberal_readings(url: str) -> Iterator[list[str]]:
    """The folders of a URL as servers of several kinds find them: after each number of decodings,
    with backslashes and compatible characters for slashes and dots, without path parameters.
    """
    path = urlsplit(url).path
    for _ in range(6):
        for text in (path, unicodedata.normalize("NFKC", path).replace("\\", "/")):
            parts: list[str] = []
            for part in text.split("/"):
                name = part.partition(";")[0].strip()
                if name == "..":
                    del parts[-1:]
                elif name not in ("", "."):
                    parts.append(name)
            yield parts
        path = unquote(path)


@given(st.lists(st.sampled_from(TOKENS), max_size=10).map("".join))
@example("in/..%2f..%2fout")
@example("in/..;x/out")
@example("in/.\uff0e/out")
def test_no_server_finds_an_allowed_address_outside_of_the_root(path: str) -> None:
    try:
        address = Roots(["http://host/in/"]).require_web(f"http://host/{path}")
    except SourceNotAllowed:
        return
    assert address.origin == ("http", "host", 80)
    for parts in liberal_readings(address.url):
        assert parts[:1] == ["in"]
