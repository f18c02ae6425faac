"""How often unrelated pictures look like edited copies, and whether larger corpora are foretold.

    python -m tests.benchmarks.copy_rates --corpus DIR [--crops 100] [--write]

`DIR` has a `manifest.csv` with the columns relpath, label (real or synthetic) and source. Each
photograph is looked up, in all views, among the pictures of all other sources. Printed are the
rates by Hamming distance with their intervals, and the largest distance of a lead by the size of a
corpus. Then the rate is fitted on half of the photographs and a part of the entries, and compared
with what the other half shows at 1, 2, 5, 10 and 100 times as many. With `--crops`, entries are
this many parts of each picture, of a quarter to 70 % of its sides: pictures of their own, and as
alike as the pictures of a series. `--write` stores the rates as those that come with the package
(index/calibration/copy_rates.json).
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from api.images import view_hashes_of
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import compute_perceptual_hash
from index.calibration.copies import CopyCurve, CopyRates, rate_of_bits
from index.calibration.copy_distances import (
    Distances,
    ViewedImages,
    find_distances,
    fit_band,
    gather_views,
)
from index.calibration.false_matches import FalseMatches
from index.copies import ViewHash
from index.jsontext import canonical_json
from index.truth.perceptual import HASH_BYTES

STORED = Path("index/calibration/copy_rates.json")
BITS = (44, 52, 60, 68, 72, 76, 80, 84)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FACTORS = (1, 2, 5, 10, 100)
LIMITS = ImageLimits()

console = Console()


@dataclass(frozen=True)
class Looked:
    """A picture of the folder with the hashes of its views."""

    path: Path
    is_real: bool
    source: str
    views: tuple[ViewHash, ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.corpus)
    photographs = [each for each in pictures if each.is_real]
    numbers = number_sources(pictures)
    images = view(photographs, numbers)
    entries, sources = gather_entries(pictures, numbers)
    found = find_distances(images, entries, sources)
    band = fit_one_by_one(found, len(entries))
    rates = CopyRates(
        CopyCurve(band, describe(photographs, pictures)), int(found.is_near_duplicate.sum())
    )
    print_band(rates)
    if arguments.crops:
        entries, sources = cut_entries(pictures, numbers, arguments.crops)
    print_growth(images, entries, sources)
    if arguments.write:
        STORED.write_text(canonical_json(rates.as_shipped().to_json()) + "\n", "utf-8")
        console.print(f"written: {STORED}")


def read_pictures(folder: Path) -> list[Looked]:
    """Read the pictures that can be decoded, with the hashes of their views."""
    began, found = time.perf_counter(), []
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = folder / row["relpath"]
            order = PictureOrder(LIMITS, view_hashes=True)
            picture = make_picture(path.read_bytes(), order)
            views = view_hashes_of(picture)
            found.append(Looked(path, row["label"] == "real", row["source"], views))
    seconds = time.perf_counter() - began
    views_each = np.mean([len(each.views) for each in found])
    console.print(
        f"{len(found):,} pictures in {seconds:.0f} s, {views_each:.1f} views each on average"
    )
    return found


def number_sources(pictures: Sequence[Looked]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted({p.source for p in pictures}))}


def view(photographs: Sequence[Looked], numbers: dict[str, int]) -> ViewedImages:
    """Return photographs by their views. Pictures of one source are never compared."""
    sources = np.array([numbers[each.source] for each in photographs], np.int64)
    return gather_views([each.views for each in photographs], sources)


def gather_entries(
    pictures: Sequence[Looked], numbers: dict[str, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the hashes (m, 32) of the whole pictures, and their sources (m,)."""
    reliable = [each for each in pictures if each.views[0].hash.reliable]
    bits = b"".join(each.views[0].hash.bits for each in reliable)
    return (
        np.frombuffer(bits, np.uint8).reshape(-1, HASH_BYTES),
        np.array([numbers[each.source] for each in reliable], np.int64),
    )


def cut_entries(
    pictures: Sequence[Looked], numbers: dict[str, int], count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the hashes (m, 32) of `count` parts of each picture, shuffled, and their sources."""
    rng, bits, sources = np.random.default_rng(0), [], []
    for each in pictures:
        image = decode(each.path.read_bytes()).image
        image.thumbnail((512, 512), Image.Resampling.BOX)
        for _ in range(count):
            width, height = (int(side * rng.uniform(0.25, 0.7)) for side in image.size)
            left = int(rng.integers(image.width - width + 1))
            top = int(rng.integers(image.height - height + 1))
            hashed = compute_perceptual_hash(image.crop((left, top, left + width, top + height)))
            if hashed.quality >= 50:
                bits.append(hashed.bits)
                sources.append(numbers[each.source])
    order = rng.permutation(len(bits))
    rows = np.frombuffer(b"".join(bits), np.uint8).reshape(-1, HASH_BYTES)
    return rows[order], np.array(sources, np.int64)[order]


def describe(photographs: Sequence[Looked], pictures: Sequence[Looked]) -> str:
    names = {each.source for each in pictures}
    return (
        f"{len(photographs):,} photographs of public repositories, in all views, among "
        f"{len(pictures):,} pictures from {len(names)} of them; photographs and pictures of one "
        "repository were not compared"
    )


def print_band(rates: CopyRates) -> None:
    table = Table("bits", "photographs within", "rate", "95 % interval", *map("{:,}".format, SIZES))
    for bits in BITS:
        here = rates.band_rate(bits)
        assert here is not None
        predicted = [rates.band_rate(bits, size) for size in SIZES]
        table.add_row(
            str(bits),
            str(here.matches),
            f"{here.estimate:.5f}",
            f"{here.low:.5f} to {here.high:.5f}",
            *(f"{there.estimate:.5f}" for there in predicted if there is not None),
        )
    console.print(table)
    limits = ", ".join(f"{size:,}: {rates.band_limit(size)} bits" for size in SIZES)
    console.print(f"largest distance of a lead by the number of entries: {limits}")
    console.print(f"photographs with a near duplicate in a view: {rates.near_duplicates}")


def print_growth(
    images: ViewedImages, entries: NDArray[np.uint8], sources: NDArray[np.int64]
) -> None:
    """Print what a part of the entries foretells of more of them, beside what held-out photographs
    show.
    """
    rng = np.random.default_rng(1)
    halves = rng.permutation(len(images)) % 2 == 0
    fitted_on, held_out = (take(images, np.flatnonzero(halves == side)) for side in (True, False))
    factors = [factor for factor in FACTORS if len(entries) // factor >= 500]
    size = len(entries) // factors[-1]
    order = rng.permutation(len(entries))
    found = find_distances(fitted_on, entries[order[:size]], sources[order[:size]])
    band = fit_one_by_one(found, size)
    console.print(f"foretold from {len(fitted_on)} photographs among {size:,}; {band.growth}")
    table = Table("entries", "bits", "seen on held-out photographs", "foretold", "95 % interval")
    for factor in factors:
        chosen = order[: size * factor]
        smallest = find_distances(held_out, entries[chosen], sources[chosen]).smallest
        for bits in BITS:
            there = rate_of_bits(band, bits, len(chosen))
            seen = int((smallest <= bits).sum())
            table.add_row(
                f"{len(chosen):,}",
                str(bits),
                f"{seen} ({seen / len(held_out):.4f})",
                f"{there.estimate:.5f}",
                f"{there.low:.4f} to {there.high:.4f}",
            )
    console.print(table)


def fit_one_by_one(found: Distances, size: int) -> FalseMatches:
    """Fit the rates of photographs of which each was taken once."""
    photographs = np.arange(len(found.histogram))
    return fit_band(found, photographs, compared=size, corpus_size=size)


def take(images: ViewedImages, chosen: NDArray[np.int64]) -> ViewedImages:
    place = np.full(len(images), -1)
    place[chosen] = np.arange(len(chosen))
    kept = place[images.rows] >= 0
    return ViewedImages(images.bits[kept], place[images.rows[kept]], images.sources[chosen])


if __name__ == "__main__":
    main()
