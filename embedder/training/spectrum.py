"""The baseline beside the built-in model: logistic regression on the radial power spectrum of the
same crops.

Durall et al. 2020, "Watch your up-convolution": the azimuthal mean of the power spectrum
distinguishes many generators.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from embedder.training.fakes import CropBatch
from embedder.training.vit import cut_centre

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLOOR = 1e-3  # of the mean power, so that a flat crop has a finite logarithm
MAX_ITERATIONS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumBaseline:
    fitted: Pipeline

    @classmethod
    def fit(cls, batches: Iterable[CropBatch]) -> "SpectrumBaseline":
        """Fit to batches whose `generators` are 0 for photographs."""
        features, synthetic = list[NDArray[np.float64]](), list[NDArray[np.bool_]]()
        for batch in batches:
            features.append(np.stack([compute_radial_spectrum(crop) for crop in batch.pixels]))
            synthetic.append(batch.generators != 0)
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
        return cls(fitted.fit(np.concatenate(features), np.concatenate(synthetic)))

    def logits(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Return the logits (n,) of the centre crops, the same pixels that the model sees."""
        features = np.stack([compute_radial_spectrum(cut_centre(picture)) for picture in pictures])
        logits: NDArray[np.float64] = self.fitted.decision_function(features)
        return logits


def compute_radial_spectrum(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(s, s, 3) -> (s // 2,).

    Each value is the logarithm of the luminance's mean power at a whole frequency, from 1 on.
    """
    side = crop.shape[0]
    luminance = crop @ np.array(LUMA)  # (s, s)
    window = np.hanning(side)
    power = (
        np.abs(np.fft.fft2((luminance - luminance.mean()) * np.outer(window, window))) ** 2
    )  # (s, s)
    frequencies = np.fft.fftfreq(side, 1.0 / side)
    radii = np.round(np.hypot(*np.meshgrid(frequencies, frequencies))).astype(np.int64)
    sums = np.bincount(radii.ravel(), power.ravel())[1 : side // 2 + 1]
    counts = np.bincount(radii.ravel())[1 : side // 2 + 1]
    means: NDArray[np.float64] = np.log(sums / counts + FLOOR * side * side)
    return means
