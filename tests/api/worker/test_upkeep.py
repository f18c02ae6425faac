"""A calibration is measured again when its corpora have outgrown it, and only then."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from api.calibrations.request import CalibrationRequest
from api.worker.starting import cancel
from api.worker.upkeep import CalibrationUpkeep, recalibrate_if_due
from index.calibration.calibration import FORMAT
from index.errors import DatabaseUnavailable
from index.truth.calibrations import CalibrationScope, save_calibration
from index.truth.corpora import CorpusKind, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.jobs.job import JobKind, pause_job
from tests.api.modelless import SPACE, fill, read_job


def calibrated(
    database: Database, against: list[str] | None = None, size: int = 10, format: int = FORMAT
) -> list[int]:
    """Ten known fakes, a known-real image, and a calibration that was measured on them."""
    ids = fill(database, "fakes", range(10))
    fill(database, "reals", [100], CorpusKind.KNOWN_REAL)
    asked = CalibrationRequest(against=against).model_dump(mode="json")
    scope = CalibrationScope(asked=asked, against=("fakes",), against_ids=(1,), job_id=1000)
    with database.write() as conn:
        save_calibration(conn, SPACE, 0, scope, {"corpus_size": size, "format": format})
    return list(ids)


def due(database: Database) -> int | None:
    return recalibrate_if_due(database, SPACE)


def test_without_a_calibration_none_is_due(database: Database) -> None:
    fill(database, "fakes", range(3))

    assert due(database) is None


def test_growth_of_a_tenth_is_not_due_and_more_is_and_is_queued_once(database: Database) -> None:
    calibrated(database)
    assert due(database) is None
    fill(database, "fakes", [10])
    assert due(database) is None
    fill(database, "fakes", [11])

    job_id = due(database)

    assert job_id is not None
    assert read_job(database, job_id).kind is JobKind.CALIBRATE
    assert due(database) == job_id


def test_a_calibration_of_an_earlier_release_is_due(database: Database) -> None:
    calibrated(database, format=1)

    assert due(database) is not None


def test_a_calibration_that_nobody_asked_for_is_not_queued(database: Database) -> None:
    fill(database, "fakes", range(10))
    scope = CalibrationScope(asked={}, against=("fakes",), against_ids=(1,), is_provisional=True)
    with database.write() as conn:
        save_calibration(conn, SPACE, 0, scope, {"corpus_size": 1, "format": FORMAT})

    assert due(database) is None


def test_shrinking_by_more_than_a_tenth_is_due(database: Database) -> None:
    ids = calibrated(database)
    with database.write() as conn:
        for entry_id in ids[:2]:
            remove_entry(conn, entry_id)

    assert due(database) is not None


def test_a_corpus_that_it_has_not_seen_is_due_however_small(database: Database) -> None:
    calibrated(database, size=11)
    fill(database, "more", [50])

    assert due(database) is not None


def test_a_corpus_that_the_request_leaves_out_is_not_due(database: Database) -> None:
    calibrated(database, against=["fakes"])
    fill(database, "more", range(50, 60))

    assert due(database) is None


def test_nothing_is_due_when_a_corpus_of_the_request_or_every_entry_is_removed(
    database: Database,
) -> None:
    calibrated(database, against=["fakes"])
    with database.write() as conn:
        remove_corpus(conn, "fakes")

    assert due(database) is None


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_what_an_operator_stopped_is_not_queued_again(
    database: Database, tmp_path: Path, how: str
) -> None:
    calibrated(database)
    fill(database, "fakes", range(10, 20))
    job_id = due(database)
    assert job_id is not None
    if how == "cancel":
        cancel(database, tmp_path, job_id)
    else:
        with database.write() as conn:
            pause_job(conn, job_id)

    assert due(database) is None


def test_the_thread_looks_again_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    looks, thrice = 0, threading.Event()

    def look() -> int | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise DatabaseUnavailable("it restarts")
        if looks == 3:
            thrice.set()
        return 7 if looks == 2 else None

    with caplog.at_level(logging.INFO):
        upkeep = CalibrationUpkeep(look, look_seconds=0.001)
        assert thrice.wait(10)
        upkeep.close()
    at_the_end = looks

    assert "it restarts" in caplog.text
    assert "job 7 measures again" in caplog.text
    assert looks == at_the_end
