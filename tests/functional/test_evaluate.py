"""`lineup evaluate` on a small labelled folder: refusals, the two files, and what they hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner, Result

from api.evaluation.json import EvaluationAnswer
from api.http.app import create_app
from api.http.lanes import Kind
from api.settings import Settings
from api.terminal import app
from tests.clients import NO_BROWSER

GENERATORS = {"sdxl": 12, "flux <b>": 3, "gan": 2}
REALS, FAKES = 14, sum(GENERATORS.values())


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(
        app, ["--model", "builtin", "--device", "cpu", "evaluate", *map(str, arguments)]
    )


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled") / "a folder"
    for seed in range(REALS):
        write_image(folder / "real" / f"photo {seed}.png", seed)
    for place, (generator, size) in enumerate(GENERATORS.items(), 1):
        for seed in range(size):
            write_image(folder / "fake" / generator / f"{seed}.png", 1000 * place + seed)
    (folder / "real" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no jpeg")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out") / "evaluation"


@pytest.fixture(scope="module")
def done(folder: Path, out: Path) -> Result:
    return evaluate(folder, "--out", out, "--condition", "jpeg50", "--condition-images", 12)


@pytest.fixture(scope="module")
def written(done: Result, out: Path) -> Any:
    assert done.exit_code == 3, done.stderr
    return json.loads((out / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def page(done: Result, out: Path) -> str:
    assert done.exit_code == 3, done.stderr
    return (out / "evaluation.html").read_text()


def test_a_page_to_pass_on_shows_no_picture_and_tells_no_path(
    folder: Path, page: str, tmp_path: Path
) -> None:
    assert "data:image/webp" in page
    assert str(folder) in page
    assert evaluate(folder, "--out", tmp_path, "--shareable", "--max-images", 20).exit_code in (
        0,
        3,
    )

    shareable = (tmp_path / "evaluation.html").read_text()
    for words in ("data:image/webp", "href=", str(folder), str(tmp_path)):
        assert words not in shareable
    for words in ("a folder", "data:image/svg+xml", "photo ", "Furthest on the wrong side"):
        assert words in shareable


def test_a_source_that_is_not_there_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    refused = evaluate(tmp_path / "nothing", "--out", tmp_path / "out")
    assert refused.exit_code == 4
    assert "no such file or folder" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_of_photographs_alone_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    refused = evaluate(folder / "real", "--out", tmp_path / "out", "--pattern", "{label}.png")
    assert refused.exit_code == 4
    assert "Nothing to evaluate" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_condition_that_does_not_exist_is_refused_with_those_that_do(
    folder: Path, tmp_path: Path
) -> None:
    refused = evaluate(folder, "--out", tmp_path / "out", "--condition", "fax")
    assert refused.exit_code == 4
    assert "screenshot" in refused.stderr


@pytest.mark.parametrize("package", ["matplotlib", "sklearn"])
def test_without_the_extra_one_line_names_it(
    package: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    refused = evaluate(folder, "--out", tmp_path / "out")
    assert refused.exit_code == 6
    assert "pip install 'lineup-forensics[evaluate]'" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_server_starts_without_the_extra() -> None:
    loaded = "import sys; import api.http.app; print({'matplotlib', 'sklearn'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", loaded], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refused = evaluate(folder, "--out", tmp_path / "file" / "out")
    assert refused.exit_code == 7
    assert "the evaluation cannot be written" in refused.stderr


def test_an_evaluation_is_not_replaced_unless_told(written: Any, folder: Path, out: Path) -> None:
    refused = evaluate(folder, "--out", out)
    assert refused.exit_code == 5
    assert "--force replaces it" in refused.stderr
    assert json.loads((out / "evaluation.json").read_text()) == written


def test_every_image_is_measured_or_named_with_its_reason(written: Any) -> None:
    measured = written["measured"]
    assert measured["found"] == REALS + FAKES + 1
    assert measured["n"] == {
        "real": REALS,
        "synthetic": FAKES,
        "real_sources": REALS,
        "synthetic_sources": FAKES,
    }
    assert measured["generators"] == {"sdxl": 12, "flux-<b>": 3, "gan": 2}
    assert [(each["name"], each["reason"]) for each in written["failures"]] == [
        ("real/broken.jpg", "truncated")
    ]


def test_it_says_how_it_was_made(written: Any) -> None:
    made = written["made"]
    assert made["model"] == "builtin"
    assert re.fullmatch("[0-9a-f]{64}", made["embedding_space"])
    assert made["device"] == "cpu"
    assert made["command"]
    assert written["request"]["seed"] == 0


def test_what_was_measured_has_a_value_and_what_was_not_has_a_reason(written: Any) -> None:
    pooled = written["classifier"]["pooled"]
    assert (
        0
        <= pooled["roc_auc"]["low"]
        <= pooled["roc_auc"]["value"]
        <= pooled["roc_auc"]["high"]
        <= 1
    )
    assert pooled["tpr_at_fpr"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "14 real images; 100 are needed to measure 1 %",
    }
    assert [group["name"] for group in written["classifier"]["by_condition"]] == ["as_is", "jpeg50"]
    assert written["measured"]["condition_images"] == 11  # one of the twelve drawn is broken
    assert written["retrieval"]["mean"]["n"] == FAKES
    assert written["similarity"]["false_matches"][0]["reason"]
    EvaluationAnswer.model_validate(written)


def test_the_terminal_has_the_short_version(done: Result, out: Path) -> None:
    lines = done.stdout.splitlines()
    assert lines[0].startswith("builtin (")
    assert f"{REALS} real images" in lines[0]
    assert any("precision@1" in line for line in lines)
    assert "real/broken.jpg" in done.stdout
    assert str(out / "evaluation.html") in done.stdout


def test_the_page_loads_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|\.\./)", page)
    assert "default-src 'none'" in page
    assert page.count("data:image/svg+xml;base64,") == 3


def test_names_are_text_on_the_page_whatever_they_hold(page: str) -> None:
    assert "flux-&lt;b&gt;" in page
    assert "flux-<b>" not in page


def test_links_lead_to_the_images_that_were_furthest_on_the_wrong_side(
    written: Any, page: str, out: Path
) -> None:
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == len(written["wrong"]) > 0
    assert any("%20" in link for link in links)
    assert all((out / unquote(link)).is_file() for link in links)


def test_the_same_images_and_seed_give_the_same_figures(
    written: Any, folder: Path, out: Path
) -> None:
    again = evaluate(
        folder, "--out", out, "--condition", "jpeg50", "--condition-images", 12, "--force", "--json"
    )
    assert again.exit_code == 3
    repeated = json.loads(again.stdout)
    assert {**repeated, "made": written["made"]} == written
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.html", "evaluation.json"]


def test_a_sample_is_stated_and_no_database_is_made(folder: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    command = [
        "--data-dir",
        data,
        "--device",
        "cpu",
        "evaluate",
        folder,
        "--out",
        out,
        "--max-images",
        8,
        "--json",
    ]
    small = CliRunner().invoke(app, list(map(str, command)))
    measured = json.loads(small.stdout)["measured"]
    assert (measured["labelled"], measured["sampled"]) == (REALS + FAKES + 1, 8)
    assert f"A random sample of 8 of {REALS + FAKES + 1}" in (out / "evaluation.html").read_text()
    assert not data.exists()


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that may read the labelled folder and nothing else."""
    data = tmp_path_factory.mktemp("served")
    settings = Settings(
        data_dir=data, device="cpu", offline=True, ingest_roots=(str(folder),), server_works=False
    )
    with TestClient(
        create_app(settings), base_url="http://127.0.0.1:8765", headers=NO_BROWSER
    ) as client:
        yield client


def test_a_server_without_the_extra_says_so(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    refused = client.post("/v1/evaluations", json={"source": str(folder)})
    assert refused.status_code == 501
    assert refused.json()["type"] == "urn:lineup:problem:missing-extra"
    assert "lineup-forensics[evaluate]" in refused.json()["detail"]


def test_a_client_gets_the_figures_that_the_terminal_has(
    client: TestClient, folder: Path, written: Any
) -> None:
    asked = {"source": str(folder), "conditions": ["jpeg50"], "condition_images": 12}
    measured = client.post("/v1/evaluations", json=asked)

    assert measured.status_code == 200, measured.text
    answer = measured.json()
    for figures in (
        "measured",
        "classifier",
        "retrieval",
        "attribution",
        "similarity",
        "failures",
    ):
        assert answer[figures] == written[figures]
    # A client is told no path of the server.
    assert answer["wrong"] == [each | {"location": None} for each in written["wrong"]]
    assert answer["request"]["max_images"] == 1000


def test_a_client_measures_only_what_the_server_may_read(
    client: TestClient, folder: Path, tmp_path: Path
) -> None:
    refused = client.post("/v1/evaluations", json={"source": str(tmp_path)})
    assert (refused.status_code, refused.json()["type"]) == (
        403,
        "urn:lineup:problem:source-not-allowed",
    )

    write_image(tmp_path / "outside.png", 1)
    lines = [("label", "path"), *(("real", f"real/photo {seed}.png") for seed in range(2))]
    lines += [("fake", "fake/sdxl/0.png"), ("fake", str(tmp_path / "outside.png"))]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(map(",".join, lines)))
    try:
        answer = client.post("/v1/evaluations", json={"source": str(manifest)}).json()
    finally:
        manifest.unlink()
    assert [each["reason"] for each in answer["failures"]] == ["not_allowed"]
    assert answer["measured"]["n"]["synthetic"] == 1


def test_a_client_that_asks_for_too_many_images_or_beside_another_is_refused(
    client: TestClient, folder: Path
) -> None:
    refused = client.post("/v1/evaluations", json={"source": str(folder), "max_images": 1001})
    assert refused.status_code == 422
    assert "lineup evaluate" in refused.json()["detail"]
    with client.app.state.lanes[Kind.EVALUATIONS].admission.place():
        busy = client.post("/v1/evaluations", json={"source": str(folder)})
    assert (busy.status_code, "retry-after" in busy.headers) == (503, True)
    assert client.post("/v1/evaluations", json={"source": str(folder / "real")}).status_code == 422
