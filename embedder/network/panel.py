"""The panel: pictures of many kinds on which a precision is compared with float32.

A precision is judged by what it does to answers: to the cosine similarity of embeddings and to the
logit. One picture is not enough. bfloat16 moved real photographs by a cosine of 0.983 where a
single drawn picture showed 0.999.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedder.network.results import Embeddings

# A similarity threshold lies near 0.99 and the limits of the classifier are some logits apart.
# These are far inside of both (2026-12-01, the built-in model).
MINIMUM_COSINE = 0.9995
MAXIMUM_LOGIT_DIFFERENCE = 0.1


@dataclass(frozen=True, slots=True)
class PanelCheck:
    """How far a precision on a device moves the answers of one model, from float32 on a CPU.

    `images` is the number of pictures compared. `smallest_cosine` is that of two embeddings of one
    picture, `largest_logit_difference` is absolute. `accepted` says whether both are within the
    limits.
    """

    precision: str
    device: str
    images: int
    smallest_cosine: float
    largest_logit_difference: float
    accepted: bool


def compare(precision: str, device: str, exact: Embeddings, found: Embeddings) -> PanelCheck:
    """Compare embeddings of the same pictures: `exact` in float32, `found` in the precision."""
    cosines = np.sum(exact.vectors.astype(np.float64) * found.vectors.astype(np.float64), axis=1)
    differences = np.abs(exact.logits.astype(np.float64) - found.logits.astype(np.float64))
    cosine, difference = float(cosines.min()), float(differences.max())
    # Written so that NaN, for which every comparison is false, is not accepted.
    accepted = cosine >= MINIMUM_COSINE and difference <= MAXIMUM_LOGIT_DIFFERENCE
    return PanelCheck(precision, device, len(cosines), cosine, difference, accepted)
