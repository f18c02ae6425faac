"""One look-up on three surfaces: the page, the terminal and the JSON say the same in the same
words, and what must be read first comes first on each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Locator, Page, expect

from api.lookups.answers.names import VERDICT_NAMES
from api.settings import Settings
from tests.functional.browsing import serving
from tests.functional.shelves import encoded, picture
from tests.functional.terminal import answer, lineup

pytestmark = pytest.mark.browser

PER_KIND = 12  # photographs and fakes; a calibration needs ten of them
FIRST_FAKE = 1_000


def make_fake(seed: int) -> Image.Image:
    return picture(FIRST_FAKE + seed).filter(ImageFilter.GaussianBlur(2))


# A known fake, the same picture compressed, and pictures of neither corpus.
PROBES = {
    "known.png": encoded(make_fake(0), "PNG"),
    "copy.jpg": encoded(make_fake(1), "JPEG", quality=70),
    "new.png": encoded(make_fake(500), "PNG"),
    "photograph.jpg": encoded(picture(7_000), "JPEG", quality=90),
}


def write_pictures(folder: Path) -> Path:
    for kind, make in (("fakes", make_fake), ("reals", picture)):
        (folder / kind).mkdir(parents=True)
        for seed in range(PER_KIND):
            (folder / kind / f"{seed}.png").write_bytes(encoded(make(seed), "PNG"))
    for name, data in PROBES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module", params=["fakes only", "calibrated"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a data folder over them. The first one has no known-real images."""
    folder = write_pictures(tmp_path_factory.mktemp("surfaces"))
    data = folder / "data"
    answer(data, "ingest", folder / "fakes", "--corpus", "fakes", "--generator", "blur")
    if request.param == "calibrated":
        known_real = ("--corpus", "reals", "--kind", "known_real")
        answer(data, "ingest", folder / "reals", *known_real)
        answer(data, "calibrate", "--condition", "jpeg75")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(Settings(data_dir=folder / "data", device="cpu", server_works=False)) as (url, _):
        yield url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(url)
    yield page
    page.close()


def look_up(page: Page, folder: Path, name: str) -> str:
    """Return the id of the look-up that the page shows."""
    page.locator("#image").set_input_files(folder / name)
    expect(page.locator("#answer")).to_be_visible(timeout=60_000)
    return page.locator("#method").get_by_role("link").inner_text()


def text_of(shown: Locator) -> str:
    """The text as it is written, whatever case the style gives it."""
    return (shown.text_content() or "").strip()


def words_of_json(found: dict[str, Any]) -> list[str]:
    """All sentences of an answer, in the order of the terminal."""
    verdicts = [found[each]["explanation"] for each in ("classifier", "similarity")]
    caution = [found["caution"]] if found["caution"] else []
    return [*caution, *verdicts, *(each["words"] for each in found["statements"])]


def words_of_page(page: Page) -> dict[str, str | list[str]]:
    return {
        "caution": text_of(page.locator("#casework")),
        "names": [text_of(page.locator(f"#{each} .word")) for each in ("classifier", "similarity")],
        "reasons": [
            text_of(page.locator(f"#{each} .reason")) for each in ("classifier", "similarity")
        ],
        "statements": page.locator("#statements [data-slot=words]").all_text_contents(),
        "next step": text_of(page.locator("#next-step")),
        "not looked for": text_of(page.locator("#not-looked-for")),
    }


@pytest.mark.parametrize("name", PROBES)
def test_the_page_the_terminal_and_the_json_say_the_same_in_the_same_words(
    page: Page, folder: Path, name: str
) -> None:
    lookup_id = look_up(page, folder, name)
    found = answer(folder / "data", "show", lookup_id)
    printed = lineup(folder / "data", "show", lookup_id).stdout
    shown = words_of_page(page)

    sentences = words_of_json(found)
    assert len(sentences) >= 3
    places = [printed.find(each) for each in sentences]
    assert -1 not in places
    assert places == sorted(places)  # the caution first, then the verdicts, then the evidence

    beside_verdict = ("next step", "copies")
    evidence = [each for each in found["statements"] if each["topic"] not in beside_verdict]
    verdicts = [found[each]["verdict"] for each in ("classifier", "similarity")]
    names = [VERDICT_NAMES[each] for each in verdicts]
    next_step = found["similarity"]["next_step"] or ""
    assert shown == {
        "caution": found["caution"],
        "names": [each.capitalize() for each in names],
        "reasons": [found[each]["explanation"] for each in ("classifier", "similarity")],
        "statements": [each["words"] for each in evidence],
        "next step": next_step.replace("`", ""),  # code on the page
        "not looked for": (found["copies"]["not_looked_for"] or "").replace("`", ""),
    }
    classifier, similarity = printed.splitlines()[2:4]
    assert classifier.startswith(f"  classifier  {names[0]}, logit ")
    assert similarity.startswith(f"  similarity  {names[1]}: ")


def test_the_caution_of_a_model_that_is_not_for_casework_comes_before_every_verdict(
    page: Page, folder: Path
) -> None:
    caution = "not for casework"
    expect(page.locator("#introduction")).to_contain_text(caution)
    found = answer(folder / "data", "show", look_up(page, folder, "new.png"))
    assert caution in found["caution"]
    tops = [
        page.locator(each).evaluate("element => element.getBoundingClientRect().top")
        for each in ("#casework", "#classifier .word")
    ]
    assert tops[0] < tops[1]
    expect(page.get_by_role("status")).to_contain_text(found["caution"])
    keys = list(found)
    assert keys.index("caution") < keys.index("classifier")

    many = lineup(folder / "data", "search", *(folder / name for name in PROBES))
    assert many.stdout.count(caution) == 1
    assert many.stdout.index(caution) < many.stdout.index("known.png")


def test_what_is_missing_is_said_before_any_look_up_in_the_words_of_doctor(
    page: Page, folder: Path
) -> None:
    found = answer(folder / "data", "doctor")["findings"]
    advice = [each for each in found if each["topic"] == "calibration" and each["level"] != "ok"]
    assert advice  # twelve photographs support no threshold
    shown = page.locator("#missing li[data-topic=calibration]")
    assert shown.locator(".says").all_text_contents() == [each["words"] for each in advice]
    steps = [each["next_step"].replace("`", "") for each in advice if each["next_step"]]
    assert shown.locator(".next-step").all_text_contents() == steps
    assert shown.locator("code").first.inner_text().startswith("lineup ")
    tops = [
        page.locator(each).evaluate("element => element.getBoundingClientRect().top")
        for each in ("#missing", "#introduction")
    ]
    assert tops[0] < tops[1]
    look_up(page, folder, "new.png")
    expect(page.locator("#missing")).to_have_count(0)


def test_no_surface_calls_anything_authentic(page: Page, folder: Path) -> None:
    seen = [look_up(page, folder, name) for name in itertools.islice(PROBES, 2)]
    texts = [page.locator("body").inner_text()]
    texts += [lineup(folder / "data", "show", each).stdout for each in seen]
    assert [text for text in texts if "authentic" in text.lower()] == []
