"""Seeded vectors to search, in blocks so that memory stays bounded, and probes of the same
distribution.

`clustered` resembles real embeddings: a few thousand sources of low local dimension. `hard` has no
structure that an index could use: a 64-dimensional latent in random directions plus isotropic
noise. Every row has L2 norm 1. A block depends only on the seed and its number, so a smaller set is
the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
BLOCK = 16_384
MODEL, ROWS, PROBES = 0, 1, 2  # one random stream each

CLUSTERED_SOURCES = 4000
CLUSTERED_LOCAL_DIMENSION = 16
CLUSTERED_SPREAD = 0.5
HARD_LATENT_DIMENSION = 64
HARD_NOISE = 0.3

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class VectorSet:
    """n rows (n, d) that are not all in memory unless `rows` is called.

    `draw(random, count)` returns (count, d).
    """

    name: str
    n: int
    dimension: int
    seed: int
    draw: Callable[[np.random.Generator, int], Vectors]

    def blocks(self) -> Iterator[Vectors]:
        """Yield the rows (b, d) in order; b = BLOCK except for the last block."""
        for number, start in enumerate(range(0, self.n, BLOCK)):
            random = np.random.default_rng([self.seed, ROWS, number])
            yield self.draw(random, BLOCK)[: self.n - start]  # (b, d)

    def rows(self) -> Vectors:
        """Return all rows (n, d) in memory."""
        out = np.empty((self.n, self.dimension), np.float32)
        start = 0
        for block in self.blocks():
            out[start : start + len(block)] = block
            start += len(block)
        return out

    def probes(self, count: int) -> Vectors:
        """Return probes (count, d): the same distribution, none of them a row."""
        return self.draw(np.random.default_rng([self.seed, PROBES]), count)

    def write(self, path: Path) -> Path:
        """Write all rows as a .npy file, block by block, unless it exists.

        `np.load(path, mmap_mode="r")` maps it.
        """
        if not path.is_file():
            temporary = path.with_suffix(".part")
            with temporary.open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (self.n, self.dimension)}
                np.lib.format.write_array_header_1_0(file, header)
                for block in self.blocks():
                    file.write(np.ascontiguousarray(block, "<f4").data)
            temporary.rename(path)
        return path


def clustered(n: int, dimension: int = DIMENSION, seed: int = 0) -> VectorSet:
    """Draw sources in random order.

    A row is its source's centre plus a few directions of that source's own.
    """
    random = np.random.default_rng([seed, MODEL])
    sources, local = CLUSTERED_SOURCES, CLUSTERED_LOCAL_DIMENSION
    centres = normalise(random.standard_normal((sources, dimension), dtype=np.float32))  # (s, d)
    bases = random.standard_normal((sources, local, dimension), dtype=np.float32)  # (s, l, d)
    bases *= CLUSTERED_SPREAD / np.sqrt(local * dimension)

    def draw(stream: np.random.Generator, count: int) -> Vectors:
        chosen = np.sort(stream.integers(0, sources, count))
        latent = stream.standard_normal((count, local), dtype=np.float32)  # (c, l)
        out = centres[chosen]  # (c, d)
        bounds = np.searchsorted(chosen, np.arange(sources + 1))
        for source in np.unique(chosen):
            those = slice(bounds[source], bounds[source + 1])
            out[those] += latent[those] @ bases[source]
        return normalise(out)[stream.permutation(count)]

    return VectorSet("clustered", n, dimension, seed, draw)


def hard(n: int, dimension: int = DIMENSION, seed: int = 0) -> VectorSet:
    """Mix a Gaussian latent of 64 dimensions at random into all dimensions, and add isotropic
    noise.
    """
    random = np.random.default_rng([seed, MODEL])
    mixing = random.standard_normal((HARD_LATENT_DIMENSION, dimension), dtype=np.float32)  # (l, d)
    mixing /= np.sqrt(HARD_LATENT_DIMENSION)

    def draw(stream: np.random.Generator, count: int) -> Vectors:
        latent = stream.standard_normal((count, HARD_LATENT_DIMENSION), dtype=np.float32)  # (c, l)
        noise = stream.standard_normal((count, dimension), dtype=np.float32)  # (c, d)
        return normalise(latent @ mixing + np.float32(HARD_NOISE) * noise)

    return VectorSet("hard", n, dimension, seed, draw)


GENERATORS = {"clustered": clustered, "hard": hard}


def normalise(rows: Vectors) -> Vectors:
    """Return rows (n, d) scaled to L2 norm 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
