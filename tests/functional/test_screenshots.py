"""Real screenshots, taken by Chromium of a page with photographs, and what their delivery is
called.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.file_metadata.reading import read_file_metadata
from embedder.pictures.decode import decode
from embedder.pictures.delivery import Condition, condition_of, delivery_of

pytestmark = pytest.mark.browser

POST = """<!doctype html><style>
  body { margin: 0; font: 16px sans-serif } header { padding: 16px; border-bottom: 1px solid #ccc }
  p { padding: 0 12px } img { display: block; width: WIDTH }
</style><header>Pictures <b>Home</b></header><p>somebody, 3 hours ago</p><img src="PICTURE">
<p>Liked by 31 people. We came by train.</p>"""
# Name, width and height in CSS pixels, and pixels of the screen to a CSS pixel.
TELEPHONE, DESKTOP, WINDOW = (390, 844, 3), (1920, 1080, 1), (1043, 777, 1)
PHOTOGRAPHS = {each.name: each.image for each in load_bundled_photographs()}


@pytest.fixture
def show(browser: Browser) -> Callable[..., Page]:
    def open_page(screen: tuple[int, int, int], name: str, width: str = "100%") -> Page:
        encoded = io.BytesIO()
        PHOTOGRAPHS[name].save(encoded, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
        page = browser.new_page(
            viewport={"width": screen[0], "height": screen[1]}, device_scale_factor=screen[2]
        )
        page.set_content(POST.replace("WIDTH", width).replace("PICTURE", address))
        return page

    return open_page


def recognise(data: bytes) -> Condition:
    return condition_of(delivery_of(data, decode(data), read_file_metadata(data)))


@pytest.mark.parametrize("screen", [TELEPHONE, DESKTOP], ids=["telephone", "desktop"])
def test_a_whole_screen_is_a_screenshot(
    show: Callable[..., Page], screen: tuple[int, int, int]
) -> None:
    with show(screen, "coffee", "300px") as page:
        assert recognise(page.screenshot()) is Condition.SCREENSHOT


@pytest.mark.parametrize("screen", [TELEPHONE, DESKTOP, WINDOW], ids=str)
def test_a_screenshot_cut_to_its_picture_is_one_where_the_picture_was_sampled_anew(
    show: Callable[..., Page], screen: tuple[int, int, int]
) -> None:
    with show(screen, "chelsea") as page:
        assert recognise(page.locator("img").screenshot()) is Condition.SCREENSHOT


def test_a_picture_cut_out_at_its_own_size_is_as_it_was(show: Callable[..., Page]) -> None:
    with show(DESKTOP, "chelsea", "auto") as page:
        cut_out = page.locator("img").screenshot()
    assert Image.open(io.BytesIO(cut_out)).size == PHOTOGRAPHS["chelsea"].size
    assert recognise(cut_out) is Condition.AS_IS
