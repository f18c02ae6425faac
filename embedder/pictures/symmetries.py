"""The eight symmetries of a square: how a picture can be mirrored and turned by right angles.

The hash of a mirrored or turned picture is another one. Its samples are those of the picture,
turned. So samples are turned back in each way, and hashed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from embedder.pictures.views import Symmetry

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


def undo_each(flips: NDArray[np.uint8]) -> dict[Symmetry, Samples]:
    """Return the samples `(64, 64)` of a picture after each symmetry is undone, by those of the
    picture as it is, mirrored, flipped, and both (2, 2, 64, 64).
    """
    return {
        Symmetry.UPRIGHT: flips[0, 0],
        Symmetry.MIRRORED: flips[0, 1],
        Symmetry.FLIPPED: flips[1, 0],
        Symmetry.TURNED_90: flips[0, 1].T,
        Symmetry.TURNED_180: flips[1, 1],
        Symmetry.TURNED_270: flips[1, 0].T,
        Symmetry.TRANSPOSED: flips[0, 0].T,
        Symmetry.TRANSVERSED: flips[1, 1].T,
    }
