"""Pages of other sites in a real browser, over plain http and names that are not loopback, where
browsers send no `Sec-Fetch-Site`: nothing that they send changes anything, and nothing is shown.
"""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.app import create_app
from api.settings import Settings
from tests.api.conftest import Picture, picture  # noqa: F401 - a fixture
from tests.clients import NO_BROWSER
from tests.conftest import unavailable
from tests.functional.browsing import CHROMIUM_ARGUMENTS, running

pytestmark = pytest.mark.browser

OWN, EVIL = "lineup.test", "evil.test"
RULES = (
    f"--host-resolver-rules=MAP {OWN} 127.0.0.1, MAP {EVIL} 127.0.0.1, "
    "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
)
NEW = '{"name": "planted", "kind": "known_fake"}'
# Everything a page can send to another origin without asking it first, and the image.
ATTACK = """async (target) => {
  const picture = new Blob([Uint8Array.from(atob(PICTURE), (c) => c.charCodeAt(0))]);
  const form = (path, enctype, fields) => new Promise((done) => {
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.name = "frame" + Math.random();
    const made = document.createElement("form");
    Object.assign(made, {method: "POST", action: target + path, enctype, target: frame.name});
    for (const [name, value] of Object.entries(fields)) {
      const input = made.appendChild(document.createElement("input"));
      Object.assign(input, {type: "hidden", name, value});
    }
    document.body.append(made);
    made.submit();
    setTimeout(done, 150);  // what is refused may fire no event
  });
  const upload = () => {
    const data = new FormData();
    data.set("image", picture, "a.png");
    return data;
  };
  const send = (path, options) =>
    fetch(target + path, {mode: "no-cors", method: "POST", ...options}).catch(() => null);
  await form("/v1/corpora", "text/plain", {'{"name": "planted", "kind": "known_fake", "a': '"}'});
  await form("/v1/corpora", "application/x-www-form-urlencoded", {name: "planted"});
  await form("/v1/corpora/known/entries", "multipart/form-data", {image: "x"});
  await form("/v1/entries/1/release", "application/x-www-form-urlencoded", {});
  await send("/v1/corpora", {body: NEW});
  await send("/v1/corpora", {body: NEW, headers: {"Content-Type": "text/plain"}});
  await send("/v1/corpora", {body: new Blob([NEW])});
  await send("/v1/corpora", {body: NEW, headers: {"Content-Type": "application/json"}});
  await send("/v1/corpora/known/entries", {body: upload()});
  await send("/v1/corpora/known/entries", {body: upload(), referrerPolicy: "no-referrer"});
  await send("/v1/lookups", {body: upload(), credentials: "include"});
  await send("/v1/models/builtin/reembed", {});
  await send("/v1/entries/1", {mode: "cors", method: "DELETE"});
  await send("/v1/corpora", {
    mode: "cors", body: NEW, headers: {"Content-Type": "application/json", "X-Requested-By": "x"},
  });
  navigator.sendBeacon(target + "/v1/corpora", NEW);
  await new Promise((done) => setTimeout(done, 500));
}"""
SHOWS = """(url) => new Promise((done) => {
  const image = document.body.appendChild(document.createElement("img"));
  image.onload = () => done(true);
  image.onerror = () => done(false);
  image.src = url;
})"""


SENT = 13  # those of them that a browser sends without asking the server first


@dataclass(frozen=True)
class Sites:
    """Lineup's address under its name, and the ports on which the other page is served."""

    own: str
    loopback: str
    evil_port: int
    recorder: Recorder


class Recorder:
    """Around the application: what it was asked, and the status of each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.answers: list[tuple[str, str, int]] = []
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answers.append((scope["method"], scope["path"], message["status"]))
            await send(message)

        await self._app(scope, receive, record)


class EvilPage(BaseHTTPRequestHandler):
    """An empty page, in which the test runs its scripts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def named_browser() -> Iterator[Browser]:
    """Chromium, for which both names are this machine."""
    executable = shutil.which("chromium")
    if executable is None:
        unavailable("chromium is not installed (Debian: apt-get install chromium)")
    arguments = [each for each in CHROMIUM_ARGUMENTS if "host-resolver" not in each]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=[*arguments, RULES])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory,
    picture: Picture,  # noqa: F811
) -> Iterator[Sites]:
    evil = ThreadingHTTPServer(("127.0.0.1", 0), EvilPage)
    thread = threading.Thread(target=evil.serve_forever)
    thread.start()
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("csrf"),
        device="cpu",
        offline=True,
        server_works=False,
        allowed_hosts=(OWN, "127.0.0.1"),
    )
    try:
        recorder = Recorder(create_app(settings))
        with running(recorder, settings) as url:
            with connect(url) as client:
                client.post("/v1/corpora", json={"name": "known", "kind": "known_fake"})
                client.post("/v1/corpora/known/entries", files={"image": picture(0)})
            port = url.rpartition(":")[2]
            yield Sites(f"http://{OWN}:{port}", url, evil.server_port, recorder)
    finally:
        evil.shutdown()
        thread.join()
        evil.server_close()


def connect(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=30)


def state(sites: Sites) -> list[Any]:
    """What a change would change."""
    with connect(sites.loopback) as client:
        paths = ["/v1/corpora", "/v1/corpora/known/entries", "/v1/jobs", "/v1/index"]
        return [client.get(path).raise_for_status().json() for path in paths]


@pytest.fixture
def page(named_browser: Browser) -> Iterator[Page]:
    opened = named_browser.new_page()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("host", "target"),
    [
        pytest.param(EVIL, "own", id="another name, own"),
        pytest.param(OWN, "loopback", id="another port, loopback"),
        pytest.param(EVIL, "loopback", id="another name, loopback", marks=pytest.mark.prove),
        pytest.param(OWN, "own", id="another port, own", marks=pytest.mark.prove),
    ],
)
def test_a_page_of_another_origin_changes_and_shows_nothing(
    sites: Sites,
    page: Page,
    picture: Picture,  # noqa: F811
    host: str,
    target: str,
) -> None:
    address = sites.own if target == "own" else sites.loopback
    before = state(sites)
    sites.recorder.answers.clear()
    page.goto(f"http://{host}:{sites.evil_port}/")
    page.evaluate(script(picture), address)

    changes = [each for each in sites.recorder.answers if each[0] in {"POST", "DELETE"}]
    assert len(changes) == SENT
    assert {status for _, _, status in changes} == {403}, changes
    assert state(sites) == before
    assert page.evaluate(SHOWS, f"{address}/v1/entries/1/thumbnail") is False


def test_the_own_page_looks_up_and_shows(
    sites: Sites,
    page: Page,
    picture: Picture,  # noqa: F811
) -> None:
    """Over plain http and by the same name, so that what is refused above is not refused to all."""
    page.goto(sites.own)
    file = {"name": "a.png", "mimeType": "image/png", "buffer": picture(0)}
    page.locator("input[type=file]").set_input_files(files=[file])  # type: ignore[list-item]
    expect(page.locator("#answer")).to_be_visible(timeout=15_000)
    assert page.evaluate(SHOWS, f"{sites.own}/v1/entries/1/thumbnail") is True
    sent = "(options) => fetch('/v1/corpora', options).then((answer) => answer.status)"
    new = NEW.replace("planted", "wanted")
    json_type = {"Content-Type": "application/json"}
    assert page.evaluate(sent, {"method": "POST", "body": new, "headers": json_type}) == 201
    assert page.evaluate("() => fetch('/v1/corpora/wanted', {method: 'DELETE'}).then(a => a.ok)")


def script(picture: Picture) -> str:  # noqa: F811
    encoded = base64.b64encode(picture(1)).decode()
    return ATTACK.replace("NEW", repr(NEW)).replace("PICTURE", repr(encoded))
