"""The look-up page in a real browser:

Debian's Chromium, a real server on a free port, real SQLite, a real model.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect

from api.copies.stages import CopyStage, StageOutcome
from api.lookups.answers.copies_json import CopiesAnswer, CopyAnswer, StageAnswer
from api.lookups.answers.evidence_json import StatementAnswer
from api.lookups.answers.json import LookupAnswer
from api.lookups.answers.names import VERDICT_NAMES
from api.lookups.answers.rates_json import GeneratorHitsAnswer
from api.lookups.answers.robustness_json import (
    ReEncodingAnswer,
    RestsOnAnswer,
    StabilityAnswer,
    WithoutStrongest,
)
from api.lookups.answers.words import write_statements
from api.settings import Settings
from index.verdict import Relation, SimilarityOutcome, SimilarityReason
from tests.api.lookups import worded
from tests.clients import NO_BROWSER
from tests.functional.browsing import serving

pytestmark = pytest.mark.browser

QUEUE_SIZE = 12  # the ten re-encodings of a probe wait for the model at once
MAX_IMAGE_BYTES = 2**20
THRESHOLD = 0.9
BESIDE_VERDICT = ("next step", "copies")  # topics that do not stand with the evidence


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
    """A smooth colour field with grain, 320 x 256, upright for even seeds: large enough for every
    model here.
    """
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((320, 256))
    grain = random.integers(-12, 13, (256, 320, 3))
    pixels = np.clip(np.asarray(coarse, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels if seed % 2 else pixels.transpose(1, 0, 2)).save(buffer, format_)
    return buffer.getvalue()


def upload(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("page"),
        device="cpu",
        similarity_threshold=THRESHOLD,
        queue_size=QUEUE_SIZE,
        max_image_bytes=MAX_IMAGE_BYTES,
    )
    with serving(settings) as (url, app):
        with httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=60) as client:
            ingest(client, "casework", "known_fake", [1, 2, 3], generator="sdxl")
            ingest(client, "photographs", "known_real", [4, 5], generator=None)
        yield Site(url, app, picture(1))


def ingest(
    client: httpx.Client, corpus: str, kind: str, seeds: Sequence[int], generator: str | None
) -> None:
    client.post("/v1/corpora", json={"name": corpus, "kind": kind}).raise_for_status()
    for seed in seeds:
        form = {} if generator is None else {"generator": generator}
        image = {"image": (f"{seed}.png", picture(seed), "image/png")}
        client.post(f"/v1/corpora/{corpus}/entries", files=image, data=form).raise_for_status()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def overheard(context: BrowserContext) -> Overheard:
    overheard = Overheard()
    context.on(
        "console", lambda message: overheard.console.append(f"{message.type}: {message.text}")
    )
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
    """Wait for the answer on the page, and return the one that the service keeps under the id that
    it shows.
    """
    expect(page.locator("#answer")).to_be_visible()
    link = page.locator("#method").get_by_role("link")
    answer: dict[str, Any] = site.get(f"/v1/lookups/{link.inner_text()}")
    return answer


def rows(page: Page) -> list[dict[str, str]]:
    """The neighbours as the page shows them, by the labels of their cells."""
    script = (
        "row => Object.fromEntries([...row.cells].map(cell => [cell.dataset.label, "
        "cell.innerText.trim()]))"
    )
    return [row.evaluate(script) for row in page.locator("#neighbours tbody tr").all()]


def shown_words(page: Page) -> list[str]:
    """The words of the evidence, a row each."""
    return page.locator("#statements [data-slot=words]").all_inner_texts()


def re_encodings(page: Page) -> dict[str, str]:
    """Which limits each re-encoding crosses."""
    script = (
        "rows => Object.fromEntries(rows.map(row => [row.cells[0].innerText, "
        "row.cells[4].innerText]))"
    )
    shown: dict[str, str] = page.locator("#reencodings tbody tr").evaluate_all(script)
    return shown


def replying(page: Page, answer: LookupAnswer | dict[str, Any]) -> None:
    """Let the service answer so, whatever is asked."""
    text = answer.model_dump_json() if isinstance(answer, LookupAnswer) else json.dumps(answer)
    page.route(
        "**/v1/lookups", lambda route: route.fulfill(body=text, content_type="application/json")
    )


def real_answer(site: Site) -> dict[str, Any]:
    files = {"image": ("probe.png", site.picture)}
    answer: dict[str, Any] = httpx.post(
        f"{site.url}/v1/lookups", files=files, headers=NO_BROWSER, trust_env=False, timeout=60
    ).json()
    return answer


def calibrated(answer: LookupAnswer) -> LookupAnswer:
    """All that can stand beside a verdict, with one re-encoding over each limit and one over
    none.
    """
    reencodings = [
        ("jpeg95", 2.0, 0.95, []),
        ("jpeg60", 2.0, 0.85, ["similarity"]),
        ("scaled50", 1.0, 0.9, ["logit"]),
    ]
    stability = StabilityAnswer(
        reencodings=[
            ReEncodingAnswer(
                name=name, logit=logit, nearest_similarity=nearest, generator="sdxl", flips=flips
            )
            for name, logit, nearest, flips in reencodings
        ],
        left_out=[],
        logit_low=1.0,
        logit_high=2.0,
        similarity_low=0.85,
        similarity_high=0.95,
        generators=["sdxl"],
    )
    without = WithoutStrongest(
        entry_id=1,
        verdict=SimilarityOutcome.NOT_SIMILAR,
        reason=SimilarityReason.BELOW_THRESHOLD,
        nearest_similarity=0.5,
    )
    generators = [
        GeneratorHitsAnswer(generator=name, images=images, matches=matches)
        for name, images, matches in (("flux", 20, 2), ("sdxl", 10, 9), ("wan", 5, None))
    ]
    next_step = "ingest photographs like those in question, then run `lineup calibrate`"
    similarity = answer.similarity.model_copy(
        update={
            "verdict": SimilarityOutcome.INCONCLUSIVE,
            "reason": SimilarityReason.UNSTABLE,
            "explanation": "a re-encoding of the probe is on the other side of the threshold",
            "next_step": next_step,
            "nearest_similarity": 0.95,
            "nearest_known_fake": answer.similarity.neighbours[1],
            "false_match_rate": worded.rate(),
            "hit_rate": worded.hits(generators=generators),
            "discrimination": worded.discrimination(),
            "likelihood_ratio": worded.ratio(),
            "attribution": worded.attribution(),
            "rests_on": RestsOnAnswer(entry_ids=[1], without_strongest=without, stands=False),
            "calibration": worded.calibration(
                id=7, condition="any_delivery", fell_back_from="jpeg75", provisional=True
            ),
        }
    )
    assert answer.classifier is not None
    classifier = answer.classifier.model_copy(
        update={
            "logit": 2.0,
            "probability": 0.87654,
            "calibration": "isotonic by calibration 7, as_is",
            "ece": 0.0312,
        }
    )
    said = [
        StatementAnswer(topic=topic, words=words)
        for topic, words in (
            *write_statements(similarity, stability),
            ("precision", "the probe was embedded in float32, these corpora in float16"),
        )
    ]
    return answer.model_copy(
        update={
            "classifier": classifier,
            "similarity": similarity,
            "stability": stability,
            "statements": said,
        }
    )


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
    expect(page.get_by_role("alert").get_by_role("listitem")).to_contain_text("\u2068k\u2069: ")


def test_a_full_queue_says_when_to_try_again(page: Page, site: Site) -> None:
    with ExitStack() as places:
        for _ in range(QUEUE_SIZE):
            places.enter_context(site.app.state.lanes.images.place())
        choose(page, "fake.png", site.picture)
        expect(page.get_by_role("alert")).to_contain_text("Try again in 1 s.")
    page.get_by_role("button", name="Look up again").click()
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_lost_connection_is_told_and_the_probe_kept(
    page: Page, context: BrowserContext, site: Site
) -> None:
    context.set_offline(True)
    choose(page, "fake.png", site.picture)
    expect(page.get_by_role("alert")).to_contain_text("No answer from the server")
    context.set_offline(False)
    page.get_by_role("button", name="Look up again").click()
    expect(page.locator("#answer")).to_be_visible()


def test_a_file_over_the_limit_is_refused_before_it_is_sent(
    page: Page, overheard: Overheard, site: Site
) -> None:
    expect(page.locator("#image-help")).to_contain_text("up to 1 MiB")
    choose(page, "huge.tif", bytes(MAX_IMAGE_BYTES + 1))
    expect(page.get_by_role("alert")).to_contain_text("Image too large")
    assert f"{site.url}/v1/lookups" not in overheard.requests


def test_a_second_image_cancels_the_look_up_of_the_first(
    page: Page, overheard: Overheard, site: Site
) -> None:
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


@pytest.mark.parametrize(
    ("event", "carrier"), [("DragEvent", "dataTransfer"), ("ClipboardEvent", "clipboardData")]
)
def test_an_image_can_be_dropped_and_pasted(
    page: Page, site: Site, event: str, carrier: str
) -> None:
    script = """([event, carrier, name, base64]) => {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], "probe.png"));
        const options = { [carrier]: data, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new window[event](name, options));
    }"""
    name = "drop" if event == "DragEvent" else "paste"
    page.evaluate(script, [event, carrier, name, base64.b64encode(site.picture).decode()])
    assert answered(page, site)["similarity"]["neighbours"][0]["relation"] == "identical"
    expect(page.locator("#preview figcaption")).to_contain_text("probe.png")


def test_a_copy_in_another_format_is_shown_first_as_a_near_duplicate(
    page: Page, site: Site
) -> None:
    page.locator("#k").fill("1")
    choose(page, "copy.jpg", picture(2, "JPEG"))
    similarity = answered(page, site)["similarity"]

    assert (similarity["reason"], similarity["neighbours"][0]["entry"]["id"]) == (
        "near_duplicate_image",
        2,
    )
    first = rows(page)[0]
    assert first["Entry"].split()[:2] == ["entry", "2"]
    assert first["Relation"].startswith("near duplicate")
    assert "of 256 bits" in first["Relation"]
    shown = page.get_by_role("article", name="Similarity").locator(".facts [data-slot=nearest]")
    expect(shown).to_have_text(
        f"{max(each['cosine_similarity'] for each in similarity['neighbours']):.4f}"
    )


def test_an_answer_from_before_there_was_evidence_is_shown_without_it(
    page: Page, overheard: Overheard, site: Site
) -> None:
    answer = real_answer(site)
    for name in ("statements", "quality", "stability", "evidence_sha256"):
        del answer[name]
    for name in (
        "nearest_similarity",
        "nearest_known_real",
        "rests_on",
        "calibration",
        "attribution",
    ):
        del answer["similarity"][name]
    del answer["similarity"]["false_match_rate"], answer["similarity"]["likelihood_ratio"]
    del answer["classifier"]["ece"], answer["classifier"]["brier"]
    replying(page, answer)
    choose(page, "fake.png", site.picture)
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#similarity")).to_contain_text("Nearest entry")
    expect(page.locator("#similarity .facts [data-slot=nearest]")).to_have_text("1.0000")
    expect(page.locator("#no-calibration")).to_be_visible()
    expect(page.locator("#reencodings")).to_be_hidden()
    assert (shown_words(page), len(rows(page))) == ([], 3)
    expect(page.locator("#method [data-slot=quality]")).to_have_text("not measured")
    assert overheard.errors == []


def with_copies(answer: LookupAnswer) -> LookupAnswer:
    """An edited copy and a lead, found by an installation that lacks the copy descriptor."""
    first, second, *others = answer.similarity.neighbours
    edited = CopyAnswer(words="mirrored; verified by 61 keypoints", verified=True)
    lead = CopyAnswer(words="44 of 256 bits differ", hamming_distance=44)
    neighbours = [
        first.model_copy(update={"relation": Relation.EDITED_COPY, "copy_evidence": edited}),
        second.model_copy(update={"relation": Relation.POSSIBLE_COPY, "copy_evidence": lead}),
        *others,
    ]
    similarity = answer.similarity.model_copy(
        update={
            "neighbours": neighbours,
            "verdict": SimilarityOutcome.NOT_SIMILAR,
            "reason": SimilarityReason.BELOW_THRESHOLD,
        }
    )
    stages = [
        StageAnswer(
            stage=CopyStage.PERCEPTUAL_HASH,
            outcome=StageOutcome.RAN,
            compared=3,
            found=1,
            words="perceptual hash: 16 hashes compared with 3 entries",
        ),
        StageAnswer(
            stage=CopyStage.DESCRIPTOR,
            outcome=StageOutcome.NOT_INSTALLED,
            words="copy descriptor: not installed (`onnxruntime`)",
        ),
    ]
    copies = CopiesAnswer(stages=stages, not_looked_for="this installation has no copy descriptor")
    return answer.model_copy(update={"similarity": similarity, "copies": copies})


def test_a_copy_says_its_edit_a_lead_says_that_it_is_none_and_the_verdict_what_was_not_looked_for(
    page: Page, overheard: Overheard, site: Site
) -> None:
    replying(page, with_copies(LookupAnswer.model_validate(real_answer(site))))
    choose(page, "probe.png", site.picture)
    expect(page.locator("#not-looked-for")).to_have_text("this installation has no copy descriptor")
    expect(page.locator("#not-looked-for")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text(
        "Not looked for: this installation has no copy descriptor."
    )
    edited, lead = (row["Relation"] for row in rows(page)[:2])
    assert edited.startswith("edited copy\n")
    assert edited.endswith("mirrored; verified by 61 keypoints")
    assert lead.startswith("possible copy\na lead, not a match: compare the two by eye")
    colour = "element => getComputedStyle(element).color"
    edited_word, lead_word = page.locator("#neighbours [data-slot=relation]").all()[:2]
    assert edited_word.evaluate(colour) != lead_word.evaluate(colour)
    stages = page.locator("#copies")
    stages.locator("summary").click()
    expect(stages.locator("summary")).to_have_text(
        "Edited copies: 1 of 2 stages looked; some found copies or leads"
    )
    assert stages.get_by_role("listitem").all_inner_texts() == [
        "perceptual hash: 16 hashes compared with 3 entries",
        "copy descriptor: not installed (onnxruntime)",
    ]
    assert overheard.errors == []


def test_a_probe_too_small_for_the_model_is_shown_without_classifier_and_similarities(
    page: Page, overheard: Overheard, site: Site
) -> None:
    answer = real_answer(site) | {"classifier": None, "statements": [], "stability": None}
    answer["probe"]["embedding"] = "none"
    for neighbour in answer["similarity"]["neighbours"]:
        neighbour |= {"cosine_similarity": None, "relation": None}
    answer["similarity"]["neighbours"][0]["relation"] = "near_duplicate"
    for name in ("nearest_similarity", "nearest_known_real", "nearest_known_fake", "threshold"):
        answer["similarity"][name] = None
    replying(page, answer)
    choose(page, "small.png", site.picture)
    classifier = page.get_by_role("article", name="Classifier")
    expect(classifier.locator(".word")).to_have_text("Not asked")
    expect(classifier).to_contain_text("too small for the model")
    expect(classifier.locator(".figures")).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text("classifier: Not asked, the image is too")
    similarity = page.get_by_role("article", name="Similarity")
    expect(similarity.locator(".facts [data-slot=nearest]")).to_have_text("none")
    first, second, _ = rows(page)
    assert first["Cosine similarity"] == "not compared"
    assert first["Relation"].startswith("near duplicate")
    assert second["Relation"] == "not compared\nthe probe is too small for the model"
    expect(page.locator("#method")).to_contain_text("too small for the model")
    assert overheard.errors == []


def test_evidence_is_shown_in_the_words_of_the_terminal_and_a_verdict_that_flips_says_why(
    page: Page, overheard: Overheard, site: Site
) -> None:
    answer = calibrated(LookupAnswer.model_validate(real_answer(site)))
    replying(page, answer)
    choose(page, "fake.png", site.picture)
    expect(page.locator("#answer")).to_be_visible()
    evidence = [each for each in answer.statements if each.topic not in BESIDE_VERDICT]
    assert shown_words(page) == [each.words for each in evidence]
    titles = page.locator("#statements [data-slot=title]").all_inner_texts()
    expected = (
        "False-match rate, Hit rate, Likelihood ratio, Generator, Nearest known-real image, "
        "Verdict rests on, Stability, Calibration, Precision"
    )
    assert titles == expected.split(", ")
    hits = page.locator("#statements [data-topic=hits] details")
    hits.locator("summary").click()
    assert hits.get_by_role("listitem").all_inner_texts() == [
        "\u2068sdxl\u2069: 9 of 10",
        "\u2068flux\u2069: 2 of 20",
        "\u2068wan\u2069: more than are kept of 5",
    ]
    expect(page.locator("#statements .provisional")).to_contain_text("provisional")
    step = page.locator("#next-step")
    expect(step.locator("code")).to_have_text("lineup calibrate")
    assert step.text_content() == (answer.similarity.next_step or "").replace("`", "")
    sides = page.locator("#evidence figure")
    # not the most similar one, but the one that the verdict rests on
    shown_fake = answer.similarity.nearest_known_fake
    assert shown_fake is not None
    expect(sides.nth(0)).to_contain_text(f"entry {shown_fake.entry.id}")
    expect(sides.nth(0)).to_contain_text("sdxl, casework")
    expect(sides.nth(1)).to_contain_text("photographs")
    expect(page.locator("#statements").get_by_role("link", name="calibration 7")).to_be_visible()
    expect(page.locator("#no-calibration")).to_be_hidden()

    assert re_encodings(page) == {
        "as sent": "no",
        "jpeg95": "no",
        "jpeg60": "similarity",
        "scaled50": "logit",
    }
    expect(page.locator("#reencodings table")).to_be_visible()
    reason = page.locator("#similarity .reason")
    expect(reason).to_have_text(answer.similarity.explanation)
    assert reason.evaluate("reason => getComputedStyle(reason).fontWeight") == "600"
    expect(page.get_by_role("status")).to_contain_text(answer.similarity.explanation)
    expect(page.locator("#classifier [data-slot=hint]")).to_contain_text("(ECE) 0.031")
    expect(page.locator("#classifier [data-slot=probability]")).to_have_text("0.877")
    expect(page.locator("#classifier [data-slot=calibration]")).to_have_text(
        "isotonic by calibration 7, as_is"
    )

    expect(page.locator("#doubt")).to_be_hidden()
    poor = answer.similarity.model_copy(
        update={"reason": SimilarityReason.POOR_QUALITY, "explanation": "it is flat"}
    )
    replying(page, answer.model_copy(update={"similarity": poor}))
    page.get_by_role("button", name="Look up again").click()
    expect(page.locator("#doubt")).to_have_text("it is flat")
    expect(page.locator("#doubt")).to_be_visible()
    assert overheard.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("panel", "verdict"), [("classifier", "no_traces"), ("similarity", "not_similar")]
)
def test_a_verdict_that_finds_nothing_has_the_colour_of_plain_text(
    page: Page, site: Site, panel: str, verdict: str, scheme: Literal["light", "dark"]
) -> None:
    """Green or blue reads as an acquittal, and a fake that is missed gets the same verdict."""
    page.emulate_media(color_scheme=scheme)
    answer = real_answer(site)
    answer[panel]["verdict"] = verdict
    replying(page, answer)
    choose(page, "probe.png", site.picture)
    shown = page.locator(f"#{panel}")
    expect(shown.locator(".word")).to_have_text(VERDICT_NAMES[verdict].capitalize())
    colour = "element => getComputedStyle(element).color"
    plain = page.locator("body").evaluate(colour)
    assert shown.locator(".word").evaluate(colour) == plain
    edge = shown.evaluate("element => getComputedStyle(element).borderTopColor")
    assert edge == plain
    if verdict == "no_traces":  # never heard without how many fakes come out like this
        expect(page.get_by_role("status")).to_contain_text(answer[panel]["explanation"])


def test_numbers_are_printed_so_that_they_do_not_contradict_the_verdict(
    page: Page, site: Site
) -> None:
    answer = real_answer(site)
    answer["similarity"] |= {
        "verdict": "not_similar",
        "nearest_similarity": 0.99312,
        "digits": 5,
        "threshold": {"cosine_similarity": 0.99314, "source": "calibration 7"},
    }
    replying(page, answer)
    choose(page, "probe.png", site.picture)
    expect(page.locator("#similarity .facts [data-slot=nearest]")).to_have_text("0.99312")
    expect(page.locator("#similarity .facts [data-slot=threshold]")).to_have_text("0.99314")


def test_what_the_browser_cannot_display_is_looked_up_all_the_same(page: Page, site: Site) -> None:
    choose(page, "scan.tif", picture(1, "TIFF"))
    assert answered(page, site)["probe"]["format"] == "tiff"
    expect(page.locator("#preview .undisplayable")).to_be_visible()
    expect(page.locator("#preview img")).to_be_hidden()


def test_the_choice_of_kind_corpora_and_k_reaches_the_search(page: Page, site: Site) -> None:
    page.get_by_label("Kind", exact=True).select_option("known-real images")
    expect(page.get_by_role("checkbox", name="casework")).to_be_disabled()
    page.get_by_role("checkbox", name="photographs").check()
    page.get_by_label("Nearest entries listed").fill("1")
    choose(page, "fake.png", site.picture)
    answer = answered(page, site)
    assert answer["similarity"]["filter"]["corpora"] == ["photographs"]
    assert answer["similarity"]["filter"]["kind"] == "known_real"
    assert [row["Corpus"].split()[0] for row in rows(page)] == ["photographs"]
    expect(page.locator("#similarity .question")).to_have_text(
        "Is the image near to known-real images?"
    )


def test_an_empty_service_says_how_to_ingest(context: BrowserContext, tmp_path: Path) -> None:
    with serving(Settings(data_dir=tmp_path, device="cpu")) as (url, _):
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#empty pre")).to_contain_text("lineup --data-dir DATA ")
        expect(page.locator("body")).not_to_contain_text(str(tmp_path))
        expect(page.locator("#empty pre")).to_contain_text("ingest FOLDER --corpus NAME")
        choose(page, "probe.png", picture(1))
        expect(page.locator("#similarity .word")).to_have_text("Inconclusive")
        expect(page.locator("#no-neighbours")).to_be_visible()
        page.close()


def test_hostile_names_are_shown_and_move_nothing(context: BrowserContext, tmp_path: Path) -> None:
    attack = "sdxl\x1b[31m\u202egpj.\u2066<b>x</b>\u200b"
    with serving(Settings(data_dir=tmp_path, device="cpu")) as (url, _):
        with httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=60) as client:
            corpus = {"name": "known", "kind": "known_fake", "description": attack}
            client.post("/v1/corpora", json=corpus).raise_for_status()
            declared = {"generator": attack, "source": f"a{attack}"}
            added = client.post(
                "/v1/corpora/known/entries", files={"image": picture(1)}, data=declared
            )
            added.raise_for_status()
        page = context.new_page()
        page.goto(url)
        choose(page, f"{attack}.png", picture(1))
        expect(page.locator("#similarity .word")).to_have_text("Similar to known fakes")
        shown = page.locator("body").inner_text() + page.content()
        assert r"sdxl\x1b[31m\u202egpj.\u2066<b>x</b>\u200b" in shown
        # The isolates that stand around names are the page's own.
        plain = re.sub("\u2068([^\u2068\u2069]*)\u2069", r"\1", shown)
        assert not set("\x1b\u202e\u2066\u200b\u2069") & set(plain)
        page.close()


def test_without_script_the_form_still_asks_and_the_page_says_how(
    browser: Browser, site: Site
) -> None:
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
    nameless = (
        "controls => controls.filter(c => !(c.labels?.length || "
        "c.textContent.trim())).map(c => c.outerHTML)"
    )
    assert page.locator("input, select, button").evaluate_all(nameless) == []
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).inner_text() == "Lineup"
    with page.expect_file_chooser():
        page.keyboard.press("Tab")  # the skip link
        page.keyboard.press("Tab")
        expect(page.locator("#image")).to_be_focused()
        assert (
            page.locator("#drop").evaluate("drop => getComputedStyle(drop).outlineStyle") == "solid"
        )
        page.keyboard.press("Space")


def test_nothing_is_wider_than_a_small_telephone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_label("Re-encode the probe").check()
    choose(page, "a-long-name-without-any-place-to-break-" * 4 + ".png", site.picture)
    stability = answered(page, site)["stability"]
    page.locator("#reencodings").evaluate("details => { details.open = true; }")
    assert list(re_encodings(page)) == [
        "as sent",
        *(reencoding["name"] for reencoding in stability["reencodings"] + stability["left_out"]),
    ]
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def top_of(page: Page, selector: str) -> float:
    """The distance of an element from the top of the document, in CSS pixels."""
    found: float = page.locator(selector).evaluate(
        "element => element.getBoundingClientRect().top + scrollY"
    )
    return found


def test_on_a_telephone_the_answer_comes_before_the_form_and_both_verdicts_are_in_sight(
    page: Page, site: Site
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert top_of(page, "#lookup") < top_of(page, "#introduction")
    choose(page, "fake.png", site.picture)
    answered(page, site)
    order = ("#casework", "#classifier", "#similarity", "#evidence", "#lookup")
    tops = [top_of(page, each) for each in order]
    assert tops == sorted(tops)
    for word in page.locator("#answer .word").all():
        expect(word).to_be_in_viewport(ratio=1)
    expect(page.locator("#answer-title")).to_be_focused()

    page.keyboard.press("Shift+Tab")
    again = page.get_by_role("link", name="Look up another image")
    expect(again).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Look up again")).to_be_in_viewport()
    page.get_by_label("Nearest entries listed").fill("1")
    page.get_by_role("button", name="Look up again").click()
    expect(page.locator("#neighbours tbody tr")).to_have_count(1)
    expect(page.locator("#classifier .word")).to_be_in_viewport(ratio=1)


def test_a_telephone_that_is_turned_into_a_wide_screen_has_the_form_beside_the_answer(
    page: Page, site: Site
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page, "fake.png", site.picture)
    answered(page, site)
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.locator("main > :first-child")).to_have_id("lookup")
    boxes = [page.locator(each).bounding_box() for each in ("#lookup", "#answer")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    expect(page.get_by_role("link", name="Look up another image")).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("main > :first-child")).to_have_id("results")


def test_on_a_telephone_a_problem_comes_before_the_form_too(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page, "notes.png", b"these are not the bytes of an image" * 40)
    expect(page.get_by_role("alert")).to_be_in_viewport()
    assert top_of(page, "#problem") < top_of(page, "#lookup")
    expect(page.locator("#preview figcaption")).to_contain_text("notes.png")


def test_a_known_fake_is_shown_with_two_verdicts_and_itself_as_the_nearest_entry(
    page: Page, overheard: Overheard, site: Site
) -> None:
    choose(page, "fake.png", site.picture)
    answer = answered(page, site)
    classifier, method = answer["classifier"], answer["method"]

    shown = page.get_by_role("article", name="Classifier")
    expect(shown.locator(".word")).to_have_text(VERDICT_NAMES[classifier["verdict"]].capitalize())
    expect(shown.locator(".facts [data-slot=logit]")).to_have_text(f"{classifier['logit']:+.2f}")
    expect(shown).to_contain_text(classifier["calibration"])
    expect(shown.locator("#probability")).to_be_hidden()  # an uncalibrated sigmoid is none
    shown = page.get_by_role("article", name="Similarity")
    expect(shown.locator(".word")).to_have_text("Similar to known fakes")
    expect(shown.locator(".facts [data-slot=threshold]")).to_have_text("0.9000")
    expect(shown).to_contain_text("LINEUP_SIMILARITY_THRESHOLD")
    expect(shown.locator("[data-slot=searched]")).to_have_text("3")
    expect(page.get_by_role("status")).to_contain_text("similarity: Similar to known fakes.")

    evidence = [each for each in answer["statements"] if each["topic"] not in BESIDE_VERDICT]
    assert shown_words(page) == [each["words"] for each in evidence]
    real = answer["similarity"]["nearest_known_real"]
    expect(page.locator("#evidence figure").nth(1)).to_contain_text(f"entry {real['entry']['id']}")
    expect(page.locator("#reencodings")).to_be_hidden()

    first = rows(page)[0]
    assert len(rows(page)) == 3
    assert first["Cosine similarity"] == "1.0000"
    assert first["Relation"].startswith("identical")
    assert first["Corpus"].split("\n") == ["casework", "known fake"]
    assert first["Generator"] == "sdxl"
    digest = answer["probe"]["sha256"][:12] + "…"
    assert first["Entry"].split() == ["entry", "1", digest, "Compare"]
    for thumbnail in page.locator("#answer img").all():
        thumbnail.scroll_into_view_if_needed()
        assert thumbnail.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert thumbnail.evaluate("image => image.offsetHeight <= image.parentElement.clientHeight")
    expect(page.locator("#preview img")).to_have_js_property("naturalWidth", 320)

    repeat = page.locator("#method")
    expect(repeat).to_contain_text(answer["probe"]["sha256"])
    for words in (
        method["embedding_space"],
        method["index_digest"],
        method["model"],
        "exact search",
    ):
        expect(repeat).to_contain_text(words)
    for similarities in ("#neighbours", "#similarity dd:has(data)"):
        assert "100 %" not in " ".join(page.locator(similarities).all_inner_texts())
    assert overheard.console == []
    assert overheard.errors == []
    assert overheard.failed == []
    assert overheard.foreign(site.url) == []
