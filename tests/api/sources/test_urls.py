"""One spelling for each web address, and a refusal for what two programs could read differently."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.urls import MAX_URL_LENGTH, UnclearURL, is_web, parse_web_address


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@host/x",
        "http://host@other/x",
        "http://host\\@other/x",
        "http://host/a\\..\\b",
        "http://host/a%5c..%5cb",
        "http://host/%252e%252e/x",
        "http://host/in/..%2f..%2fx",
        "http://host/in/%2e%2e%2fx",
        "http://host/in/..;v=1/x",
        "http://host/in/\uff0e\uff0e/x",
        "http://host/in/\u2025/x",
        "http://host/in/%c0%ae%c0%ae/x",
        "http://host/in/%u002e%u002e/x",
        "http://host/in/%25252525252e",
        "http://host/a\nb",
        "http://host/a%00b",
        "http://host/a%0d%0ab",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://host:99999/",
        "http://host:0/",
        "http://[/",
        "http://[::1%25eth0]/",
        "http:///x",
        "ftp://host/x",
        "http://" + "a" * MAX_URL_LENGTH,
    ],
)
def test_what_two_programs_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(UnclearURL):
        parse_web_address(url)


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("HTTP://Host.Example:80/a?b#c", "http://host.example/a?b"),
        ("https://host:443", "https://host/"),
        ("https://host:80/", "https://host:80/"),
        ("http://host./x", "http://host/x"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://①②⑦.0.0.1/x", "http://127.0.0.1/x"),
        ("http://[0:0:0:0:0:0:0:1]:8080/", "http://[::1]:8080/"),
        ("http://host/%7Ea/%41%2d%2E%5f", "http://host/~a/A-._"),
        ("http://host/a%2fb%3f", "http://host/a%2Fb%3F"),
        ("http://host/in/../x/./y/..", "http://host/x/"),
        ("http://host/%2e%2E/%2e./etc", "http://host/etc"),
        ("http://host/a b/ü/100%.png", "http://host/a%20b/%C3%BC/100%25.png"),
        ("http://host/a//b", "http://host/a//b"),
        ("http://host/a?next=../../b", "http://host/a?next=../../b"),
    ],
)
def test_each_address_has_one_spelling(url: str, spelling: str) -> None:
    assert parse_web_address(url).url == spelling


@given(st.text(st.sampled_from("a.%2eE5cf/\\;?#ü\uff0e:@ "), max_size=20))
def test_the_spelling_of_a_spelling_is_itself(path: str) -> None:
    try:
        address = parse_web_address(f"http://host/{path}")
    except UnclearURL:
        return
    assert parse_web_address(address.url) == address


@given(st.one_of(st.text(max_size=30), st.text("htp:/[]@.%#?1a\\", max_size=30)))
def test_any_text_is_an_address_or_unclear(text: str) -> None:
    for url in (text, f"http://{text}", f"http://host/{text}"):
        with suppress(UnclearURL):
            address = parse_web_address(url)
            assert parse_web_address(address.url) == address
    with suppress(UnclearURL):
        parse_web_address("http://host/").join(text)


def test_a_redirect_is_resolved_from_where_it_was_found() -> None:
    address = parse_web_address("http://host:8080/in/list.csv?x=1")
    assert address.join("b.png").url == "http://host:8080/in/b.png"
    assert address.join("/b.png").url == "http://host:8080/b.png"
    assert address.join("//other/b.png").url == "http://other/b.png"
    assert address.join("../%2e%2e/b").url == "http://host:8080/b"
    for unclear in ("//[", "\\\\other/x", "a\tb", "javascript:alert(1)", "/%252e%252e/x"):
        with pytest.raises(UnclearURL):
            address.join(unclear)


def test_the_web_is_what_begins_with_its_schemes() -> None:
    assert is_web("http://a")
    assert is_web("HTTPS://a")
    assert not any(map(is_web, ("http:/a", "https", "s3://http://a", "/http://a", "file:///x")))
