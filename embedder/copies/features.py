"""Local features of a picture: keypoints and what surrounds them, for comparison by geometry.

They are SIFT features (Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", 2004) as
OpenCV computes them. OpenCV is optional (the extra `copies`): `can_extract` says whether it is
there. `matching` compares the features of two pictures.
"""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DESCRIPTOR_BYTES = 128
# The most keypoints of one picture that are kept, those with the most contrast first.
MAX_KEYPOINTS = 1_000
# A picture is compared at this size: its longer side in pixels.
WORKING_PIXELS = 512
_MAX_SIDE = 4_096

_MAGIC = b"LSF1"
_HEADER = struct.Struct("<4sHHI")
_POINT = np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "<u2"), ("angle", "<u2")])
_SIZE_STEP = 1 / 64  # pixels
_ANGLE_STEPS = 65_536  # of a full turn
_PLACE_STEPS = 65_535  # of the picture's width or height


def count_bytes(keypoints: int) -> int:
    """Return how many bytes `LocalFeatures.to_bytes` writes for so many keypoints."""
    return _HEADER.size + keypoints * (_POINT.itemsize + DESCRIPTOR_BYTES)


class InvalidFeatures(ValueError):
    """Bytes that are no local features of this format."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalFeatures:
    """The keypoints of a picture that was compared at `width` x `height` pixels.

    `points` `(n, 4)` float32: x and y in these pixels, from the top left corner; the diameter of
    what is described, in pixels; the direction in degrees, clockwise from the right, from 0 to 360.
    `descriptors` `(n, 128)` uint8: 4 x 4 cells, row by row, of 8 directions each.
    """

    width: int
    height: int
    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __post_init__(self) -> None:
        count = len(self.points)
        if not (1 <= self.width <= _MAX_SIDE and 1 <= self.height <= _MAX_SIDE):
            raise InvalidFeatures("a picture of an impossible size")
        if self.points.shape != (count, 4) or self.points.dtype != np.float32:
            raise InvalidFeatures("points that are not (n, 4) float32")
        if (
            self.descriptors.shape != (count, DESCRIPTOR_BYTES)
            or self.descriptors.dtype != np.uint8
        ):
            raise InvalidFeatures("descriptors that are not (n, 128) uint8")
        if count > MAX_KEYPOINTS:
            raise InvalidFeatures(f"more than {MAX_KEYPOINTS:,} keypoints")

    @property
    def count(self) -> int:
        """How many keypoints there are."""
        return len(self.points)

    @property
    def held_bytes(self) -> int:
        """The bytes of its arrays."""
        return self.points.nbytes + self.descriptors.nbytes

    def to_bytes(self) -> bytes:
        """Return 12 bytes and 136 for each keypoint, which `from_bytes` reads.

        Places are rounded to a 65,535th of the picture's sides, sizes to 1/64 of a pixel.
        """
        packed = np.empty(self.count, _POINT)
        x, y, size, angle = self.points.T.astype(np.float64)
        packed["x"] = np.rint(x / self.width * _PLACE_STEPS).clip(0, _PLACE_STEPS)
        packed["y"] = np.rint(y / self.height * _PLACE_STEPS).clip(0, _PLACE_STEPS)
        packed["size"] = np.rint(size / _SIZE_STEP).clip(1, 65_535)
        packed["angle"] = np.rint(angle / 360 * _ANGLE_STEPS) % _ANGLE_STEPS
        header = _HEADER.pack(_MAGIC, self.width, self.height, self.count)
        return header + packed.tobytes() + self.descriptors.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote. Raises InvalidFeatures for anything else."""
        if len(data) < _HEADER.size:
            raise InvalidFeatures("too few bytes")
        magic, width, height, count = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise InvalidFeatures("another format")
        if count > MAX_KEYPOINTS or len(data) != count_bytes(count):
            raise InvalidFeatures("another number of bytes than its keypoints need")
        packed = np.frombuffer(data, _POINT, count, _HEADER.size)
        descriptors = np.frombuffer(data, np.uint8, offset=_HEADER.size + packed.nbytes)
        points = np.stack(
            [
                packed["x"] * (width / _PLACE_STEPS),
                packed["y"] * (height / _PLACE_STEPS),
                packed["size"] * _SIZE_STEP,
                packed["angle"] * (360 / _ANGLE_STEPS),
            ],
            axis=1,
        ).astype(np.float32)  # (n, 4)
        return cls(width, height, points, descriptors.reshape(count, DESCRIPTOR_BYTES))


@cache
def can_extract() -> bool:
    """Whether OpenCV is installed."""
    return importlib.util.find_spec("cv2") is not None


def load_extractor() -> None:
    """Load OpenCV, which a confined process cannot do later."""
    import cv2  # noqa: PLC0415 -- optional

    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)


def extract_features(image: Image.Image, most: int = MAX_KEYPOINTS) -> LocalFeatures | None:
    """Return the local features of an upright RGB image, at most `most`; None without OpenCV.

    A larger picture is compared at `WORKING_PIXELS`. Thread-safe; the same on each call.
    """
    if not can_extract():
        return None
    import cv2  # noqa: PLC0415 -- optional

    grey = _make_grey(image)
    height, width = grey.shape
    sift = cv2.SIFT.create(nfeatures=min(most, MAX_KEYPOINTS))
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    if descriptors is None:
        keypoints, descriptors = (), np.empty((0, DESCRIPTOR_BYTES), np.float32)
    points = np.array([(*p.pt, p.size, p.angle) for p in keypoints], np.float32).reshape(-1, 4)
    count = min(most, MAX_KEYPOINTS)
    return LocalFeatures(
        width, height, points[:count], np.clip(descriptors[:count], 0, 255).astype(np.uint8)
    )


def _make_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return luma `(h, w)` uint8 at the size at which the picture is compared."""
    scale = WORKING_PIXELS / max(image.size)
    grey = image.convert("L")
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        grey = grey.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(grey)
