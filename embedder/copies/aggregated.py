"""`lineup-copy`: a copy descriptor of local features. It has no network, and comes with Lineup.

SIFT keypoints of a picture are described (RootSIFT), reduced, and given to the nearest of a few
words; what each word gathers is added up (VLAD). A projection learned from pairs of pictures and
their edited versions makes a short vector of that. The features of the mirrored picture are added
too, and SIFT follows turns: so a mirrored, flipped or turned picture has nearly the same vector.

RootSIFT: Arandjelovic and Zisserman, CVPR 2012. VLAD: Jegou et al., CVPR 2010. Residuals of one
length: Delhumeau et al., ACM MM 2013. Projection: Mikolajczyk and Matas, ICCV 2007. How the weights
were made: `embedder.training.copy_descriptor`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load

from embedder.copies.descriptors import DESCRIPTORS, LINEUP_COPY, DescriptorInfo, DescriptorSource
from embedder.copies.features import DESCRIPTOR_BYTES, load_extractor
from embedder.copies.inputs import DescriptorInput
from embedder.copies.pairing import mirror_descriptors, normalise
from embedder.errors import CorruptWeights

Floats = NDArray[np.float32]

INPUT = DESCRIPTORS[LINEUP_COPY].input
_KEYPOINTS = 500
_TINY = 1e-9
_LEAST_SIDE = 16  # pixels; smaller pictures have no keypoints


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What is learned. k words of c numbers, vectors of d.

    `mean` `(128,)` and `axes` `(128, c)` reduce a RootSIFT descriptor, `words` `(k, c)` are the
    places of the words, `centre` `(k * c,)` and `projection` `(k * c, d)` make the vector.
    """

    mean: Floats
    axes: Floats
    words: Floats
    centre: Floats
    projection: Floats

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """Read a safetensors file; float16 is widened. Raises CorruptWeights."""
        try:
            tensors = load(data)
            weights = cls(
                *(
                    np.ascontiguousarray(tensors[key], np.float32)
                    for key in ("mean", "axes", "words", "centre", "projection")
                )
            )
        except (SafetensorError, KeyError, ValueError, TypeError) as err:
            raise CorruptWeights(name, f"these are no weights of lineup-copy: {err}") from err
        words, channels = weights.words.shape if weights.words.ndim == 2 else (0, 0)
        fits = (
            weights.mean.shape == (DESCRIPTOR_BYTES,)
            and weights.axes.shape == (DESCRIPTOR_BYTES, channels)
            and weights.centre.shape == (words * channels,)
            and weights.projection.ndim == 2
            and len(weights.projection) == words * channels > 0
        )
        if not fits:
            raise CorruptWeights(name, "the tensors of lineup-copy do not fit together")
        return weights

    @property
    def dimension(self) -> int:
        """The length of the vectors."""
        return int(self.projection.shape[1])

    def describe(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return the vector `(d,)` of norm 1 of the pixels `(h, w, 3)` of one picture."""
        found = extract(pixels)
        vector = (aggregate(found, self.mean, self.axes, self.words) - self.centre) @ (
            self.projection
        )
        norm = np.linalg.norm(vector)
        if not len(found) or norm < _TINY:
            return _draw_unrelated(pixels, self.dimension)
        return np.asarray(vector / norm, np.float32)


class AggregatedDescriptor:
    """`lineup-copy`, loaded; see `CopyDescriptor`. Thread-safe. Needs OpenCV."""

    provider = "OpenCV"

    def __init__(self, data: bytes, known: DescriptorSource) -> None:
        self._weights = Weights.from_bytes(data, known.name)
        self._info = known.describe_file(len(data), self._weights.dimension)
        prepare()

    @property
    def info(self) -> DescriptorInfo:
        """What identifies it."""
        return self._info

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its copy space."""
        return self._info.fingerprint

    @property
    def dimension(self) -> int:
        """The length of its vectors."""
        return self._info.dimension

    @property
    def input(self) -> DescriptorInput:
        """What it reads."""
        return self._info.input

    def describe(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return the vectors `(n, d)` of norm 1 of the pixels `(n, h, w, 3)`.

        Raises ValueError for pixels of another shape.
        """
        wanted = (self.input.height, self.input.width, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != wanted:
            raise ValueError(f"pixels must be uint8 (n, {', '.join(map(str, wanted))})")
        vectors = np.empty((len(pixels), self.dimension), np.float32)
        for row, picture in enumerate(pixels):
            vectors[row] = self._weights.describe(picture)
        return vectors


def extract(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the SIFT descriptors `(n, 128)` of a picture in the pixels `(h, w, 3)` of `INPUT`.

    What was filled up with black is left out. Needs OpenCV. Thread-safe.
    """
    import cv2  # noqa: PLC0415 -- optional

    shown = pixels.max(axis=2) > 0  # (h, w)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if len(rows) < _LEAST_SIDE or len(columns) < _LEAST_SIDE:
        return np.empty((0, DESCRIPTOR_BYTES), np.uint8)
    kept = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    luma = np.asarray(Image.fromarray(kept).convert("L"))
    _, computed = cv2.SIFT.create(nfeatures=_KEYPOINTS).detectAndCompute(luma, None)
    found = cast("Floats | None", computed)  # its types do not say that there may be none
    if found is None:
        return np.empty((0, DESCRIPTOR_BYTES), np.uint8)
    return np.asarray(np.clip(found[:_KEYPOINTS], 0, 255), np.uint8)


def aggregate(descriptors: NDArray[np.uint8], mean: Floats, axes: Floats, words: Floats) -> Floats:
    """Return what the words gather of the descriptors `(n, 128)` and of the mirrored ones: `(k *
    c,)` of norm 1, zeros without any descriptor.
    """
    gathered = np.zeros(words.shape, np.float32)  # (k, c)
    if len(descriptors):
        both = np.concatenate([descriptors, mirror_descriptors(descriptors)])
        reduced = (normalise(both) - mean) @ axes  # (2n, c)
        nearest = ((words**2).sum(axis=1) - 2 * reduced @ words.T).argmin(axis=1)
        residuals = reduced - words[nearest]
        residuals /= np.linalg.norm(residuals, axis=1, keepdims=True) + np.float32(_TINY)
        np.add.at(gathered, nearest, residuals)
    rooted = np.sign(gathered) * np.sqrt(np.abs(gathered))
    flat = rooted.ravel()
    return np.asarray(flat / (np.linalg.norm(flat) + np.float32(_TINY)), np.float32)


def _draw_unrelated(pixels: NDArray[np.uint8], dimension: int) -> Floats:
    """Return a vector for a picture without keypoints: the same for the same pixels, and near to
    no other picture's. Flat pictures are not copies of each other.
    """
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
    vector = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(dimension)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def prepare() -> None:
    """Load OpenCV, with one thread: callers have threads of their own."""
    load_extractor()
