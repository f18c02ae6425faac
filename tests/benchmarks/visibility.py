"""News between processes: `python -m tests.benchmarks.visibility [--n 100000] [--url
postgresql://...]`.

Four processes read one database in a loop, as four servers would, and one writes. Prints the
seconds from a commit until every process finds an added entry, or no longer finds a removed one;
look-ups while another process adds batches of 10,000; the removal of a corpus of 100,000; and
catching up 10,000 changes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import __version__ as sqlalchemy_version

from api.interpreter import SERVER_TURN_SECONDS, tuned_interpreter
from index.cache.live import LiveIndex
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from tests.benchmarks.filling import fill, make_space, sha256_of
from tests.benchmarks.vectors import DIMENSION, clustered, normalise

PROCESSES, ROUNDS, BATCH, LOOKUPS = 4, 50, 10_000, 2000
SPACE = make_space(DIMENSION)


def make_entries(name: str, count: int) -> list[NewEntry]:
    random = np.random.default_rng(list(name.encode()))
    vectors = normalise(random.standard_normal((count, DIMENSION), dtype=np.float32))
    return [
        NewEntry(ImageFacts(sha256_of(f"{name}-{i}"), 1, 1, 1, "png"), row, 0.0)
        for i, row in enumerate(vectors)
    ]


def add(url: str, corpus: str, new: list[NewEntry]) -> list[int]:
    with Database.open(url) as database, database.write() as conn:
        ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
        return [result.entry_id for result in add_entries(conn, corpus, SPACE, new)]


def watch(url: str, directory: str, barrier: Any, seen: Any) -> None:
    """Read in a loop; report for each round when the new entry is first found and first missing."""
    with (
        tuned_interpreter(SERVER_TURN_SECONDS),
        Database.open(url) as database,
        LiveIndex.open(database, SPACE, Path(directory), background=True) as live,
    ):
        for turn in range(ROUNDS):
            (new,) = make_entries(f"round-{turn}", 1)
            barrier.wait()
            for expected in (True, False):
                found = not expected
                while found != expected:
                    nearest = live.search(new.vector, 1).neighbours
                    found = bool(nearest) and nearest[0].entry.sha256 == new.image.sha256
                seen.put(time.monotonic())
                barrier.wait()


def measure_visibility(url: str, directory: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, seen = context.Barrier(PROCESSES + 1), context.Queue()
    readers = [
        context.Process(target=watch, args=(url, directory, barrier, seen))
        for _ in range(PROCESSES)
    ]
    for reader in readers:
        reader.start()
    late: dict[str, list[float]] = {"added": [], "removed": []}
    for turn in range(ROUNDS):
        barrier.wait()
        (entry_id,) = add(url, "news", make_entries(f"round-{turn}", 1))
        committed = time.monotonic()
        late["added"] += [seen.get() - committed for _ in readers]
        barrier.wait()
        with Database.open(url) as database, database.write() as conn:
            remove_entry(conn, entry_id)
        committed = time.monotonic()
        late["removed"] += [seen.get() - committed for _ in readers]
        barrier.wait()
    for reader in readers:
        reader.join()
    for what, seconds in late.items():
        print(
            f"{what}: visible in {PROCESSES} processes after p50 {np.median(seconds):.3f} s, "
            f"maximum {max(seconds):.3f} s"
        )


def load(url: str, turns: int) -> None:
    for turn in range(turns):
        add(url, f"batch-{turn}", make_entries(f"batch-{turn}", BATCH))


def measure_searches(live: LiveIndex, probes: Any, until: Callable[[int], bool]) -> list[float]:
    seconds: list[float] = []
    while not until(len(seconds)):
        started = time.perf_counter()
        live.search(probes[len(seconds) % len(probes)], 10)
        seconds.append(time.perf_counter() - started)
        time.sleep(0.002)  # look-ups arrive one by one
    return seconds


def measure_under_load(url: str, directory: str, probes: Any) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        tuned_interpreter(SERVER_TURN_SECONDS),
        Database.open(url) as database,
        LiveIndex.open(database, SPACE, Path(directory), background=True) as live,
    ):
        measure_searches(live, probes, lambda n: n >= 300)
        idle = measure_searches(live, probes, lambda n: n >= LOOKUPS)
        writer = context.Process(target=load, args=(url, 6))
        writer.start()
        busy = measure_searches(live, probes, lambda _n: not writer.is_alive())
        writer.join()
        for what, seconds in (("idle", idle), (f"while batches of {BATCH:,} are added", busy)):
            p50, p99 = (float(np.quantile(seconds, q)) * 1e3 for q in (0.5, 0.99))
            print(f"look-ups {what}: {len(seconds):,}, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        print(f"p99 under load / idle: {np.quantile(busy, 0.99) / np.quantile(idle, 0.99):.2f}")


def measure_removal_and_catching_up(url: str, directory: str) -> None:
    with Database.open(url) as database, LiveIndex.open(database, SPACE, Path(directory)) as live:
        live.settle()
        add(url, "late", make_entries("late", BATCH))
        started = time.perf_counter()
        live.refresh()
        print(f"catching up {BATCH:,} changes: {time.perf_counter() - started:.2f} s")
        for turn in range(10):
            add(url, "large", make_entries(f"large-{turn}", BATCH))
        live.settle()
        started = time.perf_counter()
        with database.write() as conn:
            count = remove_corpus(conn, "large")
        removed = time.perf_counter()
        assert (
            live.search(make_entries("large-3", 1)[0].vector, 1).neighbours[0].entry.corpus
            != "large"
        )
        print(
            f"removing a corpus of {count:,}: {removed - started:.2f} s, "
            f"the next search {time.perf_counter() - removed:.2f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--url", help="an empty PostgreSQL database; otherwise SQLite")
    options = parser.parse_args()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(
        f"{machine}, Python {platform.python_version()}, SQLAlchemy {sqlalchemy_version}, "
        f"{options.n:,} x {DIMENSION}"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = clustered(options.n)
        url = options.url or f"sqlite:///{folder}/lineup.db"
        if options.url:
            Database.open(url, migrate=True).close()
            rows = iter(data.blocks())
            for number, block in enumerate(rows):
                new = [
                    NewEntry(ImageFacts(sha256_of(f"{number}-{i}"), 1, 1, 1, "png"), row, 0.0)
                    for i, row in enumerate(block)
                ]
                add(url, "known", new)
        else:
            fill(Path(folder) / "lineup.db", data.blocks(), DIMENSION)
        directory = f"{folder}/index"
        with (
            Database.open(url) as database,
            LiveIndex.open(database, SPACE, Path(directory)) as live,
        ):
            live.settle()
        measure_visibility(url, directory)
        measure_under_load(url, directory, data.probes(1000))
        measure_removal_and_catching_up(url, directory)
    assert threading.active_count() == 1


if __name__ == "__main__":
    main()
