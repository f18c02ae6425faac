"""The compare view in a real browser: one picture lies over the other where the answer says so."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from playwright.sync_api import Browser, FilePayload, Page, expect

from api.settings import Settings
from embedder.copies.features import can_extract
from index.copies import Symmetry
from tests.clients import NO_BROWSER
from tests.conftest import unavailable
from tests.functional.browsing import serving

pytestmark = pytest.mark.browser

Matrix = NDArray[np.float64]
TRANSPOSES = {
    Symmetry.MIRRORED: Image.Transpose.FLIP_LEFT_RIGHT,
    Symmetry.FLIPPED: Image.Transpose.FLIP_TOP_BOTTOM,
    Symmetry.TURNED_90: Image.Transpose.ROTATE_270,  # Pillow turns the other way
    Symmetry.TURNED_180: Image.Transpose.ROTATE_180,
    Symmetry.TURNED_270: Image.Transpose.ROTATE_90,
    Symmetry.TRANSPOSED: Image.Transpose.TRANSPOSE,
    Symmetry.TRANSVERSED: Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True)
class Site:
    """A running server with one known fake whose thumbnail is kept, and one without."""

    url: str
    kept: dict[str, Any]
    unkept: dict[str, Any]


@dataclass
class Overheard:
    """What the browser said and asked for."""

    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def draw_known() -> Image.Image:
    """A picture whose every part differs from its mirror images: colours in a field of 8 x 6."""
    rough = np.random.default_rng(5).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((320, 240), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format_: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


def upload(data: bytes, name: str = "probe.png") -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("compare"), device="cpu")
    with serving(settings) as (url, _):
        client = httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=60)
        with client:
            answers = []
            for keep in ("thumbnail", "none"):
                corpus = {"name": f"keeps-{keep}", "kind": "known_fake", "keep": keep}
                client.post("/v1/corpora", json=corpus).raise_for_status()
                picture = draw_known() if keep == "thumbnail" else ImageOps.invert(draw_known())
                sent = {"image": ("a.png", encode(picture))}
                client.post(f"/v1/corpora/{corpus['name']}/entries", files=sent).raise_for_status()
                found = client.post("/v1/lookups", files=sent).raise_for_status().json()
                answers.append(found)
        yield Site(url, *answers)


@pytest.fixture
def overheard() -> Overheard:
    return Overheard()


@pytest.fixture
def page(browser: Browser, site: Site, overheard: Overheard) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    context.on("console", lambda message: overheard.said.append(message.text))
    context.on("weberror", lambda error: overheard.said.append(str(error.error)))
    context.on("request", lambda request: overheard.requests.append(request.url))
    page = context.new_page()
    page.goto(site.url)
    yield page
    context.close()


def correspondence(homography: Matrix, **others: Any) -> dict[str, Any]:
    return {
        "inliers": 85,
        "matches": 120,
        "homography": (homography / homography[2, 2]).ravel().tolist(),
        "scale": 1.0,
        "rotation_degrees": 0.0,
        "mirrored": False,
        "probe_covered": 0.9,
        "entry_covered": 1.0,
    } | others


def compare(
    page: Page, answer: dict[str, Any], probe: bytes, name: str = "probe.png", **neighbour: Any
) -> None:
    """Open the view on the first neighbour of an answer in which it says something else."""
    changed = json.loads(json.dumps(answer))
    changed["similarity"]["neighbours"][0] |= neighbour
    page.route(
        "**/v1/lookups",
        lambda route: route.fulfill(body=json.dumps(changed), content_type="application/json"),
    )
    page.locator("#image").set_input_files([upload(probe, name)])
    expect(page.locator("#answer")).to_be_visible()
    page.locator("#neighbours .compare").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def photograph(page: Page, pane: str, mix: int) -> NDArray[np.float32]:
    """The pixels of a pane's frame with this share of the upper picture, (h, w, 3)."""
    page.wait_for_function(
        "[...document.querySelectorAll('#compare img')].every(each => each.complete)"
    )
    page.get_by_label("Outline").uncheck()
    page.get_by_label("Upper picture").fill(str(mix))
    shot = page.locator(f"#compare [data-pane={pane}] .frame").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.float32)


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The mean difference of two screenshots, 0 to 255, without their edges."""
    high, wide = one.shape[0] // 10, one.shape[1] // 10
    inner = (slice(high, -high), slice(wide, -wide))
    return float(np.abs(one[inner] - other[inner]).mean())


def test_matrices_in_the_browser_are_those_of_numpy(page: Page) -> None:
    random = np.random.default_rng(3)
    matrices = [np.eye(3) + random.uniform(-0.3, 0.3, (3, 3)) for _ in range(20)]
    point = [0.3, 0.8]
    found = page.evaluate(
        """async ([matrices, point]) => {
            const overlay = await import("./static/overlay.js");
            return matrices.map((matrix) => ({
                inverse: overlay.invert(matrix),
                product: overlay.multiply(matrix, matrices[0]),
                place: overlay.apply(matrix, point),
            }));
        }""",
        [[matrix.ravel().tolist() for matrix in matrices], point],
    )
    for matrix, each in zip(matrices, found, strict=True):
        inverse, product = np.linalg.inv(matrix), matrix @ matrices[0]
        assert np.allclose(np.reshape(each["inverse"], (3, 3)), inverse)
        assert np.allclose(np.reshape(each["product"], (3, 3)), product)
        mapped = matrix @ [*point, 1.0]
        assert np.allclose(each["place"], mapped[:2] / mapped[2])


def test_matrices_that_show_nothing_are_refused(page: Page) -> None:
    matrices = [[1, 0, 0, 1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0, -2, 0, 1], [0] * 9, [1e308] * 9]
    placed = page.evaluate(
        """async (matrices) => {
            const { placeNeighbour } = await import("./static/overlay.js");
            const copies = matrices.map((homography) => ({ correspondence: { homography } }));
            return copies.map((copy) => placeNeighbour({ copy_evidence: copy }));
        }""",
        matrices,
    )
    assert placed == [None] * len(matrices)


@pytest.mark.parametrize("symmetry", [Symmetry.MIRRORED, Symmetry.TURNED_90])
def test_a_view_of_the_hash_lays_the_known_picture_where_it_looks_the_same(
    page: Page, site: Site, symmetry: Symmetry
) -> None:
    turned = draw_known().transpose(TRANSPOSES[symmetry])
    bordered = Image.new("RGB", (turned.width * 2, turned.height + 80), "navy")
    bordered.paste(turned, (turned.width // 2, 30))
    part = {
        "left": 0.25,
        "top": 30 / bordered.height,
        "right": 0.75,
        "bottom": (30 + turned.height) / bordered.height,
    }
    view = {"symmetry": symmetry.value, "part": part}

    compare(page, site.kept, encode(bordered), relation="near_duplicate", copy_evidence=view)

    expect(page.get_by_role("dialog")).to_contain_text("The place is that of the view")
    alone, over = photograph(page, "probe", 0), photograph(page, "probe", 100)
    assert difference(alone, over) < 3
    assert difference(alone, alone[:, ::-1]) > 20  # the picture would show a wrong place


def test_each_symmetry_takes_the_corners_to_where_pillow_takes_them(page: Page) -> None:
    corners = Image.new("L", (2, 2))
    corners.putdata([0, 1, 3, 2])  # the number of each corner, clockwise from the top left
    places = page.evaluate(
        """async (names) => {
            const { matrixOfView, outlineOf } = await import("./static/overlay.js");
            return names.map((symmetry) => outlineOf(matrixOfView({ symmetry, part: null })));
        }""",
        [each.value for each in TRANSPOSES],
    )
    for (symmetry, transpose), found in zip(TRANSPOSES.items(), places, strict=True):
        looked = corners.transpose(transpose)
        moved = [looked.getpixel((int(x), int(y))) for x, y in found]
        assert moved == [0, 1, 2, 3], symmetry


def test_a_view_that_is_taken_for_a_crop_lies_on_the_part_that_was_kept(page: Page) -> None:
    """The left half of the picture after a quarter turn shows its lower half."""
    view = {
        "symmetry": Symmetry.TURNED_90.value,
        "part": {"left": 0.5, "top": 0.5, "right": 1, "bottom": 1},
        "kept": {"left": 0, "top": 0, "right": 0.5, "bottom": 1},
    }
    corners = page.evaluate(
        """async (view) => {
            const { apply, matrixOfView } = await import("./static/overlay.js");
            const toProbe = matrixOfView(view);
            return [[0, 0.5], [1, 1]].map((corner) => apply(toProbe, corner));
        }""",
        view,
    )
    assert corners == [[1.0, 0.5], [0.5, 1.0]]


@pytest.mark.parametrize("pane", ["probe", "entry"])
def test_a_correspondence_lays_either_picture_over_the_other(
    page: Page, site: Site, overheard: Overheard, pane: str
) -> None:
    """The probe is a part of the known picture, mirrored and seen from the side."""
    known = draw_known()
    # of the corners of the probe's part: in fractions of the known picture, from right to left
    to_known = np.array([[-0.6, 0.05, 0.9], [0.02, 0.7, 0.1], [0.1, 0.15, 1.0]])
    pixels = np.diag([320.0, 240.0, 1.0])
    inverse = pixels @ to_known @ np.diag([1 / 300, 1 / 200, 1.0])
    probe = known.transform(
        (300, 200),
        Image.Transform.PERSPECTIVE,
        (inverse / inverse[2, 2]).ravel()[:8].tolist(),
        Image.Resampling.BICUBIC,
    )
    found = correspondence(np.linalg.inv(to_known), mirrored=True, entry_covered=0.4)

    compare(
        page,
        site.kept,
        encode(probe),
        relation="edited_copy",
        copy_evidence={"correspondence": found},
    )

    expect(page.get_by_label("the probe over the known picture")).to_be_checked()
    page.get_by_label("over the probe" if pane == "probe" else "over the known picture").check()
    alone, over = photograph(page, pane, 0), photograph(page, pane, 100)
    assert difference(alone, over) < 4
    assert overheard.said == []
    assert [each for each in overheard.requests if not each.startswith(("blob:", site.url))] == []


def draw_shapes() -> Image.Image:
    """A picture with many corners and edges, and no symmetry."""
    random = np.random.default_rng(1)
    image = Image.new("RGB", (400, 300), "grey")
    draw = ImageDraw.Draw(image)
    for _ in range(160):
        x, y, wide, high = random.integers((0, 0, 3, 3), (400, 300, 30, 30))
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        draw.ellipse([x - wide, y - high, x + wide, y + high], fill=colour)
    return image


def test_a_real_look_up_of_a_crop_in_a_frame_lays_it_where_it_was_cut_from(
    page: Page, site: Site, overheard: Overheard
) -> None:
    """From the stored thumbnail over the look-up's geometry to the pixels on the screen."""
    if not can_extract():
        unavailable("OpenCV is not installed")
    known = draw_shapes()
    added = httpx.post(
        f"{site.url}/v1/corpora/keeps-thumbnail/entries",
        files={"image": ("shapes.png", encode(known))},
        headers=NO_BROWSER,
        trust_env=False,
        timeout=60,
    )
    entry = added.raise_for_status().json()["entry"]
    cut = ImageOps.mirror(known.crop((80, 30, 340, 260))).resize((520, 460))
    probe = Image.new("RGB", (640, 600), "white")
    probe.paste(cut, (60, 70))
    page.locator("#image").set_input_files([upload(encode(probe))])
    expect(page.locator("#answer")).to_be_visible(timeout=60_000)

    row = page.locator("#neighbours tbody tr", has_text=f"entry {entry['id']}")
    expect(row).to_have_attribute("data-relation", "edited_copy")
    expect(row).to_contain_text("mirrored")
    expect(page.locator("#similarity .word")).to_have_text("Similar to known fakes")
    row.get_by_role("button").click()
    page.get_by_label("the probe over the known picture").check()
    shot, alone = photograph(page, "entry", 100), photograph(page, "entry", 0)
    # Within the part that was cut, in fractions of the known picture.
    high, wide = shot.shape[0], shot.shape[1]
    inner = (slice(int(0.15 * high), int(0.8 * high)), slice(int(0.25 * wide), int(0.8 * wide)))
    assert np.abs(shot[inner] - alone[inner]).mean() < 12
    assert np.abs(shot[inner] - alone[inner][:, ::-1]).mean() > 40
    outside = (slice(0, high), slice(int(0.9 * wide), wide))
    assert np.abs(shot[outside] - alone[outside]).mean() > 20  # the frame lies there
    assert [each for each in overheard.said if "404" not in each] == []  # an entry has no thumbnail


def test_words_say_to_a_screen_reader_what_lies_where(page: Page, site: Site) -> None:
    found = correspondence(np.diag([0.9, 0.9, 1.0]), probe_covered=0.81, entry_covered=1.0)
    compare(
        page,
        site.kept,
        encode(draw_known()),
        relation="edited_copy",
        copy_evidence={"correspondence": found},
    )

    dialog = page.get_by_role("dialog", name="The probe and entry 1")
    expect(dialog).to_have_accessible_description(
        "Laid like this they overlap in 81 % of the probe and 100 % of the known picture. "
        "85 of 120 pairs of local features fit. "
        "The place is computed from local features that both pictures share."
    )
    slider = dialog.get_by_role("slider", name="Upper picture")
    slider.fill("30")
    expect(slider).to_have_attribute(
        "aria-valuetext", "30 % of the known picture, laid over the probe"
    )
    for picture in dialog.get_by_role("img").all():
        assert picture.get_attribute("alt") in {"The probe", "Thumbnail of entry 1"}


def test_the_keyboard_alone_opens_mixes_blinks_and_closes(page: Page, site: Site) -> None:
    found = correspondence(np.eye(3))
    compare(
        page,
        site.kept,
        encode(draw_known()),
        relation="edited_copy",
        copy_evidence={"correspondence": found},
    )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    opener = page.locator("#neighbours .compare").first
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")

    over = page.locator("#compare [data-pane=probe] .upper")
    page.get_by_label("Upper picture").focus()
    page.keyboard.press("ArrowRight")
    expect(over).to_have_css("opacity", "0.55")
    page.keyboard.press("Home")
    expect(over).to_have_css("opacity", "0")
    blink = page.get_by_role("button", name="Blink")
    blink.focus()
    page.keyboard.press("Space")
    expect(blink).to_have_attribute("aria-pressed", "true")
    for opacity in ("1", "0"):  # looked at in each frame: a locator looks once a second
        page.wait_for_function(
            "([image, opacity]) => image.style.opacity === opacity",
            arg=[over.element_handle(), opacity],
        )
    page.keyboard.press("Space")
    expect(blink).to_have_attribute("aria-pressed", "false")
    page.emulate_media(reduced_motion="reduce")
    page.get_by_label("Upper picture").fill("0")
    blink.press("Space")
    expect(blink).to_have_attribute("aria-pressed", "false")  # it changes once, and stays
    expect(over).to_have_css("opacity", "1")
    page.get_by_label("Zoom").focus()
    before = page.locator("#compare [data-pane=probe] .frame").bounding_box()
    page.keyboard.press("End")
    after = page.locator("#compare [data-pane=probe] .frame").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] == pytest.approx(8 * before["width"], rel=0.01)


def test_pictures_without_a_transform_stand_side_by_side_and_scroll_together(
    page: Page, site: Site
) -> None:
    compare(page, site.kept, encode(draw_known()), relation="similar", copy_evidence=None)

    expect(page.get_by_label("side by side")).to_be_checked()
    expect(page.get_by_label("the known picture over the probe")).to_be_disabled()
    expect(page.get_by_role("button", name="Blink")).to_be_disabled()
    expect(page.get_by_role("dialog")).to_contain_text(
        "No transform between the two pictures is known"
    )
    page.get_by_label("Zoom").fill("4")
    first, second = page.locator("#compare .scroller").all()
    first.evaluate("each => each.scrollTo(each.scrollWidth, each.scrollHeight)")
    page.wait_for_function(
        "each => each.scrollLeft > 0 && each.scrollTop > 0", arg=second.element_handle()
    )


def test_where_no_thumbnail_is_kept_the_outline_and_the_words_stay(page: Page, site: Site) -> None:
    found = correspondence(np.diag([0.5, 0.5, 1.0]))
    probe = encode(draw_known(), "TIFF")  # nor does the browser know the probe's format
    compare(
        page,
        site.unkept,
        probe,
        "a.tif",
        relation="edited_copy",
        copy_evidence={"correspondence": found},
    )

    expect(page.locator("#compare [data-pane=probe] .unshown")).to_be_visible()
    outline = page.locator("#compare [data-pane=probe] polygon").last
    expect(outline).to_be_visible()
    expect(outline).to_have_attribute("points", "0,0 0.5,0 0.5,0.5 0,0.5")
    page.get_by_label("the probe over the known picture").check()
    expect(page.locator("#compare [data-pane=entry] .unshown")).to_contain_text("no thumbnail")


@pytest.mark.parametrize("width", [360, 900])
def test_the_view_fits_its_window(page: Page, site: Site, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    found = correspondence(np.eye(3))
    compare(
        page,
        site.kept,
        encode(draw_known()),
        relation="edited_copy",
        copy_evidence={"correspondence": found},
    )
    for choice in ("the probe over the known picture", "side by side"):
        page.get_by_label(choice).check()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        fits = "each => each.scrollWidth <= each.clientWidth"
        assert page.locator("#compare").evaluate(fits)
        for frame in page.locator("#compare .frame:visible").all():
            box = frame.bounding_box()
            assert box is not None
            assert box["width"] > 100


def test_the_nearest_fake_and_the_nearest_photograph_are_compared_one_after_the_other(
    page: Page, site: Site
) -> None:
    answer = json.loads(json.dumps(site.kept))
    answer["similarity"]["nearest_known_real"] = site.unkept["similarity"]["neighbours"][0]
    compare(page, answer, encode(draw_known()))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 of ")
    page.keyboard.press("Escape")
    page.locator("#evidence figure").first.get_by_role("button").click()
    expect(dialog).to_have_accessible_name("The probe and entry 1")
    page.get_by_label("Zoom").fill("3")
    page.get_by_role("button", name="Next").click()
    expect(dialog).to_have_accessible_name("The probe and entry 2")
    expect(page.get_by_label("Zoom")).to_have_value("3")  # it survives the change
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


def test_a_new_probe_closes_the_view_of_the_last_one(page: Page, site: Site) -> None:
    compare(page, site.kept, encode(draw_known()))
    page.locator("#image").set_input_files([upload(encode(ImageOps.mirror(draw_known())))])
    expect(page.get_by_role("dialog")).to_be_hidden()
