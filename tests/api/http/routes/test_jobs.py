"""Jobs over HTTP: submitted, run by the server's own worker, watched, steered and kept within
bounds.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.app import create_app
from api.ingest.uploads import LOOK_BYTES
from tests.api.conftest import Picture, settings
from tests.clients import NO_BROWSER


@pytest.fixture
def served(tmp_path: Path) -> Iterator[TestClient]:
    """A server that may read `tmp_path/in`."""
    (tmp_path / "in").mkdir()
    chosen = settings(tmp_path / "data").model_copy(
        update={"ingest_roots": (str(tmp_path / "in"),), "max_upload_bytes": 2**20}
    )
    with TestClient(create_app(chosen), base_url="http://localhost", headers=NO_BROWSER) as client:
        yield client


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[TestClient]:
    """A server that works on nothing by itself."""
    (tmp_path / "in").mkdir()
    chosen = settings(tmp_path / "data").model_copy(
        update={"ingest_roots": (str(tmp_path / "in"),), "server_works": False}
    )
    with TestClient(create_app(chosen), base_url="http://localhost", headers=NO_BROWSER) as client:
        yield client


def fill(folder: Path, picture: Picture, count: int = 3) -> None:
    for seed in range(count):
        (folder / f"{seed}.png").write_bytes(picture(seed))
    (folder / "notes.txt").write_text("not an image")


def order(client: TestClient, *sources: object, **words: Any) -> Any:
    return client.post(
        "/v1/corpora/known/ingests", json={"sources": list(map(str, sources)), **words}
    )


def ended(client: TestClient, job_id: int) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise TimeoutError(job)


def find_left(uploads: Path) -> list[Path]:
    """What is left of uploads. A worker removes them after the end of their job is committed."""
    deadline = time.monotonic() + 10
    while (left := [*uploads.iterdir()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(
    "source", ["/etc", "../outside", "in/../../outside", "s3://bucket/x", "in-too"]
)
def test_a_source_outside_of_the_roots_is_refused(
    served: TestClient, tmp_path: Path, source: str
) -> None:
    answer = order(served, source if source.startswith(("/", "s3:")) else f"{tmp_path}/{source}")

    assert (answer.status_code, answer.json()["type"]) == (
        403,
        "urn:lineup:problem:source-not-allowed",
    )
    assert served.get("/v1/jobs").json()["jobs"] == []


def test_a_link_or_a_manifest_that_leads_out_of_the_roots_is_an_item_that_failed(
    served: TestClient, tmp_path: Path, picture: Picture
) -> None:
    (tmp_path / "secret.png").write_bytes(picture(1))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "list.csv").write_text(f"path\n{tmp_path / 'secret.png'}\n")
    (tmp_path / "in" / "list.csv").write_text(f"path\n{tmp_path / 'secret.png'}\n../secret.png\n")

    for source in ("in/link.png", "in"):
        job = order(served, tmp_path / source)
        if job.status_code == 202:
            assert ended(served, job.json()["id"])["added"] == 0
    job = ended(served, order(served, tmp_path / "in" / "list.csv").json()["id"])

    assert job["reasons"] == {"failed": {"not_allowed": 2}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sources": []}, "at least one"),
        ({"sources": ["/x"], "kind": "fake"}, "schema"),
        ({"sources": ["/x"], "unknown": 1}, "schema"),
    ],
)
def test_an_order_that_does_not_fit_is_422(
    served: TestClient, body: dict[str, Any], words: str
) -> None:
    answer = served.post("/v1/corpora/known/ingests", json=body)

    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_pattern_that_means_nothing_and_a_corpus_of_the_other_kind_are_refused(
    served: TestClient, tmp_path: Path
) -> None:
    assert order(served, tmp_path / "in", pattern="{a").status_code == 422
    served.post("/v1/corpora", json={"name": "known", "kind": "known_real"})
    assert (
        order(served, tmp_path / "in").json()["type"] == "urn:lineup:problem:corpus-kind-conflict"
    )
    assert order(served, tmp_path / "in", kind="known_real", keep="none").status_code == 409


@pytest.mark.parametrize("path", ["", "/items", "/events", "/pause", "/resume", "/cancel"])
def test_an_unknown_job_is_404(served: TestClient, path: str) -> None:
    method = served.post if path in ("/pause", "/resume", "/cancel") else served.get

    assert method(f"/v1/jobs/7{path}").json()["type"] == "urn:lineup:problem:unknown-job"


def test_an_upload_over_the_limit_is_refused_and_nothing_is_kept(
    served: TestClient, tmp_path: Path
) -> None:
    answer = served.post("/v1/corpora/known/ingests", files={"source": ("a.tar", bytes(3 * 2**20))})

    assert answer.status_code == 413
    assert not (tmp_path / "data" / "uploads").exists()


@pytest.mark.parametrize("setting", [{"max_uploads_bytes": 4096}, {"free_disk_bytes": 2**60}])
@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_without_room_is_refused_and_nothing_is_kept(
    tmp_path: Path, setting: dict[str, Any], announced: bool
) -> None:
    boundary, content = "x" * 32, bytes(LOOK_BYTES)
    part = 'Content-Disposition: form-data; name="source"; filename="a.tar"'
    head, tail = f"--{boundary}\r\n{part}\r\n\r\n", f"\r\n--{boundary}--\r\n"
    body = head.encode() + content + tail.encode()
    limits = {"max_upload_bytes": 2 * LOOK_BYTES, "server_works": False} | setting
    app = create_app(settings(tmp_path / "data").model_copy(update=limits))
    with TestClient(app, base_url="http://localhost", headers=NO_BROWSER) as client:
        answer = client.post(
            "/v1/corpora/known/ingests",
            content=body if announced else iter([body[: 2**20], body[2**20 :]]),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
    kind = "uploads-full" if "max_uploads_bytes" in setting else "storage-full"
    assert (answer.status_code, answer.json()["type"]) == (507, f"urn:lineup:problem:{kind}")
    assert not (tmp_path / "data" / "uploads").exists()


def test_a_source_that_is_gone_fails_the_job_and_resuming_it_goes_on(
    served: TestClient, tmp_path: Path, picture: Picture
) -> None:
    job_id = order(served, tmp_path / "in" / "later").json()["id"]
    job = ended(served, job_id)
    assert (job["state"], "later" in job["error"]) == ("failed", True)
    (tmp_path / "in" / "later").mkdir()
    fill(tmp_path / "in" / "later", picture)

    assert served.post(f"/v1/jobs/{job_id}/resume").json()["state"] == "queued"

    job = ended(served, job_id)
    assert (job["state"], job["added"], job["failed"], job["error"]) == ("completed", 3, 1, None)


def test_a_job_is_paused_resumed_and_cancelled_once(
    idle: TestClient, tmp_path: Path, picture: Picture
) -> None:
    fill(tmp_path / "in", picture)
    job_id = order(idle, tmp_path / "in").json()["id"]
    assert order(idle, tmp_path / "in").json()["id"] == job_id  # the same order is the same job

    assert idle.post(f"/v1/jobs/{job_id}/pause").json()["state"] == "paused"
    assert (
        idle.post(f"/v1/jobs/{job_id}/pause").json()["type"]
        == "urn:lineup:problem:job-state-conflict"
    )
    events = idle.get(f"/v1/jobs/{job_id}/events").text
    assert events.startswith("event: paused\n")
    assert idle.post(f"/v1/jobs/{job_id}/resume").json()["state"] == "queued"
    assert idle.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert idle.post(f"/v1/jobs/{job_id}/resume").status_code == 409
    assert order(idle, tmp_path / "in").json()["id"] == job_id + 1
    page = idle.get("/v1/jobs", params={"limit": 1}).json()
    assert [job["id"] for job in page["jobs"]] == [job_id + 1]
    assert [
        job["id"]
        for job in idle.get("/v1/jobs", params={"cursor": page["next_cursor"]}).json()["jobs"]
    ] == [job_id]


def test_a_folder_is_ingested_watched_and_its_failures_listed(
    served: TestClient, tmp_path: Path, picture: Picture
) -> None:
    fill(tmp_path / "in", picture)

    asked = order(served, tmp_path / "in", generator="noise", provenance={"case": 7})
    job_id = asked.json()["id"]
    with served.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    job = served.get(f"/v1/jobs/{job_id}").json()
    items = served.get(f"/v1/jobs/{job_id}/items", params={"outcome": "failed"}).json()["items"]
    entries = served.get("/v1/corpora/known/entries").json()["entries"]

    assert asked.status_code == 202
    assert asked.headers["location"] == f"/v1/jobs/{job_id}"
    assert [line for line in lines if line.startswith("event:")][-1] == "event: completed"
    assert json.loads([line for line in lines if line.startswith("data:")][-1][5:])["added"] == 3
    assert (job["state"], job["found"], job["added"], job["failed"], job["workers"]) == (
        "completed",
        4,
        3,
        1,
        0,
    )
    assert [(item["name"], item["reason"]) for item in items] == [("notes.txt", "not_an_image")]
    assert [
        (entry["generator"], entry["provenance"]["case"], entry["job_id"]) for entry in entries
    ] == [("noise", 7, job_id)] * 3
    found = served.post("/v1/lookups", files={"image": picture(1)}).json()
    assert found["similarity"]["neighbours"][0]["relation"] == "identical"


def test_an_uploaded_archive_is_ingested_and_removed(
    served: TestClient, tmp_path: Path, picture: Picture
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for seed in range(2):
            member = tarfile.TarInfo(f"gen/{seed}.png")
            member.size = len(picture(seed))
            tar.addfile(member, io.BytesIO(picture(seed)))

    asked = served.post(
        "/v1/corpora/known/ingests",
        files={"source": ("../../evil.tar.gz", archive.getvalue())},
        data={"order": json.dumps({"pattern": "{generator}/*"})},
    )
    job = ended(served, asked.json()["id"])

    assert (job["state"], job["added"]) == ("completed", 2)
    assert served.get("/v1/corpora/known/entries").json()["entries"][0]["generator"] == "gen"
    assert find_left(tmp_path / "data" / "uploads") == []
    assert not (tmp_path / "evil.tar.gz").exists()


def test_an_unknown_corpus_is_not_exported(idle: TestClient) -> None:
    assert idle.get("/v1/corpora/none/export").json()["type"] == "urn:lineup:problem:unknown-corpus"


def test_a_corpus_is_exported_and_the_upload_of_it_adds_nothing_twice(
    served: TestClient, tmp_path: Path, picture: Picture
) -> None:
    fill(tmp_path / "in", picture)
    ended(served, order(served, tmp_path / "in").json()["id"])

    sent = served.get("/v1/corpora/known/export")
    back = served.post(
        "/v1/corpora/copy/ingests", files={"source": ("known.parquet", sent.content)}
    )
    job = ended(served, back.json()["id"])

    assert sent.headers["content-type"] == "application/vnd.apache.parquet"
    assert 'filename="known.parquet"' in sent.headers["content-disposition"]
    assert (job["state"], job["found"], job["linked"]) == ("completed", 3, 3)
    assert not list(Path(gettempdir()).glob("lineup-export-*"))


def test_cancelling_removes_what_was_uploaded(idle: TestClient, tmp_path: Path) -> None:
    job_id = idle.post(
        "/v1/corpora/known/ingests", files={"source": ("a.tar", b"some bytes")}
    ).json()["id"]
    assert len(list((tmp_path / "data" / "uploads").iterdir())) == 1

    idle.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()

    assert find_left(tmp_path / "data" / "uploads") == []


def test_jobs_answer_under_their_earlier_path_too(idle: TestClient, tmp_path: Path) -> None:
    job_id = order(idle, tmp_path / "in").json()["id"]

    for path in ("", f"/{job_id}", f"/{job_id}/items"):
        assert idle.get(f"/v1/ingests{path}").json() == idle.get(f"/v1/jobs{path}").json()
    assert idle.post(f"/v1/ingests/{job_id}/pause").json()["state"] == "paused"
    assert idle.get(f"/v1/ingests/{job_id}/events").text.startswith("event: paused\n")
    assert idle.post(f"/v1/ingests/{job_id}/resume").json()["state"] == "queued"
    assert idle.post(f"/v1/ingests/{job_id}/cancel").json()["state"] == "cancelled"
    paths = idle.get("/openapi.json").json()["paths"]
    assert "/v1/jobs/{job_id}/cancel" in paths
    assert not [path for path in paths if path.startswith("/v1/ingests")]
