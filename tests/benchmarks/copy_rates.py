"""How often unrelated pictures look like edited copies, and whether larger corpora are foretold.

    python -m tests.benchmarks.copy_rates --corpus DIR --work DIR [--verified 200] [--crops 100]
        [--write]

`--corpus` has a `manifest.csv` with the columns relpath, label (real or synthetic) and source. Each
photograph is looked up among the pictures of all other sources: in all views by perceptual hash, by
each copy descriptor that is installed, and `--verified` of them by geometry, each with the 20
pictures that are nearest by descriptor and by hash, of which it has thumbnails. Printed are the
rates with their intervals, and the largest distance of a lead by the size of a corpus.

Then the rate by hash is fitted on half of the photographs and a part of the entries, and compared
with what the other half shows at 1, 2, 5, 10 and 100 times as many. With `--crops`, entries are
this many parts of each picture, of a quarter to 70 % of its sides: pictures of their own, and as
alike as the pictures of a series.

`--write` stores the rates as those that come with the package (index/calibration/copy_rates.json).
`--work` keeps what was computed of the pictures, for another run.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from api.calibrations.copies import count_inliers
from api.copies.verifying import MAX_CANDIDATES
from embedder.copies.descriptors import DESCRIPTORS, list_descriptors
from embedder.copies.features import MAX_KEYPOINTS, LocalFeatures
from embedder.copies.opening import open_descriptor
from embedder.decoding.picture import THUMBNAIL_PIXELS, PictureOrder, make_picture
from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import compute_perceptual_hash
from index.calibration.copies import (
    CopyCurve,
    CopyRates,
    fit_inliers,
    rate_of_bits,
    rate_of_inliers,
)
from index.calibration.copy_distances import (
    GROWTH_SHARES,
    Distances,
    ViewedImages,
    find_distances,
    find_nearest_entries,
    fit_band,
    gather_views,
)
from index.calibration.false_matches import FalseMatches, fit_false_matches
from index.calibration.growth import fit_growth
from index.copies import Symmetry, View, ViewHash
from index.jsontext import canonical_json
from index.truth.perceptual import HASH_BYTES, PerceptualHash

STORED = Path("index/calibration/copy_rates.json")
BITS = (32, 40, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80)
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
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--verified", type=int, default=0)
    parser.add_argument("--crops", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    pictures = read_pictures(arguments.corpus, arguments.work)
    vectors = {
        each.source.name: describe_pictures(each.source.name, pictures, arguments.work)
        for each in list_descriptors()
        if each.available
    }
    rates = measure_rates(pictures, vectors)
    if arguments.verified:
        rates = add_inliers(rates, pictures, vectors, arguments.verified)
    print_band(rates)
    print_descriptors(rates)
    print_inliers(rates)
    photographs = [each for each in pictures if each.is_real]
    numbers = number_sources(pictures)
    entries, sources = gather_entries(pictures, numbers)
    if arguments.crops:
        entries, sources = cut_entries(pictures, numbers, arguments.crops, arguments.work)
    print_growth(view(photographs, numbers), entries, sources)
    if arguments.write:
        STORED.write_text(canonical_json(rates.as_shipped().to_json()) + "\n", "utf-8")
        console.print(f"written: {STORED}")


def read_pictures(folder: Path, work: Path) -> list[Looked]:
    """Read the pictures with the hashes of their views."""
    kept = work / "views.json"
    known = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    began, found = time.perf_counter(), []
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = folder / row["relpath"]
            if row["relpath"] not in known:
                order = PictureOrder(LIMITS, view_hashes=True)
                picture = make_picture(path.read_bytes(), order)
                known[row["relpath"]] = [
                    [each.view.symmetry.value, each.hash.bits.hex(), each.hash.quality]
                    for each in picture.view_hashes
                ]
            views = tuple(
                ViewHash(View(Symmetry(name)), PerceptualHash(bytes.fromhex(bits), quality))
                for name, bits, quality in known[row["relpath"]]
            )
            found.append(Looked(path, row["label"] == "real", row["source"], views))
    kept.write_text(json.dumps(known), "utf-8")
    seconds = time.perf_counter() - began
    views_each = np.mean([len(each.views) for each in found])
    console.print(
        f"{len(found):,} pictures in {seconds:.0f} s, {views_each:.1f} views each on average"
    )
    return found


def describe_pictures(name: str, pictures: Sequence[Looked], work: Path) -> NDArray[np.float32]:
    """Return the vectors (n, d) of the pictures by a copy descriptor."""
    kept = work / f"vectors-{name}.npy"
    if kept.is_file():
        vectors: NDArray[np.float32] = np.load(kept)
        return vectors
    descriptor, rows = open_descriptor(name), []
    order = PictureOrder(LIMITS, descriptor=descriptor.input)
    for each in pictures:
        pixels = make_picture(each.path.read_bytes(), order).descriptor_pixels
        assert pixels is not None
        rows.append(descriptor.describe(pixels[None])[0])
    np.save(kept, np.stack(rows))
    return np.stack(rows)


def measure_rates(pictures: Sequence[Looked], vectors: dict[str, NDArray[np.float32]]) -> CopyRates:
    """Measure the rates of photographs by hash and by descriptor."""
    photographs = [each for each in pictures if each.is_real]
    numbers = number_sources(pictures)
    entries, sources = gather_entries(pictures, numbers)
    found = find_distances(view(photographs, numbers), entries, sources)
    population = describe(photographs, pictures)
    is_real = np.array([each.is_real for each in pictures])
    every = np.array([numbers[each.source] for each in pictures])
    is_other = every[is_real][:, None] != every[None]  # (photographs, pictures)
    return CopyRates(
        CopyCurve(fit_one_by_one(found, len(pictures)), population),
        int(found.is_near_duplicate.sum()),
        descriptors={
            DESCRIPTORS[name].fingerprint: CopyCurve(
                fit_similarities(own[is_real] @ own.T, is_other), f"{population}, by {name}"
            )
            for name, own in vectors.items()
        },
    )


def fit_similarities(
    similarities: NDArray[np.float32], is_other: NDArray[np.bool_]
) -> FalseMatches:
    """Fit the rates of the largest similarity of each photograph to a picture of another source."""
    allowed = np.where(is_other, similarities, -1.0)
    maxima, (n, size) = allowed.max(axis=1), allowed.shape
    thresholds = np.unique(np.quantile(maxima, [1 - share for share in GROWTH_SHARES]))
    counts = np.stack([(allowed >= each).sum(axis=1) for each in thresholds], axis=1)
    growth = fit_growth(counts, thresholds, np.arange(n), corpus_size=size, seed=0)
    return fit_false_matches(maxima, np.arange(n), corpus_size=size, growth=growth, seed=0)


def add_inliers(
    rates: CopyRates,
    pictures: Sequence[Looked],
    vectors: dict[str, NDArray[np.float32]],
    count: int,
) -> CopyRates:
    """Verify the candidates of some photographs, as a look-up does."""
    numbers = number_sources(pictures)
    every = np.array([numbers[each.source] for each in pictures])
    entries, sources = gather_entries(pictures, numbers)
    rows = np.flatnonzero([each.views[0].hash.reliable for each in pictures])
    chosen = np.flatnonzero([each.is_real for each in pictures])
    chosen = np.sort(np.random.default_rng(2).permutation(chosen)[:count])
    viewed = view([pictures[row] for row in chosen.tolist()], numbers)
    by_hash = find_nearest_entries(viewed, entries, sources, MAX_CANDIDATES)
    largest, counted, held = [], [], dict[int, LocalFeatures | None]()
    for row, places in zip(chosen.tolist(), by_hash, strict=True):
        lists = [rows[places].tolist()]
        for own in list(vectors.values())[:1]:
            similar = np.where(every == every[row], -1.0, own @ own[row])
            lists.insert(0, np.argsort(-similar)[:MAX_CANDIDATES].tolist())
        order = chain.from_iterable(zip_longest(*lists))
        distinct = [each for each in dict.fromkeys(order) if each is not None][:MAX_CANDIDATES]
        for each in distinct:
            if each not in held:
                held[each] = extract(pictures[each].path, is_entry=True)
        probe = extract(pictures[row].path, is_entry=False)
        assert probe is not None
        found = count_inliers(probe, (held[each] for each in distinct))
        if found is not None:
            largest.append(found[0])
            counted.append(found[1])
            if found[1]:
                console.print(f"looks alike: {pictures[row].path}, {found[1]} inliers")
    curve = fit_inliers(largest, np.arange(len(largest)), corpus_size=len(pictures))
    population = (
        f"{curve.n:,} photographs of public repositories, each with the {MAX_CANDIDATES} nearest "
        f"of {len(pictures):,} pictures from other repositories"
    )
    return replace(
        rates,
        inliers=CopyCurve(curve, population),
        counted=tuple(sorted((each for each in counted if each), reverse=True)),
        candidates=MAX_CANDIDATES,
    )


def extract(path: Path, *, is_entry: bool) -> LocalFeatures | None:
    """Return the local features of a picture, or of its thumbnail if it is an entry."""
    data = path.read_bytes()
    if is_entry:
        thumbnail = make_picture(
            data, PictureOrder(LIMITS, thumbnail_pixels=THUMBNAIL_PIXELS)
        ).thumbnail
        assert thumbnail is not None
        data = thumbnail
    return make_picture(data, PictureOrder(LIMITS, local_features=MAX_KEYPOINTS)).local_features


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
    pictures: Sequence[Looked], numbers: dict[str, int], count: int, work: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the hashes (m, 32) of `count` parts of each picture, shuffled, and their sources."""
    kept = work / f"crops-{count}.npz"
    if kept.is_file():
        stored = np.load(kept)
        return stored["bits"], stored["sources"]
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
    shuffled = rows[order], np.array(sources, np.int64)[order]
    np.savez(kept, bits=shuffled[0], sources=shuffled[1])
    return shuffled


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


def print_descriptors(rates: CopyRates) -> None:
    names = {source.fingerprint: name for name, source in DESCRIPTORS.items()}
    for fingerprint, curve in (rates.descriptors or {}).items():
        table = Table("rate", *(f"among {size:,}" for size in SIZES))
        for rate in (0.1, 0.01, 0.001):
            thresholds = [rates.descriptor_threshold(fingerprint, rate, size) for size in SIZES]
            table.add_row(f"{rate:.1%}", *(f"{each:.3f}" for each in thresholds if each))
        console.print(f"{names[fingerprint]}: similarities at a rate; largest, growth")
        console.print(table, f"{curve.rates.largest:.3f}", curve.rates.growth)


def print_inliers(rates: CopyRates) -> None:
    if rates.inliers is None:
        return
    console.print(f"{rates.inliers.population}; look alike: {rates.counted}")
    table = Table("inliers", "photographs", "rate", "at most", "of any pictures, by the model")
    for inliers in (4, 6, 8, 10, 12, 16, 24, 32, 64):
        there = rates.inlier_rate(inliers)
        assert there is not None
        of_any = rate_of_inliers(rates.inliers.rates, inliers)
        table.add_row(
            str(inliers),
            str(there.matches),
            f"{there.estimate:.6f}",
            f"{there.high:.4f}",
            f"{of_any.estimate:.6f}",
        )
    console.print(table)


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
