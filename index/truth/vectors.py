"""Embeddings in their stored form: little-endian, L2 norm 1; float32, or float16 in a copy space.

Checks vectors before they are stored, and reads stored bytes. Whatever the stored form, vectors are
float32 in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InvalidVector, TruthDamaged

# A model that divides by the norm in float32 reaches 1e-6; half precision anywhere reaches 1e-3. A
# vector outside of this was never normalised.
NORM_TOLERANCE = 1e-3
# Stored norms are this close to 1, so that the inner products by which FAISS ranks are almost the
# cosine similarities of the answers.
STORED_NORM_TOLERANCE = 1e-6
STORED = np.dtype("<f4")
# The stored form of a copy descriptor. Rounding to it moves a value by at most 2**-11 of itself,
# and so a norm: `NORM_TOLERANCE` holds for it too.
HALF = np.dtype("<f2")
HALF_ROUNDING = 2.0**-11
WIDE_ROWS = 256  # rows converted to float64 at once; they fit the processor's cache


def check_vector(vector: ArrayLike, dimension: int) -> NDArray[np.float32]:
    """Return a vector (d,) in its stored form: divided by its norm, if that is close to 1.

    A norm within 1e-6 of 1 leaves the vector unchanged.

    Raises:
        InvalidVector: the shape is not (dimension,), a value is not finite, or the norm differs
            from 1 by more than 1e-3.

    """
    try:
        checked = np.ascontiguousarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as err:
        raise InvalidVector("an embedding must be a list of numbers") from err
    if checked.shape != (dimension,):
        raise InvalidVector(f"an embedding has the shape {checked.shape} instead of ({dimension},)")
    wide = checked.astype(np.float64)
    norm = math.sqrt(wide.dot(wide))  # finite if every value is
    if not math.isfinite(norm):
        raise InvalidVector("an embedding has a value that is not finite")
    if abs(norm - 1.0) > NORM_TOLERANCE:
        raise InvalidVector(f"an embedding has the L2 norm {norm:.6g} instead of 1")
    if abs(norm - 1.0) > STORED_NORM_TOLERANCE:
        checked = (wide / norm).astype(np.float32)
    return checked


def check_vectors(vectors: Sequence[ArrayLike], dimension: int) -> NDArray[np.float32]:
    """Return vectors (n, d), each as `check_vector` returns it, in a twentieth of the time.

    Raises:
        InvalidVector: `check_vector` would refuse one of them.

    """
    if not all(
        type(v) is np.ndarray and v.dtype == STORED and v.shape == (dimension,) for v in vectors
    ):
        vectors = [check_vector(vector, dimension) for vector in vectors]
    rows = np.concatenate([np.empty(0, STORED), *vectors]).reshape(-1, dimension)  # (n, d)
    norms = _norms(rows)  # (n,)
    refused = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
    if len(refused):
        check_vector(rows[refused[0]], dimension)  # raises the error with the reason
    off = np.abs(norms - 1.0) > STORED_NORM_TOLERANCE
    rows[off] = rows[off].astype(np.float64) / norms[off, np.newaxis]
    return rows


def find_unusable_vectors(
    vectors: NDArray[np.float32], logits: NDArray[np.float64], dimension: int
) -> dict[int, str]:
    """Return the reason for each row (n, d) or logit (n,) that the checks would refuse.

    Raises:
        InvalidVector: the rows do not have the given dimension.

    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidVector(
            f"the embeddings have the shape {vectors.shape} instead of (n, {dimension})"
        )
    norms = _norms(vectors)  # (n,)
    wrong = {
        int(row): f"an embedding has the L2 norm {norms[row]:.6g} instead of 1"
        for row in np.flatnonzero(np.abs(norms - 1.0) > NORM_TOLERANCE)
    }
    wrong |= {
        int(row): "an embedding has a value that is not finite"
        for row in np.flatnonzero(~np.isfinite(norms))
    }
    return wrong | {
        int(row): "a logit is not finite" for row in np.flatnonzero(~np.isfinite(logits))
    }


def _norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the L2 norms (n,) of rows (n, d); a norm is not finite if a value is not."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), WIDE_ROWS):
        wide = vectors[start : start + WIDE_ROWS].astype(np.float64)
        norms[start : start + WIDE_ROWS] = np.sqrt(np.vecdot(wide, wide))  # (n, d), (n, d) -> (n,)
    return norms


def check_logit(logit: float) -> float:
    """Return a logit after checking it.

    Raises:
        InvalidVector: the logit is not finite.

    """
    if not math.isfinite(logit):
        raise InvalidVector("a logit is not finite")
    return float(logit)


def to_bytes(vector: NDArray[np.float32], form: np.dtype[Any] = STORED) -> bytes:
    """Return the stored bytes of a vector (d,) or of rows (n, d) in a form."""
    return vector.astype(form, copy=False).tobytes()


def rows_from_bytes(
    stored: Sequence[bytes], dimension: int, form: np.dtype[Any] = STORED
) -> NDArray[np.float32]:
    """Return the rows (n, d) that stored bytes of a form hold.

    Raises:
        TruthDamaged: a stored vector has a wrong length, so another program has written it.

    """
    if any(len(vector) != dimension * form.itemsize for vector in stored):
        raise TruthDamaged("a stored embedding has a wrong length")
    return (
        np.frombuffer(b"".join(stored), dtype=form)
        .astype(np.float32, copy=False)
        .reshape(-1, dimension)
    )


def from_bytes(stored: bytes) -> NDArray[np.float32]:
    """Return the read-only vector (d,) that stored bytes hold."""
    return np.frombuffer(stored, dtype=STORED).astype(np.float32, copy=False)
