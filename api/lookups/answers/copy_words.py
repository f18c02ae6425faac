"""Copies in words: what was done to a stored picture, on what that rests, and how sure it is."""

from __future__ import annotations

import math

from api.lookups.answers.numbers import percent, percent_at_most, times
from index.cache.searching.questions import Neighbour
from index.copies import CopyEvidence, Correspondence, Symmetry, View
from index.leads import is_edited_copy, is_same_picture
from index.truth.perceptual import HASH_BYTES

Size = tuple[int, int]  # width and height in pixels

_SYMMETRIES = {
    Symmetry.UPRIGHT: None,
    Symmetry.MIRRORED: "mirrored (left and right change places)",
    Symmetry.FLIPPED: "mirrored (top and bottom change places)",
    Symmetry.TURNED_90: "turned by 90 degrees clockwise",
    Symmetry.TURNED_180: "turned by 180 degrees",
    Symmetry.TURNED_270: "turned by 90 degrees anticlockwise",
    Symmetry.TRANSPOSED: "mirrored, and turned by 90 degrees anticlockwise",
    Symmetry.TRANSVERSED: "mirrored, and turned by 90 degrees clockwise",
}
# Keypoints give angles and areas with an error of a few percent: what is smaller is not named.
LEAST_DEGREES = 3.0
LEAST_MISSING = 0.05
LEAST_SCALING = 1.1
LEAST_SLANT = 1.15
BITS = HASH_BYTES * 8


def describe_copy(neighbour: Neighbour, probe_size: Size | None = None) -> str | None:
    """Say what was done to an entry's picture, on what that rests and how sure it is; None if
    nothing shows or suggests a copy.

    `probe_size` is the size of the whole probe, None if it is not known.
    """
    found = neighbour.copy
    if found is None:
        return None
    rests_on = _describe_ground(neighbour, found)
    if rests_on is None:
        return None
    width, height = neighbour.entry.image.width, neighbour.entry.image.height
    entry_size = None if width is None or height is None else (width, height)
    edits = describe_edits(found, entry_size, probe_size)
    if not edits:
        return rests_on
    perhaps = "" if is_same_picture(neighbour) else "perhaps "
    return f"{perhaps}{', '.join(edits)}; {rests_on}"


def describe_edits(
    found: CopyEvidence, entry_size: Size | None, probe_size: Size | None
) -> list[str]:
    """Name what was done to the entry's picture, as far as it is known: by geometry where it
    verified the picture, otherwise by the view whose hash is nearest.
    """
    if found.correspondence is not None:
        return _describe_transform(found.correspondence, entry_size, probe_size)
    return [] if found.view is None else _describe_view(found.view)


def find_scale(found: Correspondence, entry_size: Size, probe_size: Size) -> float:
    """Return how many pixels of the probe one pixel of the entry's picture takes, along a side.

    It is taken at the centre of the entry's picture. Under a perspective it differs elsewhere.
    """
    a, b, c, d, e, f, g, h, i = found.homography
    w = (g + h) / 2 + i
    x, y = ((a + b) / 2 + c) / w, ((d + e) / 2 + f) / w
    # The derivative of the transform, in fractions of both pictures.
    area = ((a - g * x) * (e - h * y) - (b - h * x) * (d - g * y)) / w**2
    pixels = probe_size[0] * probe_size[1] / (entry_size[0] * entry_size[1])
    return math.sqrt(abs(area) * pixels)


def _describe_transform(
    found: Correspondence, entry_size: Size | None, probe_size: Size | None
) -> list[str]:
    edits = ["mirrored"] if found.mirrored else []
    degrees = found.rotation_degrees
    if abs(degrees) >= LEAST_DEGREES:
        clockwise = "clockwise" if degrees > 0 else "anticlockwise"
        edits.append(f"turned by {abs(degrees):.0f} degrees {clockwise}")
    if _slant(found) >= LEAST_SLANT:
        edits.append("seen at an angle")
    if 1 - found.entry_covered >= LEAST_MISSING:
        # At most: the transform does not show what a border, a caption or a sticker hides.
        edits.append(f"cut to at most {percent(found.entry_covered)} of the stored picture")
    if entry_size is not None and probe_size is not None:
        scale = find_scale(found, entry_size, probe_size)
        if max(scale, 1 / scale) >= LEAST_SCALING:
            edits.append(f"at {times(scale)} times its size")
    if 1 - found.probe_covered >= LEAST_MISSING:
        edits.append(
            f"it fills {percent(found.probe_covered)} of the probe, inside a border, a frame or "
            "other pictures"
        )
    return edits


def _slant(found: Correspondence) -> float:
    """Return how many times nearer the nearest corner of the entry's picture is than the furthest:
    1 without a perspective.
    """
    g, h, i = found.homography[6:]
    depths = [abs(i), abs(g + i), abs(h + i), abs(g + h + i)]
    return math.inf if min(depths) == 0 else max(depths) / min(depths)


def _describe_view(view: View) -> list[str]:
    edits = [each for each in (_SYMMETRIES[view.symmetry],) if each is not None]
    if view.kept is not None:
        edits.append(f"cut to about {percent(view.kept.area)} of the stored picture")
    if view.part is not None:
        edits.append(
            f"it fills {percent(view.part.area)} of the probe, inside a border, a frame or other "
            "pictures"
        )
    return edits


def _describe_ground(neighbour: Neighbour, found: CopyEvidence) -> str | None:
    """Return what shows or suggests the copy, and how sure it is."""
    grounds = []
    if found.correspondence is not None and is_edited_copy(neighbour):
        grounds.append(_describe_verified(found.correspondence, found.false_match_probability))
    if found.hamming_distance is not None:
        place = "" if found.view is None or found.view == View() else " of this view"
        grounds.append(
            f"{found.hamming_distance} of {BITS} bits of the perceptual hash{place} differ"
        )
    if found.descriptor_similarity is not None:
        grounds.append(
            f"the copy descriptors have a similarity of {found.descriptor_similarity:.2f}"
        )
    if not grounds:
        return None
    if is_same_picture(neighbour):
        return "; ".join(grounds)
    checked = (
        "local features of the two pictures fit no transform"
        if found.verified is False
        else "local features were not compared"
    )
    return f"not verified: {'; '.join(grounds)}; {checked}"


def _describe_verified(found: Correspondence, probability: float | None) -> str:
    words = f"verified: {found.inliers:,} keypoints of both pictures fit one transform"
    if probability is None:
        return f"{words}; how often an unrelated picture has as many was not measured"
    return f"{words}; a look-up of an unrelated picture finds as many in {_at_most(probability)}"


def _at_most(probability: float) -> str:
    words = percent_at_most(probability)
    share = words if words.startswith(("under", "over")) else f"at most {words}"
    return f"{share} of cases"
