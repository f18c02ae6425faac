from __future__ import annotations

import pytest

from api.copies.stages import CopyStage, StageOutcome, StageReport
from api.lookups.answers.stage_words import describe_gaps, describe_stage

HASH, DESCRIPTOR, GEOMETRY = CopyStage
RAN = StageOutcome.RAN
ALL_RAN = [StageReport(each, RAN, compared=9) for each in CopyStage]


@pytest.mark.parametrize(
    ("report", "views", "expected"),
    [
        (
            StageReport(HASH, RAN, compared=1234, found=1),
            48,
            "perceptual hash: 48 hashes of the probe compared with 1,234 entries, 1 found",
        ),
        (
            StageReport(GEOMETRY, RAN, compared=1, not_comparable=2),
            0,
            "local features: compared 1 entry, none found; 2 could not be compared",
        ),
        (
            StageReport(DESCRIPTOR, StageOutcome.NOT_INSTALLED, detail="sscd needs onnxruntime"),
            0,
            "copy descriptor: not installed (sscd needs onnxruntime)",
        ),
        (
            StageReport(GEOMETRY, StageOutcome.NO_CANDIDATES),
            0,
            "local features: no entry was near enough to be looked at",
        ),
    ],
)
def test_a_stage_says_what_it_did(report: StageReport, views: int, expected: str) -> None:
    assert describe_stage(report, views) == expected


def test_where_every_stage_ran_on_everything_there_is_no_gap() -> None:
    assert describe_gaps(ALL_RAN, 48) is None
    ended = [*ALL_RAN[:2], StageReport(GEOMETRY, StageOutcome.NO_CANDIDATES)]
    assert describe_gaps(ended, 48) is None


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            StageReport(DESCRIPTOR, StageOutcome.NOT_INSTALLED, detail="pip install x"),
            "this installation has no copy descriptor (pip install x): crops, collages",
        ),
        (
            StageReport(GEOMETRY, StageOutcome.NOT_INSTALLED),
            "this installation has no OpenCV: edited copies that the perceptual hash does not show",
        ),
        (
            StageReport(DESCRIPTOR, StageOutcome.SWITCHED_OFF, detail="LINEUP_COPY_DESCRIPTOR"),
            "the copy descriptor is switched off (LINEUP_COPY_DESCRIPTOR): crops",
        ),
        (StageReport(GEOMETRY, StageOutcome.FAILED), "the local features failed: edited copies"),
        (
            StageReport(GEOMETRY, StageOutcome.LOW_QUALITY),
            "the picture has too little structure for the local features",
        ),
        (
            StageReport(DESCRIPTOR, RAN, compared=7, not_comparable=1),
            "1 entry has no copy descriptor yet; `lineup copies backfill` makes them",
        ),
        (
            StageReport(GEOMETRY, RAN, compared=18, not_comparable=2),
            "2 of 20 candidates could not be verified, because their corpora keep neither",
        ),
        (
            StageReport(DESCRIPTOR, StageOutcome.NO_IMAGE),
            "the probe came without its image, so it was not looked for by copy descriptor; crops",
        ),
    ],
)
def test_a_gap_says_what_was_not_looked_for(report: StageReport, words: str) -> None:
    reports = [report if each.stage is report.stage else each for each in ALL_RAN]
    gaps = describe_gaps(reports, 48)
    assert gaps is not None
    assert gaps.startswith(words)


def test_stages_that_had_no_image_are_listed() -> None:
    gaps = describe_gaps([StageReport(each, StageOutcome.NO_IMAGE) for each in CopyStage], 1)
    assert gaps is not None
    assert "looked for by perceptual hash, copy descriptor and local features; " in gaps


def test_one_hash_alone_finds_no_mirrored_copy() -> None:
    gaps = describe_gaps(ALL_RAN, 1)
    assert gaps is not None
    assert "mirrored, turned and framed copies" in gaps


def test_every_gap_of_a_bare_installation_is_said() -> None:
    bare = [
        ALL_RAN[0],
        StageReport(DESCRIPTOR, StageOutcome.NOT_INSTALLED),
        StageReport(GEOMETRY, StageOutcome.NOT_INSTALLED),
    ]
    gaps = describe_gaps(bare, 48)
    assert gaps is not None
    assert "no copy descriptor" in gaps
    assert "no OpenCV" in gaps


@pytest.mark.parametrize("outcome", StageOutcome)
@pytest.mark.parametrize("stage", CopyStage)
def test_every_outcome_of_every_stage_has_words(stage: CopyStage, outcome: StageOutcome) -> None:
    report = StageReport(stage, outcome, detail="why")
    assert describe_stage(report)
    looked = outcome in (RAN, StageOutcome.NO_CANDIDATES)
    assert (describe_gaps([report], 48) is None) == looked
