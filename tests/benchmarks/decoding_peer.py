"""Processes that only decode and resize, one for each core; what `tests.benchmarks.decoding` is
compared with. It imports no torch, so that its processes start quickly.

Prints wall and CPU seconds as JSON, without the start of the processes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

from embedder.decoding.picture import PictureOrder, make_picture


def main() -> None:
    paths = sorted(Path(sys.argv[1]).iterdir())
    order = PictureOrder.from_json(json.loads(sys.argv[2]))
    cores = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        work = [(path, order) for path in paths]
        started = sum(pool.starmap(make, work[: 8 * cores], chunksize=1))
        began = time.perf_counter()
        cpu = sum(pool.starmap(make, work, chunksize=16))
        wall = time.perf_counter() - began
    assert started >= 0
    print(json.dumps({"wall": wall, "cpu": cpu}))


def make(path: Path, order: PictureOrder) -> float:
    """Make one picture; return its CPU seconds."""
    before = _cpu_seconds()
    assert make_picture(path.read_bytes(), order).pixels is not None
    return _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
