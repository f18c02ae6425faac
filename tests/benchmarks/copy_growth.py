"""Copies as a corpus grows: how often an unrelated picture is near by hash, and what it costs.

    python -m tests.benchmarks.copy_growth --corpus DIR [--sizes 10000 100000 1000000]

DIR is split by source. Parts of the pictures of the set to design on, turned and mirrored, are as
many pictures of their own as are asked for: their hashes have the structure of real ones, which
random bits lack. The probes are the pictures of the set kept apart, in all views, so that none is a
copy of anything. An index is filled with the hashes, and small random embeddings (16 dimensions).

Printed by size: the share of probes with a false near duplicate and with one in the band, what the
rates that come with the package foretell, and the milliseconds of a search with the upright hash
alone and with all views (p50, p95).
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from api.images import hash_of, view_hashes_of
from embedder.decoding.picture import Picture as MadePicture
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.errors import ImageError
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import hash_many
from index.cache.live import LiveIndex
from index.cache.searching.questions import Question
from index.calibration.copies import shipped_copy_rates
from index.truth.databases.database import Database
from index.truth.filters import EVERYTHING
from index.truth.perceptual import MAX_HAMMING_DISTANCE
from tests.benchmarks.copy_pictures import APART, DESIGN, read_pictures, split_by_source
from tests.benchmarks.filling import fill
from tests.benchmarks.near_duplicates import make_vectors, normalise

DIMENSION, K, WARM_UP = 16, 10, 20
BANDS = (40, 48, 60)
SMALLEST, LARGEST = 0.25, 0.7  # the sides of a part, as shares of the picture's
SIDE, LONGER = 64, 512
BLOCK = 2_000
LIMITS = ImageLimits(min_image_side=1)

Bits = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--probes", type=int, default=400)
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    sets = split_by_source(read_pictures(options.corpus))
    probes = make_probes([each.path for each in sets[APART]][: options.probes])
    pictures = [each.open().convert("L") for each in sets[DESIGN]]
    for picture in pictures:
        picture.thumbnail((LONGER, LONGER))
    random = np.random.default_rng(7)
    stored = make_hashes(pictures, max(options.sizes), random)
    views = sum(len(each.view_hashes) for each in probes) / len(probes)
    print(f"{len(probes)} probes with {views:.0f} views on average")
    table = Table(
        "entries",
        "false near duplicates",
        *(f"within {bits} bits, foretold" for bits in BANDS),
        "first search",
        "upright hash p50, p95 ms",
        "all views p50, p95 ms",
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            measure(table, stored[:size], probes, Path(folder), random)
    Console(width=180, highlight=False).print(table)


def make_probes(paths: Sequence[Path]) -> list[MadePicture]:
    """Make the hashes of all views; pictures that cannot be decoded or are flat are left out."""
    order = PictureOrder(LIMITS, perceptual_hash=True, view_hashes=True)
    probes = []
    for path in paths:
        try:
            picture = make_picture(path.read_bytes(), order)
        except ImageError:
            continue
        if hash_of(picture).reliable:
            probes.append(picture)
    return probes


def make_hashes(
    pictures: Sequence[Image.Image], count: int, random: np.random.Generator
) -> list[tuple[bytes, int]]:
    """Hash parts of pictures, each turned or mirrored; flat parts are left out."""
    hashes = list[tuple[bytes, int]]()
    while len(hashes) < count:
        samples = np.stack([take_part(pictures, random) for _ in range(BLOCK)])
        hashes += [(each.bits, each.quality) for each in hash_many(samples) if each.quality >= 50]
    return hashes[:count]


def take_part(pictures: Sequence[Image.Image], random: np.random.Generator) -> Bits:
    """Return the samples (64, 64) of a part of a picture after one of eight symmetries."""
    picture = pictures[int(random.integers(len(pictures)))]
    across, down = random.uniform(SMALLEST, LARGEST, 2) * picture.size
    left, top = random.uniform(0, 1, 2) * (picture.width - across, picture.height - down)
    part = picture.resize(
        (SIDE, SIDE), Image.Resampling.BOX, (left, top, left + across, top + down)
    )
    samples = np.rot90(np.asarray(part), int(random.integers(4)))
    return samples[:, ::-1] if random.integers(2) else samples


def measure(
    table: Table,
    stored: Sequence[tuple[bytes, int]],
    probes: Sequence[MadePicture],
    work: Path,
    random: np.random.Generator,
) -> None:
    """Fill an index with the hashes, search all probes, and add a row."""
    space = fill(work / "lineup.db", make_vectors(len(stored), random), DIMENSION)
    with closing(sqlite3.connect(work / "lineup.db")) as raw, raw:
        rows = ((bits, quality, i) for i, (bits, quality) in enumerate(stored, start=1))
        raw.executemany("UPDATE images SET pdq_hash = ?, pdq_quality = ? WHERE id = ?", rows)
    embeddings = normalise(random.standard_normal((len(probes), DIMENSION)))
    with (
        Database.open(f"sqlite:///{work / 'lineup.db'}") as database,
        LiveIndex.open(database, space, work / "index") as live,
    ):
        live.settle()
        upright = [
            Question(vector, K, EVERYTHING, probe_hash=hash_of(probe))
            for vector, probe in zip(embeddings, probes, strict=True)
        ]
        viewed = [
            Question(vector, K, EVERYTHING, probe_hash=hash_of(probe), views=view_hashes_of(probe))
            for vector, probe in zip(embeddings, probes, strict=True)
        ]
        _, first = search_all(live, viewed[:1])
        _, plain = search_all(live, upright)
        nearest, seconds = search_all(live, viewed)
    distances = np.array(nearest)
    rates = shipped_copy_rates()
    cells = [share(distances <= MAX_HAMMING_DISTANCE)]
    for bits in BANDS:
        foretold = rates.band_rate(bits, len(stored))
        within = (distances <= bits) & (distances > MAX_HAMMING_DISTANCE)
        cells.append(f"{share(within)}, {'-' if foretold is None else f'{foretold.estimate:.2%}'}")
    table.add_row(
        f"{len(stored):,}", *cells, f"{1e3 * first[0]:.0f} ms", quantiles(plain), quantiles(seconds)
    )


def search_all(live: LiveIndex, questions: Sequence[Question]) -> tuple[list[int], list[float]]:
    """Search each; return the distance of the nearest hash by any view, and the seconds."""
    nearest, seconds = list[int](), list[float]()
    for question in questions:
        started = time.perf_counter()
        (found,) = live.search_all([question])
        seconds.append(time.perf_counter() - started)
        bits = [
            each.copy.hamming_distance
            for each in (*found.neighbours, *found.candidates)
            if each.copy is not None and each.copy.hamming_distance is not None
        ]
        nearest.append(min(bits, default=256))
    return nearest, seconds


def share(found: NDArray[np.bool_]) -> str:
    return f"{found.sum()} of {len(found)}"


def quantiles(seconds: Sequence[float]) -> str:
    p50, p95 = 1e3 * np.quantile(seconds[WARM_UP:] or seconds, (0.5, 0.95))
    return f"{p50:.1f}, {p95:.1f}"


if __name__ == "__main__":
    main()
