"""Views of a picture: a part of it, as if a symmetry had been done to another picture.

Owns the values that `symmetries`, `borders` and `parts` hand over, and how many of them there may
be. It computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from embedder.pictures.perceptual import PerceptualHash

# The most views of one picture: what a reply may hold, and what a search compares.
MAX_VIEWS = 128


class Symmetry(StrEnum):
    """What was done to another picture, so that it looks like this one. Turns are clockwise."""

    UPRIGHT = "upright"
    MIRRORED = "mirrored"  # left and right change places
    FLIPPED = "flipped"  # top and bottom change places
    TURNED_90 = "turned_90"
    TURNED_180 = "turned_180"
    TURNED_270 = "turned_270"
    TRANSPOSED = "transposed"  # mirrored at the diagonal from the top left
    TRANSVERSED = "transversed"  # mirrored at the other diagonal


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture: its edges as fractions of the width and the height, from 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError("a box lies within its picture and has an area")


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is looked at: which part of it, None for the whole, and the symmetry that is
    undone.

    `kept` is the part of another picture that it is taken for, as if the rest of that had been
    cropped; None for all of it. Its edges are those in this picture, before the symmetry is undone.
    """

    symmetry: Symmetry = Symmetry.UPRIGHT
    part: Box | None = None
    kept: Box | None = None


@dataclass(frozen=True, slots=True)
class ViewHash:
    """The perceptual hash of one view."""

    view: View
    hash: PerceptualHash
