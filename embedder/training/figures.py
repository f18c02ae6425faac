"""The figures that judge the built-in model: pure functions on numpy arrays."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

FloatArray = NDArray[np.float32] | NDArray[np.float64]
Names = NDArray[np.str_]  # (n,)


def compute_psnr(source: NDArray[np.uint8], copy: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB of two 8-bit pictures of one shape.

    It is infinite where they are equal.
    """
    error = float(np.mean((source.astype(np.float64) - copy.astype(np.float64)) ** 2))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(255.0**2 / error))


def area_under_curve(real: FloatArray, fake: FloatArray) -> float:
    """Return the probability that a random fake has a higher logit than a random photograph.

    A tie counts one half.
    """
    is_fake = np.repeat([False, True], [len(real), len(fake)])
    return float(roc_auc_score(is_fake, np.concatenate([real, fake])))


def cosine_similarities(
    probes: FloatArray, references: FloatArray, *, same: NDArray[np.bool_]
) -> FloatArray:
    """(p, d), (r, d), both L2-normalised -> (p, r).

    `same` (p, r) marks pairs of one photograph. They become -2, which is lower than every cosine
    similarity, so such a reference is never the nearest.
    """
    return np.where(same, -2.0, probes @ references.T)


def pairs_of_one_photograph(probes: Names, references: Names) -> NDArray[np.bool_]:
    """(p, r): true where both come from the photograph of the same name."""
    same: NDArray[np.bool_] = probes[:, None] == references[None, :]
    return same


def nearest_accuracy(similarities: FloatArray, probes: Names, references: Names) -> float:
    """Return the share of probes whose most similar reference has the same generator."""
    return float(np.mean(references[np.argmax(similarities, axis=1)] == probes))
