"""Near duplicates: `python -m tests.benchmarks.near_duplicates --n 1000000`: lookups that also search by hash.

Random hashes of 256 bits for N images whose embeddings are small (16 dimensions), on SQLite. Probes are copies: a
stored hash with some bits turned and an embedding that has nothing to do with its own. Prints the first search, which
reads the hashes, and later ones, with the hash and without it; whether exactly those come back that counting bits
finds; and as peers NumPy counting bits, and faiss' hash tables for such searches (IndexBinaryMultiHash).
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from index import Database, LiveIndex, PerceptualHash
from tests.benchmarks.filling import fill

DIMENSION, K, PROBES, BLOCK = 16, 10, 200, 100_000
TURNED = (0, 8, 16, 31, 32, 60)  # bits of a probe; up to 31 are a near duplicate
# 24 bits a table and any 2 of them turned: the fastest of those tried that find all of 31 bits nearly always.
TABLES, TABLE_BITS, TABLE_FLIPS = 10, 24, 2

Bits = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    n = parser.parse_args().n
    random = np.random.default_rng(5)
    hashes = random.integers(0, 256, (n, 32), np.uint8)
    chosen = random.integers(0, n, PROBES)
    probes = np.stack([turned(hashes[i], TURNED[at % len(TURNED)], random) for at, i in enumerate(chosen)])
    embeddings = unit(random.standard_normal((PROBES, DIMENSION)))
    truth = [ids_by_counting(hashes, probe) for probe in probes]
    table = Table("search", "first ms", "p50 ms", "p99 ms", "found exactly what counting finds")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        space = fill(work / "lineup.db", vectors(n, random), DIMENSION)
        with sqlite3.connect(work / "lineup.db") as raw:
            rows = ((bits.tobytes(), i) for i, bits in enumerate(hashes, start=1))
            raw.executemany("UPDATE images SET pdq_hash = ?, pdq_quality = 100 WHERE id = ?", rows)
        with (
            Database.open(f"sqlite:///{work / 'lineup.db'}") as database,
            LiveIndex.open(database, space, work / "index") as live,
        ):
            live.settle()
            for embedding in embeddings:
                live.search(embedding, K)

            def without(at: int) -> set[int]:
                live.search(embeddings[at], K)
                return set()

            def with_hash(at: int) -> set[int]:
                hashed = PerceptualHash(probes[at].tobytes(), 100)
                found = live.search(embeddings[at], K, probe_hash=hashed).neighbours
                return {each.entry.id for each in found if each.near_duplicate}

            add(table, "Lineup, without the hash", without, None)
            add(table, "Lineup, with it", with_hash, truth)
    add(table, "NumPy counting bits alone", lambda at: ids_by_counting(hashes, probes[at]), truth)
    tables = faiss.IndexBinaryMultiHash(256, TABLES, TABLE_BITS)
    tables.nflip = TABLE_FLIPS
    tables.add(hashes)
    add(table, "faiss hash tables alone", lambda at: ids_of(tables, probes[at]), truth)
    print(f"{n:,} hashes, {PROBES} probes, {sum(map(len, truth))} near duplicates among them")
    Console(width=130, highlight=False).print(table)


def add(table: Table, name: str, search: Callable[[int], set[int]], truth: list[set[int]] | None) -> None:
    seconds, found = [], []
    for at in range(PROBES):
        started = time.perf_counter()
        found.append(search(at))
        seconds.append(time.perf_counter() - started)
    first, *rest = np.array(seconds) * 1e3
    p50, p99 = np.quantile(rest, (0.5, 0.99))
    same = "" if truth is None else f"{sum(map(set.__eq__, found, truth))} of {PROBES}"
    table.add_row(name, f"{first:.2f}", f"{p50:.2f}", f"{p99:.2f}", same)


def ids_by_counting(hashes: Bits, probe: Bits) -> set[int]:
    words, own = hashes.view(np.uint64), probe.view(np.uint64)
    distances = np.bitwise_count(words ^ own).sum(axis=1, dtype=np.uint16)
    return set((np.flatnonzero(distances <= 31) + 1).tolist())


def ids_of(tables: Any, probe: Bits) -> set[int]:
    _, _, places = tables.range_search(probe[None], 32)
    return set((places + 1).tolist())


def turned(bits: Bits, count: int, random: np.random.Generator) -> Bits:
    mask = np.zeros(256, np.uint8)
    mask[random.choice(256, count, replace=False)] = 1
    flipped: Bits = bits ^ np.packbits(mask)
    return flipped


def vectors(n: int, random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    for start in range(0, n, BLOCK):
        yield unit(random.standard_normal((min(BLOCK, n - start), DIMENSION)))


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
