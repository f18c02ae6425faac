"""The look-up page in a real browser: Debian's Chromium, a real server on a free port, real SQLite, a real model."""

from __future__ import annotations

import base64
import io
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from api.app import create_app
from api.settings import Settings

pytestmark = pytest.mark.browser

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # the tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
QUEUE_SIZE = 2
MAX_IMAGE_BYTES = 2**20
THRESHOLD = 0.9
START_SECONDS = 60.0


@dataclass(frozen=True)
class Site:
    """A running server; `picture_bytes` are those of the first ingested fake."""

    url: str
    app: FastAPI
    picture: bytes

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, trust_env=False).raise_for_status().json()


@dataclass
class Overheard:
    """What the browser said and asked for."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def foreign(self, url: str) -> list[str]:
        return [asked for asked in self.requests if not asked.startswith((url, f"blob:{url}"))]


def picture(seed: int, format_: str = "PNG") -> bytes:
    """A smooth colour field with grain, 320 x 256, upright for even seeds: large enough for every model here."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((320, 256))
    grain = random.integers(-12, 13, (256, 320, 3))
    pixels = np.clip(np.asarray(coarse, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels if seed % 2 else pixels.transpose(1, 0, 2)).save(buffer, format_)
    return buffer.getvalue()


def upload(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[str, FastAPI]]:
    """A server in a thread, on a port that the kernel chose."""
    settings = Settings(
        data_dir=data_dir,
        device="cpu",
        similarity_threshold=THRESHOLD,
        queue_size=QUEUE_SIZE,
        max_image_bytes=MAX_IMAGE_BYTES,
    )
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server ended before it listened"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("page")) as (url, app):
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            ingest(client, "casework", "known_fake", [1, 2, 3], generator="sdxl")
            ingest(client, "photographs", "known_real", [4, 5], generator=None)
        yield Site(url, app, picture(1))


def ingest(client: httpx.Client, corpus: str, kind: str, seeds: Sequence[int], generator: str | None) -> None:
    client.post("/v1/corpora", json={"name": corpus, "kind": kind}).raise_for_status()
    for seed in seeds:
        told = {} if generator is None else {"generator": generator}
        image = {"image": (f"{seed}.png", picture(seed), "image/png")}
        client.post(f"/v1/corpora/{corpus}/entries", files=image, data=told).raise_for_status()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        missing = "chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("LINEUP_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def overheard(context: BrowserContext) -> Overheard:
    overheard = Overheard()
    context.on("console", lambda message: overheard.console.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: overheard.errors.append(str(error.error)))
    context.on("request", lambda request: overheard.requests.append(request.url))
    context.on("requestfailed", lambda request: overheard.failed.append(request.url))
    return overheard


@pytest.fixture
def page(context: BrowserContext, overheard: Overheard, site: Site) -> Page:
    page = context.new_page()
    page.goto(site.url)
    return page


def choose(page: Page, name: str, data: bytes) -> None:
    """Through the chooser that a click on the label opens, as a person does."""
    with page.expect_file_chooser() as chooser:
        page.locator("label", has_text="Choose an image").click()
    chooser.value.set_files([upload(name, data)])


def answered(page: Page, site: Site) -> dict[str, Any]:
    """Wait for the answer on the page, and return the one that the service keeps under the id that it shows."""
    expect(page.locator("#answer")).to_be_visible()
    link = page.locator("#method").get_by_role("link")
    answer: dict[str, Any] = site.get(f"/v1/lookups/{link.inner_text()}")
    return answer


def rows(page: Page) -> list[dict[str, str]]:
    """The neighbours as the page shows them, by the labels of their cells."""
    script = "row => Object.fromEntries([...row.cells].map(cell => [cell.dataset.label, cell.innerText.trim()]))"
    return [row.evaluate(script) for row in page.locator("#neighbours tbody tr").all()]


def test_a_file_that_is_not_an_image_is_shown_as_its_typed_error(page: Page) -> None:
    choose(page, "notes.png", b"these are not the bytes of an image" * 40)
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("Not an image")
    expect(problem.locator("[data-slot=detail]")).not_to_be_empty()
    expect(page.locator("#preview .undisplayable")).to_be_visible()
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#submit")).to_be_enabled()


def test_an_error_in_the_choice_names_the_field(page: Page, site: Site) -> None:
    page.locator("#k").fill("1001")
    choose(page, "fake.png", site.picture)
    expect(page.get_by_role("alert").get_by_role("listitem")).to_contain_text("k: ")


def test_a_full_queue_says_when_to_try_again(page: Page, site: Site) -> None:
    with ExitStack() as places:
        for _ in range(QUEUE_SIZE):
            places.enter_context(site.app.state.admission.place())
        choose(page, "fake.png", site.picture)
        expect(page.get_by_role("alert")).to_contain_text("Try again in 1 s.")
    page.get_by_role("button", name="Look up again").click()
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_lost_connection_is_told_and_the_probe_kept(page: Page, context: BrowserContext, site: Site) -> None:
    context.set_offline(True)
    choose(page, "fake.png", site.picture)
    expect(page.get_by_role("alert")).to_contain_text("No answer came")
    context.set_offline(False)
    page.get_by_role("button", name="Look up again").click()
    expect(page.locator("#answer")).to_be_visible()


def test_a_file_over_the_limit_is_refused_before_it_is_sent(page: Page, overheard: Overheard, site: Site) -> None:
    expect(page.locator("#image-help")).to_contain_text("up to 1 MiB")
    choose(page, "huge.tif", bytes(MAX_IMAGE_BYTES + 1))
    expect(page.get_by_role("alert")).to_contain_text("Image too large")
    assert f"{site.url}/v1/lookups" not in overheard.requests


def test_a_second_image_cancels_the_look_up_of_the_first(page: Page, overheard: Overheard, site: Site) -> None:
    held: list[Any] = []
    page.route("**/v1/lookups", lambda route: route.continue_() if held else held.append(route))
    choose(page, "first.png", site.picture)
    expect(page.get_by_role("button", name="Looking up")).to_be_disabled()
    expect(page.get_by_role("status")).to_contain_text("first.png")
    choose(page, "second.png", picture(2))
    answer = answered(page, site)
    assert answer["similarity"]["neighbours"][0]["entry"]["id"] == 2
    assert overheard.failed == [f"{site.url}/v1/lookups"]
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#submit")).to_be_enabled()


@pytest.mark.parametrize(("event", "carrier"), [("DragEvent", "dataTransfer"), ("ClipboardEvent", "clipboardData")])
def test_an_image_can_be_dropped_and_pasted(page: Page, site: Site, event: str, carrier: str) -> None:
    script = """([event, carrier, name, base64]) => {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], "probe.png"));
        document.body.dispatchEvent(new window[event](name, { [carrier]: data, bubbles: true, cancelable: true }));
    }"""
    name = "drop" if event == "DragEvent" else "paste"
    page.evaluate(script, [event, carrier, name, base64.b64encode(site.picture).decode()])
    assert answered(page, site)["similarity"]["neighbours"][0]["relation"] == "identical"
    expect(page.locator("#preview figcaption")).to_contain_text("probe.png")


def test_a_copy_in_another_format_is_shown_first_as_a_near_duplicate(page: Page, site: Site) -> None:
    page.locator("#k").fill("1")
    choose(page, "copy.jpg", picture(2, "JPEG"))
    similarity = answered(page, site)["similarity"]

    assert (similarity["reason"], similarity["neighbours"][0]["entry"]["id"]) == ("near_duplicate_image", 2)
    first = rows(page)[0]
    assert first["Entry"].split()[:2] == ["entry", "2"]
    assert first["Relation"].startswith("near duplicate")
    assert "of 256 bits" in first["Relation"]
    shown = page.get_by_role("article", name="Similarity").locator("[data-slot=nearest]")
    expect(shown).to_have_text(f"{max(each['cosine_similarity'] for each in similarity['neighbours']):.3f}")


def test_what_the_browser_cannot_display_is_looked_up_all_the_same(page: Page, site: Site) -> None:
    choose(page, "scan.tif", picture(1, "TIFF"))
    assert answered(page, site)["probe"]["format"] == "tiff"
    expect(page.locator("#preview .undisplayable")).to_be_visible()
    expect(page.locator("#preview img")).to_be_hidden()


def test_the_choice_of_kind_corpora_and_k_reaches_the_search(page: Page, site: Site) -> None:
    page.get_by_label("Kind", exact=True).select_option("known real images")
    expect(page.get_by_role("checkbox", name="casework")).to_be_disabled()
    page.get_by_role("checkbox", name="photographs").check()
    page.get_by_label("Nearest entries listed").fill("1")
    choose(page, "fake.png", site.picture)
    answer = answered(page, site)
    assert answer["similarity"]["filter"]["corpora"] == ["photographs"]
    assert answer["similarity"]["filter"]["kind"] == "known_real"
    assert [row["Corpus"].split()[0] for row in rows(page)] == ["photographs"]
    expect(page.locator("#similarity .question")).to_have_text("Is the image near to known real images?")


def test_an_empty_service_says_how_to_ingest(context: BrowserContext, tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _):
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#empty")).to_contain_text("lineup ingest DIR --corpus NAME")
        choose(page, "probe.png", picture(1))
        expect(page.locator("#similarity .word")).to_have_text("Inconclusive")
        expect(page.locator("#no-neighbours")).to_be_visible()
        page.close()


def test_without_script_the_form_still_asks_and_the_page_says_how(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url)
    assert "lineup search IMAGE" in page.content()
    page.locator("#image").set_input_files([upload("fake.png", site.picture)])
    with page.expect_navigation(url="**/v1/lookups") as navigation:
        page.get_by_role("button", name="Look up").click()
    assert navigation.value.json()["similarity"]["neighbours"][0]["relation"] == "identical"
    context.close()


def test_every_control_has_a_name_and_the_chooser_is_reached_by_keyboard(page: Page) -> None:
    nameless = "controls => controls.filter(c => !(c.labels?.length || c.textContent.trim())).map(c => c.outerHTML)"
    assert page.locator("input, select, button").evaluate_all(nameless) == []
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).inner_text() == "Lineup"
    with page.expect_file_chooser():
        page.keyboard.press("Tab")  # the skip link
        page.keyboard.press("Tab")
        expect(page.locator("#image")).to_be_focused()
        assert page.locator("#drop").evaluate("drop => getComputedStyle(drop).outlineStyle") == "solid"
        page.keyboard.press("Space")


def test_nothing_is_wider_than_a_small_telephone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    choose(page, "a-long-name-without-any-place-to-break-" * 4 + ".png", site.picture)
    answered(page, site)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_known_fake_is_shown_with_two_verdicts_and_itself_as_the_nearest_entry(
    page: Page, overheard: Overheard, site: Site
) -> None:
    choose(page, "fake.png", site.picture)
    answer = answered(page, site)
    classifier, method = answer["classifier"], answer["method"]

    shown = page.get_by_role("article", name="Classifier")
    expect(shown.locator(".word")).to_have_text(classifier["verdict"].capitalize())
    expect(shown.locator("[data-slot=logit]")).to_have_text(f"{classifier['logit']:+.2f}")
    expect(shown).to_contain_text(classifier["calibration"])
    shown = page.get_by_role("article", name="Similarity")
    expect(shown.locator(".word")).to_have_text("Similar to known fakes")
    expect(shown.locator("[data-slot=threshold]")).to_have_text("0.900")
    expect(shown).to_contain_text("LINEUP_SIMILARITY_THRESHOLD")
    expect(shown.locator("[data-slot=searched]")).to_have_text("3")
    expect(page.get_by_role("status")).to_contain_text("similarity: Similar to known fakes.")

    first = rows(page)[0]
    assert len(rows(page)) == 3
    assert first["Cosine similarity"] == "1.000"
    assert first["Relation"].startswith("identical")
    assert first["Corpus"].split("\n") == ["casework", "known fake"]
    assert first["Generator"] == "sdxl"
    assert first["Entry"].split() == ["entry", "1", answer["probe"]["sha256"][:12] + "…"]
    for thumbnail in page.locator("#neighbours img").all():
        thumbnail.scroll_into_view_if_needed()
        assert thumbnail.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert thumbnail.evaluate("image => image.offsetHeight <= image.parentElement.clientHeight")
    expect(page.locator("#preview img")).to_have_js_property("naturalWidth", 320)

    repeat = page.locator("#method")
    expect(repeat).to_contain_text(answer["probe"]["sha256"])
    for told in (method["embedding_space"], method["index_digest"], method["model"], "exact search"):
        expect(repeat).to_contain_text(told)
    assert "%" not in page.locator("#answer").inner_text()
    assert overheard.console == []
    assert overheard.errors == []
    assert overheard.failed == []
    assert overheard.foreign(site.url) == []
