"""Malformed files through HTTP: each look-up is an answer or a typed problem, never a defect, and
the server's memory stays flat.

50 files here, 2,000 by `make prove`; and the special files of the corpus, where it is: a handful
here, all of them there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api.settings import Settings
from tests.clients import NO_BROWSER
from tests.functional.browsing import serving
from tests.functional.malforming import make_good_files, malform

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0
LOG = "server.log"
# Everything that was ever loaded is in memory after so many files of every format.
WARM_FILES = 300
MOST_GROWTH = 1.1
HANDFUL = 6  # of the special files, which are large


@contextmanager
def server(data: Path, *, decoding: str) -> Iterator[tuple[httpx.Client, int]]:
    """A server as a process of its own: a client of it, and its process id."""
    command = [sys.executable, "-m", "api.terminal", "--data-dir", str(data), "serve"]
    environment = {
        **os.environ,
        "LINEUP_DECODING": decoding,
        "LINEUP_OFFLINE": "true",
        "LINEUP_DEVICE": "cpu",
    }
    log = data.parent / LOG
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--port", "0"], env=environment, stderr=errors, stdout=subprocess.DEVNULL
        )
    try:
        url = wait_for_address(log)
        with httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=60) as client:
            assert client.get("/readyz").status_code == 200
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def wait_for_address(log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        _, found, rest = log.read_text(encoding="utf-8").partition("Lineup is at ")
        if found and "\n" in rest:
            return rest.split()[0]
        time.sleep(0.1)
    pytest.fail("the server did not start")


def look_up_all(client: httpx.Client, files: Iterable[bytes]) -> Counter[str]:
    """Look every file up; how often which answer came."""
    seen: Counter[str] = Counter()
    for number, data in enumerate(files):
        response = client.post("/v1/lookups", files={"image": data})
        assert response.status_code < 500, (number, response.text)
        if response.status_code == 201:
            seen["answered"] += 1
            continue
        assert response.headers["content-type"] == "application/problem+json", number
        seen[response.json()["type"].rpartition(":")[2]] += 1
    return seen


def resident_bytes(pid: int) -> int:
    """The memory of a process and of the processes that it has started."""
    total = 0
    for each in [pid, *children_of(pid)]:
        status = Path(f"/proc/{each}/status").read_text(encoding="ascii")
        total += 1024 * int(status.partition("VmRSS:")[2].split()[0])
    return total


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for path in found for word in path.read_text(encoding="ascii").split()]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("malformed"),
        device="cpu",
        offline=True,
        server_works=False,
    )
    with (
        serving(settings) as (url, _),
        httpx.Client(base_url=url, headers=NO_BROWSER, trust_env=False, timeout=60) as opened,
    ):
        yield opened


def test_malformed_files_are_answers_or_typed_problems(client: httpx.Client) -> None:
    seen = look_up_all(client, malform(50))
    assert seen["answered"] > 5
    assert {"truncated-image", "corrupt-image"} <= seen.keys()


def test_the_good_files_that_they_are_made_of_are_answered(client: httpx.Client) -> None:
    assert look_up_all(client, make_good_files())["answered"] == len(make_good_files())


@pytest.mark.corpus
@pytest.mark.parametrize("most", [HANDFUL, pytest.param(sys.maxsize, marks=pytest.mark.prove)])
def test_the_special_files_of_the_corpus_are_answers_or_typed_problems(
    client: httpx.Client, most: int
) -> None:
    default = REPOSITORY.parent / "shared" / "corpus"
    folder = Path(os.environ.get("LINEUP_TEST_CORPUS", str(default))) / "special"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set LINEUP_TEST_CORPUS to the corpus")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path.read_bytes() for path in paths[:: -(-len(paths) // most)]]
    assert look_up_all(client, files).total() == len(files)


@pytest.mark.prove
@pytest.mark.parametrize("decoding", ["processes", "threads"])
def test_2000_malformed_files_leave_the_memory_flat(tmp_path: Path, decoding: str) -> None:
    with server(tmp_path / "data", decoding=decoding) as (client, pid):
        files = malform(2000)
        look_up_all(client, (next(files) for _ in range(WARM_FILES)))
        before = resident_bytes(pid)
        seen = look_up_all(client, files)
        after = resident_bytes(pid)
        print(f"{decoding}: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after; {seen}")
    assert after < MOST_GROWTH * before
    assert "Traceback" not in (tmp_path / LOG).read_text(encoding="utf-8")
