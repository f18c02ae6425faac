"""Hostile images over HTTP and in an ingest: each is an error of that one image, and memory comes
back.

The decoder obeys the file (`tests/embedder/decoding/planted.py`). Everything else is what runs in
production.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.http.app import create_app
from api.ingest.request import IngestRequest
from api.lineup import Lineup
from api.settings import Settings
from api.worker.current import CurrentLineup
from api.worker.running import work_on
from api.worker.starting import start_ingest
from embedder.decoding.processes import ProcessDecoders
from index.truth.jobs.items import Outcome, list_items
from index.truth.jobs.job import JobCounts, JobState
from tests.clients import NO_BROWSER
from tests.conftest import unavailable
from tests.embedder.decoding.planted import plant

PLANTED = "tests.embedder.decoding.planted:decode"
BUDGET_BYTES = 192 * 2**20
ATTACKS = {
    "segfault": "decoder_crashed",
    "read": "decoder_crashed",
    "hang": "decoding_timed_out",
    "leap": "needs_too_much_memory",
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tests of Linux's confinement")


@contextmanager
def serving(folder: Path, decoders: ProcessDecoders) -> Iterator[TestClient]:
    """The service over these decoders."""
    settings = Settings(data_dir=folder / "data", device="cpu", offline=True)
    current = CurrentLineup(settings, partial(Lineup.open, decoders=decoders))
    with TestClient(
        create_app(settings, current), base_url="http://localhost", headers=NO_BROWSER
    ) as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service over decoders that obey the file."""
    decoders = ProcessDecoders(2, timeout_seconds=2.0, budget_bytes=BUDGET_BYTES, decoder=PLANTED)
    with serving(tmp_path_factory.mktemp("sandbox"), decoders) as opened:
        yield opened
    decoders.close()


def make_photograph(seed: int) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(rough).resize((200, 200), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def make_bomb(side: int) -> bytes:
    """A small file of many pixels, with transparency."""
    file = BytesIO()
    Image.new("RGBA", (side, side), (200, 30, 90, 128)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def look_up(client: TestClient, data: bytes) -> httpx.Response:
    return client.post("/v1/lookups", files={"image": data})


@pytest.mark.parametrize(
    ("over_http", "in_an_ingest"),
    [
        (["hang", "leap"], ["segfault", "read"]),
        pytest.param([*ATTACKS], [*ATTACKS], marks=pytest.mark.prove),  # each costs a worker
    ],
    ids=["half", "all"],
)
def test_each_hostile_image_is_its_own_error_over_http_and_in_an_ingest(
    client: TestClient, tmp_path: Path, over_http: list[str], in_an_ingest: list[str]
) -> None:
    confinement = client.get("/readyz").json()["confinement"]
    if confinement["level"] != "full":
        unavailable(f"this kernel confines less: {confinement['detail']}")
    for number, attack in enumerate(over_http):
        refused = look_up(client, plant(attack, "/etc/hostname"))
        assert refused.status_code in (413, 422)
        slug = ATTACKS[attack].replace("_", "-")
        assert refused.json()["type"] == f"urn:lineup:problem:{slug}"
        assert look_up(client, make_photograph(number)).status_code == 201

    for number, attack in enumerate(in_an_ingest):
        (tmp_path / f"{number}-{attack}.png").write_bytes(plant(attack, "/etc/hostname"))
        fine = make_photograph(100 * len(in_an_ingest) + number)
        (tmp_path / f"{number}-fine.png").write_bytes(fine)
    with client.app.state.current.held() as lineup:  # type: ignore[attr-defined]
        counts, reasons = ingest_folder(lineup, tmp_path)
    assert counts.added == len(in_an_ingest)
    assert reasons == {
        f"{number}-{attack}.png": ATTACKS[attack] for number, attack in enumerate(in_an_ingest)
    }


def ingest_folder(lineup: Lineup, folder: Path) -> tuple[JobCounts, dict[str, str | None]]:
    """Ingest a folder; return what came of it, and the reason of each file that failed."""
    request = IngestRequest(sources=[str(folder)], corpus="known")
    job = work_on(lineup, start_ingest(lineup.database, lineup.space, request))
    assert job.state is JobState.COMPLETED
    with lineup.database.read() as conn:
        items = list_items(conn, job.id, Outcome.FAILED)
    return job.counts, {Path(item.name).name: item.reason for item in items}


def test_pictures_that_exceed_the_budget_together_wait_for_one_another(client: TestClient) -> None:
    bomb = make_bomb(2_500)
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: look_up(client, bomb).status_code, range(5)))
    assert answers == [201] * 5
    refused = look_up(client, make_bomb(4_000))
    assert refused.json()["type"] == "urn:lineup:problem:needs-too-much-memory"
    assert look_up(client, make_photograph(0)).status_code == 201


MEMORY = """
import sys, time, json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tests.functional.test_sandbox import *
def held(decoders):
    import os
    total = 0
    for pid in (os.getpid(), *decoders.find_workers()):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
side, budget, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
decoders = ProcessDecoders(4, budget_bytes=budget)
with serving(Path(sys.argv[1]), decoders) as client, ThreadPoolExecutor(5) as threads:
    list(threads.map(lambda n: look_up(client, make_photograph(n)), range(20)))
    before = held(decoders)
    bomb = make_bomb(side)
    statuses = list(threads.map(lambda _: look_up(client, bomb).status_code, range(5)))
    del bomb
    deadline = time.monotonic() + seconds
    while held(decoders) > 1.2 * before and time.monotonic() < deadline:
        time.sleep(0.5)
    print(json.dumps([statuses, before, held(decoders), len(decoders.find_workers())]))
decoders.close()
"""


@pytest.mark.prove
@pytest.mark.parametrize("budget_gib", [2.5, 16])
def test_memory_comes_back_after_five_pictures_of_100_megapixels(
    tmp_path: Path, budget_gib: float
) -> None:
    """With the budget of 2.5 GiB they wait for one another."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), "10000", str(int(budget_gib * 2**30)), "60"],
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    statuses, before, after, workers = json.loads(done.stdout.splitlines()[-1])
    print(
        f"budget {budget_gib} GiB: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} after, "
        f"{workers} workers"
    )
    assert statuses == [201] * 5
    assert after <= 1.2 * before
