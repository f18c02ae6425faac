"""Score normalisation: how similar a probe is to a stored picture, beyond what it is to anything.

Some probes are near to everything: flat, grey, repetitive or full of text. A fixed threshold of the
cosine similarity calls them copies. So the mean similarity of the probe to its nearest background
vectors, times a weight, is subtracted. The background are pictures that are copies of nothing that
is looked for: known-real images of the installation.

Follows Pizzi et al., A Self-Supervised Descriptor for Image Copy Detection, CVPR 2022, section 5,
and the baseline of the Image Similarity Challenge 2021 (Douze et al.). All functions are pure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# How many of the nearest background vectors count, and how much; see ADR 0030 for what was tried.
NEAREST = 3
WEIGHT = 1.0
# Fewer background vectors than this say little of what is near to anything.
MIN_BACKGROUND = 50
_BLOCK = 1_024


def find_bias(
    probes: NDArray[np.float32], background: NDArray[np.float32], nearest: int = NEAREST
) -> NDArray[np.float32]:
    """Return the mean cosine similarity `(n,)` of each probe to its `nearest` background vectors.

    `probes` `(n, d)` and `background` `(m, d)` have norm 1. With fewer background vectors, all of
    them count; without any, the bias is 0.
    """
    if nearest < 1:
        raise ValueError("at least one background vector must count")
    count = min(nearest, len(background))
    if count == 0:
        return np.zeros(len(probes), np.float32)
    biases = [
        _mean_of_largest(probes[start : start + _BLOCK] @ background.T, count)
        for start in range(0, len(probes), _BLOCK)
    ]
    return np.concatenate([np.empty(0, np.float32), *biases])


def normalise(
    similarities: NDArray[np.float32], bias: NDArray[np.float32], weight: float = WEIGHT
) -> NDArray[np.float32]:
    """Return normalised similarities `(n,)` or `(n, k)` of n probes with the `bias` `(n,)`.

    They lie between -1 - weight and 1 + weight. The order of a probe's neighbours stays.
    """
    shaped = bias.reshape(-1, *(1,) * (similarities.ndim - 1))  # (n,) or (n, 1)
    return np.asarray(similarities - np.float32(weight) * shaped, np.float32)


def _mean_of_largest(similarities: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the mean of the `count` largest of each row of `(n, m)`."""
    largest = np.partition(similarities, -count, axis=1)[:, -count:]  # (n, count)
    return np.asarray(largest.mean(axis=1), np.float32)
