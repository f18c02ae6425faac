"""How much of what the files cost an ingest reaches: the peer is as many processes as there are
cores that only decode and resize, and the forward alone.

Prints, in one run: images per second of the bare forward, of the processes that only decode, and of
an ingest (sources, hashes, decoding, thumbnails, embedding, entries, commits); CPU seconds beside
them, for machines that others use; and whether the stored embeddings are those of the bare forward.

    python -m tests.benchmarks.decoding --pictures 2000 --side 256 --repeats 3
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api.ingest.request import IngestRequest
from api.lineup import Lineup
from api.settings import Settings
from api.worker.running import work_on
from api.worker.starting import start_ingest
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.network.embed import Embedder
from index.truth.corpora import CorpusKind
from index.truth.images import find_embedding


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds of this process and of those that ended."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--decoding", choices=("processes", "threads"), default="processes")
    options = parser.parse_args()
    embedder = Embedder.load(options.model, device=options.device)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder) / "in", options.pictures, options.side)
        pixels = np.stack([_prepare(path, embedder.picture_order) for path in paths])
        embedder.embed_pixels(pixels[: 2 * embedder.batch_size])  # the first forward allocates
        ways: dict[str, Callable[[], Cost]] = {
            "bare forward": lambda: measure(lambda: embedder.embed_pixels(pixels)),
            "processes that only decode": lambda: decode_only(
                Path(folder) / "in", embedder.picture_order
            ),
            "ingest": lambda: ingest(Path(folder), options),
        }
        best = {way: Cost(float("inf"), float("inf")) for way in ways}
        for _ in range(options.repeats):
            for way, run in ways.items():
                cost = run()
                best[way] = Cost(min(best[way].wall, cost.wall), min(best[way].cpu, cost.cpu))
        different = compare(Path(folder), options, embedder, paths, pixels)
    print(
        f"{options.pictures} JPEG files of {options.side} pixels, {options.model} on "
        f"{embedder.device} in {embedder.precision}, {os.cpu_count()} cores, {options.decoding}, "
        f"best of {options.repeats}"
    )
    print(f"{'':28} {'images/s':>9} {'CPU ms an image':>16}")
    for way, cost in best.items():
        print(f"{way:28} {len(paths) / cost.wall:9.1f} {1000 * cost.cpu / len(paths):16.2f}")
    ingest_wall = best["ingest"].wall
    print(
        f"ingest is {best['bare forward'].wall / ingest_wall:.2f} of the bare forward and "
        f"{best['processes that only decode'].wall / ingest_wall:.2f} of the processes"
    )
    print(f"largest difference of a stored embedding from the bare forward: {different:.1e}")


def write_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Write JPEG files that cost about as much as photographs: soft shapes under grain."""
    folder.mkdir()
    paths = []
    for number in range(count):
        draw = np.random.default_rng(number)
        rough = draw.integers(0, 256, (8, 8, 3), np.uint8)
        soft = Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)
        grain = draw.normal(0, 6, (side, side, 3))
        file = BytesIO()
        shown = np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(shown).save(file, "JPEG", quality=90)
        paths.append(folder / f"{number:05}.jpg")
        paths[-1].write_bytes(file.getvalue())
    return paths


def measure(run: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    run()
    return Cost(time.perf_counter() - wall, _cpu_seconds() - cpu)


def decode_only(folder: Path, order: PictureOrder) -> Cost:
    """Decode and resize in one process for each core; they were started before."""
    command = [sys.executable, "-m", "tests.benchmarks.decoding_peer"]
    done = subprocess.run(
        [*command, str(folder), json.dumps(order.to_json())],
        check=True,
        capture_output=True,
        text=True,
    )
    return Cost(**json.loads(done.stdout))


def ingest(folder: Path, options: argparse.Namespace) -> Cost:
    """Ingest the files into a new database; opening it and loading the model are not counted."""
    with _open(folder, options, fresh=True) as lineup:
        request = IngestRequest(
            sources=[str(folder / "in")], corpus="fakes", kind=CorpusKind.KNOWN_FAKE
        )
        job = start_ingest(lineup.database, lineup.space, request)
        # The workers of a pool are children that have not ended: their time is added by closing.
        began, before = time.perf_counter(), _cpu_seconds()
        done = work_on(lineup, job)
        wall = time.perf_counter() - began
        assert done.counts.added == options.pictures, done
        lineup.decoders.close()
        return Cost(wall, _cpu_seconds() - before)


def compare(
    folder: Path,
    options: argparse.Namespace,
    embedder: Embedder,
    paths: list[Path],
    pixels: NDArray[np.uint8],
) -> float:
    """Return the largest difference of stored embeddings from those of the bare forward."""
    largest = 0.0
    expected = embedder.embed_pixels(pixels).vectors
    with _open(folder, options, fresh=False) as lineup, lineup.database.read() as conn:
        for path, vector in zip(paths, expected, strict=True):
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            stored = find_embedding(conn, lineup.space, sha256)
            assert stored is not None
            largest = max(largest, float(np.abs(stored.vector - vector).max()))
    return largest


def _open(
    folder: Path, options: argparse.Namespace, *, fresh: bool
) -> AbstractContextManager[Lineup]:
    data = folder / "data"
    if fresh:
        shutil.rmtree(data, ignore_errors=True)
    settings = Settings(
        data_dir=data,
        offline=True,
        model=options.model,
        device=options.device,
        decoding=options.decoding,
        server_works=False,
    )
    return Lineup.open(settings, migrate=fresh)


def _prepare(path: Path, order: PictureOrder) -> NDArray[np.uint8]:
    pixels = make_picture(path.read_bytes(), order).pixels
    assert pixels is not None
    return pixels


def _cpu_seconds() -> float:
    return sum(
        each.ru_utime + each.ru_stime
        for each in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
