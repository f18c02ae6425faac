"""Vectors on disk: `python -m tests.benchmarks.cold --work FOLDER`, a folder of
`tests.benchmarks.search`.

Asks the system to drop the index files from its cache, then prints the times of the same probes in
several passes. The first pass reads every block from disk and compares it with its digest. To give
the process less memory than the vectors need, run it under a limit, for example `systemd-run
--scope -p MemoryMax=600M`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from index.cache.live import LiveIndex
from index.truth.databases.database import Database
from tests.benchmarks.filling import make_space

K, PASSES = 10, 3


def drop_cached_pages(folder: Path) -> None:
    """Drop the pages of all files from the system's cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--probes", type=int, default=100)
    options = parser.parse_args()
    probes = np.load(options.work / "probes.npy")[: options.probes]
    drop_cached_pages(options.work / "lineup-index")
    space = make_space(probes.shape[1])
    with (
        Database.open(f"sqlite:///{options.work / 'lineup.db'}") as database,
        LiveIndex.open(database, space, options.work / "lineup-index") as live,
    ):
        print(f"{live.count:,} entries, {len(probes)} probes, no SQL")
        for turn in range(PASSES):
            seconds = []
            for probe in probes:
                started = time.perf_counter()
                live.nearest(probe, K)
                seconds.append(time.perf_counter() - started)
            milliseconds = np.array(seconds) * 1e3
            p50, p99 = np.quantile(milliseconds, (0.5, 0.99))
            print(
                f"pass {turn + 1}: mean {milliseconds.mean():.2f} ms, p50 {p50:.2f} ms, p99 "
                f"{p99:.2f} ms"
            )


if __name__ == "__main__":
    main()
