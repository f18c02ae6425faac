"""The service as its users meet it: the command line and the server, each a process of its own,
nothing patched.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from api.ingest.request import IngestRequest
from api.lineup import make_space, open_database
from api.settings import Settings
from api.worker.running import pause_if_open
from api.worker.starting import start_ingest
from embedder.network.download import describe_model, locate_model
from tests.clients import NO_BROWSER

LINEUP = Path(sys.executable).with_name("lineup")


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        rough = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(
            folder / f"{number:04}.png"
        )


def lineup(data: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [LINEUP, "--data-dir", data, *arguments]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )


def answer(data: Path, *arguments: object) -> dict:
    done = lineup(data, *arguments, "--json")
    assert done.returncode in {0, 3}, done.stderr
    return json.loads(done.stdout.splitlines()[-1] if arguments[0] == "ingest" else done.stdout)


def test_a_file_that_cannot_be_taken_is_a_row_with_its_reason_and_the_others_are_ingested(
    tmp_path: Path,
) -> None:
    write_images(tmp_path / "in", 3)
    whole = (tmp_path / "in" / "0000.png").read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    done = lineup(tmp_path / "data", "ingest", tmp_path / "in", "--corpus", "known", "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 3
    assert (report["found"], report["added"], report["failed"]) == (7, 3, 4)
    items = lineup(
        tmp_path / "data", "jobs", "failures", str(report["id"]), "--json"
    ).stdout.splitlines()
    reasons = {failure["name"]: failure["reason"] for failure in map(json.loads, items)}
    assert reasons["cut.png"] == "truncated"
    assert reasons["notes.txt"] == "not_an_image"
    assert reasons["pipe.png"] == "not_a_file"
    again = answer(tmp_path / "data", "ingest", tmp_path / "in", "--corpus", "known")
    assert (again["added"], again["skipped"]) == (0, 3)


def test_the_identical_image_is_first_and_has_similarity_one(tmp_path: Path) -> None:
    write_images(tmp_path / "in", 5)
    answer(
        tmp_path / "data", "ingest", tmp_path / "in", "--corpus", "known", "--generator", "noise"
    )
    found = answer(tmp_path / "data", "search", tmp_path / "in" / "0003.png")["lookups"][0][
        "lookup"
    ]
    first = found["similarity"]["neighbours"][0]
    assert f"{first['cosine_similarity']:.3f}" == "1.000"
    assert first["relation"] == "identical"
    assert first["entry"]["provenance"]["path"] == "0003.png"
    assert found["similarity"]["verdict"] == "similar_to_known_fakes"
    assert answer(tmp_path / "data", "show", found["id"]) == found


def test_a_database_that_was_never_made_is_one_line_that_says_what_to_run(tmp_path: Path) -> None:
    done = lineup(tmp_path / "none", "corpora")
    assert done.returncode == 7
    assert "lineup init" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "command", [["init"], ["corpora"], ["fsck"], ["jobs", "show", "9"], ["show", "1"]]
)
def test_what_embeds_nothing_does_not_wait_for_torch_or_other_heavy_packages(
    tmp_path: Path, command: list[str]
) -> None:
    """Nor does an error, which four of the five are here: there is no database."""
    arguments = ["--data-dir", str(tmp_path / "data"), *command]
    code = f"import sys; from api.terminal import app; app({arguments}, standalone_mode=False)"
    heavy = {"torch", "scipy", "pyarrow", "huggingface_hub"}
    heavy |= set() if command == ["init"] else {"alembic"}  # it writes the schema
    script = f"try:\n {code}\nfinally:\n assert not {heavy} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert "AssertionError" not in done.stderr


def test_a_server_does_not_hold_what_only_some_jobs_need() -> None:
    script = (
        "import sys, api.http.serving\n"
        "assert not {'pyarrow', 'alembic', 'scipy', 'matplotlib', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], timeout=120, check=True)


def test_a_load_of_ready_embeddings_does_not_wait_for_torch(tmp_path: Path) -> None:
    """Only the files of the model are read: they say its embedding space and its photographs."""
    info = describe_model(locate_model("builtin"))
    vectors = np.random.default_rng(0).standard_normal((20, info.dimension)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    rows = "".join(f"{number:064x},0.5\n" for number in range(20))
    (tmp_path / "v.csv").write_text("sha256,logit\n" + rows)
    space = ["--embedding-space", info.space_fingerprint]

    def load(*words: str) -> str:
        """Run a command that needs no model; return what it says on standard error."""
        command = [*words, "--json", "--data-dir", str(tmp_path / "data")]
        script = (
            f"import sys; from api.terminal import app; app({command}, standalone_mode=False)\n"
            "assert not {'torch', 'transformers', 'cv2'} & set(sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        assert (report["state"], report["added"] + report["linked"]) == ("completed", 20)
        return done.stderr

    said = load("ingest", str(tmp_path / "v.npy"), "--corpus", "known", *space)
    assert "bringing the index up to date" in said
    (stored,) = answer(tmp_path / "data", "calibrations")["calibrations"]
    assert stored["provisional"]  # measured from the photographs that came with the model

    with open_database(Settings(data_dir=tmp_path / "data")) as database:
        sources = [str(tmp_path / "v.npy")]
        request = IngestRequest(corpus="others", sources=sources, embedding_space=space[1])
        job = start_ingest(database, make_space(info), request)
        pause_if_open(database, job.id)
    assert "bringing the index up to date" in load("jobs", "resume", str(job.id))


def test_listening_beyond_loopback_is_refused(tmp_path: Path) -> None:
    done = lineup(tmp_path / "data", "serve", "--host", "0.0.0.0")
    assert done.returncode == 4
    assert "--allow-unauthenticated" in done.stderr


@pytest.mark.prove  # tests/functional/test_killed_ingest.py kills ingests in every run
@pytest.mark.parametrize("after_seconds", [0.5, 2.0])
def test_a_killed_ingest_leaves_all_in_order_and_the_same_command_finishes_it(
    tmp_path: Path, after_seconds: float
) -> None:
    write_images(tmp_path / "in", 120)
    data = tmp_path / "data"
    command = [LINEUP, "--data-dir", data, "ingest", tmp_path / "in", "--corpus", "known"]
    running = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not list(data.glob("thumbnails/*/*.webp")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after_seconds)
    running.send_signal(signal.SIGKILL)
    running.wait()
    found = lineup(
        data, "fsck", "--repair", "--json"
    )  # a thumbnail may have been half written, under its other name
    assert {finding["kind"] for finding in json.loads(found.stdout)["findings"]} <= {
        "leftover_file"
    }
    assert answer(data, "fsck")["clean"]
    rest = answer(data, "ingest", tmp_path / "in", "--corpus", "known")
    assert rest["added"] + rest["skipped"] == 120
    assert rest["failed"] == 0
    assert answer(data, "corpora")["corpora"][0]["entry_count"] == 120
    assert answer(data, "fsck")["findings"] == []


def test_a_server_finds_what_the_command_line_added_and_no_longer_what_it_removed_within_a_second(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    write_images(tmp_path / "in", 2)
    image = (tmp_path / "in" / "0001.png").read_bytes()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LINEUP, "--data-dir", data, "serve", "--port", port]
    server = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=NO_BROWSER, timeout=30, trust_env=False
        ) as client:
            wait_until_ready(client)
            bad = client.post("/v1/lookups", files={"image": b"no image"})
            assert bad.status_code == 415
            assert bad.headers["content-type"] == "application/problem+json"
            assert bad.json()["type"] == "urn:lineup:problem:not-an-image"
            assert client.get("/v1/entries/99").status_code == 404
            assert neighbours(client, image) == []
            answer(data, "ingest", tmp_path / "in", "--corpus", "known")
            (first, _) = neighbours(client, image)
            assert first["relation"] == "identical"
            assert (
                client.get(f"/v1/entries/{first['entry']['id']}/thumbnail").headers["content-type"]
                == "image/webp"
            )
            lineup(data, "entries", "remove", first["entry"]["id"])
            (other,) = neighbours(client, image)
            assert other["entry"]["id"] != first["entry"]["id"]
            cross = client.delete("/v1/corpora/known", headers={"sec-fetch-site": "cross-site"})
            assert cross.status_code == 403
    finally:
        server.terminate()
        server.wait()


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail("the server did not become ready")


def neighbours(client: httpx.Client, image: bytes) -> list[dict]:
    done = client.post("/v1/lookups", files={"image": image})
    assert done.status_code == 201, done.text
    return done.json()["similarity"]["neighbours"]
