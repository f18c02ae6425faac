"""The stages that look for copies in words: what each did, and what a look-up could not find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.copies.stages import CopyStage, StageOutcome, StageReport

STAGE_NAMES = {
    CopyStage.PERCEPTUAL_HASH: "perceptual hash",
    CopyStage.DESCRIPTOR: "copy descriptor",
    CopyStage.GEOMETRY: "local features",
}
_REASONS = {
    StageOutcome.NOT_INSTALLED: "not installed",
    StageOutcome.SWITCHED_OFF: "switched off",
    StageOutcome.NO_IMAGE: "the probe came without its image",
    StageOutcome.LOW_QUALITY: "the picture has too little structure",
    StageOutcome.NO_CANDIDATES: "no entry was near enough to be looked at",
    StageOutcome.FAILED: "it failed",
}
# What stays unfound where a stage did not look.
_MISSED = {
    CopyStage.PERCEPTUAL_HASH: (
        "copies that were compressed again, mirrored, turned or framed are found only where "
        "another stage finds them"
    ),
    CopyStage.DESCRIPTOR: (
        "crops, collages, screenshots and photographs of screens are found only where a hash of "
        "the picture or of a part of it, or its embedding, is near"
    ),
    CopyStage.GEOMETRY: (
        "edited copies that the perceptual hash does not show are leads at most, and crops may be "
        "missed"
    ),
}


def describe_stage(report: StageReport, views: int = 0) -> str:
    """What one stage did, or why it did not run. `views` counts the hashes of the probe."""
    name = STAGE_NAMES[report.stage]
    if report.outcome is not StageOutcome.RAN:
        reason = _REASONS[report.outcome]
        return f"{name}: {reason}{f' ({report.detail})' if report.detail else ''}"
    what = f"{_count(views, 'hash', 'hashes')} of the probe compared with" if views else "compared"
    words = f"{name}: {what} {_count(report.compared, 'entry', 'entries')}"
    words += f", {report.found:,} found" if report.found else ", none found"
    if report.not_comparable:
        words += f"; {report.not_comparable:,} could not be compared"
    return words


def describe_gaps(reports: Sequence[StageReport], views: int) -> str | None:
    """What a look-up could not have found; None if every stage ran on everything.

    `views` counts the hashes of the probe.
    """
    gaps = [gap for report in reports for gap in _list_gaps(report, views)]
    if not gaps:
        return None
    without_image = [each for each in reports if each.outcome is StageOutcome.NO_IMAGE]
    if without_image:
        *others, last = (STAGE_NAMES[each.stage] for each in without_image)
        names = f"{', '.join(others)} and {last}" if others else last
        gaps.insert(0, f"the probe came without its image, so it was not looked for by {names}")
    return "; ".join(gaps)


def _list_gaps(report: StageReport, views: int) -> Iterator[str]:
    name, missed = STAGE_NAMES[report.stage], _MISSED[report.stage]
    detail = f" ({report.detail})" if report.detail else ""
    match report.outcome:
        case StageOutcome.NOT_INSTALLED:
            what = "OpenCV" if report.stage is CopyStage.GEOMETRY else f"{name}"
            yield f"this installation has no {what}{detail}: {missed}"
        case StageOutcome.SWITCHED_OFF:
            yield f"the {name} is switched off{detail}: {missed}"
        case StageOutcome.FAILED:
            yield f"the {name} failed{detail}: {missed}"
        case StageOutcome.LOW_QUALITY:
            yield f"the picture has too little structure for the {name}: {missed}"
        case StageOutcome.NO_IMAGE:
            yield missed
        case StageOutcome.RAN | StageOutcome.NO_CANDIDATES:
            yield from _list_gaps_of_a_run(report, views)


def _list_gaps_of_a_run(report: StageReport, views: int) -> Iterator[str]:
    count = _count(report.not_comparable, "entry", "entries")
    match report.stage:
        case CopyStage.PERCEPTUAL_HASH if views == 1:
            yield (
                "only the hash of the whole picture as it is was compared: mirrored, turned and "
                "framed copies are found only where another stage finds them"
            )
        case CopyStage.DESCRIPTOR if report.not_comparable:
            has = "has" if report.not_comparable == 1 else "have"
            yield f"{count} {has} no copy descriptor yet; `lineup copies backfill` makes them"
        case CopyStage.GEOMETRY if report.not_comparable:
            given = report.compared + report.not_comparable
            yield (
                f"{report.not_comparable:,} of {_count(given, 'candidate', 'candidates')} could "
                "not be verified, because their corpora keep neither their pictures nor their "
                "local features"
            )


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
