"""Photographs for training and measuring: what each collection is used for, and how they are read.

The split is by collection, not by image, so the figures describe sources that training never saw.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TRAINED_COLLECTIONS = ("bsds500", "imagenet-samples", "camera-exif", "reddit-human")
HELD_OUT_COLLECTIONS = (
    "afhq",
    "dreambooth-objects",
    "unsplash-flickr-inpaint-src",
    "ml72-stock",
    "clip-retrieval-test",
)
# reddit-human contains paintings too: no decoder made them, and they are smoother than most
# photographs. celeba-hq is left out, because a neural network sharpened and upscaled it.

MIN_SIDE = 176  # pixels: a 160-pixel crop and room for an offset
NATIVE_TILE_SIDE = 512


@dataclass(frozen=True, slots=True, eq=False)
class CorpusPhotograph:
    collection: str
    name: str
    image: Image.Image


def read_photographs(corpus: Path, collections: tuple[str, ...]) -> Iterator[CorpusPhotograph]:
    """Yield the photographs of these collections in the order of the manifest, without those that
    are too small.
    """
    with (corpus / "manifest.csv").open(newline="", encoding="utf-8") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["label"] == "real"]
    for row in rows:
        collection = row["relpath"].split("/")[1]
        if collection not in collections or min(int(row["width"]), int(row["height"])) < MIN_SIDE:
            continue
        with Image.open(corpus / row["relpath"]) as stored:
            yield CorpusPhotograph(collection, row["relpath"], stored.convert("RGB"))


def shrink_to(image: Image.Image, longest_edge: int) -> Image.Image:
    """Shrink an image whose longer edge exceeds `longest_edge` pixels."""
    ratio = longest_edge / max(image.size)
    if ratio >= 1.0:
        return image
    return image.resize(
        (round(image.width * ratio), round(image.height * ratio)), Image.Resampling.LANCZOS
    )


def make_training_sources(
    image: Image.Image, *, longest_edge: int = 640, shrink: float = 0.5
) -> Iterator[NDArray[np.uint8]]:
    """Yield (h, w, 3) pictures of one photograph at several scales.

    These are the delivered size, a smaller one, and the camera's own pixels. Shrinking removes
    JPEG's blocks and noise; the native tile keeps the sensor's noise and the camera's sharpening.
    """
    delivered = shrink_to(image, longest_edge)
    sources = [delivered, shrink_to(image, round(max(delivered.size) * shrink))]
    if max(image.size) >= 2 * NATIVE_TILE_SIDE:
        sources.append(cut_centre_tile(image, NATIVE_TILE_SIDE))
    for source in sources:
        if min(source.size) >= MIN_SIDE:
            yield np.asarray(source)


def cut_centre_tile(image: Image.Image, side: int) -> Image.Image:
    """Cut the centre at native resolution, at most `side` pixels in each direction."""
    width, height = min(side, image.width), min(side, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def cut_tiles(image: Image.Image, side: int, max_tiles: int) -> list[Image.Image]:
    """Cut up to `max_tiles` squares at native resolution, evenly spread, without overlap."""
    columns, rows = image.width // side, image.height // side
    count = columns * rows
    chosen = (
        range(count)
        if count <= max_tiles
        else [number * count // max_tiles for number in range(max_tiles)]
    )
    found = []
    for number in chosen:
        top, left = divmod(number, columns)
        top, left = top * image.height // rows, left * image.width // columns
        found.append(image.crop((left, top, left + side, top + side)))
    return found


def count_by_collection(corpus: Path, collections: tuple[str, ...]) -> dict[str, int]:
    return dict(
        Counter(photograph.collection for photograph in read_photographs(corpus, collections))
    )
