"""Filters of the patch embedding for the traces of real generators, and the coordinates in which
they are trained.

Logistic regression on the energies of a patch's cosine transform alone distinguishes many
generators, far better than the radial spectrum does: their traces are peaks at single frequencies
in both directions and in colour. The filters that it selects with an L1 penalty replace those that
matter least for the demonstration decoders.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from embedder.training.fakes import CropBatch
from embedder.training.vit import TrainedViT, to_pixels

YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.169, -0.331, 0.5),
    (0.5, -0.419, -0.081),
)  # ITU-R BT.601, as JPEG has it
ENERGY_FLOOR = 0.02  # of the response to pixels in [-1, 1]; below it the logarithm is noise
GREY_LEVEL = 2.0 / 255.0  # directions that are weaker than it stay weak
# Inverse strengths; the penalty becomes weaker until enough filters remain.
FIRST_PENALTY, PENALTY_STEP = 0.003, 1.5


class WhitenedFilters(nn.Module):
    """(c, 3pp) in coordinates where patches of photographs are white -> weights (c, 3, p, p) of the
    convolution.

    A filter in a faint direction has weights a hundred times those of a filter on the picture
    itself, and no optimiser trains both with one rate. In whitened coordinates every direction has
    unit variance.
    """

    whitening: Tensor
    unwhitening: Tensor

    def __init__(self, whitening: Tensor) -> None:
        super().__init__()
        self.register_buffer("whitening", whitening)  # (3pp, 3pp)
        self.register_buffer("unwhitening", torch.linalg.inv(whitening.double()).float())

    def forward(self, whitened: Tensor) -> Tensor:
        patch = math.isqrt(whitened.shape[1] // 3)
        return (whitened @ self.whitening.T).reshape(-1, 3, patch, patch)

    def right_inverse(self, filters: Tensor) -> Tensor:
        return filters.flatten(1) @ self.unwhitening.T


def whitening_of(batches: Sequence[CropBatch], patch: int) -> Tensor:
    """Return (3pp, 3pp) whose columns have unit variance on the photographs of the batches."""
    size = 3 * patch * patch
    moment, count = torch.zeros(size, size), 0
    for batch in batches:
        pixels = to_pixels(batch.pixels[batch.generators == 0])
        rows = (
            functional.unfold(pixels, patch, stride=patch).transpose(1, 2).flatten(0, 1)
        )  # (n, 3pp)
        moment += rows.T @ rows
        count += rows.shape[0]
    values, vectors = torch.linalg.eigh((moment / count + GREY_LEVEL**2 * torch.eye(size)).double())
    whitening: Tensor = (vectors / values.sqrt()).float()
    return whitening


def make_cosine_filters(patch: int) -> Tensor:
    """(3pp, 3, p, p): each frequency of the cosine transform, for luminance and both colour
    differences.
    """
    waves = dct(np.eye(patch), axis=0, norm="ortho")  # (p, p)
    waves_by_channel = np.einsum("cr,ui,vj->cuvrij", np.array(YCBCR), waves, waves)
    return torch.from_numpy(waves_by_channel.reshape(-1, 3, patch, patch)).float()


@torch.inference_mode()
def compute_log_energies(crops: NDArray[np.uint8], filters: Tensor) -> NDArray[np.float32]:
    """(b, h, w, 3), (c, 3, p, p) -> (b, c).

    Each value is the logarithm of the mean squared response over the patches of a crop.
    """
    responses = functional.conv2d(
        to_pixels(crops), filters, stride=filters.shape[-1]
    )  # (b, c, h/p, w/p)
    energies: NDArray[np.float32] = ((responses**2).mean((2, 3)) + ENERGY_FLOOR).log().numpy()
    return energies


def choose_filters(batches: Sequence[CropBatch], patch: int, count: int) -> Tensor:
    """Return the (count, 3, p, p) cosine filters that best distinguish fakes from photographs.

    They have unit mean square.
    """
    filters = make_cosine_filters(patch)
    energies = np.concatenate(
        [compute_log_energies(batch.pixels, filters) for batch in batches]
    )  # (n, 3pp)
    synthetic = np.concatenate([batch.generators != 0 for batch in batches])
    scaled, penalty = StandardScaler().fit_transform(energies), FIRST_PENALTY
    while True:
        # An L1 penalty; before scikit-learn 1.8 it had another parameter.
        fitted = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=penalty).fit(
            scaled, synthetic
        )
        if np.count_nonzero(fitted.coef_) >= min(count, fitted.coef_.size) or penalty > 1.0:
            break
        penalty *= PENALTY_STEP
    chosen = np.argsort(-np.abs(fitted.coef_[0]))[:count]
    roots = np.sqrt(np.exp(energies[:, chosen]).mean(0))
    return filters[torch.from_numpy(chosen)] / torch.from_numpy(roots)[:, None, None, None]


def list_least_needed(count: int, decoder_count: int) -> list[int]:
    """List the least needed of `vit.compute_patch_filters`.

    These are the random directions, and those of each decoder whose variance it changes least.
    """
    share = count * 7 // 8 // decoder_count  # filters of a decoder, the best ones first and last
    least = share // 4
    kept = (share - least) // 2
    middle = [
        share * decoder + kept + number
        for decoder in range(decoder_count)
        for number in range(least)
    ]
    return [*middle, *range(share * decoder_count, count)]


def add_filters(model: TrainedViT, batches: Sequence[CropBatch], decoder_count: int) -> None:
    """Replace the least needed filters by chosen ones, and whiten."""
    projection = model.vit.vit.embeddings.patch_embeddings.projection
    replaced = list_least_needed(len(projection.weight), decoder_count)
    with torch.no_grad():
        projection.weight[replaced] = choose_filters(batches, projection.side, len(replaced))
    whiten_filters(model, batches)


def whiten_filters(model: TrainedViT, batches: Sequence[CropBatch]) -> None:
    """Train the patch embedding in whitened coordinates from here on."""
    projection = model.vit.vit.embeddings.patch_embeddings.projection
    patch = projection.side
    parametrize.register_parametrization(
        projection, "weight", WhitenedFilters(whitening_of(batches, patch))
    )


def fix_filters(model: TrainedViT) -> None:
    """Make the patch embedding a plain projection again."""
    projection = model.vit.vit.embeddings.patch_embeddings.projection
    parametrize.remove_parametrizations(projection, "weight")
