"""The README and its pages held against the product, on the demonstration's data.

After an intended change, `LINEUP_WRITE_DOCS=1 python -m pytest tests/functional/test_readme.py`
writes the outputs and the picture of the page anew.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from api.settings import Settings
from api.terminal import app
from tests.functional.browsing import serving
from tests.functional.conftest import DEMONSTRATION_ENVIRONMENT
from tests.functional.transcripts import Command, commands_of, is_same_output, write_outputs

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("investigate", "copies", "keep-a-corpus", "api", "backup")
    ),
]
PICTURE = ROOT / "docs" / "images" / "page.png"
MOST_PICTURE_BYTES = 150_000
PICTURED_PROBE = "lineup-demo/images/probes/chelsea-fake-3.png"
WRITES = os.environ.get("LINEUP_WRITE_DOCS") == "1"
REWRITTEN = (
    "if this was intended: LINEUP_WRITE_DOCS=1 python -m pytest tests/functional/test_readme.py"
)
ADDRESS = "http://127.0.0.1:8787"
DEMONSTRATION = "make demo"
# Commands that stay: they are named and checked elsewhere, but not run here.
NOT_RUN = ("lineup serve", "make ")

SCREEN_WIDTH, SCREEN_HEIGHT = 1280, 832
# The words on the page, in the order of the page, and whether each is in the window.
WORDS = """() => {
    const words = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const range = document.createRange();
        range.selectNodeContents(node);
        const box = range.getClientRects()[0];
        const text = node.textContent.trim().replace(/\\s+/g, " ");
        const shown = box && box.width > 1 && node.parentElement.checkVisibility();
        if (text && shown) {
            words.push([text, box.top >= 0 && box.bottom <= innerHeight]);
        }
    }
    return words;
}"""


Transcript = list[tuple[Command, list[str]]]


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[pytest.MonkeyPatch]:
    """The terminal in which the demonstration ran."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in DEMONSTRATION_ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("LINEUP_OFFLINE", "true")
        # As a reader has it. The demonstration's data have no vectors of a copy descriptor, so it
        # does not matter which one is installed.
        patch.setenv("LINEUP_COPY_DESCRIPTOR", "auto")
        yield patch


@pytest.fixture
def after_demo(demonstration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of this test's own in which the demonstration ran."""
    shutil.copytree(demonstration, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def transcript(page: Path, after_demo: Path, monkeypatch: pytest.MonkeyPatch) -> Transcript:
    """The commands of a page with what they print, on data of its own."""
    table = (after_demo / "printed").read_text(encoding="utf-8").splitlines()
    commands = list(commands_of(page.read_text(encoding="utf-8")))
    with ExitStack() as running:
        url = ""
        if any(command.words.startswith("curl ") for command in commands):
            url, _ = running.enter_context(serving(demonstration_settings()))
        return [(each, run(each.words, url, table, monkeypatch)) for each in commands]


def demonstration_settings() -> Settings:
    return Settings(data_dir=Path("lineup-demo/data"), device="cpu")


def run(words: str, url: str, table: list[str], environment: pytest.MonkeyPatch) -> list[str]:
    """What a command prints; one that cannot run here prints nothing."""
    if words == DEMONSTRATION:
        return table
    if words.startswith(NOT_RUN):
        return []
    if words.startswith("export "):
        for assignment in shlex.split(words)[1:]:
            name, value = assignment.split("=", 1)
            if name != "PATH":
                environment.setenv(name, value)
        return []
    if words.startswith("curl "):
        return run_curl(words.replace(ADDRESS, url)).splitlines()
    assert words.startswith("lineup "), f"{words}: no test runs this command"
    return run_lineup(words.removeprefix("lineup "))


def run_lineup(words: str) -> list[str]:
    done = CliRunner().invoke(app, shlex.split(words))
    assert done.exit_code == 0, f"lineup {words}: {done.stderr}"
    return done.stdout.splitlines()


def run_curl(words: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [*shlex.split(words), "--silent", "--show-error", "--fail-with-body", "--noproxy", "*"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
    return done.stdout


def test_the_commands_run_and_print_what_the_page_shows(page: Path, transcript: Transcript) -> None:
    if WRITES:
        write_outputs(page, [lines for _, lines in transcript])
    for command, lines in transcript:
        if command.shown and not WRITES:
            printed = "\n".join(lines)
            assert is_same_output(command.shown, lines), f"{command.line}\n{printed}\n{REWRITTEN}"


def test_a_changed_output_would_be_noticed() -> None:
    shown = ["job 1 completed  mine: 112 found", "  1.1 s, 98.8 items/s"]

    assert is_same_output(shown, ["job 1 completed  mine:  112 found", "  7 s, 12.0 items/s"])
    assert is_same_output([shown[0], "..."], [*shown, "more"])
    assert not is_same_output(shown, ["job 1 completed  mine: 113 found", "  1.1 s, 98.8 items/s"])
    assert not is_same_output(shown, ["job 1 failed  mine: 112 found", "  1.1 s, 98.8 items/s"])
    assert not is_same_output(["similarity 0.99"], ["similarity 0.91"])
    assert not is_same_output(shown, shown[:1])


def test_a_newcomer_meets_a_search_and_a_request_within_two_screens() -> None:
    first = README.read_text(encoding="utf-8").splitlines()[:80]

    assert any(line.startswith("$ lineup search") for line in first)
    assert any(line.startswith("$ curl") for line in first)


def test_the_first_search_is_the_easy_case() -> None:
    commands = commands_of(README.read_text(encoding="utf-8"))
    search = next(each for each in commands if each.words.startswith("lineup search"))

    assert "similar to known fakes" in "\n".join(search.shown)
    assert "identical" in "\n".join(search.shown)


@pytest.mark.usefixtures("after_demo")
def test_the_python_client_of_the_api_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    with serving(demonstration_settings()) as (url, _):
        exec(compile(code.replace(ADDRESS, url), "api.md", "exec"), {})

    first, *neighbours = capsys.readouterr().out.splitlines()
    assert first == "synthetic similar_to_known_fakes"
    assert neighbours[0].split() == ["identical", "demo-transposed", "1.0"]


@pytest.mark.browser
@pytest.mark.usefixtures("after_demo")
def test_the_page_shows_the_words_of_its_picture(browser: Browser) -> None:
    """The picture carries its words as a text chunk, so that nobody has to read pixels."""
    with serving(demonstration_settings()) as (url, _):
        pixels, words = photograph(browser, url)
    in_window = [text for text, is_in_window in words if is_in_window]
    data = small_png(pixels, in_window)
    if WRITES:
        PICTURE.write_bytes(data)

    assert {"Synthetic", "Similar to known fakes", "Nearest known fake"} <= set(in_window)
    assert set(words_of(PICTURE)) <= {mask(text) for text, _ in words}, REWRITTEN
    assert max(len(data), PICTURE.stat().st_size) < MOST_PICTURE_BYTES
    with Image.open(PICTURE) as picture:
        assert picture.size == (SCREEN_WIDTH, SCREEN_HEIGHT)


def photograph(browser: Browser, url: str) -> tuple[bytes, list[tuple[str, bool]]]:
    context = browser.new_context(
        viewport={"width": SCREEN_WIDTH, "height": SCREEN_HEIGHT}, color_scheme="light"
    )
    page = context.new_page()
    page.goto(url)
    page.locator("#image").set_input_files(PICTURED_PROBE)
    expect(page.locator("#answer")).to_be_visible(timeout=60_000)
    wait_for_images(page)
    taken = page.screenshot(), page.evaluate(WORDS)
    context.close()
    return taken


def wait_for_images(page: Page) -> None:
    """Those in the window; the browser loads the others when somebody scrolls to them."""
    page.wait_for_function("""() => [...document.images].every((each) => {
        const box = each.getBoundingClientRect();
        return each.complete || box.top > innerHeight || box.height === 0;
    })""")


def small_png(pixels: bytes, words: Sequence[str]) -> bytes:
    """In 128 colours, which are enough for text and three small pictures."""
    carried = PngImagePlugin.PngInfo()
    carried.add_text("words", "\n".join(mask(each) for each in words))
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(pixels)) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        few.save(buffer, "PNG", optimize=True, pnginfo=carried)
    return buffer.getvalue()


def mask(words: str) -> str:
    """Numbers differ in their last digits between processors; the words beside them do not."""
    return re.sub(r"\d+(?:[.,]\d+)*", "#", words)


def words_of(picture: Path) -> list[str]:
    with Image.open(picture) as image:
        return str(image.info["words"]).split("\n")
