"""What the calibration of the known fakes lacks, and what to do about it.

One answer for every place that says it: the end of an ingest, `lineup doctor`, and their JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from pydantic import Field
from sqlalchemy import Connection

from api.fields import Answer
from api.jobs.json import JobAnswer
from api.lookups.answers.numbers import percent
from index.calibration.calibration import AS_IS, FORMAT, Calibration
from index.calibration.for_probe import count_supporting
from index.calibration.ratios import MIN_SOURCES
from index.calibration.reading import get_named_corpora
from index.calibration.standing import GROWTH, Calibrations, Standing
from index.truth.corpora import CorpusKind
from index.truth.coverage import count_embedded, has_embedded
from index.truth.databases.database import Database
from index.truth.jobs.job import JobKind, JobState, get_job
from index.truth.spaces import Space

CALIBRATE = "lineup calibrate"
INGEST_REALS = "lineup ingest FOLDER --corpus NAME --kind known_real"
NAMED = 3  # corpora that a sentence names


class Need(StrEnum):
    """What a calibration lacks."""

    MISSING = "missing"
    PROVISIONAL = "provisional"
    EARLIER_RELEASE = "earlier_release"
    OUTGROWN = "outgrown"
    TELLS_NOTHING = "tells_nothing"
    TOO_FEW = "too_few"
    DOES_NOT_HOLD = "does_not_hold"


class CalibrationNeed(Answer):
    """Something that the calibration of the known fakes lacks, with what to do."""

    need: Need = Field(
        description="missing: no calibration covers the known fakes. provisional: only photographs "
        "that came with the model were measured. earlier_release: measured without hit rates. "
        "outgrown: the corpora have changed by more than a tenth since. tells_nothing: known fakes "
        "come as near to one another as known-real images do. too_few: too few known-real images "
        "for a threshold at the false-match rate that was asked for. does_not_hold: stated rates "
        "did not hold for collections that were left out, for some kinds of delivery."
    )
    words: str = Field(description="The same in words, with what it means for look-ups.")
    commands: list[str] = Field(
        description="Commands that change it, in their order; capitals stand for your own names. "
        "Empty if no command does."
    )
    known_real_images: int = Field(
        ge=0, description="Number of known-real images of this installation."
    )
    photographs_wanted: int = Field(
        ge=1,
        description="About how many photographs support a threshold at the false-match rate that "
        "was asked for.",
    )


def find_needs(
    conn: Connection, space: Space, false_match_rate: float, *, counts_entries: bool = True
) -> list[CalibrationNeed]:
    """Return what a calibration of all known fakes lacks, the most important first.

    Empty if nothing is missing, and if there are no known fakes. Counting the known fakes takes
    about a second for a million; without it, whether they have outgrown the calibration is not
    examined.
    """
    fakes, reals = (
        get_named_corpora(conn, None, kind)
        for kind in (CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL)
    )
    if not has_embedded(conn, space, fakes.ids):
        return []
    standing = Standing.read(conn, space)
    wanted = count_supporting(false_match_rate)

    def write(need: Need, words: str, *commands: str) -> CalibrationNeed:
        return CalibrationNeed(
            need=need,
            words=words,
            commands=list(commands),
            known_real_images=count_embedded(conn, space, reals.ids),
            photographs_wanted=wanted,
        )

    applied = Calibrations(space).find(conn, standing, None, whole=True)
    if applied is None or applied.calibration.is_provisional:
        need = Need.MISSING if applied is None else Need.PROVISIONAL
        lead = (
            f"no calibration covers {_list_names(standing.find_unseen(None))}"
            if applied is None
            else f"calibration {applied.id} is provisional: it measured photographs that came with "
            "the model"
        )
        lead += ", so similarity gives no verdict"
        if has_embedded(conn, space, reals.ids, MIN_SOURCES):
            return [write(need, lead, CALIBRATE)]
        advice = (
            f"add known-real images like those in question: at least {MIN_SOURCES} photographs, "
            f"and about {wanted:,} for a false-match rate of {percent(false_match_rate)}"
        )
        return [write(need, f"{lead}; {advice}", INGEST_REALS, CALIBRATE)]
    if applied.calibration.format != FORMAT:
        words = (
            f"calibration {applied.id} was measured by an earlier release, without hit rates, so "
            "similarity gives no verdict"
        )
        return [write(Need.EARLIER_RELEASE, words, CALIBRATE)]
    measured = applied.calibration
    size = count_embedded(conn, space, fakes.ids) if counts_entries else measured.corpus_size
    found = _find_flaws(applied.id, measured, size, false_match_rate, wanted)
    return [write(*each) for each in found]


def _find_flaws(
    number: int, calibration: Calibration, size: int, rate: float, wanted: int
) -> Iterator[tuple[Need, str, str]]:
    if abs(size - calibration.corpus_size) > GROWTH * calibration.corpus_size:
        yield (
            Need.OUTGROWN,
            f"calibration {number} measured {calibration.corpus_size:,} known fakes, and there are "
            f"{size:,} now: its rates are predicted",
            CALIBRATE,
        )
    as_is = calibration.strata[AS_IS]
    discrimination = as_is.discriminate(rate, size)
    if discrimination is not None and not discrimination.tells:
        yield (
            Need.TELLS_NOTHING,
            "similarity does not tell fakes from photographs in these corpora with this model, so "
            "it gives no verdict; identical files and near duplicates are still found",
            "lineup models",
        )
    elif as_is.threshold_at(rate, size) is None and as_is.holds:
        yield (
            Need.TOO_FEW,
            f"calibration {number} has known-real images of {as_is.sources:,} photographs; a "
            f"threshold at a false-match rate of {percent(rate)} takes about {wanted:,}",
            INGEST_REALS,
        )
    failing = [name for name, stratum in calibration.strata.items() if not stratum.holds]
    if failing:
        yield (
            Need.DOES_NOT_HOLD,
            f"rates for {', '.join(failing)} did not hold for collections that were left out; "
            "known-real images of more kinds and sources help",
            INGEST_REALS,
        )


def add_next_step(database: Database, job: JobAnswer, false_match_rate: float) -> JobAnswer:
    """Add what is missing before look-ups give verdicts by similarity, for an ingest that is
    completed; any other job is returned as it is.
    """
    if job.kind is not JobKind.INGEST or job.state is not JobState.COMPLETED:
        return job
    with database.read(unlimited=True) as conn:
        space = get_job(conn, job.id).space
        needs = find_needs(conn, space, false_match_rate, counts_entries=False)
    if not needs:
        return job
    return job.model_copy(update={"next_step": describe_need(needs[0])})


def describe_need(need: CalibrationNeed) -> str:
    """Return a need in one line with its commands."""
    if not need.commands:
        return need.words
    return f"{need.words}: " + ", then ".join(f"`{each}`" for each in need.commands)


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:NAMED])
    return listed if len(names) <= NAMED else f"{listed} and {len(names) - NAMED} more"
