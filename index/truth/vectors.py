"""An embedding as it is stored: float32, little-endian, L2 norm 1.

Checks it on the way in, reads it on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InvalidVector, TruthDamaged

# A model divides by the norm in float32 and is right to 1e-6; half precision anywhere on the way is
# right to 1e-3. What is further off was never normalised.
NORM_TOLERANCE = 1e-3
# Stored norms are this near to 1, so that the inner products FAISS ranks by bound the cosine
# similarity returned.
STORED_NORM_TOLERANCE = 1e-6
STORED = np.dtype("<f4")
WIDE_ROWS = 256  # as float64 at a time: they stay in the processor's cache


def check_vector(vector: ArrayLike, dimension: int) -> NDArray[np.float32]:
    """Return a vector (d,) as it will be stored: itself, or divided by its norm where that is 1
    only to 1e-3.

    Raises:
        InvalidVector: not of shape (dimension,), not finite, or of another norm than 1.

    """
    try:
        checked = np.ascontiguousarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as err:
        raise InvalidVector("an embedding is a list of numbers") from err
    if checked.shape != (dimension,):
        raise InvalidVector(
            f"an embedding of shape {checked.shape} was given where ({dimension},) is needed"
        )
    if not np.isfinite(checked).all():
        raise InvalidVector("an embedding holds a value that is not finite")
    norm = float(np.linalg.norm(checked.astype(np.float64)))
    if abs(norm - 1.0) > NORM_TOLERANCE:
        raise InvalidVector(f"an embedding has the L2 norm {norm:.6g} instead of 1")
    if abs(norm - 1.0) > STORED_NORM_TOLERANCE:
        checked = (checked.astype(np.float64) / norm).astype(np.float32)
    return checked


def check_vectors(vectors: Sequence[ArrayLike], dimension: int) -> NDArray[np.float32]:
    """Return vectors (n, d) as `check_vector` returns each, all at once: a twentieth of the time.

    Raises:
        InvalidVector: like `check_vector` for one of them.

    """
    if not all(
        type(v) is np.ndarray and v.dtype == STORED and v.shape == (dimension,) for v in vectors
    ):
        vectors = [check_vector(vector, dimension) for vector in vectors]
    rows = np.concatenate([np.empty(0, STORED), *vectors]).reshape(-1, dimension)  # (n, d)
    norms = _norms(rows)  # (n,)
    refused = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
    if len(refused):
        check_vector(rows[refused[0]], dimension)  # says why
    off = np.abs(norms - 1.0) > STORED_NORM_TOLERANCE
    rows[off] = rows[off].astype(np.float64) / norms[off, np.newaxis]
    return rows


def find_unusable_vectors(
    vectors: NDArray[np.float32], logits: NDArray[np.float64], dimension: int
) -> dict[int, str]:
    """Return, for the rows (n, d) and logits (n,) that `check_vector` or `check_logit` would
    refuse, why; all at once.

    Raises:
        InvalidVector: rows of another dimension.

    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidVector(
            f"embeddings of shape {vectors.shape} were given where (n, {dimension}) is needed"
        )
    norms = _norms(vectors)  # (n,)
    wrong = {
        int(row): f"an embedding has the L2 norm {norms[row]:.6g} instead of 1"
        for row in _off(norms)
    }
    wrong |= {
        int(row): "an embedding holds a value that is not finite"
        for row in np.flatnonzero(~np.isfinite(norms))
    }
    return wrong | {
        int(row): "a logit is not finite" for row in np.flatnonzero(~np.isfinite(logits))
    }


def _norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the L2 norms (n,) of rows (n, d), not finite where a value is not."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), WIDE_ROWS):
        wide = vectors[start : start + WIDE_ROWS].astype(np.float64)
        norms[start : start + WIDE_ROWS] = np.sqrt(np.vecdot(wide, wide))  # (n, d), (n, d) -> (n,)
    return norms


def _off(norms: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.flatnonzero(np.abs(norms - 1.0) > NORM_TOLERANCE)


def check_logit(logit: float) -> float:
    """Return a logit that is finite; raises InvalidVector."""
    if not math.isfinite(logit):
        raise InvalidVector("a logit is not finite")
    return float(logit)


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    """Return the stored bytes of a vector (d,) or of rows (n, d)."""
    return vector.astype(STORED, copy=False).tobytes()


def rows_from_bytes(stored: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Return rows (n, d) of stored bytes.

    Raises:
        TruthDamaged: one of them is of another length, which SQL would have been given by somebody
        else.

    """
    if any(len(vector) != dimension * STORED.itemsize for vector in stored):
        raise TruthDamaged("a stored embedding is of the wrong length")
    return (
        np.frombuffer(b"".join(stored), dtype=STORED)
        .astype(np.float32, copy=False)
        .reshape(-1, dimension)
    )


def from_bytes(stored: bytes) -> NDArray[np.float32]:
    """Return the vector (d,) of stored bytes, read-only."""
    return np.frombuffer(stored, dtype=STORED).astype(np.float32, copy=False)
