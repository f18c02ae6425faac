"""Learns the weights of `lineup-copy` (`embedder.copies.aggregated`) from a folder of pictures.

    python -m embedder.training.copy_descriptor --corpus DIR --out embedder/models/lineup-copy

The folder has a `manifest.csv` with the columns relpath and source. `--sources` names those that
are learned from, so that others are left for measuring. The words are the centres of k-means on
RootSIFT. The projection is learned from pairs of a picture and an edit of it: what changes within
pairs is made small, what differs between pictures is kept. The edits are those of this module; the
benchmark of copies has others.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from safetensors.numpy import save_file

from embedder.copies.aggregated import (
    INPUT,
    aggregate,
    extract,
    prepare,
)
from embedder.copies.inputs import make_descriptor_pixels
from embedder.copies.pairing import mirror_descriptors, normalise
from embedder.errors import ImageError
from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits

Floats = NDArray[np.float32]
Descriptors = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Size:
    """How many words, numbers of a feature, and numbers of a vector there are."""

    words: int
    channels: int
    dimension: int


LARGE = Size(64, 32, 256)
PAIRS = 4  # edits of each picture
_EACH = 150  # descriptors of a picture for the words
_SAMPLE = 100_000
_ROUNDS = 15
# Half of the whitening of descriptors, a fourth root of that of vectors: full whitening learns the
# noise of a few hundred pictures.
_AXES_POWER, _VECTOR_POWER = 0.5, 0.25
_WITHIN_FLOOR, _BETWEEN_FLOOR = 1.5, 0.1  # of the mean, and of the largest variance


def main() -> None:
    """Learn the weights and write them as safetensors: float16, the words in float32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", nargs="*", help="by default all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prepare()
    random = np.random.default_rng(arguments.seed)
    pictures, edited = list[Descriptors](), list[tuple[int, Descriptors]]()
    for image in _read_pictures(arguments.corpus, arguments.sources):
        edited += [(len(pictures), _describe(edit(image, random))) for _ in range(PAIRS)]
        pictures.append(_describe(image))
    weights = learn(pictures, edited, random)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(weights, arguments.out / "model.safetensors")
    print(f"{len(pictures):,} pictures, {len(edited):,} pairs")


def learn(
    pictures: Sequence[Descriptors],
    edited: Sequence[tuple[int, Descriptors]],
    random: np.random.Generator,
    size: Size = LARGE,
) -> dict[str, NDArray[np.floating]]:
    """Return the tensors. `edited` has the number of a picture and the descriptors of an edit."""
    sample = np.concatenate([each[random.permutation(len(each))[:_EACH]] for each in pictures])
    roots = normalise(np.concatenate([sample, mirror_descriptors(sample)]))
    roots = roots[random.permutation(len(roots))[:_SAMPLE]]
    mean = roots.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((roots - mean).T))
    first = np.argsort(-values)[: size.channels]
    axes = _to_half(vectors[:, first] / (values[first] + 1e-6) ** (_AXES_POWER / 2))
    words = _find_words((roots - mean) @ axes, random, size.words)
    originals = np.stack([aggregate(each, mean, axes, words) for each in pictures])
    others = np.stack([aggregate(each, mean, axes, words) for _, each in edited])
    centre = originals.mean(axis=0)
    changes = others - originals[[number for number, _ in edited]]
    projection = _learn_projection(originals - centre, changes, size.dimension)
    tensors = {
        "mean": mean.astype(np.float32),
        "axes": axes.astype(np.float32),
        "words": words.astype(np.float32),
        "centre": centre.astype(np.float32),
        "projection": projection.astype(np.float16),
    }
    # safetensors writes the memory of an array as it lies, in whatever order.
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _find_words(points: Floats, random: np.random.Generator, count: int) -> Floats:
    """Return the centres of k-means."""
    words = points[random.permutation(len(points))[:count]].copy()
    for _ in range(_ROUNDS):
        nearest = ((words**2).sum(axis=1) - 2 * points @ words.T).argmin(axis=1)
        for number in range(count):
            members = points[nearest == number]
            if len(members):
                words[number] = members.mean(axis=0)
    return words


def _learn_projection(originals: Floats, changes: Floats, dimension: int) -> Floats:
    """Return the projection `(k * c, d)`: the changes within pairs become alike in all directions,
    then the directions in which pictures differ most are kept.
    """
    values, vectors = np.linalg.eigh(changes.T @ changes / len(changes))
    values = np.maximum(values, 0)
    within = vectors / np.sqrt(values + _WITHIN_FLOOR * values.mean())
    projected = originals @ within
    values, vectors = np.linalg.eigh(projected.T @ projected / len(projected))
    first = np.argsort(-values)[:dimension]
    scales = (values[first] + _BETWEEN_FLOOR * values[first[0]]) ** _VECTOR_POWER
    projection = within @ vectors[:, first] / scales
    return np.asarray(projection / np.abs(projection).max(), np.float32)


def _read_pictures(corpus: Path, sources: Sequence[str] | None) -> Iterator[Image.Image]:
    with (corpus / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if sources is None or row["source"] in sources]
    for row in sorted(rows, key=lambda each: each["relpath"]):
        try:
            data = (corpus / row["relpath"]).read_bytes()
            image = decode(data, ImageLimits(min_image_side=1)).image
        except ImageError:
            continue
        image.thumbnail((1_000, 1_000))
        yield image


def _describe(image: Image.Image) -> Descriptors:
    return extract(make_descriptor_pixels(image, INPUT))


def edit(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the picture after a crop, a turn, a border, a change of tones, a blur and words, each
    with its own probability. Words alone are drawn on `image` itself.
    """

    def happens(share: float) -> bool:
        return bool(random.random() < share)

    width, height = image.size
    if happens(0.6):
        share = random.uniform(0.4, 0.95)
        across, down = max(32, round(width * share)), max(32, round(height * share))
        left = int(random.integers(max(1, width - across + 1)))
        top = int(random.integers(max(1, height - down + 1)))
        image = image.crop((left, top, min(left + across, width), min(top + down, height)))
    if happens(0.3):
        image = image.rotate(random.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True)
    if happens(0.5):
        factor = random.uniform(0.25, 0.9)
        image = image.resize([max(32, round(side * factor)) for side in image.size])
    if happens(0.4):
        image = ImageEnhance.Brightness(image).enhance(random.uniform(0.6, 1.4))
        image = ImageEnhance.Contrast(image).enhance(random.uniform(0.7, 1.4))
    if happens(0.3):
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2.5)))
    if happens(0.4):
        margin = round(random.uniform(0.05, 0.6) * max(image.size))
        shade = tuple(int(each) for each in random.integers(0, 256, 3))
        image = ImageOps.expand(image, (0, margin, 0, margin // 2), shade)
    if happens(0.4):
        _write_over(image, random)
    return image


def _write_over(image: Image.Image, random: np.random.Generator) -> None:
    """Draw a bar with words on the picture."""
    draw = ImageDraw.Draw(image)
    height = max(8, round(image.height * random.uniform(0.06, 0.2)))
    top = int(random.integers(max(1, image.height - height)))
    if random.random() < 0.5:
        draw.rectangle((0, top, image.width, top + height), (255, 255, 255))
    letters = "".join(chr(97 + int(each)) for each in random.integers(0, 26, 24))
    draw.text(
        (4, top),
        letters,
        (0, 0, 0) if random.random() < 0.5 else (255, 255, 255),
        font_size=height * 0.7,
    )


def _to_half(values: NDArray[np.floating]) -> Floats:
    """Round to what float16 can hold, so that words and vectors are learned on what is stored."""
    return np.asarray(values.astype(np.float16), np.float32)


if __name__ == "__main__":
    main()
