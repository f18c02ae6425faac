"""How soon a command answers, and the memory of an idle server.

    python -m tests.benchmarks.starting [--n 1000] [--ready 100000] [--work DIR]

The peer is `import torch` in a process of its own, run in turns with the commands: a command that
uses a model cannot be faster. `lineup search IMAGE` is the whole command, from its start until the
process has ended, in a database of `--n` entries. The load of `--ready` ready embeddings needs no
model; its output is read line by line, so that the time after the last word is seen. What runs is
a copy of the packages with compiled modules, as an installation has them: Python would otherwise
compile three hundred modules in each process where it may not keep what it compiled. The memory of
the server is the sum over all its processes: resident, and the proportional share (PSS), which
counts pages that processes share once.

Quality: the logit that the command prints is compared with that of the embedder in this process,
and the modules that a load of ready embeddings imported are listed.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from embedder.network.embed import Embedder
from embedder.pictures.decode import decode
from tests.benchmarks.filling import sha256_of
from tests.benchmarks.serving import find_free_port, wait_until_open

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "embedder", "index", "migrations")
LINEUP = (sys.executable, "-m", "api.terminal")
IDLE_SECONDS = 3.0  # what the start of a server left to be done is done by then
HEAVY = ("torch", "transformers", "scipy", "alembic", "huggingface_hub", "onnxruntime")
# Runs a command in this process and then says which of the heavy modules it loaded.
LISTING = (
    "import sys\n"
    "from api.terminal import app\n"
    "try:\n app(sys.argv[1:], standalone_mode=False)\n"
    f"finally:\n print('loaded', *[each for each in {HEAVY} if each in sys.modules])\n"
)


@dataclass(frozen=True)
class Run:
    """One process: its times in seconds, page faults, and peak resident memory in MiB."""

    wall: float
    processor: float
    faults: int
    peak_mib: float
    output: str


def install(folder: Path) -> Path:
    """Copy the packages, without what is left out of a wheel, and compile their modules."""
    shutil.rmtree(folder, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            folder / package,
            ignore=shutil.ignore_patterns("training", "__pycache__"),
        )
        compileall.compile_dir(folder / package, quiet=1)
    return folder


def run(*command: str | Path) -> Run:
    """Run a command until it has ended. Raises where it fails."""
    started = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {output}")
    return Run(
        wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_minflt + usage.ru_majflt,
        usage.ru_maxrss / 1024,
        output,
    )


def write_ready(path: Path, n: int, fingerprint: str, dimension: int) -> Path:
    """Write a table of ready embeddings: random unit vectors."""
    random = np.random.default_rng(n)
    vectors = random.standard_normal((n, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = pa.table(
        {
            "sha256": [sha256_of(number) for number in range(n)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension),
            "logit": random.normal(0, 4, n),
            "generator": [f"generator-{number % 7}" for number in range(n)],
        }
    )
    pq.write_table(table.replace_schema_metadata({"lineup.embedding_space": fingerprint}), path)
    return path


def write_image(path: Path) -> Path:
    rows, columns = np.mgrid[0:480, 0:640]
    smooth = np.stack([columns * 200 // 640, rows * 200 // 480, (rows + columns) // 6], axis=-1)
    noise = np.random.default_rng(0).integers(0, 50, smooth.shape)
    Image.fromarray((smooth + noise).astype(np.uint8)).save(path, quality=90)
    return path


def measure_answers(data: Path, image: Path, repeats: int) -> None:
    """Print the times of commands, in turns with `import torch`."""
    commands = {
        "import torch": (sys.executable, "-c", "import torch"),
        "lineup search IMAGE": (*LINEUP, "--data-dir", data, "search", image, "--json"),
        "lineup corpora": (*LINEUP, "--data-dir", data, "corpora"),
        "lineup --version": (*LINEUP, "--version"),
    }
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run(*command))
    torch = min(each.wall for each in runs["import torch"])
    print(f"{'':22}{'s, least':>9}{'median':>8}{'processor':>11}{'faults':>9}{'peak MiB':>10}")
    for name, each in runs.items():
        best = min(each, key=lambda one: one.wall)
        print(
            f"{name:22}{best.wall:9.2f}{median(one.wall for one in each):8.2f}"
            f"{best.processor:11.2f}{best.faults:9,}{best.peak_mib:10.0f}"
            f"   {best.wall / torch:.2f} x import torch"
        )
    answer = json.loads(runs["lineup search IMAGE"][-1].output)
    logit = Embedder.load(device="cpu").embed([decode(image.read_bytes())]).logits[0]
    print(f"logit of the command {find_logit(answer)}, of the embedder here {logit:.6f}")


def find_logit(answer: object) -> object:
    """Return the first value of a key `logit` in JSON, which is that of the probe."""
    if isinstance(answer, dict):
        if isinstance(answer.get("logit"), float):
            return answer["logit"]
        answer = list(answer.values())
    if isinstance(answer, list):
        return next((each for one in answer if (each := find_logit(one)) is not None), None)
    return None


def measure_load(folder: Path, table: Path) -> None:
    """Print the progress of a load of ready embeddings, and what it needed."""
    arguments = ("--data-dir", folder, "ingest", table, "--corpus", "known")
    started, said = time.perf_counter(), 0.0
    command = (sys.executable, "-u", "-c", LISTING, *arguments)
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = time.perf_counter() - started
            print(f"  {said:6.2f} s  {line.rstrip()}")
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    ended = time.perf_counter() - started
    print(f"  {ended:6.2f} s  ended; peak {usage.ru_maxrss / 1024:.0f} MiB")


def measure_server(data: Path) -> None:
    """Print the memory of each process of an idle server."""
    port = find_free_port()
    command = (*LINEUP, "--data-dir", str(data), "serve", "--port", str(port))
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    started = time.perf_counter()
    try:
        wait_until_open(port)
        print(f"listens after {time.perf_counter() - started:.2f} s")
        time.sleep(IDLE_SECONDS)
        family = [process.pid, *find_children(process.pid)]
        memory = {pid: read_memory(pid) for pid in family}
        for pid, (resident, share) in memory.items():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:60]
            print(f"  {resident:6.0f} MiB resident {share:6.0f} MiB share  {words}")
        print(
            f"  {sum(each[0] for each in memory.values()):6.0f} MiB resident "
            f"{sum(each[1] for each in memory.values()):6.0f} MiB share  together"
        )
    finally:
        process.terminate()
        process.wait(60)


def find_children(pid: int) -> list[int]:
    """Return all processes below one."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    direct = [int(child) for each in tasks for child in each.read_text().split()]
    return [*direct, *(below for child in direct for below in find_children(child))]


def read_memory(pid: int) -> tuple[float, float]:
    """Return resident memory and proportional share in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return values["Rss"], values["Pss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--ready", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["answers", "load", "server"])
    parser.add_argument("--work", type=Path, help="keeps the database and the tables")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        os.environ["PYTHONPATH"] = str(install(work / "installed"))
        os.chdir(work / "installed")
        data, image = work / f"data-{options.n}", write_image(work / "probe.jpg")
        info = Embedder.load(device="cpu").info
        space = info.space_fingerprint, info.dimension
        if not data.exists():
            table = write_ready(work / f"{options.n}.parquet", options.n, *space)
            run(*LINEUP, "--data-dir", data, "ingest", table, "--corpus", "known")
        if options.only in (None, "answers"):
            measure_answers(data, image, options.repeats)
        if options.only in (None, "load"):
            table = write_ready(work / f"{options.ready}.parquet", options.ready, *space)
            print(f"\na load of {options.ready:,} ready embeddings")
            with tempfile.TemporaryDirectory() as folder:
                measure_load(Path(folder), table)
        if options.only in (None, "server"):
            # The first process that embeds checks the precision, and the data folder keeps the
            # outcome. That takes memory once.
            run(*LINEUP, "--data-dir", data, "search", image, "--json")
            print(f"\nan idle server, {options.n:,} entries")
            measure_server(data)


if __name__ == "__main__":
    main()
