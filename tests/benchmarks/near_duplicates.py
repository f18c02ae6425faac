"""Near duplicates: look-ups that also search by hash, their speed, and how often they find a copy.

    python -m tests.benchmarks.near_duplicates speed [--n 1000000] [--groups 30]
    python -m tests.benchmarks.near_duplicates quality --corpus DIR

`speed` uses random hashes of 256 bits for N images with small embeddings (16 dimensions), on
SQLite. Probes are copies: a stored hash with some flipped bits, and an unrelated embedding. It
prints the first search, which reads the hashes, and later ones, with and without the hash; and
whether the results are exactly those of counting bits. "With its views" has the hashes of so many
groups of views (each has one key: two for eight symmetries, one for the two mirrorings of a part);
the copy is found by the last of them. The others are random, as those of unrelated pictures. The
peers are NumPy, which counts bits, and faiss' hash tables for such searches (IndexBinaryMultiHash).

`quality` uses a folder with a `manifest.csv` (columns relpath, label). Its synthetic images are
known. Each is searched for as it may come back from the network, and each photograph as it is,
which is a copy of none.
"""

from __future__ import annotations

import argparse
import csv
import io
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from rich.console import Console
from rich.table import Table

from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import compute_perceptual_hash
from embedder.pictures.view_hashes import make_view_hashes
from index.cache.live import LiveIndex
from index.cache.searching.questions import Question
from index.copies import Box, Symmetry, View, ViewHash
from index.near_hashes import NearHashes
from index.truth.databases.database import Database
from index.truth.filters import Filter
from index.truth.perceptual import PerceptualHash
from tests.benchmarks.filling import fill

DIMENSION, K, PROBES, BLOCK = 16, 10, 200, 100_000
FLIPPED = (0, 8, 16, 31, 32, 60)  # bits of a probe; up to 31 make a near duplicate
# 24 bits a table, of which any 2 may be flipped: of the settings tried, the fastest that nearly
# always finds all hashes within 31 bits.
TABLES, TABLE_BITS, TABLE_FLIPS = 10, 24, 2

UPRIGHT = ("upright", "mirrored", "flipped", "turned_180")
MIRRORINGS = (Symmetry.UPRIGHT, Symmetry.MIRRORED)

Bits = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "quality"))
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=30)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    if options.what == "speed":
        measure_speed(options.n, options.groups)
    else:
        measure_quality(options.corpus)


def measure_speed(n: int, groups: int) -> None:
    random = np.random.default_rng(5)
    hashes = random.integers(0, 256, (n, 32), np.uint8)
    chosen = random.integers(0, n, PROBES)
    probes = np.stack(
        [flip_bits(hashes[i], FLIPPED[at % len(FLIPPED)], random) for at, i in enumerate(chosen)]
    )
    embeddings = normalise(random.standard_normal((PROBES, DIMENSION)))
    truth = [find_by_counting(hashes, probe) for probe in probes]
    table = Table("search", "first ms", "p50 ms", "p99 ms", "CPU ms", "same result as counting")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        space = fill(work / "lineup.db", make_vectors(n, random), DIMENSION)
        with closing(sqlite3.connect(work / "lineup.db")) as raw, raw:
            rows = ((bits.tobytes(), i) for i, bits in enumerate(hashes, start=1))
            raw.executemany("UPDATE images SET pdq_hash = ?, pdq_quality = 100 WHERE id = ?", rows)
        with (
            Database.open(f"sqlite:///{work / 'lineup.db'}") as database,
            LiveIndex.open(database, space, work / "index") as live,
        ):
            live.settle()
        # What another process opens: the first search reads the hashes of the snapshot.
        with (
            Database.open(f"sqlite:///{work / 'lineup.db'}") as database,
            LiveIndex.open(database, space, work / "index") as live,
        ):
            for embedding in embeddings:
                live.search(embedding, K)

            def without(at: int) -> set[int]:
                live.search(embeddings[at], K)
                return set()

            def with_hash(at: int) -> set[int]:
                hashed = PerceptualHash(probes[at].tobytes(), 100)
                found = live.search(embeddings[at], K, probe_hash=hashed).neighbours
                return {each.entry.id for each in found if each.near_duplicate}

            def with_views(at: int) -> set[int]:
                views = make_views(probes[at], groups, random)
                question = Question(embeddings[at], K, Filter(), None, views[0].hash, views=views)
                (found,) = live.search_all([question])
                return {each.entry.id for each in found.neighbours if each.near_duplicate}

            add_row(table, "Lineup, without the hash", without, None)
            add_row(table, "Lineup, with it", with_hash, truth)
            add_row(table, f"Lineup, with its views ({groups} groups)", with_views, truth)
    add_row(
        table, "NumPy counting bits alone", lambda at: find_by_counting(hashes, probes[at]), truth
    )
    tables = faiss.IndexBinaryMultiHash(256, TABLES, TABLE_BITS)
    tables.nflip = TABLE_FLIPS
    tables.add(hashes)
    add_row(table, "faiss hash tables alone", lambda at: find_in_tables(tables, probes[at]), truth)
    print(f"{n:,} hashes, {PROBES} probes, {sum(map(len, truth))} near duplicates among them")
    Console(width=130, highlight=False).print(table)


def save_again(image: Image.Image, format: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return Image.open(buffer).convert("RGB")


def resize(image: Image.Image, share: float) -> Image.Image:
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))))


def crop(image: Image.Image, share: float) -> Image.Image:
    across, down = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((across, down, image.width - across, image.height - down))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    "JPEG 75": lambda image: save_again(image, "JPEG", 75),
    "JPEG 50": lambda image: save_again(image, "JPEG", 50),
    "WebP 60": lambda image: save_again(image, "WEBP", 60),
    "half the size, JPEG 80": lambda image: save_again(resize(image, 0.5), "JPEG", 80),
    "a quarter of the size, JPEG 80": lambda image: save_again(resize(image, 0.25), "JPEG", 80),
    "brighter by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "2 % cropped at all sides": lambda image: crop(image, 0.04),
    "5 % cropped at all sides": lambda image: crop(image, 0.1),
    "mirrored": ImageOps.mirror,
}


def measure_quality(corpus: Path) -> None:
    limits = ImageLimits(min_image_side=1)
    known, near = dict[str, Image.Image](), NearHashes()
    photographs = list[Image.Image]()
    with (corpus / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            image = decode((corpus / row["relpath"]).read_bytes(), limits).image
            if row["label"] != "synthetic":
                photographs.append(image)
            elif (hashed := hash_of(image)).reliable:
                near.add([len(known)], [hashed.bits])
                known[row["relpath"]] = image
    table = Table(
        "copy", "found", "found by a view", "too flat to judge", "others called the same picture"
    )
    for name, change in CHANGES.items():
        found = near.find(copies := [hash_of(change(image)) for image in known.values()])
        viewed = [find_by_views(near, change(image)) for image in known.values()]
        seen = sum(number in ids for number, ids in enumerate(viewed))
        hits = sum(number in ids for number, ids in enumerate(found))
        flat = sum(not copy.reliable for copy in copies)
        others = sum(len(ids - {number}) for number, ids in enumerate(viewed))
        table.add_row(
            name, f"{hits / len(known):.4f}", f"{seen / len(known):.4f}", str(flat), str(others)
        )
    found = near.find([hash_of(each) for each in photographs])
    viewed = [find_by_views(near, each) for each in photographs]
    flat = sum(not hash_of(each).reliable for each in photographs)
    counts = [f"{sum(map(len, each))} of {len(photographs)}" for each in (found, viewed)]
    table.add_row("photographs", *counts, str(flat), "")
    print(f"{len(known):,} synthetic images with a reliable hash")
    Console(width=130, highlight=False).print(table)


def hash_of(image: Image.Image) -> PerceptualHash:
    hashed = compute_perceptual_hash(image)
    return PerceptualHash(hashed.bits, hashed.quality)


def find_by_views(near: NearHashes, image: Image.Image) -> set[int]:
    """Return the pictures that any view of an image shows."""
    own = [PerceptualHash(each.hash.bits, each.hash.quality) for each in make_view_hashes(image)]
    return {number for ids in near.find(own) for number in ids.tolist()}


def make_views(probe: Bits, groups: int, random: np.random.Generator) -> tuple[ViewHash, ...]:
    """Return the views of a probe that was turned: eight symmetries, and other parts twice each."""
    hashes = [PerceptualHash(random.bytes(32), 100) for _ in range(groups)]
    # The four that differ by mirroring have about the same key, here the same hash.
    views = [
        ViewHash(View(each), hashes[0] if each.value in UPRIGHT else hashes[1]) for each in Symmetry
    ]
    for number, own in enumerate(hashes[2:], start=2):
        part = Box(0.0, 0.0, 1.0, number / groups)
        hashed = PerceptualHash(probe.tobytes(), 100) if number == groups - 1 else own
        views += [ViewHash(View(each, part), hashed) for each in MIRRORINGS]
    return tuple(views)


def add_row(
    table: Table, name: str, search: Callable[[int], set[int]], truth: list[set[int]] | None
) -> None:
    seconds, found, busy = [], [], []
    for at in range(PROBES):
        started, used = time.perf_counter(), time.process_time()
        found.append(search(at))
        seconds.append(time.perf_counter() - started)
        busy.append(time.process_time() - used)
    first, *rest = np.array(seconds) * 1e3
    p50, p99 = np.quantile(rest, (0.5, 0.99))
    same = "" if truth is None else f"{sum(map(set.__eq__, found, truth))} of {PROBES}"
    cpu = float(np.median(busy)) * 1e3
    table.add_row(name, f"{first:.2f}", f"{p50:.2f}", f"{p99:.2f}", f"{cpu:.2f}", same)


def find_by_counting(hashes: Bits, probe: Bits) -> set[int]:
    words, own = hashes.view(np.uint64), probe.view(np.uint64)
    distances = np.bitwise_count(words ^ own).sum(axis=1, dtype=np.uint16)
    return set((np.flatnonzero(distances <= 31) + 1).tolist())


def find_in_tables(tables: Any, probe: Bits) -> set[int]:
    _, _, places = tables.range_search(probe[None], 32)
    return set((places + 1).tolist())


def flip_bits(bits: Bits, count: int, random: np.random.Generator) -> Bits:
    mask = np.zeros(256, np.uint8)
    mask[random.choice(256, count, replace=False)] = 1
    flipped: Bits = bits ^ np.packbits(mask)
    return flipped


def make_vectors(n: int, random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    for start in range(0, n, BLOCK):
        yield normalise(random.standard_normal((min(BLOCK, n - start), DIMENSION)))


def normalise(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
