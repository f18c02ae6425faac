"""The cost of evidence in a look-up: `python -m tests.benchmarks.lookups [--n 100000] [--reals
20000]`.

One process, SQLite, vectors of the built-in model's dimension. The peer is FAISS's own exact search
among the same known fakes. Measured are Lineup's search, a stored look-up without a calibration and
with one, and look-ups of an image without and with its ten re-encodings. Prints milliseconds (p50,
p95), whether the neighbours are FAISS's, and the cost of a calibration.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import faiss
import numpy as np

from api.calibrations.measuring import measure_and_save
from api.calibrations.request import CalibrationRequest
from api.lineup import Lineup, make_space
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.request import LookupQuery, LookupRequest
from api.settings import Settings
from embedder.demonstration.photographs import load_bundled_photographs
from embedder.network.embed import Embedder
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.filters import Filter
from index.truth.images import ImageFacts
from tests.benchmarks.filling import fill
from tests.benchmarks.vectors import clustered

K, LOOKUPS, IMAGES, BATCH = 10, 200, 20, 5000
FAKES = Filter(kind=CorpusKind.KNOWN_FAKE)


def print_times(what: str, run: Callable[[int], object], count: int) -> None:
    """Print p50 and p95 of a call; the first fifth of the calls is a warm-up."""
    seconds = []
    for turn in range(-count // 5, count):
        started = time.perf_counter()
        run(turn % count)
        if turn >= 0:
            seconds.append(time.perf_counter() - started)
    p50, p95 = (1e3 * float(np.quantile(seconds, q)) for q in (0.5, 0.95))
    print(f"{what:<58} p50 {p50:8.2f} ms   p95 {p95:8.2f} ms", flush=True)


def add_reals(lineup: Lineup, rows: np.ndarray) -> None:
    for start in range(0, len(rows), BATCH):
        new = [
            NewEntry(
                ImageFacts(hashlib.sha256(row.tobytes()).hexdigest(), 1, 512, 512, "png"), row, 0.0
            )
            for row in rows[start : start + BATCH]
        ]
        with lineup.database.write() as connection:
            ensure_corpus(connection, "photographs", CorpusKind.KNOWN_REAL)
            add_entries(connection, "photographs", lineup.space, new)


def make_requests(lineup: Lineup, probes: np.ndarray) -> list[LookupRequest]:
    return [
        LookupRequest(
            embedding=row.tolist(), embedding_space=lineup.space.fingerprint, logit=0.5, k=K
        )
        for row in probes
    ]


def measure_same_neighbours(lineup: Lineup, probes: np.ndarray, expected: np.ndarray) -> float:
    """Return the share of FAISS's neighbours (n, k) that Lineup finds too."""
    found = [
        [each.entry.id - 1 for each in lineup.index.search(row, K, FAKES).neighbours]
        for row in probes
    ]
    return float(
        np.mean(
            [
                len(set(one) & set(other)) / K
                for one, other in zip(found, expected.tolist(), strict=True)
            ]
        )
    )


def make_images(count: int) -> list[bytes]:
    """Make PNG files of 512 pixels; no two show the same place."""
    files, sources = list[bytes](), load_bundled_photographs()
    for number in range(count):
        image = sources[number % len(sources)].image
        left, top = (7 * number % max(1, side - 512) for side in image.size)
        stored = BytesIO()
        image.crop((left, top, left + 512, top + 512)).save(stored, "PNG")
        files.append(stored.getvalue())
    return files


def show_lookups(lineup: Lineup, probes: np.ndarray, pictures: Sequence[bytes], when: str) -> None:
    prepared = make_requests(lineup, probes)
    print_times(
        f"look-up of an embedding, stored, {when}",
        lambda turn: look_up_request(lineup, prepared[turn]),
        LOOKUPS,
    )
    for stability in (False, True):
        query = LookupQuery(k=K, stability=stability)
        what = f"look-up of an image{', ten re-encodings' if stability else ''}, stored, {when}"
        print_times(
            what, lambda turn, query=query: look_up_image(lineup, pictures[turn], query), IMAGES
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000, help="known fakes")
    parser.add_argument("--reals", type=int, default=20_000, help="known-real images")
    options = parser.parse_args()
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"faiss {faiss.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        info = Embedder.load("builtin", device="cpu").info
        vectors = clustered(options.n, info.dimension)
        fill(Path(folder) / "lineup.db", vectors.blocks(), info.dimension, space=make_space(info))
        with Lineup.open(Settings(data_dir=Path(folder), device="cpu")) as lineup:
            add_reals(lineup, clustered(options.reals, info.dimension, seed=1).rows())
            lineup.index.settle()
            measure(lineup, vectors.rows(), clustered(options.n, info.dimension).probes(LOOKUPS))


def measure(lineup: Lineup, rows: np.ndarray, probes: np.ndarray) -> None:
    peer = faiss.IndexFlatIP(rows.shape[1])
    peer.add(rows)
    expected = peer.search(probes, K)[1]
    same = measure_same_neighbours(lineup, probes, expected)
    print(f"{len(rows):,} known fakes; share of FAISS's neighbours that Lineup finds: {same:.4f}")
    print_times(
        "FAISS IndexFlatIP, exact", lambda turn: peer.search(probes[turn : turn + 1], K), LOOKUPS
    )
    print_times(
        "Lineup's index alone", lambda turn: lineup.index.search(probes[turn], K, FAKES), LOOKUPS
    )
    pictures = make_images(IMAGES)
    show_lookups(lineup, probes, pictures, "not calibrated")
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    measure_and_save(
        lineup.database,
        lineup.space,
        CalibrationRequest(conditions=[]),
        job_id=0,
        computation=lineup.computation,
    )
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = time.perf_counter() - started
    print(
        f"calibration of images as they are: {seconds:.1f} s, {more:,.0f} MiB above the last peak"
    )
    show_lookups(lineup, probes, pictures, "calibrated")
    answer = look_up_request(lineup, make_requests(lineup, probes[:1])[0])
    print(json.dumps([each.words for each in answer.statements], indent=1))


if __name__ == "__main__":
    main()
