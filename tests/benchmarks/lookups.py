"""The cost of evidence in a look-up: `python -m tests.benchmarks.lookups [--n 100000] [--reals
20000]`.

One process, SQLite, vectors of the built-in model's dimension. The peer is FAISS's own exact search
among the same known fakes. Measured are Lineup's search; stored look-ups of an embedding, of an
embedding with a perceptual hash, and of an ingested image by its sha256, without a calibration and
with one; and look-ups of an image without and with its ten re-encodings. Prints milliseconds (p50,
p95), the statements that a look-up sends to the database, whether the neighbours are FAISS's, and
the cost of a calibration. `--folder` names where the database is made: a look-up waits for its disk
once. `--no-images` leaves out the look-ups of images. Python is set as in a server.
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
from sqlalchemy import select

from api.calibrations.measuring import measure_and_save
from api.calibrations.request import CalibrationRequest
from api.interpreter import SERVER_TURN_SECONDS, exempt_loaded, tuned_interpreter
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
from index.truth.schema import images
from tests.benchmarks.filling import fill
from tests.benchmarks.vectors import clustered
from tests.index.tracing import trace_messages

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


def list_requests(lineup: Lineup, probes: np.ndarray) -> dict[str, list[LookupRequest]]:
    """Return look-ups without an image, by what they are of."""
    embeddings, rng = make_requests(lineup, probes), np.random.default_rng(2)
    hashes = [{"pdq_hash": rng.bytes(32).hex(), "pdq_quality": 90} for _ in embeddings]
    with lineup.database.read() as connection:
        query = select(images.c.sha256).where(images.c.id % 97 == 5).limit(len(probes))
        sha256s = connection.execute(query).scalars().all()
    return {
        "an embedding": embeddings,
        "an embedding and a hash": [
            request.model_copy(update=hashed)
            for request, hashed in zip(embeddings, hashes, strict=True)
        ],
        "a sha256": [LookupRequest(sha256=each, k=K) for each in sha256s],
    }


def show_lookups(lineup: Lineup, probes: np.ndarray, pictures: Sequence[bytes], when: str) -> None:
    for of, requests in list_requests(lineup, probes).items():
        print_times(
            f"look-up of {of}, stored, {when}",
            lambda turn, requests=requests: look_up_request(lineup, requests[turn % len(requests)]),
            LOOKUPS,
        )
    for stability in (False, True) if pictures else ():
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
    parser.add_argument("--folder", type=Path, help="where the database is made")
    parser.add_argument("--no-images", action="store_true", help="without look-ups of images")
    options = parser.parse_args()
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"faiss {faiss.__version__}"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        info = Embedder.load("builtin", device="cpu").info
        vectors = clustered(options.n, info.dimension)
        fill(Path(folder) / "lineup.db", vectors.blocks(), info.dimension, space=make_space(info))
        with Lineup.open(Settings(data_dir=Path(folder), device="cpu")) as lineup:
            add_reals(lineup, clustered(options.reals, info.dimension, seed=1).rows())
            lineup.index.settle()
            pictures = [] if options.no_images else make_images(IMAGES)
            probes = clustered(options.n, info.dimension).probes(LOOKUPS)
            exempt_loaded()
            with tuned_interpreter(SERVER_TURN_SECONDS):
                measure(lineup, vectors.rows(), probes, pictures)


def measure(
    lineup: Lineup, rows: np.ndarray, probes: np.ndarray, pictures: Sequence[bytes]
) -> None:
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
    messages = trace_messages(lineup.database)
    answer = look_up_request(lineup, make_requests(lineup, probes[:1])[0])
    print("messages to the database:", [" ".join(each.split()[:3]) for each in messages])
    print(json.dumps([each.words for each in answer.statements], indent=1))


if __name__ == "__main__":
    main()
