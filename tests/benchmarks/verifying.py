"""How long the verification of candidates takes.

A probe is compared with its own thumbnail and those of other pictures; confined processes make
their features, as in a look-up. It is timed with thumbnails that no look-up has seen, and again
with their features in memory. Without a folder, it compares parts of the photographs of the extra
`demo`.

    python -m tests.benchmarks.verifying --corpus DIR
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from api.copies.stored_features import StoredFeatures
from api.copies.verifying import MAX_CANDIDATES, verify
from embedder.copies.features import MAX_KEYPOINTS
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.decoding.processes import ProcessDecoders
from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.decode import make_thumbnail
from embedder.pictures.limits import ImageLimits
from index.blobs import BlobStore
from index.cache.searching.questions import Neighbour
from tests.api.modelless import encode, stores_in
from tests.index.assessing import neighbour

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, help="folder of pictures")
    parser.add_argument("--probes", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.corpus, arguments.probes + MAX_CANDIDATES)
    probes = pictures[: arguments.probes]
    decoders = ProcessDecoders(arguments.workers)
    order = PictureOrder(ImageLimits(), local_features=MAX_KEYPOINTS)
    print(f"{len(os.sched_getaffinity(0))} cores, {arguments.workers} decoders")
    times: dict[str, list[float]] = {"probe": [], "new": [], "held": []}
    warm_up = [decoders.submit(encode(each, "PNG"), order) for each in probes[:4]]
    for future in warm_up:
        future.result()
    for number, probe in enumerate(probes):
        data = encode(probe, "PNG")
        start = time.perf_counter()
        features = decoders.submit(data, order, urgent=True).result().local_features
        without = time.perf_counter()
        make_picture(data, PictureOrder(ImageLimits()))
        decoded = time.perf_counter() - without
        times["probe"].append(without - start - decoded)
        with tempfile.TemporaryDirectory() as folder:
            stores = stores_in(Path(folder))
            others = [each for each in pictures if each is not probe][: MAX_CANDIDATES - 1]
            candidates = [
                store(stores.thumbnails, index, image)
                for index, image in enumerate([*others, probe])
            ]
            stored = StoredFeatures(stores, decoders, ImageLimits())
            for name in ("new", "held"):
                start = time.perf_counter()
                found = verify(stored, partial(next, repeat(features)), candidates)
                times[name].append(time.perf_counter() - start)
        copies = [each for each in found.values() if each.verified]
        if len(copies) != 1:
            print(f"probe {number}: {len(copies)} of {len(candidates)} candidates fit")
    decoders.close()
    print_times("features of a probe, beyond decoding it", times["probe"])
    print_times(f"{MAX_CANDIDATES} thumbnails that are new", times["new"])
    print_times(f"{MAX_CANDIDATES} thumbnails that are in memory", times["held"])


def store(thumbnails: BlobStore, index: int, image: Image.Image) -> Neighbour:
    candidate = neighbour(index, 0.5)
    sha256 = hashlib.sha256(str(index).encode()).hexdigest()
    thumbnails.put(sha256, make_thumbnail(image))
    return replace(
        candidate,
        entry=replace(candidate.entry, image=replace(candidate.entry.image, sha256=sha256)),
    )


def read_pictures(corpus: Path | None, count: int) -> list[Image.Image]:
    if corpus is None:
        whole = [each.image for each in load_bundled_photographs()]
        return [crop(whole[number % len(whole)], number // len(whole)) for number in range(count)]
    files = sorted(each for each in corpus.rglob("*") if each.suffix.lower() in SUFFIXES)
    chosen = np.random.default_rng(0).choice(len(files), count, replace=False)
    return [read(files[number]) for number in chosen]


def read(file: Path) -> Image.Image:
    image = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
    image.thumbnail((2_000, 2_000))
    return image


def crop(image: Image.Image, number: int) -> Image.Image:
    """A part of a picture that shares little with the others."""
    width, height = image.width // 2, image.height // 2
    left, top = number % 2 * width, number // 2 % 2 * height
    return image.crop((left, top, left + width, top + height))


def print_times(name: str, seconds: Sequence[float]) -> None:
    half, most = np.percentile(np.array(seconds) * 1_000, [50, 90])
    print(f"{name}: median {half:.0f} ms, 90 % within {most:.0f} ms")


if __name__ == "__main__":
    main()
