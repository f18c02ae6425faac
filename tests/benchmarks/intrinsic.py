"""Intrinsic dimension: `python -m tests.benchmarks.intrinsic [--n 100000] [--corpus DIR]`.

The number of directions in which vectors vary around a point, for the benchmark's data and for
embeddings of the built-in model. The latter are tiles of the photographs under DIR (or of those
that scikit-image and scikit-learn ship), as they are and re-synthesised by the four demonstration
decoders. Two estimators are used: TwoNN (Facco et al., Scientific Reports 7, 2017), and the maximum
likelihood of Levina and Bickel (NeurIPS 2004, with the mean of MacKay and Ghahramani) at k = 20.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.network.embed import Embedder
from embedder.pictures.decode import decode
from tests.benchmarks.vectors import GENERATORS, Vectors

K, POINTS, TILE, TILES = 20, 1000, 192, 4
# A row itself, which float32 moves a little, and copies of one image do not count as neighbours.
SAME = 5e-3


def measure_neighbour_distances(rows: Vectors, points: int = POINTS, k: int = K) -> Vectors:
    """Return Euclidean distances (p, k) of sampled rows (n, d) of norm 1 to their nearest other
    rows, rising.
    """
    chosen = np.random.default_rng(0).choice(len(rows), min(points, len(rows)), replace=False)
    best = np.full((len(chosen), k + 8), -1.0, np.float32)
    for start in range(0, len(rows), 16_384):
        similarities = rows[chosen] @ rows[start : start + 16_384].T  # (p, c)
        both = np.concatenate([best, similarities], axis=1)
        best = -np.partition(-both, k + 7, axis=1)[:, : k + 8]
    distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * -np.sort(-best, axis=1)))
    return np.stack([row[row > SAME][:k] for row in distances if (row > SAME).sum() >= k])


def estimate_two_nn(distances: Vectors) -> float:
    """Return TwoNN's estimate from distances (p, k), without the largest tenth of the ratios."""
    ratios = np.sort(distances[:, 1] / distances[:, 0])
    kept = int(0.9 * len(ratios))
    x, y = np.log(ratios[:kept]), -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    return float((x @ y) / (x @ x))


def estimate_maximum_likelihood(distances: Vectors) -> float:
    """Return the estimate of Levina and Bickel from distances (p, k)."""
    inverse = np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)
    return float(1.0 / inverse.mean())


def cut_tiles(image: Image.Image) -> Iterator[Image.Image]:
    places = [
        (x, y)
        for y in range(0, image.height - TILE + 1, TILE)
        for x in range(0, image.width - TILE + 1, TILE)
    ]
    for x, y in places[:TILES]:
        yield image.crop((x, y, x + TILE, y + TILE))


def read_photographs(corpus: Path | None, most: int) -> Iterator[Image.Image]:
    if corpus is None:
        for photograph in load_bundled_photographs():
            yield photograph.image
        return
    files = sorted(
        path for path in corpus.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    for path in files[:: max(1, len(files) // most)][:most]:
        with Image.open(path) as image:
            yield image.convert("RGB")


def embed_tiles(corpus: Path | None, most: int) -> dict[str, Vectors]:
    embedder = Embedder.load("builtin")
    decoders = [Resynthesiser.load(name) for name in DECODERS]
    pixels: dict[str, list[Any]] = {"photographs": [], "re-synthesised": []}
    for image in read_photographs(corpus, most):
        if min(image.size) < TILE:
            continue
        whole = image.crop((0, 0, min(image.width, 4 * TILE), min(image.height, 4 * TILE)))
        for kind, pictures in (
            ("photographs", [whole]),
            ("re-synthesised", [decoder(whole) for decoder in decoders]),
        ):
            for picture in pictures:
                pixels[kind] += [
                    embedder.preprocess(decode(_png(tile), embedder.limits))
                    for tile in cut_tiles(picture)
                ]
    return {
        kind: np.concatenate(
            [
                embedder.embed_pixels(np.stack(some[i : i + 32])).vectors
                for i in range(0, len(some), 32)
            ]
        )
        for kind, some in pixels.items()
    }


def _png(image: Image.Image) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--corpus", type=Path, help="folder of real photographs")
    parser.add_argument("--most", type=int, default=40, help="largest number of photographs to use")
    options = parser.parse_args()
    table = Table("vectors", "n", "d", "TwoNN", "max. likelihood", "nearest", "20th")
    sets = {name: make(options.n).rows() for name, make in GENERATORS.items()} | embed_tiles(
        options.corpus, options.most
    )
    for name, rows in sets.items():
        distances = measure_neighbour_distances(rows)
        first, last = np.median(distances[:, 0]), np.median(distances[:, -1])
        dimensions = (
            f"{estimate_two_nn(distances):.1f}",
            f"{estimate_maximum_likelihood(distances):.1f}",
        )
        table.add_row(
            name, f"{len(rows):,}", str(rows.shape[1]), *dimensions, f"{first:.3f}", f"{last:.3f}"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
