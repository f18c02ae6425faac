"""Requests that succeed and that fail, of every route, over folders whose paths have a mark: the
mark is in no answer.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from api.http.app import create_app
from api.lineup import open_database
from api.settings import Settings
from api.terminal import app as commands
from index.truth.jobs.job import fail_job
from tests.clients import NO_BROWSER

MARK = "MARK0f-the-server"
ENDED = ("completed", "failed", "paused", "cancelled")


def picture(seed: int) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(encoded, "PNG")
    return encoded.getvalue()


class Marked(TestClient):
    """A client that finds the mark in no answer, and remembers which routes it asked."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.asked: set[tuple[str, str]] = set()

    def request(self, method: str, url: Any, **words: Any) -> httpx.Response:  # type: ignore[override]
        answer = super().request(method, url, **words)
        route = words.get("extensions") or answer.request.url.path
        self.asked.add((method, str(route)))
        for text in (answer.text, str(dict(answer.headers))):
            assert MARK not in text, f"{method} {url}: {text[:2000]}"
        return answer

    def ended(self, job_id: int) -> Any:
        """The job, when it does no more."""
        deadline = time.monotonic() + 60
        while (job := self.get(f"/v1/jobs/{job_id}").json())["state"] not in ENDED:
            assert time.monotonic() < deadline, job
            time.sleep(0.05)
        return job


def run(data: Path, *words: object, stdin: bytes | None = None) -> int:
    done = CliRunner().invoke(commands, ["--data-dir", str(data), *map(str, words)], input=stdin)
    return done.exit_code


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with the mark: data, roots, and images of the operator, who works on the terminal."""
    base = tmp_path_factory.mktemp("server") / MARK
    mine, roots = base / "mine", base / "roots"
    for folder, seeds in ((mine, (0, 1)), (roots / "fakes", (2, 3)), (roots / "real", (4, 5))):
        folder.mkdir(parents=True)
        for seed in seeds:
            (folder / f"{seed}.png").write_bytes(picture(seed))
        (folder / "cut.png").write_bytes(picture(9)[:300])
    (roots / "labelled" / "fake").mkdir(parents=True)
    (roots / "labelled" / "real").mkdir()
    for seed in range(4):
        kind = "fake" if seed % 2 else "real"
        (roots / "labelled" / kind / f"{seed}.png").write_bytes(picture(20 + seed))
    (roots / "labelled" / "fake" / "cut.png").write_bytes(picture(9)[:300])
    names = [roots / "fakes" / "2.png", mine / "0.png", "none.png", roots / "fakes" / "cut.png"]
    (roots / "list.csv").write_text("\n".join(["path", *map(str, names)]))
    (roots / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    (roots / "broken.parquet").write_bytes(b"PAR1 and no more")
    data = base / "data"
    assert run(data, "ingest", mine, "--corpus", "known") == 3
    listed = "".join(f"{mine / name}\n" for name in ("1.png", "cut.png", "none.png"))
    assert run(data, "ingest", "-", "--corpus", "listed", stdin=listed.encode()) == 3
    assert run(data, "ingest", base / "none", "--corpus", "known") == 4
    with open_database(Settings(data_dir=data)) as database, database.write() as conn:
        fail_job(
            conn, 1 + 2, f"{base}/none: no such file, and '{base}/a b/c': gone (file://{base})"
        )
    return base


@pytest.fixture
def client(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Marked]:
    monkeypatch.chdir(base)
    (base / "temporary").mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(base / "temporary"))
    settings = Settings(
        data_dir=base / "data", offline=True, device="cpu", ingest_roots=(str(base / "roots"),)
    )
    with Marked(create_app(settings), base_url="http://localhost", headers=NO_BROWSER) as client:
        yield client


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", picture(30))
        archive.writestr("cut.png", picture(31)[:200])
    return packed.getvalue()


def test_no_answer_has_a_path_of_the_server(client: Marked, base: Path) -> None:
    jobs, entries = submit_jobs(client, base), {}
    for corpus in ("known", "listed", "fakes"):
        page = client.get(f"/v1/corpora/{corpus}/entries").json()["entries"]
        entries[corpus] = [each["id"] for each in page]
        assert page, corpus
        assert all("location" not in each["provenance"] for each in page)
    for job in [1, 2, *jobs]:
        items = client.get(f"/v1/jobs/{job}/items").json()["items"]
        client.get(f"/v1/jobs/{job}/items?outcome=failed")
        client.get(f"/v1/jobs/{job}/events")
        assert all(not each["name"].startswith("/") for each in items)
    assert client.get("/v1/jobs").json()["jobs"]
    (source,) = client.get("/v1/jobs/1").json()["request"]["sources"]
    assert source == "mine"
    look_up(client)
    ask_the_rest(client, base, entries)
    wanted = {
        (method.upper(), path)
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    assert {each for each in wanted if not was_asked(client, *each)} == set()


def was_asked(client: Marked, method: str, template: str) -> bool:
    parts = template.split("/")
    return any(
        asked == method
        and len(path.split("/")) == len(parts)
        and all(
            want.startswith("{") or want == got
            for want, got in zip(parts, path.split("/"), strict=True)
        )
        for asked, path in client.asked
    )


def submit_jobs(client: Marked, base: Path) -> list[int]:
    """Jobs over HTTP: of folders, tables, uploads; with items and sources that fail."""
    roots = base / "roots"
    numbers = []
    for corpus, kind, source in (
        ("fakes", "known_fake", roots / "fakes"),
        ("real", "known_real", roots / "real"),
        ("fakes", "known_fake", roots / "list.csv"),
        ("fakes", "known_fake", roots / "none"),
        ("fakes", "known_fake", roots / "broken.zip"),
        ("fakes", "known_fake", roots / "broken.parquet"),
    ):
        order = {"sources": [str(source)], "kind": kind}
        answer = client.post(f"/v1/corpora/{corpus}/ingests", json=order)
        assert answer.status_code == 202, answer.text
        numbers.append(answer.json()["id"])
    upload = client.post("/v1/corpora/fakes/ingests", files={"source": ("up.zip", zipped())})
    assert upload.json()["request"]["sources"] == ["upload:up.zip"]
    numbers.append(upload.json()["id"])
    for source in ("relative", "/etc/passwd", "file:///etc", ""):
        client.post("/v1/corpora/fakes/ingests", json={"sources": [source]})
    states = [client.ended(number)["state"] for number in numbers]
    assert {"completed", "failed"} <= set(states), states
    for action in ("pause", "resume", "cancel"):
        client.post(f"/v1/jobs/{numbers[3]}/{action}")
        client.post(f"/v1/jobs/999/{action}")
    return numbers


def look_up(client: Marked) -> None:
    for seed in (0, 2, 99):
        answer = client.post("/v1/lookups", files={"image": picture(seed)})
        assert answer.status_code == 201, answer.text
        number = answer.json()["id"]
        client.get(f"/v1/lookups/{number}")
        client.post(f"/v1/lookups/{number}/replay")
        client.get(f"/v1/lookups/{number}/replay")
    known = {"name": "probe", "sha256": answer.json()["probe"]["sha256"]}
    client.post("/v1/lookups/batch", json={"probes": [known, {"sha256": "0" * 64}, {}]})
    client.post("/v1/lookups/batch", json={"probes": []})
    client.get("/v1/lookups/none")
    client.post("/v1/lookups/none/replay")
    client.post("/v1/lookups", files={"image": picture(9)[:300]})


def ask_the_rest(client: Marked, base: Path, entries: dict[str, list[int]]) -> None:
    for path in ("/", "/livez", "/readyz", "/static/lineup.js", "/static/none", "/none"):
        client.get(path)
    for path in ("models", "index", "doctor", "corpora", "calibrations", "calibrations/1"):
        client.get(f"/v1/{path}")
    for path in ("", "/inspection", "/quarantine", "/export"):
        client.get(f"/v1/corpora/known{path}")
        client.get(f"/v1/corpora/none{path}")
    client.post("/v1/corpora", json={"name": "new"})
    client.post("/v1/corpora", json={"name": "new"})
    client.delete("/v1/corpora/new")
    one, two = entries["known"][:2]
    for each in (one, 999):
        client.get(f"/v1/entries/{each}")
        client.get(f"/v1/entries/{each}/thumbnail")
    for thumbnail in (base / "data").rglob("*.webp"):
        thumbnail.write_bytes(b"damaged")
    client.get(f"/v1/entries/{one}/thumbnail")
    client.post("/v1/corpora/known/entries", files={"image": picture(40)})
    client.post("/v1/corpora/known/entries", files={"image": b"nothing"})
    client.post(f"/v1/entries/{two}/quarantine", json={"reason": "why"})
    client.post(f"/v1/entries/{two}/release")
    client.delete(f"/v1/entries/{one}")
    for name in ("builtin", "none", "%2Fetc"):
        client.post(f"/v1/models/{name}/activate")
        client.post(f"/v1/models/{name}/reembed")
    client.post("/v1/copies/backfill")
    answer = client.post("/v1/calibrations", json={"conditions": ["as_is", "half"]})
    client.ended(answer.json()["id"])
    client.get(f"/v1/jobs/{answer.json()['id']}/items")
    client.get("/v1/calibrations/1")
    labelled = {"source": "roots/labelled", "pattern": "{label}/*"}
    evaluated = client.post("/v1/evaluations", json=labelled)
    assert evaluated.status_code == 200, evaluated.text
    assert evaluated.json()["request"]["source"] == "roots/labelled"
    for source in ("roots/none", "roots/broken.zip", "elsewhere"):
        client.post("/v1/evaluations", json={"source": source})
    (base / "data" / "lineup.db").rename(base / "data" / "away.db")
    for path in ("/readyz", "/v1/jobs", "/v1/doctor", "/v1/corpora", "/"):
        client.get(path)
    (base / "data" / "away.db").rename(base / "data" / "lineup.db")
    assert json.loads(client.get("/livez").text)
