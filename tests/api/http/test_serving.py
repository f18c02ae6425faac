"""Where the server listens, what it refuses, and that it stops."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from api.errors import AddressUnavailable, UnsafeListen
from api.http.serving import bind, serve, url_of
from api.settings import Settings
from tests.api.conftest import settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_beyond_this_machine_is_refused_before_anything_is_opened(
    tmp_path: Path, host: str
) -> None:
    chosen = settings(tmp_path / "data").model_copy(update={"host": host})
    with pytest.raises(UnsafeListen, match="--allow-unauthenticated"):
        serve(chosen)
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_refused_with_its_address(tmp_path: Path) -> None:
    with closing(bind("127.0.0.1", 0)[0]) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=str(port)):
            bind("127.0.0.1", port)
        with pytest.raises(AddressUnavailable):
            serve(settings(tmp_path / "data").model_copy(update={"port": port}))
    assert not (tmp_path / "data").exists()


def test_a_server_that_another_one_overtakes_while_it_starts_is_refused_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Current:
        """Takes the place of the product; the other server listens while this one opens it."""

        def __init__(self, _settings: Settings) -> None:
            other.listen()

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr("api.http.serving.CurrentLineup", Current)
    with closing(bind("127.0.0.1", 0)[0]) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=str(port)):
            serve(settings(tmp_path / "data").model_copy(update={"port": port}))
    assert len(closed) == 1


def test_a_host_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AddressUnavailable, match=r"nowhere\.invalid"):
        bind("nowhere.invalid", 0)


def test_a_port_is_bound_again_at_once_after_its_server_has_ended() -> None:
    with closing(bind("127.0.0.1", 0)[0]) as first:
        first.listen()
        port = first.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))), closing(first.accept()[0]):
            pass  # the connection waits in TIME_WAIT afterwards
    with closing(bind("127.0.0.1", port)[0]) as again:
        assert url_of(again) == f"http://127.0.0.1:{port}"


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    try:
        (listener,) = bind("::1", 0)
    except AddressUnavailable:
        pytest.skip("this machine has no IPv6")
    with closing(listener):
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


ADDRESSES_OF_A_NAME = [
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
]


def test_a_name_is_bound_at_each_of_its_addresses_with_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        bind("::1", 0)[0].close()
    except AddressUnavailable:
        pytest.skip("this machine has no IPv6")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ADDRESSES_OF_A_NAME)
    listeners = bind("localhost", 0)
    try:
        assert [each.getsockname()[0] for each in listeners] == ["127.0.0.1", "::1"]
        assert len({each.getsockname()[1] for each in listeners}) == 1
    finally:
        for each in listeners:
            each.close()


def test_an_address_that_the_machine_does_not_have_is_left_out_if_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [foreign, ADDRESSES_OF_A_NAME[0]])
    (listener,) = bind("localhost", 0)
    with closing(listener):
        assert listener.getsockname()[0] == "127.0.0.1"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [foreign])
    with pytest.raises(AddressUnavailable):
        bind("localhost", 0)


def test_an_answer_in_two_packets_does_not_wait_for_an_acknowledgement() -> None:
    """Nagle's algorithm is off on the connections that the server accepts."""

    async def accept(listener: socket.socket) -> int:
        options: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            options.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(take, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await options

    with closing(bind("127.0.0.1", 0)[0]) as listener:
        assert asyncio.run(accept(listener)) != 0
