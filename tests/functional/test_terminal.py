"""The command line as its users meet it: Ctrl-C, a port that is taken, and the way on after a
demonstration. Each command is a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
LINEUP = [sys.executable, "-m", "api.terminal"]
DEADLINE_SECONDS = 90.0


def environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LINEUP_")}
    return {**ours, "PYTHONPATH": str(ROOT), **more}


def lineup(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LINEUP, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=environment(),
        cwd=cwd,
    )


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for seed in range(count):
        rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC)
        image.save(folder / f"{seed:04}.png")


def wait_for(what: str, path: Path, pattern: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not list(path.glob(pattern)):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextmanager
def running(*command: str | Path, cwd: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.prove  # tests/functional/test_jobs.py interrupts one in every run
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ingest_names_its_job_and_the_command_that_resumes_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    data = tmp_path / "my data"
    write_images(tmp_path / "in", 150)
    ingest = [*LINEUP, "ingest", "in", "--corpus", "known", "--data-dir", str(data)]
    with running(*ingest, cwd=tmp_path) as process:
        wait_for("the first thumbnail", data, "thumbnails/*/*.webp")
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    paused, command, *rest = errors.splitlines()[-2:]

    assert process.returncode == 130
    assert "job 1 is paused" in paused
    assert command == f"  lineup jobs resume 1 --data-dir '{data}'"
    assert not rest
    (job,) = json.loads(lineup("jobs", "--data-dir", data, "--json").stdout)["jobs"]
    assert job["state"] == "paused"
    resumed = lineup("jobs", "resume", "1", "--data-dir", data)
    assert resumed.returncode == 0, resumed.stderr
    assert "job 1 completed" in resumed.stdout
    assert "150 found" in resumed.stdout


def test_a_port_that_is_taken_is_one_line_and_exit_code_9(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = lineup("serve", "--port", port, "--data-dir", tmp_path / "data")

    assert done.returncode == 9
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        pytest.param(
            *(("--model", "nobody"), 6, "unknown model 'nobody'"), marks=pytest.mark.prove
        ),
        (("--database-url", "mysql://host/name"), 4, "mysql is not supported"),
        pytest.param(
            *(("--host", "no.such.host.invalid"), 9, "cannot listen on no.such.host.invalid"),
            marks=pytest.mark.prove,
        ),
    ],
)
def test_what_keeps_a_server_from_starting_is_one_line(
    tmp_path: Path, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    allow = ("--allow-unauthenticated",) if "--host" in words else ()
    done = lineup("serve", "--port", 0, *words, *allow, "--data-dir", tmp_path / "data")

    assert done.returncode == exit_code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def after_demo(demonstration: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which `lineup demo` ran."""
    return shutil.copytree(demonstration, tmp_path_factory.mktemp("demo") / "folder")


def test_the_commands_that_the_demonstration_prints_work(after_demo: Path) -> None:
    printed = (after_demo / "printed").read_text()
    search, serve = [line for line in printed.splitlines() if "--data-dir" in line]

    assert serve.split()[1:] == ["serve", "--data-dir", "lineup-demo/data"]
    done = lineup(*search.split()[1:], cwd=after_demo)
    assert done.returncode == 0, done.stderr
    assert "demo-" in done.stdout
    assert not (after_demo / "lineup-data").exists()


def served(folder: Path, corpora: set[str]) -> str:
    """What `make serve` prints in a folder, after the server has shown these corpora."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    script = bin_folder / "lineup"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m api.terminal "$@"\n')
    script.chmod(0o755)
    make = ["make", "-f", str(ROOT / "Makefile"), "serve", "READY=", f"BIN={bin_folder}"]
    with running(*make, cwd=folder, LINEUP_PORT=str(port)) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/v1/corpora", timeout=30)
                page = httpx.get(f"http://127.0.0.1:{port}/", timeout=30)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert {corpus["name"] for corpus in answer.json()["corpora"]} == corpora
    assert "<html" in page.text
    return out


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_serve_after_make_demo_serves_the_demonstration_and_says_so(after_demo: Path) -> None:
    out = served(after_demo, {"demo-fakes", "demo-reals"})
    assert "serving the demonstration's data in lineup-demo/data" in out


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_serve_prefers_data_of_your_own(after_demo: Path) -> None:
    assert lineup("corpora", "create", "mine", cwd=after_demo).returncode == 0
    try:
        assert "demonstration" not in served(after_demo, {"mine"})
    finally:
        shutil.rmtree(after_demo / "lineup-data")


def test_a_reader_that_stops_reading_is_no_defect() -> None:
    done = subprocess.run(
        f"{sys.executable} -m api.terminal ingest --help | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(),
    )

    assert (len(done.stdout), done.stderr) == (1, "")


def test_help_is_fast() -> None:
    """Help loads nothing of what makes a look-up slow to start."""
    heavy = ("alembic", "faiss", "numpy", "PIL", "sqlalchemy", "torch")
    loads = f"import sys; import {{}}; print(sorted(set(sys.modules) & set({heavy})))"
    of_help, of_lookup = (
        subprocess.check_output([sys.executable, "-c", loads.format(what)], text=True).strip()
        for what in ("api.terminal", "api.lookups.lookup, api.lineup")
    )
    assert of_help == "[]"
    assert "faiss" in of_lookup
