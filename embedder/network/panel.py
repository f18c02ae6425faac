"""The panel check: how far a precision on a device moves the answers of one model from float32.

A precision is judged by what it does to answers: to the cosine similarity of embeddings and to the
logit, on pictures of many kinds (`panel_pictures`). One picture is not enough: bfloat16 in every
layer moved real photographs by a cosine of 0.983, and a single drawn one by 0.999.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedder.network.device import EXACT, Placement
from embedder.network.forward import Forward
from embedder.network.panel_pictures import preprocess_panel
from embedder.network.results import Embeddings, concatenate
from embedder.network.vit import ViT
from embedder.pictures.preprocess import Preprocessing

# A similarity threshold lies near 0.99, and the limits of the classifier are some logits apart. The
# limits are far inside of both. Half precision is well within them where the first layer is float32
# and well outside where it is not (docs/benchmarks.md, 2026-12).
MINIMUM_COSINE = 0.9995
MAXIMUM_LOGIT_DIFFERENCE = 0.1


@dataclass(frozen=True, slots=True)
class PanelCheck:
    """How far a precision on a device moves the answers of one model, from float32 on a CPU.

    `images` is the number of pictures compared. `smallest_cosine`, -1 to 1, is that of two
    embeddings of one picture; `largest_logit_difference` is absolute. `accepted` says whether both
    are within the limits.
    """

    precision: str
    device: str
    images: int
    smallest_cosine: float
    largest_logit_difference: float
    accepted: bool


def judge(
    precision: str, device: str, images: int, cosine: float, logit_difference: float
) -> PanelCheck:
    """Return the check with these figures, accepted or not."""
    # NaN, for which every comparison is false, is not accepted.
    accepted = cosine >= MINIMUM_COSINE and logit_difference <= MAXIMUM_LOGIT_DIFFERENCE
    return PanelCheck(precision, device, images, cosine, logit_difference, accepted)


def compare(precision: str, device: str, exact: Embeddings, found: Embeddings) -> PanelCheck:
    """Compare embeddings of the same pictures: `exact` in float32, `found` in the precision."""
    one, other = exact.vectors.astype(np.float64), found.vectors.astype(np.float64)  # (n, d)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.clip(np.sum(one * other, axis=1) / norms, -1.0, 1.0)  # (n,)
    differences = np.abs(exact.logits.astype(np.float64) - found.logits.astype(np.float64))
    return judge(precision, device, len(cosines), float(cosines.min()), float(differences.max()))


class Panel:
    """The pictures as one model reads them, and what float32 on a CPU makes of them.

    Each is computed once, when it is needed. The model stays on the CPU until a check of float32 on
    another device moves it there.
    """

    def __init__(self, name: str, model: ViT, preprocessing: Preprocessing) -> None:
        self._name = name
        self._model = model
        self._preprocessing = preprocessing

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels `(n, h, w, 3)`."""
        return preprocess_panel(self._preprocessing)

    @cached_property
    def exact(self) -> Embeddings:
        """The results of float32 on a CPU."""
        return self._embed(EXACT)

    def check(self, placement: Placement) -> PanelCheck:
        """Compare a placement with float32 on a CPU."""
        exact = self.exact  # before the model leaves the CPU
        found = self._embed(placement)
        return compare(placement.precision.value, placement.device, exact, found)

    def _embed(self, placement: Placement) -> Embeddings:
        size = placement.batch_size
        forward = Forward(self._name, self._model, self._preprocessing, placement, size)
        starts = range(0, len(self.pixels), size)
        return concatenate([forward.launch(self.pixels[at : at + size]).wait() for at in starts])
