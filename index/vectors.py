"""An embedding as it is stored: float32, little-endian, L2 norm 1. Checks it on the way in, reads it on the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InvalidVector, TruthDamaged

# A model divides by the norm in float32 and is right to 1e-6; half precision anywhere on the way is right to 1e-3.
# What is further off was never normalised.
NORM_TOLERANCE = 1e-3
# Stored norms are this near to 1, so that the inner products FAISS ranks by bound the cosine similarity returned.
STORED_NORM_TOLERANCE = 1e-6
STORED = np.dtype("<f4")


def check_vector(vector: ArrayLike, dimension: int) -> NDArray[np.float32]:
    """Return a vector (d,) as it will be stored: itself, or divided by its norm where that is 1 only to 1e-3.

    Raises:
        InvalidVector: not of shape (dimension,), not finite, or of another norm than 1.

    """
    try:
        checked = np.ascontiguousarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as err:
        raise InvalidVector("an embedding is a list of numbers") from err
    if checked.shape != (dimension,):
        raise InvalidVector(f"an embedding of shape {checked.shape} was given where ({dimension},) is needed")
    if not np.isfinite(checked).all():
        raise InvalidVector("an embedding holds a value that is not finite")
    norm = float(np.linalg.norm(checked.astype(np.float64)))
    if abs(norm - 1.0) > NORM_TOLERANCE:
        raise InvalidVector(f"an embedding has the L2 norm {norm:.6g} instead of 1")
    if abs(norm - 1.0) > STORED_NORM_TOLERANCE:
        checked = (checked.astype(np.float64) / norm).astype(np.float32)
    return checked


def check_logit(logit: float) -> float:
    """Return a logit that is finite; raises InvalidVector."""
    if not math.isfinite(logit):
        raise InvalidVector("a logit is not finite")
    return float(logit)


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    """Return the stored bytes of a vector (d,) or of rows (n, d)."""
    return vector.astype(STORED, copy=False).tobytes()


def stored_rows(stored: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Return rows (n, d) of stored bytes.

    Raises:
        TruthDamaged: one of them is of another length, which SQL would have been given by somebody else.

    """
    if any(len(vector) != dimension * STORED.itemsize for vector in stored):
        raise TruthDamaged("a stored embedding is of the wrong length")
    return np.frombuffer(b"".join(stored), dtype=STORED).astype(np.float32, copy=False).reshape(-1, dimension)


def from_bytes(stored: bytes) -> NDArray[np.float32]:
    """Return the vector (d,) of stored bytes, read-only."""
    return np.frombuffer(stored, dtype=STORED).astype(np.float32, copy=False)
