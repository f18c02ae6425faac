"""Files on the web: read whole and by ranges, and never from where a client must not connect to."""

from __future__ import annotations

import io
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ssrfguard.resolvers import ResolverAnswer

from api.errors import SourceNotAllowed
from api.sources.access import Access
from api.sources.item import UnreadableItem, UnusableSource
from api.sources.opening import open_source
from api.sources.roots import Roots
from api.sources.web import BLOCK_BYTES, MAX_CLIENTS, MAX_REDIRECTS, WHOLE_FILE_BYTES, Web
from tests.web_server import WebServer, serve_files


class PlantedNames:
    """A resolver of names in the place of the system's; each look-up takes the next answer."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *_: Any) -> list[ResolverAnswer]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        family = socket.AF_INET6 if ":" in answer else socket.AF_INET
        place = (answer, port, 0, 0) if ":" in answer else (answer, port)
        return [(family, socket.SOCK_STREAM, 6, "", place)]


@pytest.fixture
def served() -> Iterator[WebServer]:
    with serve_files() as server:
        yield server


@contextmanager
def opened(roots: list[str] | None, *answers: str) -> Iterator[Access]:
    access = Access(roots, resolver=PlantedNames(*answers) if answers else None)
    with closing(access):
        yield access


def refusal(access: Access, location: str) -> tuple[str, str]:
    with pytest.raises(UnreadableItem) as caught:
        access.read_bytes(location, 100)
    assert "\n" not in str(caught.value)
    return caught.value.reason, str(caught.value)


def named(server: WebServer, host: str) -> str:
    return f"http://{host}:{server.port}"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "0.0.0.0"],
)
def test_a_name_in_the_roots_leads_to_no_address_that_is_not_public(
    served: WebServer, address: str
) -> None:
    url = named(served, "images.example")
    with opened([url], address) as access:
        reason, words = refusal(access, f"{url}/a")
        assert reason == "not_allowed"
        assert address not in words  # what a name resolves to inside is nobody's business
        with pytest.raises(SourceNotAllowed):
            access.kind_of(f"{url}/a")
    assert served.connections == 0


def test_a_name_whose_answer_moves_is_connected_to_at_the_address_that_was_checked() -> None:
    with serve_files(files={"/a": b"first"}) as first, serve_files("127.0.0.2") as second:
        second.files["/a"] = b"second"
        url = named(first, "moving.example")
        names = PlantedNames("127.0.0.1", "127.0.0.2", "169.254.169.254")
        access = Access([f"{url}/#127.0.0.1"], resolver=names)
        with closing(access):
            assert access.read_bytes(f"{url}/a", 100) == b"first"
            assert names.asked == ["moving.example"]  # once: what was checked is connected to
            access.close()
            assert refusal(access, f"{url}/a")[0] == "not_allowed"
            assert refusal(access, f"{url}/a")[0] == "not_allowed"
        assert second.connections == 0


def test_an_operator_may_name_a_private_host_but_no_link_local_one(served: WebServer) -> None:
    served.files["/a"] = b"content"
    for host in ("127.0.0.1", "nas.example"):
        with opened(None, "127.0.0.1") as access:
            assert access.read_bytes(f"{named(served, host)}/a", 100) == b"content"
    for address in ("169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0"):
        with opened(None, address) as access:
            assert refusal(access, f"{named(served, 'nas.example')}/a")[0] == "not_allowed"
    with opened(None) as access:
        assert refusal(access, "http://169.254.169.254/latest/meta-data/")[0] == "not_allowed"


def test_a_host_written_as_an_address_is_that_address_and_localhost_is_loopback(
    served: WebServer,
) -> None:
    served.files["/in/a"] = b"content"
    for host, answer in (("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1")):
        url = named(served, host)
        with opened([f"{url}/in"], answer) as access:
            assert access.read_bytes(f"{url}/in/a", 100) == b"content"
            assert refusal(access, f"{url}/out")[0] == "not_allowed"
    with opened([f"{named(served, 'localhost')}/in"], "10.0.0.1") as access:
        assert refusal(access, f"{named(served, 'localhost')}/in/a")[0] == "not_allowed"


def test_an_address_of_version_6_is_a_host_too() -> None:
    try:
        serving = serve_files("::1", files={"/in/a": b"content"})
        with serving as server, opened([f"{server.url}/in"]) as access:
            assert access.read_bytes(f"http://[0:0:0:0:0:0:0:1]:{server.port}/in/a", 9) == (
                b"content"
            )
    except OSError:
        pytest.skip("this machine has no address ::1")


def test_any_number_of_hosts_leaves_few_connections_open(served: WebServer) -> None:
    served.files["/a"] = b"content"
    with opened(None, "127.0.0.1") as access:
        for number in range(2 * MAX_CLIENTS):
            assert access.read_bytes(f"{named(served, f'h{number}.example')}/a", 9) == b"content"
        assert served.connections == 2 * MAX_CLIENTS
        deadline = time.monotonic() + 5
        while served.open_connections > MAX_CLIENTS and time.monotonic() < deadline:
            time.sleep(0.01)
        assert served.open_connections == MAX_CLIENTS


def test_a_redirect_leads_nowhere_but_within_the_root(served: WebServer) -> None:
    with serve_files(files={"/in/secret": b"secret"}) as other:
        served.files |= {"/in/a": b"content", "/out": b"secret"}
        served.redirects |= {
            "/in/near": "a",
            "/in/again": "/in/near",
            "/in/out": "/out",
            "/in/up": "../out",
            "/in/encoded": "/in/%2e%2e/out",
            "/in/twice": "/in/%252e%252e/out",
            "/in/port": f"{other.url}/in/secret",
            "/in/host": f"{named(served, 'localhost')}/in/a",
            "/in/scheme": served.url.replace("http:", "https:") + "/in/a",
            "/in/relative": "//localhost/in/a",
            "/in/file": "file:///etc/passwd",
            "/in/backslash": "\\\\localhost/in/a",
            "/in/user": served.url.replace("//", "//user@") + "/in/a",
            "/in/round": "/in/round",
        }
        roots = [f"{served.url}/in", f"{other.url}/in"]
        with opened(roots) as access:
            for path in ("/in/near", "/in/again"):
                assert access.read_bytes(served.url + path, 100) == b"content"
            refused = {path for path in served.redirects if path not in ("/in/near", "/in/again")}
            for path in refused - {"/in/round"}:
                assert refusal(access, served.url + path)[0] == "not_allowed", path
            reason, words = refusal(access, f"{served.url}/in/round")
        assert (reason, "redirects" in words) == ("unreadable", True)
        assert served.paths.count("/in/round") == MAX_REDIRECTS + 1
        assert "/out" not in served.paths
        assert other.connections == 0


def test_a_redirect_of_an_operator_s_source_to_another_host_must_lead_to_a_public_one(
    served: WebServer,
) -> None:
    with serve_files(files={"/a": b"secret"}) as other:
        served.files["/a"] = b"content"
        served.redirects |= {"/same": "/a", "/other": f"{other.url}/a"}
        with opened(None) as access:
            assert access.read_bytes(f"{served.url}/same", 100) == b"content"
            assert refusal(access, f"{served.url}/other")[0] == "not_allowed"
            assert access.read_bytes(f"{other.url}/a", 100) == b"secret"  # named by the operator
        assert other.paths == ["/a"]


def test_a_proxy_of_the_environment_is_refused_not_used(
    served: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", served.url)
    with opened(None) as access:
        assert "proxy" in refusal(access, "http://images.example/a")[1]
    assert served.connections == 0


def test_chains_of_file_systems_do_not_reach_the_web(served: WebServer) -> None:
    with opened(None) as access:
        for chain in (
            f"zip://a::{served.url}/a.zip",
            f"filecache://x::{served.url}/a",
            f"memory://x::zip://y::{served.url}/a",
        ):
            assert refusal(access, chain)[0] == "unreadable"
            with pytest.raises(UnusableSource, match="name the web address itself"):
                access.kind_of(chain)
        assert access.kind_of(f"simplecache::{served.url}/a") is None  # a local path
    with opened([f"{served.url}/"]) as access:
        for chain in (f"zip://a::{served.url}/a.zip", f"{served.url}/a::file:///etc/passwd"):
            assert refusal(access, chain)[0] in ("not_allowed", "not_found")
    assert all("passwd" not in path or path.startswith("/a::") for path in served.paths)


def test_answers_that_are_no_file_have_a_reason(served: WebServer) -> None:
    served.statuses |= {"/403": 403, "/410": 410, "/500": 500}
    served.files["/packed"] = b"\x1f\x8b"
    served.headers["/packed"] = {"Content-Encoding": "gzip"}
    with opened(None) as access:
        assert refusal(access, f"{served.url}/missing")[0] == "not_found"
        assert refusal(access, f"{served.url}/410")[0] == "not_found"
        assert "answered 403" in refusal(access, f"{served.url}/403")[1]
        assert "answered 500" in refusal(access, f"{served.url}/500")[1]
        assert "compressed" in refusal(access, f"{served.url}/packed")[1]
        assert access.kind_of(f"{served.url}/missing") is None
        with pytest.raises(UnusableSource, match="answered 403"):
            access.kind_of(f"{served.url}/403")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with opened(None) as access:
        assert refusal(access, f"http://127.0.0.1:{port}/a")[0] == "unreadable"
        assert refusal(access, "http://user:secret@host/a")[0] == "unreadable"


def test_an_answer_that_never_ends_is_cut_off(served: WebServer) -> None:
    served.dripping.add("/drip")
    served.files["/a"] = b"content"
    with closing(Web(None, request_seconds=0.3)) as web:
        began = time.monotonic()
        with pytest.raises(UnreadableItem, match=r"longer than 0\.3 seconds"):
            web.read(f"{served.url}/drip", 100)
        assert time.monotonic() - began < 5
        assert web.read(f"{served.url}/a", 100) == b"content"  # and the next request is fine


def test_reading_stops_a_byte_behind_the_bound(served: WebServer) -> None:
    served.files |= {"/a": bytes(1000), "/empty": b""}
    with opened(None) as access:
        for bound, length in ((10, 11), (999, 1000), (1000, 1000), (2**40, 1000)):
            assert len(access.read_bytes(f"{served.url}/a", bound)) == length
        assert access.read_bytes(f"{served.url}/empty", 10) == b""
        with access.open_binary(f"{served.url}/empty") as file:
            assert file.read() == b""


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_file_is_sought_in_like_one_on_a_disk(served: WebServer, has_ranges: bool) -> None:
    served.has_ranges = has_ranges
    content = Random(0).randbytes(2 * BLOCK_BYTES + 1234)
    served.files["/a"] = content
    local = io.BytesIO(content)
    chance = Random(1)
    with opened(None) as access, access.open_binary(f"{served.url}/a") as file:
        assert file.seek(0, io.SEEK_END) == len(content)
        for _ in range(50):
            place = chance.randrange(len(content))
            size = chance.choice((1, 100, BLOCK_BYTES + 1))
            assert file.seek(place) == local.seek(place)
            assert file.read(size) == local.read(size)
    assert len(served.asked) == (3 if has_ranges else 1)  # each block once


def test_a_large_file_of_a_server_without_ranges_is_no_source(served: WebServer) -> None:
    served.has_ranges = False
    served.files["/a"] = bytes(WHOLE_FILE_BYTES + 1)
    with (
        opened(None) as access,
        pytest.raises(UnusableSource, match="cannot be read at any position"),
    ):
        access.open_binary(f"{served.url}/a")


def test_a_file_that_changes_while_it_is_read_is_an_error(served: WebServer) -> None:
    served.files["/a"] = bytes(3 * BLOCK_BYTES)
    served.headers["/a"] = {"ETag": '"1"'}
    with opened(None) as access, access.open_binary(f"{served.url}/a") as file:
        file.read(10)
        served.headers["/a"] = {"ETag": '"2"'}
        file.seek(BLOCK_BYTES)
        with pytest.raises(OSError, match="changed"):
            file.read(10)


def test_archives_tables_and_manifests_on_the_web_are_sources(
    served: WebServer, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/1.png", b"one")
    pq.write_table(pa.table({"image": [b"two"], "label": ["fake"]}), tmp_path / "a.parquet")
    rows = ("three.png", "/in/four.png", "../out.png", "/etc/passwd", "file:///etc/passwd")
    (tmp_path / "a.csv").write_text("path\n" + "".join(f"{row}\n" for row in rows))
    for path in tmp_path.iterdir():
        served.files[f"/in/{path.name}"] = path.read_bytes()
    served.files |= {"/in/three.png": b"three", "/in/four.png": b"four", "/out.png": b"secret"}

    def read(name: str) -> dict[str, bytes | str]:
        location = f"{served.url}/in/{name}"
        with closing(open_source(location, Access([f"{served.url}/in"]))) as source:
            found: dict[str, bytes | str] = {}
            for span in source.spans(10):
                for item in source.items(span):
                    try:
                        found[item.name] = item.read(100)
                    except UnreadableItem as err:
                        found[item.name] = err.reason
            return found

    assert read("a.zip") == {"x/1.png": b"one"}
    assert read("a.parquet") == {"a.parquet, row 0": b"two"}
    assert read("three.png") == {"three.png": b"three"}
    assert read("a.csv") == {
        "three.png": b"three",
        "/in/four.png": b"four",
        "../out.png": "not_allowed",
        "/etc/passwd": "not_allowed",
        "file:///etc/passwd": "outside_source",
    }
    assert "/out.png" not in served.paths


def test_roots_without_the_web_connect_to_nothing(served: WebServer, tmp_path: Path) -> None:
    web = Web(Roots([str(tmp_path)]))
    with closing(web), pytest.raises(SourceNotAllowed):
        web.read(f"{served.url}/a", 10)
    assert served.connections == 0
