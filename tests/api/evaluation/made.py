"""Small populations of made-up images: clusters of unit vectors, one a generator, and photographs
around the origin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.calibration.population import Population

DIMENSION = 16


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def population(
    vectors: NDArray[np.float64],
    generators: Sequence[str | None],
    logits: NDArray[np.float64] | None = None,
) -> Population:
    n = len(vectors)
    return Population(
        image_ids=np.arange(n, dtype=np.int64),
        sources=np.arange(n, dtype=np.int64),
        vectors=unit(vectors),
        logits=np.zeros(n) if logits is None else logits,
        generators=tuple(generators),
        hashes=(None,) * n,
    )


def clusters(sizes: dict[str, int], spread: float = 0.3, seed: int = 0) -> Population:
    """Fakes, each generator around a direction of its own."""
    random = np.random.default_rng(seed)
    rows, names = [], []
    for place, (name, size) in enumerate(sizes.items()):
        centre = np.eye(DIMENSION)[place]
        rows.append(
            centre + spread * random.standard_normal((size, DIMENSION)) / np.sqrt(DIMENSION)
        )
        names += [name] * size
    return population(np.concatenate(rows), names)


def anywhere(n: int, seed: int = 1) -> Population:
    """Photographs, in any direction."""
    return population(np.random.default_rng(seed).standard_normal((n, DIMENSION)), [None] * n)


def numbered(n: int, groups: int) -> NDArray[np.int64]:
    """Sources (n,), dealt out in turn."""
    return np.arange(n, dtype=np.int64) % groups
