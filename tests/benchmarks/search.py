"""Search, side by side: `python -m tests.benchmarks.search --n 1000000 --data clustered`.

Every engine builds in one process and is opened and measured in another, so that memory is counted
separately and a crash becomes a row. The parameter that trades recall for time is raised on 1,000
probes, none of which is a row, until recall@10 >= 0.99; Lineup chooses for itself, from its own
rows. Then the same probes are searched three times one by one, in one thread, and as one batch, in
two; the quickest pass counts. Resident memory is what the process holds after that minus what it
held before opening: anonymous, and mapped from files (which the system may reclaim). At last every
other value of the parameter gives a point of the curve of p50 against recall. Lineup's build starts
from vectors in SQL; the peers read theirs from a mapped file.

`--quick` takes two minutes and shows the same on 20,000 vectors. `tests.benchmarks.search_page`
writes the table and the picture of docs/benchmarks.md from the folders.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.benchmarks.engines import ENGINES, THREADS, Engine
from tests.benchmarks.filling import fill
from tests.benchmarks.vectors import GENERATORS

K, RECALL, PROBES, PASSES = 10, 0.99, 1000, 3
# Where a curve ends: more recall is only a matter of time.
ENOUGH = 0.9995
QUICK_ROWS = 20_000
QUICK_ENGINES = "lineup-index,lineup-search,faiss-flat,hnswlib,usearch,svs-vamana"
PACKAGES = (
    "faiss-cpu",
    "numpy",
    "sqlalchemy",
    "hnswlib",
    "usearch",
    "scalable-vs",
    "lancedb",
    "milvus-lite",
    "qdrant-edge-py",
)
COLUMNS = (
    "engine",
    "recall@10",
    "p50 ms",
    "p99 ms",
    "batch /s",
    "recall",
    "build s",
    "open s",
    "disk B",
    "anon B",
    "file B",
    "settings",
)
out = Console(width=200, highlight=False)


def prepare(work: Path, data: str, n: int, seed: int, *, peers: bool) -> None:
    """Write probes, the exact answer, the database and, for peers, the rows, unless they exist."""
    vectors = GENERATORS[data](n, seed=seed)
    if peers:
        vectors.write(work / "rows.npy")
    if not (work / "truth.npy").exists():
        probes = vectors.probes(2 * PROBES)
        np.save(work / "probes.npy", probes)
        np.save(work / "truth.npy", find_exact(vectors.blocks(), probes))
    (work / "dimension").write_text(str(vectors.dimension))
    if not (work / "filled").exists():
        (work / "lineup.db").unlink(missing_ok=True)
        started = time.perf_counter()
        fill(work / "lineup.db", vectors.blocks(), vectors.dimension)
        (work / "filled").write_text(f"{time.perf_counter() - started:.1f}")


def find_exact(
    blocks: Iterable[NDArray[np.float32]], probes: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the K nearest row numbers (p, K) of each probe by comparing all rows, which come in
    blocks (b, d).
    """
    best = np.full((len(probes), K), -np.inf, np.float32)
    ids = np.full((len(probes), K), -1, np.int64)
    start = 0
    for block in blocks:
        similarities = probes @ block.T  # (p, d) @ (d, b) -> (p, b)
        nearer = np.flatnonzero((similarities > best.min(axis=1)[:, np.newaxis]).any(axis=1))
        both = np.concatenate([best[nearer], similarities[nearer]], axis=1)
        numbers = np.broadcast_to(start + np.arange(len(block)), (len(nearer), len(block)))
        named = np.concatenate([ids[nearer], numbers], axis=1)
        order = np.argpartition(-both, K - 1, axis=1)[:, :K]
        best[nearer], ids[nearer] = (
            np.take_along_axis(both, order, 1),
            np.take_along_axis(named, order, 1),
        )
        start += len(block)
    return ids


def compute_recall(found: Any, truth: Any) -> float:
    return (
        sum(
            len(set(row.tolist()) & set(true.tolist()))
            for row, true in zip(found, truth, strict=True)
        )
        / truth.size
    )


def build(name: str, work: Path) -> dict[str, Any]:
    """Build an engine; runs in a process of its own."""
    folder = work / name
    folder.mkdir(exist_ok=True)
    path = work / "rows.npy"
    rows = np.load(path, mmap_mode="r") if path.exists() else None  # Lineup reads SQL
    started = time.perf_counter()
    ENGINES[name]().build(rows, folder)
    return {"build_seconds": time.perf_counter() - started}


def measure(name: str, work: Path) -> dict[str, Any]:
    """Measure an engine; runs in a process of its own."""
    engine = ENGINES[name]()
    probes, truth = np.load(work / "probes.npy"), np.load(work / "truth.npy")
    before = read_resident_bytes()
    started = time.perf_counter()
    engine.open(work / name)
    engine.search(probes[0], K, engine.reaches[0])
    opened = time.perf_counter() - started
    others, probes = probes[:PROBES], probes[PROBES:]
    truth = truth[PROBES:]
    curve = []
    for reach in engine.reaches:
        for probe in others:  # loads the pages of other probes too
            engine.search(probe, K, reach)
        curve.append(measure_point(engine, probes, truth, reach))
        if curve[-1]["recall"] >= RECALL:
            break
    reached = curve[-1]["reach"]
    singles = [measure_point(engine, probes, truth, reached) for _ in range(PASSES)]
    batches = []
    for _ in range(PASSES):
        began = time.perf_counter()
        found = engine.batch(probes, K, reached)
        batches.append(PROBES / (time.perf_counter() - began))
    after = read_resident_bytes()
    for reach in engine.sweep:
        if max(point["recall"] for point in curve) >= ENOUGH:
            break
        if reach not in [point["reach"] for point in curve]:
            curve.append(measure_point(engine, probes, truth, reach))
    return {
        **min(singles, key=lambda point: point["p50_ms"]),
        "batch_per_second": max(batches),
        "batch_recall": compute_recall(found, truth),
        "open_seconds": opened,
        "anon_bytes": after[0] - before[0],
        "file_bytes": after[1] - before[1],
        "settings": engine.settings,
        "curve": curve,
    }


def measure_point(
    engine: Engine, probes: NDArray[np.float32], truth: NDArray[np.int64], reach: Any
) -> dict[str, Any]:
    """Search for every probe once, one by one."""
    seconds, found = [], []
    for probe in probes:
        began = time.perf_counter()
        found.append(engine.search(probe, K, reach))
        seconds.append(time.perf_counter() - began)
    return {
        "reach": reach,
        "recall": compute_recall(found, truth),
        "p50_ms": float(np.median(seconds)) * 1e3,
        "p99_ms": float(np.quantile(seconds, 0.99)) * 1e3,
    }


def read_resident_bytes() -> tuple[int, int]:
    """Return the resident bytes of this process: anonymous, and mapped from files."""
    status = Path("/proc/self/status").read_text()
    return tuple(
        int(status.split(f"{key}:")[1].split()[0]) * 1024 for key in ("RssAnon", "RssFile")
    )  # type: ignore[return-value]


def run_in_process(what: str, name: str, work: Path, timeout: float) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.search",
        "--child",
        what,
        name,
        "--work",
        str(work),
    ]
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(THREADS)
    )
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | threads,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"{what}: not finished after {timeout:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        return {"failed": f"{what}: {lines[-1][:160]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(name: str, work: Path, timeout: float, built: dict[str, Any] | None) -> dict[str, Any]:
    result = built or run_in_process("build", name, work, timeout)
    if "failed" not in result:
        result |= run_in_process("measure", name, work, timeout)
    folder = work / ("lineup-index" if name.startswith("lineup") else name)
    result["disk_bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return result


def print_table(results: dict[str, dict[str, Any]], n: int) -> None:
    table = Table(*COLUMNS)
    for name, result in results.items():
        if "failed" in result:
            table.add_row(name, *[""] * (len(COLUMNS) - 2), result["failed"])
            continue
        bytes_each = (
            f"{result[key] / n:,.0f}" for key in ("disk_bytes", "anon_bytes", "file_bytes")
        )
        table.add_row(
            name,
            f"{result['recall']:.4f}",
            f"{result['p50_ms']:.3f}",
            f"{result['p99_ms']:.3f}",
            f"{result['batch_per_second']:,.0f}",
            f"{result['batch_recall']:.4f}",
            f"{result['build_seconds']:,.1f}",
            f"{result['open_seconds']:.2f}",
            *bytes_each,
            f"{result['settings']}"
            + (f"; reach {result['reach']}" if result["reach"] is not None else ""),
        )
    out.print(table)


def list_versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def describe_machine() -> str:
    """Return the processor, whether it has AVX-512, and the number of cores."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model na")]
    wide = "with" if "avx512f" in cpu else "without"
    return f"{[*names, platform.machine()][0]}, {wide} AVX-512, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--data", choices=sorted(GENERATORS), default="clustered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="engines, separated by commas")
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for data, indexes and results; finished steps are not repeated",
    )
    parser.add_argument("--again", action="store_true", help="measure again what is already built")
    parser.add_argument("--rebuild", help="engines to build anew, separated by commas")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROWS:,} vectors, and the engines that are quick",
    )
    parser.add_argument("--engine-timeout", type=float, default=3600.0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.n, options.only = QUICK_ROWS, options.only or QUICK_ENGINES
    work = options.work or Path(f"benchmark-{options.data}-{options.n}")
    if options.child:
        what, name = options.child
        print(json.dumps({"build": build, "measure": measure}[what](name, work)))
        return
    work.mkdir(parents=True, exist_ok=True)
    names = options.only.split(",") if options.only else list(ENGINES)
    prepare(
        work,
        options.data,
        options.n,
        options.seed,
        peers=not all(name.startswith("lineup") for name in names),
    )
    results: dict[str, dict[str, Any]] = {}
    if (work / "results.json").exists():
        results = json.loads((work / "results.json").read_text())
    for name in options.rebuild.split(",") if options.rebuild else ():
        results.pop(name, None)
        shutil.rmtree(work / name, ignore_errors=True)
    for name in names:
        earlier = results.get(name)
        if earlier is None or (options.again and "build_seconds" in earlier):
            out.print(f"{name} ...")
            results[name] = run(name, work, options.engine_timeout, earlier)
            (work / "results.json").write_text(json.dumps(results, indent=1))
    facts = {
        "n": options.n,
        "dimension": int((work / "dimension").read_text()),
        "data": options.data,
        "seed": options.seed,
        "measured_on": f"{date.today()}",
        "machine": describe_machine(),
        "versions": f"Python {platform.python_version()}, {list_versions()}",
    }
    (work / "data.json").write_text(json.dumps(facts, indent=1))
    out.print("{n:,} x {dimension} {data}, seed {seed}; bytes are per vector".format(**facts))
    out.print("{machine}, {versions}".format(**facts))
    print_table({name: results[name] for name in names}, options.n)


if __name__ == "__main__":
    main()
