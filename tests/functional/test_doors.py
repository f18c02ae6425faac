"""What a client may make a server read: attacks on the roots of sources, with real web servers,
links and names.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from ssrfguard.resolvers import UdpResolver

from api.http.app import create_app
from api.sources.access import Access
from api.sources.item import UnreadableItem
from tests.api.conftest import settings
from tests.clients import NO_BROWSER
from tests.functional.shelves import jpeg, write_tar
from tests.functional.terminal import answer, lineup
from tests.web_server import WebServer, serve_files

REFUSED = "urn:lineup:problem:source-not-allowed"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("doors") / "place"
    place.mkdir()
    return place


@pytest.fixture(scope="module")
def named() -> Iterator[WebServer]:
    with serve_files() as server:
        yield server


@pytest.fixture(scope="module")
def client(place: Path, named: WebServer) -> Iterator[TestClient]:
    roots = (str(place / "in"), f"{named.url}/in")
    chosen = settings(place / "data").model_copy(update={"ingest_roots": roots})
    with TestClient(create_app(chosen), base_url="http://localhost", headers=NO_BROWSER) as client:
        yield client


@pytest.fixture
def root(place: Path) -> Iterator[Path]:
    """The folder that may be read, empty."""
    (place / "in").mkdir()
    yield place / "in"
    shutil.rmtree(place / "in")


@pytest.fixture
def web(named: WebServer) -> WebServer:
    """The web server that the operator named, of which only `/in` may be read."""
    named.forget()
    named.files |= {"/in/a.jpg": jpeg(1), "/out.jpg": jpeg(2)}
    return named


@pytest.fixture
def inside() -> Iterator[WebServer]:
    """A service beside it that nobody may reach."""
    with serve_files(files={"/in/a.jpg": jpeg(3), "/secret": jpeg(3)}) as server:
        yield server


def order(client: TestClient, source: object, corpus: str) -> Any:
    return client.post(f"/v1/corpora/{corpus}/ingests", json={"sources": [str(source)]})


def ended(client: TestClient, accepted: Any) -> Any:
    assert accepted.status_code == 202, accepted.text
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{accepted.json()['id']}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.02)
    raise TimeoutError(job)


def taken(job: Any) -> int:
    """How many images came in: embedded, or known already from another test's corpus."""
    return int(job["added"] + job["linked"])


def done(client: TestClient, source: object, corpus: str) -> Any:
    return ended(client, order(client, source, corpus))


def test_no_spelling_of_a_url_leaves_the_root(
    client: TestClient, web: WebServer, inside: WebServer
) -> None:
    host = web.url.removeprefix("http://")
    for location in (
        f"{web.url}/in/../out.jpg",
        f"{web.url}/in/%2e%2e/out.jpg",
        f"{web.url}/in/%2E%2e/out.jpg",
        f"{web.url}/in/%252e%252e/out.jpg",
        f"{web.url}/in/..%2fout.jpg",
        f"{web.url}/in/..\\out.jpg",
        f"{web.url}/in/..;/out.jpg",
        f"{web.url}/in-too/a.jpg",
        f"{inside.url}/in/a.jpg",
        f"http://{host}@{inside.host}:{inside.port}/in/a.jpg",
        f"https://{host}/in/a.jpg",
        f"http://localhost:{web.port}/in/a.jpg",
        f"http://2130706433:{web.port}/in/a.jpg",
        f"http://[::ffff:127.0.0.1]:{web.port}/in/a.jpg",
        f"zip://a.jpg::{web.url}/in/a.zip",
        f"simplecache::{web.url}/in/a.jpg",
        f"filecache://::{inside.url}/secret",
    ):
        refused = order(client, location, "urls")
        assert (refused.status_code, refused.json()["type"]) == (403, REFUSED), location
    assert client.get("/v1/corpora/urls").status_code == 404
    assert web.connections == inside.connections == 0

    assert taken(done(client, f"HTTP://{host}/x/../in/%61.jpg", "urls")) == 1
    assert set(web.paths) == {"/in/a.jpg"}


def test_a_redirect_to_another_host_port_or_path_is_not_followed(
    client: TestClient, web: WebServer, inside: WebServer
) -> None:
    targets = (
        f"{inside.url}/secret",
        f"http://localhost:{web.port}/in/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "/out.jpg",
        "%2e%2e/out.jpg",
    )
    web.redirects |= {f"/in/{number}.jpg": target for number, target in enumerate(targets)}
    web.redirects["/in/moved.jpg"] = "/in/a.jpg"
    accepted = [
        order(client, web.url + path, f"redirect-{number}")
        for number, path in enumerate(web.redirects)
    ]
    *refused, moved = [ended(client, each) for each in accepted]
    assert {(job["state"], taken(job)) for job in refused} == {("failed", 0)}
    assert (moved["state"], taken(moved)) == ("completed", 1)
    assert inside.connections == 0
    assert "/out.jpg" not in web.paths


def test_names_in_a_manifest_obey_the_roots(
    client: TestClient, web: WebServer, inside: WebServer, root: Path
) -> None:
    (root.parent / "secret.jpg").write_bytes(jpeg(9))
    (root / "b.jpg").write_bytes(jpeg(4))
    web.redirects["/in/hop.jpg"] = f"{inside.url}/secret"
    rows = [
        "b.jpg",
        f"{web.url}/in/a.jpg",
        f"{web.url}/in/hop.jpg",
        f"{web.url}/in/%2e%2e/out.jpg",
        f"{inside.url}/secret",
        f"file://{root.parent}/secret.jpg",
        "../secret.jpg",
        f"zip://secret::{inside.url}/secret",
    ]
    listed = "path\n" + "".join(f"{row}\n" for row in rows)
    (root / "list.csv").write_text(listed)

    job = done(client, root / "list.csv", "named")

    assert (taken(job), job["failed"]) == (2, 6)
    assert job["reasons"]["failed"] == {"not_allowed": 6}
    assert inside.connections == 0
    assert "/out.jpg" not in web.paths


def test_links_do_not_lead_out_of_a_root(client: TestClient, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(jpeg(9))
    (outside / "secret.json").write_text('{"generator": "of nobody else"}')
    (outside / "table.csv").write_text("sha256,logit\n" + f"{'a' * 64},0\n")
    (root / "a.jpg").write_bytes(jpeg(1))
    (root / "a.json").symlink_to(outside / "secret.json")
    (root / "b.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    (root / "v").mkdir()
    np.save(root / "v" / "v.npy", np.eye(1, dtype=np.float32))
    (root / "v" / "v.csv").symlink_to(outside / "table.csv")

    for location in (root / "b.jpg", root / "folder", f"file://{root}/folder/secret.jpg"):
        assert order(client, location, "linked").status_code == 403
    table = done(client, root / "v" / "v.npy", "linked")
    (root / "v" / "v.npy").unlink()
    (root / "v" / "v.csv").unlink()
    job = done(client, root, "linked")

    assert table["state"] == "failed"
    assert (taken(job), job["reasons"]["failed"]) == (1, {"not_allowed": 1})
    (entry,) = client.get("/v1/corpora/linked/entries").json()["entries"]
    assert "of nobody else" not in json.dumps(entry)
    assert "not_allowed" in json.dumps(entry)  # the sidecar that was left out


def test_links_and_paths_in_an_upload_lead_nowhere(client: TestClient, root: Path) -> None:
    (root / "secret.jpg").write_bytes(jpeg(9))
    sent = io.BytesIO()
    with tarfile.open(fileobj=sent, mode="w") as archive:
        for name, kind in (("soft.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(root / "secret.jpg")
            archive.addfile(member)
        member = tarfile.TarInfo("../../up.jpg")
        member.size = len(jpeg(1))
        archive.addfile(member, io.BytesIO(jpeg(1)))
    accepted = client.post(
        "/v1/corpora/sent/ingests", files={"source": ("a.tar", sent.getvalue(), "a/tar")}
    )
    job = ended(client, accepted)
    assert (taken(job), job["failed"]) == (1, 2)
    assert not list(root.parent.parent.glob("**/up.jpg"))  # not in the folders of other tests


def test_the_operator_s_own_sources_come_through_the_same_client(
    web: WebServer, inside: WebServer, tmp_path: Path
) -> None:
    expected = write_tar(tmp_path / "shelf.tar", 20)
    web.files["/shelf.tar"] = (tmp_path / "shelf.tar").read_bytes()
    web.redirects["/hop.tar"] = f"{inside.url}/secret"

    read = answer(tmp_path / "data", "ingest", f"{web.url}/shelf.tar", "--corpus", "known", code=3)
    hop = lineup(tmp_path / "data", "ingest", f"{web.url}/hop.tar", "--corpus", "known")
    cloud = lineup(tmp_path / "data", "ingest", "http://169.254.169.254/x", "--corpus", "known")

    assert (read["found"], read["added"]) == (expected.found, expected.added)
    assert hop.exit_code == cloud.exit_code == 4
    assert "must not be" in hop.stderr
    assert "must not be" in cloud.stderr
    assert inside.connections == 0


@contextmanager
def moving_names(*answers: str) -> Iterator[tuple[int, list[str]]]:
    """A name server that answers each question with the next address: its port, what it told."""
    told: list[str] = []
    left = list(answers)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0.05)
        ended = threading.Event()

        def reply() -> None:
            while not ended.is_set():
                try:
                    asked, client = listening.recvfrom(512)
                except TimeoutError:
                    continue
                end = asked.index(b"\x00", 12) + 5
                is_ipv4 = asked[end - 4 : end - 2] == b"\x00\x01"
                record = b""
                if is_ipv4:
                    told.append(left.pop(0) if len(left) > 1 else left[0])
                    where = socket.inet_aton(told[-1])
                    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + where
                head = asked[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_ipv4), 0, 0)
                listening.sendto(head + asked[12:end] + record, client)

        thread = threading.Thread(target=reply)
        thread.start()
        try:
            yield listening.getsockname()[1], told
        finally:
            ended.set()
            thread.join()


def test_a_name_that_moves_after_the_check_leads_to_no_other_address() -> None:
    with (
        serve_files(files={"/in/a": b"public"}) as named,
        serve_files("127.0.0.2", files={"/in/a": b"secret"}) as other,
        moving_names("127.0.0.1", "127.0.0.2", "10.0.0.1", "169.254.169.254") as (port, told),
    ):
        url = f"http://moving.example:{named.port}/in"
        resolver = UdpResolver(nameservers=("127.0.0.1",), nameserver_port=port, timeout=2)
        with closing(Access([f"{url}#127.0.0.1"], resolver=resolver)) as access:
            assert access.read_bytes(f"{url}/a", 100) == b"public"
            assert told == ["127.0.0.1"]  # asked once: the address that was checked was taken
            for _ in range(3):
                access.close()  # so that the next request connects, and asks, again
                with pytest.raises(UnreadableItem) as caught:
                    access.read_bytes(f"{url}/a", 100)
                assert caught.value.reason == "not_allowed"
        assert told == ["127.0.0.1", "127.0.0.2", "10.0.0.1", "169.254.169.254"]
        assert other.connections == 0
