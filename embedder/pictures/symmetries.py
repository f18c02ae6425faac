"""The hashes of a picture in the eight symmetries of a square: mirrored and turned copies.

A picture that was mirrored or turned by a right angle has another hash. Its 64 x 64 samples are
those of the other picture, turned: so they are turned back in each way, and hashed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.pictures.perceptual import NOTHING_TO_SEE, hash_samples, sample_luma
from embedder.pictures.views import Symmetry, View, ViewHash

Samples = NDArray[np.uint8]

_UNDO: Mapping[Symmetry, Callable[[Samples], Samples]] = MappingProxyType(
    {
        Symmetry.UPRIGHT: lambda seen: seen,
        Symmetry.MIRRORED: lambda seen: seen[:, ::-1],
        Symmetry.FLIPPED: lambda seen: seen[::-1],
        Symmetry.TURNED_90: np.rot90,  # numpy turns anticlockwise
        Symmetry.TURNED_180: lambda seen: np.rot90(seen, 2),
        Symmetry.TURNED_270: lambda seen: np.rot90(seen, 3),
        Symmetry.TRANSPOSED: lambda seen: seen.T,
        Symmetry.TRANSVERSED: lambda seen: np.rot90(seen, 2).T,
    }
)


def undo(symmetry: Symmetry, seen: Samples) -> Samples:
    """Return the array `(n, n)` that looks like `seen` after the symmetry."""
    return _UNDO[symmetry](seen)


def make_view_hashes(image: Image.Image) -> tuple[ViewHash, ...]:
    """Compute the hashes of the views of an RGB image. Thread-safe.

    The first is that of the image as it is.
    """
    sampled = sample_luma(image)
    if sampled is None:
        return (ViewHash(View(), NOTHING_TO_SEE),)
    return tuple(ViewHash(View(each), hash_samples(undo(each, sampled))) for each in Symmetry)
