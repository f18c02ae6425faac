"""Copies: what shows that a probe is an edited version of a stored picture, as plain values.

A stored picture is compared in stages. By perceptual hash: the probe as it is, in eight symmetries,
without uniform borders, and in parts. By a copy descriptor, where the installation has one. Then
local features verify the candidates by geometry. This module owns the values that these stages
hand to one another. It computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from index.truth.perceptual import MAX_HAMMING_DISTANCE, PerceptualHash


class Symmetry(StrEnum):
    """What was done to a stored picture, so that it looks like the probe. Turns are clockwise."""

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

    @property
    def area(self) -> float:
        """The share of the picture."""
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class View:
    """How the probe is looked at: as if it were a stored picture after a symmetry, and which part
    of it; None for the whole picture.

    `kept` is the part of the stored picture that the probe is taken for, as if the rest had been
    cropped; None for all of it. Its edges are those in the probe, before the symmetry is undone.
    """

    symmetry: Symmetry = Symmetry.UPRIGHT
    part: Box | None = None
    kept: Box | None = None


AS_SEEN = View()


@dataclass(frozen=True, slots=True)
class ViewHash:
    """The perceptual hash of one view of the probe."""

    view: View
    hash: PerceptualHash


@dataclass(frozen=True, slots=True)
class Correspondence:
    """How a stored picture lies in the probe, by local features.

    `inliers` of `matches` pairs of keypoints fit the transform. `homography` (9 numbers, row by
    row) takes a point of the stored picture to the probe, each in fractions of width and height.
    `scale` is in pixels of the probe for one pixel of the stored picture, as they were compared;
    `rotation_degrees` is clockwise, from -180 to 180, of the picture after it was mirrored where
    `mirrored`. `probe_covered` and `entry_covered` are the shares of the probe and of the stored
    picture that lie in the other one, whatever hides them there: a border over a cut picture counts
    as the picture.
    """

    inliers: int
    matches: int
    homography: tuple[float, ...]
    scale: float
    rotation_degrees: float
    mirrored: bool
    probe_covered: float
    entry_covered: float


@dataclass(frozen=True, slots=True)
class CopyEvidence:
    """What shows, or suggests, that the probe is an edited version of an entry's picture.

    `view` and `hamming_distance` (bits, 0 to 256) are those of the view whose hash is nearest; both
    None if no view is near. `descriptor_similarity` is the cosine similarity of the copy
    descriptors, None if they were not compared. `correspondence` is None if the entry was not
    verified, or did not fit; `verified` says which: None if geometry did not look at it.
    `false_match_probability` is how often a look-up of an unrelated picture finds an entry that
    fits at least this well; None if it was not measured.
    """

    view: View | None = None
    hamming_distance: int | None = None
    descriptor_similarity: float | None = None
    verified: bool | None = None
    correspondence: Correspondence | None = None
    false_match_probability: float | None = None


@dataclass(frozen=True, slots=True)
class LeadLimits:
    """From when on an entry that geometry did not verify is a lead: perhaps a copy.

    `most_bits` is the largest Hamming distance of a view; without any beyond near duplicates it is
    theirs. `least_similarity` is that of copy descriptors, `least_refuted_similarity` the same
    where geometry found no transform; None if no lead follows from a descriptor. `source` says
    where they were measured.
    """

    most_bits: int = MAX_HAMMING_DISTANCE
    least_similarity: float | None = None
    least_refuted_similarity: float | None = None
    source: str = "not measured"


NO_LEADS = LeadLimits()
