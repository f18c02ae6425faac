"""Filters: `python -m tests.benchmarks.filters --work FOLDER`, a folder of
`tests.benchmarks.search`.

For filters that select a known share of the corpus, prints p50 and p99 of the whole search (the
first of its kind and later ones), recall@10 compared with a search over every selected vector, and
whether k neighbours were returned. As in a server, a thread follows the change log.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from index.cache.live import LiveIndex
from index.cache.searching.questions import SearchResult
from index.truth.databases.database import Database
from index.truth.filters import Filter
from tests.benchmarks.filling import make_space

K, PROBES = 10, 200
SHARES = {
    "100 %": Filter(),
    "50 %, five corpora": Filter(corpora=frozenset(f"corpus-{i}" for i in range(5))),
    "10 %, one corpus": Filter(corpora=frozenset(["corpus-3"])),
    "1 %, one generator": Filter(generators=frozenset(["generator-7"])),
    "0.01 %, one label": Filter(labels=frozenset(["rare"])),
    "0.1 %, corpus and generator, none in both": Filter(
        corpora=frozenset(["corpus-3"]), generators=frozenset(["generator-7"])
    ),
}


def ids_of(answer: SearchResult) -> set[int]:
    return {neighbour.entry.id for neighbour in answer.neighbours}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    probes = np.load(work / "probes.npy")
    table = Table(
        "filter", "selected", "recall@10", "k returned", "first ms", "p50 ms", "p99 ms", "exact"
    )
    space = make_space(probes.shape[1])
    with (
        Database.open(f"sqlite:///{work / 'lineup.db'}") as database,
        LiveIndex.open(database, space, work / "lineup-index", background=True) as live,
    ):
        # Blocks of vectors are compared with their digests when they are first read.
        for probe in probes:
            live.search(probe, K)
        for name, chosen in SHARES.items():
            seconds, answers = [], []
            for probe in probes[:PROBES]:
                started = time.perf_counter()
                answers.append(live.search(probe, K, chosen))
                seconds.append(time.perf_counter() - started)
            hits = wanted = 0
            # A loop of its own: reading every vector empties the caches.
            for probe, answer in zip(probes, answers, strict=False):
                truth = ids_of(live.search(probe, K, chosen, exact=True))
                hits += len(ids_of(answer) & truth)
                wanted += len(truth)
            milliseconds = np.array(seconds) * 1e3
            p50, p99 = np.quantile(milliseconds[1:], (0.5, 0.99))
            table.add_row(
                name,
                f"{answers[0].searched:,}",
                f"{hits / wanted:.4f}" if wanted else "none exist",
                "always" if all(len(a.neighbours) == min(K, a.searched) for a in answers) else "NO",
                f"{milliseconds[0]:.2f}",
                f"{p50:.2f}",
                f"{p99:.2f}",
                "yes" if all(a.exact for a in answers) else "no",
            )
    Console(width=160, highlight=False).print(table)


if __name__ == "__main__":
    main()
