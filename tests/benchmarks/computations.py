"""What recording a computation costs, and what the bound on a similarity's movement is worth.

    python -m tests.benchmarks.computations [--rows 20000] [--pictures FOLDER] [--count 90]

Adds ready embeddings of 384 dimensions to a new SQLite file, without and with what computed them,
and prints the best of five runs in microseconds of CPU and bytes a row. Then embeds every n-th
picture of a folder in float32 and in bfloat16 on the CPU, and compares how far the similarity of
two pictures moves with the bound that follows from the panel's figures.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.lookups.answers.precision import find_largest_movement
from api.model import read_precision_check
from embedder.errors import ImageError
from embedder.network.embed import Embedder
from embedder.pictures.decode import decode
from index.truth.adding import NewEntry, add_entries
from index.truth.computations import Computation
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.spaces import Space
from tests.benchmarks.vectors import normalise

SPACE = Space("1" * 64, "benchmark", "2" * 64, "3" * 64, 384)
RUNS, BATCH = 5, 10_000
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def measure_filling(rows: NDArray[np.float32], computation: Computation | None) -> None:
    """Print the cost of adding rows (n, d) that name a computation."""
    best, size = math.inf, 0
    for _ in range(RUNS):
        with (
            tempfile.TemporaryDirectory() as folder,
            Database.open(f"sqlite:///{folder}/lineup.db", migrate=True) as database,
        ):
            with database.write() as conn:
                create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
            new = [
                NewEntry(
                    # reversed, so that sha256s come in no order
                    ImageFacts(f"{number:064x}"[::-1], None, None, None, None, seen=False),
                    row,
                    0.5,
                    computation=computation,
                )
                for number, row in enumerate(rows)
            ]
            started = time.process_time()
            for start in range(0, len(new), BATCH):
                with database.write() as conn:
                    add_entries(conn, "fakes", SPACE, new[start : start + BATCH])
            best = min(best, time.process_time() - started)
            size = Path(folder, "lineup.db").stat().st_size
    print(
        f"{'not known' if computation is None else 'known':<10} {best / len(rows) * 1e6:6.1f} us "
        f"of CPU a row   {size / len(rows):7.0f} bytes a row",
        flush=True,
    )


def embed_all(paths: list[Path], precision: str) -> tuple[Embedder, NDArray[np.float64]]:
    """Embed pictures: vectors (n, d). What cannot be decoded is left out."""
    embedder = Embedder.load(precision=precision, device="cpu", offline=True)
    vectors = []
    for path in paths:
        try:
            pixels = embedder.preprocess(decode(path.read_bytes(), embedder.limits))
        except ImageError:
            continue
        vectors.append(embedder.embed_pixels(pixels[np.newaxis]).vectors[0])
    return embedder, np.array(vectors, np.float64)


def measure_movement(paths: list[Path]) -> None:
    """Print how far similarities move, beside their bounds."""
    _, exact = embed_all(paths, "float32")
    embedder, rounded = embed_all(paths, "bfloat16")
    check = read_precision_check(embedder)
    if check is None:
        print("bfloat16 is not accepted for this model on this machine")
        return
    angle, pairs = math.acos(check.smallest_cosine), ~np.eye(len(exact), dtype=bool)
    seen = (rounded @ exact.T).clip(-1, 1)  # (n, n): a probe in bfloat16, entries in float32
    moved = np.abs(seen - exact @ exact.T)
    bounds = np.vectorize(find_largest_movement)(seen, angle)
    print(
        f"{len(exact)} pictures; the panel's: {check.images}, cosine {check.smallest_cosine:.6f}, "
        f"logit {check.largest_logit_difference:.3f}; bound of any two vectors "
        f"{math.sqrt(2 - 2 * check.smallest_cosine):.4f}"
    )
    nearest = np.where(pairs, seen, -1).argmax(axis=1)
    of_nearest = np.arange(len(exact)), nearest
    for name, chosen in (("all pairs", pairs), ("nearest", of_nearest)):
        print(
            f"{name:<10} moved: median {np.median(moved[chosen]):.5f}, most "
            f"{moved[chosen].max():.5f}   bound: median {np.median(bounds[chosen]):.5f}, most "
            f"{bounds[chosen].max():.5f}   over it: {(moved > bounds)[chosen].sum()} of "
            f"{moved[chosen].size}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--count", type=int, default=90)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    rows = normalise(random.standard_normal((options.rows, SPACE.dimension), dtype=np.float32))
    for computation in (None, Computation("cuda", "float16")) * 2:
        measure_filling(rows, computation)
    if options.pictures is not None:
        found = sorted(
            path for path in options.pictures.rglob("*") if path.suffix.lower() in SUFFIXES
        )
        measure_movement(found[:: max(1, len(found) // options.count)])


if __name__ == "__main__":
    main()
