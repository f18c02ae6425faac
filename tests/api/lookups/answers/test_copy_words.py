from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lookups.answers.copy_words import describe_copy, describe_edits, find_scale
from index.copies import Box, CopyEvidence, Symmetry, View
from tests.index.assessing import correspondence, neighbour, verified

ENTRY = (64, 48)  # of every neighbour
AS_IT_IS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def edits(probe: tuple[int, int] | None = ENTRY, **parts: Any) -> list[str]:
    found = CopyEvidence(verified=True, correspondence=correspondence(**parts))
    return describe_edits(found, ENTRY, probe)


def test_what_was_hardly_done_is_not_named() -> None:
    assert edits() == []
    assert edits(rotation_degrees=2.9, entry_covered=0.96, probe_covered=0.97) == []
    assert edits(probe=(70, 52)) == []


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"mirrored": True}, "mirrored"),
        ({"rotation_degrees": 90.4}, "turned by 90 degrees clockwise"),
        ({"rotation_degrees": -7.0}, "turned by 7 degrees anticlockwise"),
        ({"entry_covered": 0.4}, "cut to at most 40 % of the stored picture"),
        (
            {"probe_covered": 0.25},
            "it fills 25 % of the probe, inside a border, a frame or other pictures",
        ),
        ({"probe": (32, 24)}, "at 0.5 times its size"),
        ({"homography": (1.0, 0, 0, 0, 1.0, 0, 0.2, 0, 1.0)}, "seen at an angle"),
    ],
)
def test_an_edit_has_a_name(parts: Any, expected: str) -> None:
    assert expected in edits(**parts)


def test_edits_stand_in_one_order() -> None:
    named = edits(mirrored=True, rotation_degrees=180.0, entry_covered=0.5, probe_covered=0.6)
    starts = ["mirrored", "turned by 180", "cut to at most 50 %", "it fills 60 %"]
    assert len(named) == len(starts)
    for words, start in zip(named, starts, strict=True):
        assert words.startswith(start)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), []),
        (View(Symmetry.MIRRORED), ["mirrored (left and right change places)"]),
        (View(Symmetry.TURNED_270), ["turned by 90 degrees anticlockwise"]),
        (
            View(part=Box(0, 0, 0.5, 0.5)),
            ["it fills 25 % of the probe, inside a border, a frame or other pictures"],
        ),
        (View(kept=Box(0, 0, 1, 0.8)), ["cut to about 80 % of the stored picture"]),
    ],
)
def test_without_geometry_the_view_of_the_hash_says_what_was_done(
    view: View, expected: list[str]
) -> None:
    found = CopyEvidence(view=view, hamming_distance=10)
    assert describe_edits(found, ENTRY, ENTRY) == expected


def test_every_symmetry_but_one_has_words() -> None:
    named = {each: describe_edits(CopyEvidence(view=View(each)), ENTRY, None) for each in Symmetry}
    assert named.pop(Symmetry.UPRIGHT) == []
    assert len({words for (words,) in named.values()}) == len(named) == 7


@given(
    scale=st.floats(0.05, 20),
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    probe=st.tuples(st.integers(50, 3000), st.integers(50, 3000)),
)
def test_the_scale_is_that_of_the_pixels_whatever_the_shape_of_the_pictures(
    scale: float, degrees: float, mirrored: bool, probe: tuple[int, int]
) -> None:
    entry = (640, 480)
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    side = -1.0 if mirrored else 1.0
    # Pixels to pixels, then fractions to fractions.
    homography = (
        side * cos * entry[0] / probe[0],
        -sin * entry[1] / probe[0],
        0.1,
        side * sin * entry[0] / probe[1],
        cos * entry[1] / probe[1],
        -0.2,
        0.0,
        0.0,
        1.0,
    )
    found = correspondence(homography=homography)
    assert find_scale(found, entry, probe) == pytest.approx(scale)


def test_nothing_is_said_where_nothing_suggests_a_copy() -> None:
    assert describe_copy(neighbour(1, 0.9)) is None
    assert describe_copy(neighbour(1, 0.9, copy=CopyEvidence())) is None
    assert describe_copy(neighbour(1, 0.9, copy=CopyEvidence(verified=False))) is None


def test_a_verified_copy_says_how_sure_it_is() -> None:
    sure = verified(61, false_match_probability=0.00042)
    assert describe_copy(neighbour(1, 0.1, copy=sure), ENTRY) == (
        "verified: 61 keypoints of both pictures fit one transform; a look-up of an unrelated "
        "picture finds as many in at most 0.042 % of cases"
    )
    least = replace(sure, false_match_probability=1e-9)
    assert (describe_copy(neighbour(1, 0.1, copy=least)) or "").endswith(
        "in under 0.001 % of cases"
    )
    unmeasured = describe_copy(neighbour(1, 0.1, copy=verified(1234)))
    assert unmeasured == (
        "verified: 1,234 keypoints of both pictures fit one transform; how often an unrelated "
        "picture has as many was not measured"
    )


def test_a_near_duplicate_says_by_which_view() -> None:
    found = CopyEvidence(view=View(Symmetry.MIRRORED), hamming_distance=12)
    assert describe_copy(neighbour(1, 0.1, near_duplicate=True, copy=found)) == (
        "mirrored (left and right change places); 12 of 256 bits of the perceptual hash of this "
        "view differ"
    )
    as_it_is = replace(found, view=View())
    assert describe_copy(neighbour(1, 0.1, near_duplicate=True, copy=as_it_is)) == (
        "12 of 256 bits of the perceptual hash differ"
    )


def test_a_lead_says_that_it_was_not_verified_and_why() -> None:
    found = CopyEvidence(view=View(), hamming_distance=40, descriptor_similarity=0.714)
    words = describe_copy(neighbour(1, 0.1, copy=found))
    assert words == (
        "not verified: 40 of 256 bits of the perceptual hash differ; the copy descriptors have a "
        "similarity of 0.71; local features were not compared"
    )
    turned = replace(found, view=View(Symmetry.TURNED_90))
    words = describe_copy(neighbour(1, 0.1, copy=turned))
    assert words is not None
    assert words.startswith("perhaps turned by 90 degrees clockwise; not verified: 40 of 256")
    refuted = describe_copy(neighbour(1, 0.1, copy=replace(found, verified=False)))
    assert refuted is not None
    assert refuted.endswith("local features of the two pictures fit no transform")
