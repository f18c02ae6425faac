"""What a calibration lacks, from nothing measured to nothing missing, and the end of an ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.calibrations.first import calibrate_first
from api.calibrations.needs import CalibrationNeed, Need, add_next_step, describe_need, find_needs
from api.jobs.json import JobAnswer
from api.lineup import Lineup
from index.calibration.checking import StratumCheck
from index.truth.calibrations import get_calibration, save_calibration
from index.truth.jobs.job import JobKind, JobState, create_job, get_job, update_job
from tests.api.calibrations.photographs import ship
from tests.api.small_lineup import FAKE, REAL, add, calibrate, encoded, open_small, picture
from tests.index.assessing import false_matches, hits

FAILED_CHECK = StratumCheck(holds=False, collections=4, rates=12, inside=3)


@pytest.fixture
def lineup(tmp_path: Path) -> Iterator[Lineup]:
    """Eight known fakes."""
    with open_small(tmp_path) as opened:
        for seed in range(8):
            add(opened, "fakes", FAKE, encoded(picture(seed)), "flux")
        yield opened


def needs(lineup: Lineup, rate: float = 0.01) -> list[CalibrationNeed]:
    with lineup.database.read() as conn:
        return find_needs(conn, lineup.space, rate)


def add_reals(lineup: Lineup, count: int) -> None:
    for seed in range(100, 100 + count):
        add(lineup, "photographs", REAL, encoded(picture(seed)))


def test_without_known_fakes_nothing_is_missing(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        add(lineup, "photographs", REAL, encoded(picture(1)))
        assert needs(lineup) == []


def test_without_known_real_images_they_come_first_and_are_counted(lineup: Lineup) -> None:
    (need,) = needs(lineup)

    assert need.need is Need.MISSING
    assert need.words.startswith("no calibration covers fakes, so similarity gives no verdict")
    assert "at least 10 photographs, and about 100 for a false-match rate of 1 %" in need.words
    assert need.commands == [
        "lineup ingest FOLDER --corpus NAME --kind known_real",
        "lineup calibrate",
    ]
    assert (need.known_real_images, need.photographs_wanted) == (0, 100)
    assert needs(lineup, 0.001)[0].photographs_wanted == 1000


def test_with_ten_of_them_only_the_calibration_is_missing(lineup: Lineup) -> None:
    add_reals(lineup, 9)
    assert len(needs(lineup)[0].commands) == 2
    add(lineup, "photographs", REAL, encoded(picture(200)))

    (need,) = needs(lineup)
    assert (need.commands, need.known_real_images) == (["lineup calibrate"], 10)


def test_a_provisional_calibration_is_not_enough(lineup: Lineup) -> None:
    calibrate_first(lineup.database, lineup.space, ship(lineup))

    (need,) = needs(lineup)
    assert need.need is Need.PROVISIONAL
    assert need.words.startswith("calibration 1 is provisional")
    assert describe_need(need).endswith(
        ": `lineup ingest FOLDER --corpus NAME --kind known_real`, then `lineup calibrate`"
    )


def test_a_corpus_that_came_later_is_named(lineup: Lineup) -> None:
    calibrate(lineup, hits=hits())
    for number in range(4):
        add(lineup, f"new-{number}", FAKE, encoded(picture(50 + number)))

    (need,) = needs(lineup)
    assert need.need is Need.MISSING
    assert "no calibration covers new-0, new-1, new-2 and 1 more" in need.words


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"hits": hits()}, []),
        ({"hits": hits(share=0.01, low=0.0)}, [Need.TELLS_NOTHING]),
        ({"hits": hits(), "false_matches": false_matches(corpus_size=8, high=0.2)}, [Need.TOO_FEW]),
        ({"hits": hits(), "check": FAILED_CHECK}, [Need.DOES_NOT_HOLD]),
    ],
)
def test_flaws_of_a_calibration_are_found(
    lineup: Lineup, parts: dict[str, Any], expected: list[Need]
) -> None:
    calibrate(lineup, **parts)
    assert [each.need for each in needs(lineup)] == expected


def test_growth_of_more_than_a_tenth_is_told_beside_other_flaws(lineup: Lineup) -> None:
    calibrate(lineup, hits=hits(share=0.01, low=0.0))
    add(lineup, "fakes", FAKE, encoded(picture(50)))

    assert [each.need for each in needs(lineup)] == [Need.OUTGROWN, Need.TELLS_NOTHING]
    with lineup.database.read() as conn:
        quick = find_needs(conn, lineup.space, 0.01, counts_entries=False)
    assert [each.need for each in quick] == [Need.TELLS_NOTHING]


def test_a_calibration_of_an_earlier_release_is_measured_again(lineup: Lineup) -> None:
    number = calibrate(lineup)
    with lineup.database.write() as conn:
        stored = get_calibration(conn, number)
        document = {**stored.document, "format": 1}
        save_calibration(conn, lineup.space, 0, stored.scope, document)

    (need,) = needs(lineup)
    assert (need.need, need.commands) == (Need.EARLIER_RELEASE, ["lineup calibrate"])
    assert "without hit rates" in need.words


def answer_of(lineup: Lineup, kind: JobKind, state: JobState) -> JobAnswer:
    with lineup.database.write() as conn:
        job = create_job(conn, kind, None, lineup.space, {"sources": ["/in"]})
        update_job(conn, job.id, state=state.value)
        return JobAnswer.of(get_job(conn, job.id))


def test_a_completed_ingest_says_what_is_missing(lineup: Lineup) -> None:
    job = answer_of(lineup, JobKind.INGEST, JobState.COMPLETED)

    found = add_next_step(lineup.database, job, 0.01)

    assert found.next_step == describe_need(needs(lineup)[0])
    assert found.model_copy(update={"next_step": None}) == job


@pytest.mark.parametrize(
    ("kind", "state"),
    [(JobKind.INGEST, JobState.PAUSED), (JobKind.CALIBRATE, JobState.COMPLETED)],
)
def test_another_job_says_nothing_about_it(lineup: Lineup, kind: JobKind, state: JobState) -> None:
    job = answer_of(lineup, kind, state)
    assert add_next_step(lineup.database, job, 0.01) == job


def test_a_completed_ingest_with_a_good_calibration_has_no_next_step(lineup: Lineup) -> None:
    calibrate(lineup, hits=hits())
    job = answer_of(lineup, JobKind.INGEST, JobState.COMPLETED)
    assert add_next_step(lineup.database, job, 0.01).next_step is None
