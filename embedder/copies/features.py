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
WORKING_PIXELS = 640
LUMA_PIXELS = 192
_CONTRAST = 0.03
_CELLS = 8
_MAX_SIDE = 4_096

_MAGIC = b"LSF1"
_HEADER = struct.Struct("<4sHHHHI")  # magic, size, size of the luma, number of keypoints
_POINT = np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "<u2"), ("angle", "<u2")])
_SIZE_STEP = 1 / 64  # pixels
_ANGLE_STEPS = 65_536  # of a full turn
_PLACE_STEPS = 65_535  # of the picture's width or height


def count_bytes(keypoints: int) -> int:
    """Return the most bytes that `LocalFeatures.to_bytes` writes for this number of keypoints."""
    return _HEADER.size + keypoints * (_POINT.itemsize + DESCRIPTOR_BYTES) + LUMA_PIXELS**2


class InvalidFeatures(ValueError):
    """Bytes that are no local features of this format."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalFeatures:
    """The keypoints of a picture that was compared at `width` x `height` pixels.

    `points` `(n, 4)` float32: x and y in these pixels, from the top left corner; the diameter of
    what is described, in pixels; the direction in degrees, clockwise from the right, from 0 to 360.
    `descriptors` `(n, 128)` uint8: 4 x 4 cells, row by row, of 8 directions each. `luma` `(h, w)`
    uint8 is the picture itself, small and grey: whether two pictures look alike under a transform
    is seen there.
    """

    width: int
    height: int
    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    luma: NDArray[np.uint8]

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
        if not np.isfinite(self.points).all() or (self.points[:, 2] <= 0).any():
            raise InvalidFeatures("points that are no keypoints")
        if self.luma.ndim != 2 or self.luma.dtype != np.uint8:
            raise InvalidFeatures("a luma that is not (h, w) uint8")
        if not 1 <= min(self.luma.shape) <= max(self.luma.shape) <= LUMA_PIXELS:
            raise InvalidFeatures("a luma of an impossible size")

    @property
    def count(self) -> int:
        """How many keypoints there are."""
        return len(self.points)

    @property
    def held_bytes(self) -> int:
        """The bytes of its arrays."""
        return self.points.nbytes + self.descriptors.nbytes + self.luma.nbytes

    def to_bytes(self) -> bytes:
        """Return 16 bytes, 136 for each keypoint, and the luma, which `from_bytes` reads.

        Places are rounded to a 65,535th of the picture's sides, sizes to 1/64 of a pixel.
        """
        packed = np.empty(self.count, _POINT)
        x, y, size, angle = self.points.T.astype(np.float64)
        packed["x"] = np.rint(x / self.width * _PLACE_STEPS).clip(0, _PLACE_STEPS)
        packed["y"] = np.rint(y / self.height * _PLACE_STEPS).clip(0, _PLACE_STEPS)
        packed["size"] = np.rint(size / _SIZE_STEP).clip(1, 65_535)
        packed["angle"] = np.rint(angle / 360 * _ANGLE_STEPS) % _ANGLE_STEPS
        height, width = self.luma.shape
        header = _HEADER.pack(_MAGIC, self.width, self.height, width, height, self.count)
        return header + packed.tobytes() + self.descriptors.tobytes() + self.luma.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote. Raises InvalidFeatures for anything else."""
        if len(data) < _HEADER.size:
            raise InvalidFeatures("too few bytes")
        magic, width, height, across, down, count = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise InvalidFeatures("another format")
        keypoint_bytes = count * (_POINT.itemsize + DESCRIPTOR_BYTES)
        if len(data) != _HEADER.size + keypoint_bytes + across * down:
            raise InvalidFeatures("another number of bytes than its keypoints need")
        packed = np.frombuffer(data, _POINT, count, _HEADER.size)
        described = count * DESCRIPTOR_BYTES
        descriptors = np.frombuffer(data, np.uint8, described, _HEADER.size + packed.nbytes)
        luma = np.frombuffer(data, np.uint8, across * down, len(data) - across * down)
        points = np.stack(
            [
                packed["x"] * (width / _PLACE_STEPS),
                packed["y"] * (height / _PLACE_STEPS),
                packed["size"] * _SIZE_STEP,
                packed["angle"] * (360 / _ANGLE_STEPS),
            ],
            axis=1,
        ).astype(np.float32)  # (n, 4)
        return cls(
            width,
            height,
            points,
            descriptors.reshape(count, DESCRIPTOR_BYTES),
            luma.reshape(down, across),
        )


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

    A larger picture is compared at `WORKING_PIXELS`. Thread-safe; the same on each call. Raises
    MemoryError.
    """
    if not can_extract():
        return None
    import cv2  # noqa: PLC0415 -- optional

    grey = _make_grey(image, WORKING_PIXELS)
    height, width = grey.shape
    sift = cv2.SIFT.create(contrastThreshold=_CONTRAST)
    try:
        keypoints, descriptors = sift.detectAndCompute(grey, None)
    except cv2.error as err:
        if err.code == cv2.Error.StsNoMem:
            raise MemoryError from err
        raise
    if not keypoints:
        keypoints, descriptors = (), np.empty((0, DESCRIPTOR_BYTES), np.float32)
    points = np.array([(*p.pt, p.size, p.angle) for p in keypoints], np.float32).reshape(-1, 4)
    response = np.array([p.response for p in keypoints], np.float32)
    chosen = _choose(points, response, (width, height), min(most, MAX_KEYPOINTS))
    made = LocalFeatures(
        width,
        height,
        points[chosen],
        np.clip(descriptors[chosen], 0, 255).astype(np.uint8),
        _make_grey(image, LUMA_PIXELS),
    )
    # Rounded as it is stored, so that it is the same whichever way it took.
    return LocalFeatures.from_bytes(made.to_bytes())


def _choose(
    points: NDArray[np.float32], response: NDArray[np.float32], size: tuple[int, int], most: int
) -> NDArray[np.intp]:
    """Return which keypoints are kept `(m,)`: those with the most contrast of each of 8 x 8 cells,
    so that the text of a screenshot does not take the place of all others.
    """
    cells = (points[:, :2] / np.array(size) * _CELLS).astype(np.intp).clip(0, _CELLS - 1)
    cell = cells[:, 1] * _CELLS + cells[:, 0]
    order = np.lexsort((-response, cell))
    starts = np.searchsorted(cell[order], cell[order])
    rank = np.empty(len(points), np.intp)
    rank[order] = np.arange(len(points)) - starts
    return np.sort(np.lexsort((-response, rank))[:most])


def _make_grey(image: Image.Image, longest: int) -> NDArray[np.uint8]:
    """Return luma `(h, w)` uint8, its longer side at most `longest` pixels."""
    scale = longest / max(image.size)
    grey = image.convert("L")
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        grey = grey.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(grey)
