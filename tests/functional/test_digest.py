"""Equal bytes have equal evidence on one generation and one machine, whatever else runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.app import create_app
from api.settings import Settings
from tests.clients import NO_BROWSER
from tests.functional.shelves import jpeg
from tests.functional.terminal import answer

OTHER_CLIENTS = 4
REPEATS = 30
STABILITY_REPEATS = 4
PROBE = 700


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digest")
    for corpus, kind, first in (("fakes", "known_fake", 0), ("reals", "known_real", 100)):
        (folder / corpus).mkdir()
        for seed in range(first, first + 12):
            (folder / corpus / f"{seed}.jpg").write_bytes(jpeg(seed))
        answer(folder / "data", "ingest", folder / corpus, "--corpus", corpus, "--kind", kind)
    answer(folder / "data", "calibrate", "--condition", "jpeg75", "--seed", "1")
    return folder


@pytest.fixture(scope="module")
def client(shelf: Path) -> Iterator[TestClient]:
    settings = Settings(data_dir=shelf / "data", offline=True)
    with TestClient(
        create_app(settings), base_url="http://localhost", headers=NO_BROWSER
    ) as opened:
        yield opened


def look_up(client: TestClient, seed: int, **query: Any) -> Any:
    sent = {"query": json.dumps({"k": 5, **query})}
    done = client.post("/v1/lookups", files={"image": jpeg(seed)}, data=sent)
    assert done.status_code == 201, done.text
    return done.json()


def test_equal_bytes_have_equal_digests_with_four_other_clients(
    client: TestClient, shelf: Path
) -> None:
    alone = [look_up(client, PROBE), look_up(client, PROBE, stability=True)]
    finished = Event()

    def keep_asking(number: int) -> int:
        asked = 0
        while not finished.is_set():
            look_up(client, PROBE + 1 + number + OTHER_CLIENTS * asked, stability=asked % 3 == 0)
            asked += 1
        return asked

    with ThreadPoolExecutor(OTHER_CLIENTS) as pool:
        others = [pool.submit(keep_asking, number) for number in range(OTHER_CLIENTS)]
        try:
            found = [look_up(client, PROBE) for _ in range(REPEATS)]
            stable = [look_up(client, PROBE, stability=True) for _ in range(STABILITY_REPEATS)]
        finally:
            finished.set()
    assert sum(other.result() for other in others) >= REPEATS, "they ran beside it"

    assert {each["classifier"]["logit"] for each in found + stable} == {
        alone[0]["classifier"]["logit"]
    }
    assert {each["evidence_sha256"] for each in found} == {alone[0]["evidence_sha256"]}
    assert {each["evidence_sha256"] for each in stable} == {alone[1]["evidence_sha256"]}


def test_a_command_has_the_digest_of_the_server(client: TestClient, shelf: Path) -> None:
    (shelf / "probe.jpg").write_bytes(jpeg(PROBE))
    asked = answer(shelf / "data", "search", shelf / "probe.jpg", "-k", "5")["lookups"][0]
    assert asked["lookup"]["evidence_sha256"] == look_up(client, PROBE)["evidence_sha256"]
