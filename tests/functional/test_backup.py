"""A backup of a service at work: the server answers, an ingest goes on, and the restored service
answers the same.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.clients import NO_BROWSER

LINEUP = Path(sys.executable).with_name("lineup")
QUERY = json.dumps({"k": 20, "filter": {"corpora": ["known"]}})


def picture(seed: int) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    encoded = BytesIO()
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(encoded, "PNG")
    return encoded.getvalue()


def command(data: Path, *arguments: object) -> list[str]:
    return list(map(str, [LINEUP, "--data-dir", data, *arguments]))


def answer(data: Path, *arguments: object) -> Any:
    done = subprocess.run(
        command(data, *arguments, "--json"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def served(data: Path) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        command(data, "serve", "--port", port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=NO_BROWSER, timeout=30, trust_env=False
        ) as client:
            wait_until_ready(client)
            yield client
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


def add(client: httpx.Client, corpus: str, seed: int) -> None:
    client.post(f"/v1/corpora/{corpus}/entries", files={"image": picture(seed)}).raise_for_status()


def neighbours(client: httpx.Client, seed: int) -> list[tuple[int, float]]:
    done = client.post("/v1/lookups", files={"image": picture(seed)}, data={"query": QUERY})
    assert done.status_code == 201, done.text
    found = done.json()["similarity"]["neighbours"]
    return [(neighbour["entry"]["id"], neighbour["cosine_similarity"]) for neighbour in found]


@contextmanager
def growing(client: httpx.Client, corpus: str) -> Iterator[list[int]]:
    """Adds one image after the other from a thread; gives the seeds of those that are in."""
    stop, seeds = threading.Event(), list[int]()

    def add_on() -> None:
        while not stop.is_set():
            add(client, corpus, 1000 + len(seeds))
            seeds.append(1000 + len(seeds))

    thread = threading.Thread(target=add_on)
    thread.start()
    try:
        yield seeds
    finally:
        stop.set()
        thread.join()


def test_a_service_at_work_is_backed_up_and_answers_the_same_elsewhere(tmp_path: Path) -> None:
    data, elsewhere, archive = tmp_path / "data", tmp_path / "elsewhere", tmp_path / "lineup.tar"
    probes = [0, 1, 2, 1000, 9999]

    with served(data) as client:
        for corpus in ("known", "more"):
            client.post(
                "/v1/corpora", json={"name": corpus, "kind": "known_fake"}
            ).raise_for_status()
        for seed in range(12):
            add(client, "known", seed)
        before = [neighbours(client, probe) for probe in probes]
        with growing(client, "more") as added:
            while len(added) < 5:
                time.sleep(0.05)
            made = answer(data, "backup", archive)
            at_the_end = len(added)
        assert [neighbours(client, probe) for probe in probes] == before
    shutil.move(data, tmp_path / "lost")

    assert 12 + 5 <= made["generation"] < 12 + at_the_end, (
        "entries came before and while the backup was made"
    )
    restored = answer(elsewhere, "restore", archive)
    assert (restored["backup"]["generation"], restored["thumbnails"]) == (
        made["generation"],
        made["generation"],
    )
    with served(elsewhere) as client:
        assert [neighbours(client, probe) for probe in probes] == before
        assert client.get("/readyz").json()["generation"] == made["generation"]
        add(client, "known", 50)
        assert max(neighbours(client, 50))[0] == made["generation"] + 1
    report = answer(elsewhere, "fsck")
    assert (report["clean"], report["findings"]) == (True, [])
