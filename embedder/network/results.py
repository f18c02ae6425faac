"""Results of embedding: arrays with documented shapes, and the items of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.decoding.picture import Picture
from embedder.errors import ImageError

K = TypeVar("K")


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The results of n images, all float32.

    `vectors` `(n, d)` have L2 norm 1. `logits` `(n,)`: p(synthetic) = sigmoid(logit). Two arrays
    are filled on request only. `patch_tokens` `(n, t, d)` follow the final LayerNorm, row by row
    from the top left, not normalised. `attentions` `(n, layers, heads, 1 + t, 1 + t)` have rows
    that sum to 1, and token 0 is CLS (96 MB an image for ViT-S/384).
    """

    vectors: NDArray[np.float32]
    logits: NDArray[np.float32]
    patch_tokens: NDArray[np.float32] | None = None
    attentions: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Embedded(Generic[K]):
    """One item of a stream that was embedded.

    `vector` `(d,)` has L2 norm 1; `picture` is what else was ordered, without the pixels that were
    embedded.
    """

    key: K
    picture: Picture
    vector: NDArray[np.float32]
    logit: float


@dataclass(frozen=True, slots=True, eq=False)
class Failed(Generic[K]):
    """One item of a stream that is no usable image.

    The error has no traceback, because that would hold the image.
    """

    key: K
    error: ImageError


def replace_rows(into: Embeddings, rows: NDArray[np.int64], other: Embeddings) -> Embeddings:
    """Return `into` with the results of `other` in these rows."""

    def replaced(
        old: NDArray[np.float32] | None, new: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | None:
        if old is None or new is None:
            return None
        merged = old.copy()
        merged[rows] = new
        return merged

    vectors, logits = replaced(into.vectors, other.vectors), replaced(into.logits, other.logits)
    assert vectors is not None
    assert logits is not None
    return Embeddings(
        vectors,
        logits,
        replaced(into.patch_tokens, other.patch_tokens),
        replaced(into.attentions, other.attentions),
    )


def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
    """Concatenate one or more parts, row below row."""
    tokens = [part.patch_tokens for part in parts if part.patch_tokens is not None]
    maps = [part.attentions for part in parts if part.attentions is not None]
    return Embeddings(
        vectors=np.concatenate([part.vectors for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        patch_tokens=np.concatenate(tokens) if tokens else None,
        attentions=np.concatenate(maps) if maps else None,
    )
