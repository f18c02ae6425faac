"""Photographs to train and measure on: which collections are used for what, and how they are read.

The split is by collection, not by image, so that the figures are of sources that training never
saw.
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
# reddit-human holds paintings beside photographs: not made by a decoder either, and smoother than
# most photographs. Left out: celeba-hq, which was sharpened and upscaled by a neural network.

MIN_SIDE = 176  # pixels: a 160-pixel crop and room for an offset
NATIVE_TILE_SIDE = 512


@dataclass(frozen=True, slots=True, eq=False)
class CorpusPhotograph:
    collection: str
    name: str
    image: Image.Image


def read_photographs(corpus: Path, collections: tuple[str, ...]) -> Iterator[CorpusPhotograph]:
    """The photographs of these collections, in the order of the manifest; too small ones are passed
    over.
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
    """The image, made smaller when its longer edge exceeds `longest_edge` pixels."""
    ratio = longest_edge / max(image.size)
    if ratio >= 1.0:
        return image
    return image.resize(
        (round(image.width * ratio), round(image.height * ratio)), Image.Resampling.LANCZOS
    )


def make_training_sources(
    image: Image.Image, *, longest_edge: int = 640, shrink: float = 0.5
) -> Iterator[NDArray[np.uint8]]:
    """(h, w, 3) pictures of one photograph at several scales: delivered size, smaller, and a
    camera's own pixels.

    Shrinking removes JPEG's blocks and noise; the native tile keeps a sensor's noise and a camera's
    sharpening.
    """
    delivered = shrink_to(image, longest_edge)
    sources = [delivered, shrink_to(image, round(max(delivered.size) * shrink))]
    if max(image.size) >= 2 * NATIVE_TILE_SIDE:
        sources.append(cut_centre_tile(image, NATIVE_TILE_SIDE))
    for source in sources:
        if min(source.size) >= MIN_SIDE:
            yield np.asarray(source)


def cut_centre_tile(image: Image.Image, side: int) -> Image.Image:
    """The middle of the image at its own resolution, at most `side` pixels in each direction."""
    width, height = min(side, image.width), min(side, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def cut_tiles(image: Image.Image, side: int, max_tiles: int) -> list[Image.Image]:
    """Up to `max_tiles` squares that do not overlap, at the image's own resolution, spread evenly
    over it.
    """
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
