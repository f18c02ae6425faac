"""Malformed files through HTTP: each look-up is an answer or a typed problem, never a defect, and
the server's memory stays flat.

100 files here, 2,000 by `make prove`; and the special files of the corpus, where it is.
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

from tests.clients import NO_BROWSER
from tests.functional.malforming import make_good_files, malform

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0
# Everything that was ever loaded is in memory after so many files of every format.
WARM_FILES = 300
MOST_GROWTH = 1.1


@contextmanager
def server(data: Path, *, decoding: str) -> Iterator[tuple[httpx.Client, int]]:
    """A server as a process of its own: a client of it, and its process id."""
    with httpx.Client(headers=NO_BROWSER, trust_env=False, timeout=60) as client:
        command = [sys.executable, "-m", "api.terminal", "--data-dir", str(data), "serve"]
        environment = {
            **os.environ,
            "LINEUP_DECODING": decoding,
            "LINEUP_OFFLINE": "true",
            "LINEUP_DEVICE": "cpu",
        }
        process = subprocess.Popen(
            [*command, "--port", "0"],
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "Lineup is at " in line)
            log = (data.parent / "server.log").open("w")
            copier = subprocess.Popen(["cat"], stdin=process.stderr, stdout=log)
            client.base_url = line.partition("Lineup is at ")[2].split()[0]  # type: ignore[assignment]
            wait_until_ready(client)
            yield client, process.pid
        finally:
            process.terminate()
            process.wait()
            copier.wait()
            log.close()


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail("the server did not become ready")


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


def test_100_malformed_files_are_answers_or_typed_problems(tmp_path: Path) -> None:
    with server(tmp_path / "data", decoding="threads") as (client, _):
        seen = look_up_all(client, malform(100))
        assert look_up_all(client, make_good_files())["answered"] == len(make_good_files())
    assert seen["answered"] > 5
    assert len(seen) > 3
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")


@pytest.mark.corpus
def test_the_special_files_of_the_corpus_are_answers_or_typed_problems(tmp_path: Path) -> None:
    default = REPOSITORY.parent / "shared" / "corpus"
    folder = Path(os.environ.get("LINEUP_TEST_CORPUS", str(default))) / "special"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set LINEUP_TEST_CORPUS to the corpus")
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    with server(tmp_path / "data", decoding="threads") as (client, _):
        seen = look_up_all(client, files)
    assert seen.total() == len(files)
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")


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
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")
