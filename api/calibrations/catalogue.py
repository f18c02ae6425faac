"""The calibrations that are stored."""

from __future__ import annotations

from api.calibrations.json import CalibrationAnswer, CalibrationPage
from api.paging import page, read_number
from index.truth.calibrations import find_calibration_of_job, get_calibration, list_calibrations
from index.truth.databases.database import Database


def describe_calibration(database: Database, calibration_id: int) -> CalibrationAnswer:
    """Return one calibration. Raises `UnknownCalibration`, `TruthDamaged`."""
    with database.read() as conn:
        return CalibrationAnswer.of(get_calibration(conn, calibration_id))


def describe_calibration_of_job(database: Database, job_id: int) -> CalibrationAnswer | None:
    """Return the calibration that a job measured, None if it has measured none.

    Raises `TruthDamaged`.
    """
    with database.read() as conn:
        stored = find_calibration_of_job(conn, job_id)
    return None if stored is None else CalibrationAnswer.of(stored)


def page_calibrations(database: Database, cursor: str | None, limit: int) -> CalibrationPage:
    """List calibrations, the newest first.

    Raises `InvalidRequest` for a foreign cursor, `TruthDamaged`.
    """
    with database.read() as conn:
        found = list_calibrations(conn, read_number(cursor), limit + 1)
    calibrations, next_cursor = page(found, limit, lambda calibration: calibration.id)
    return CalibrationPage(
        calibrations=[CalibrationAnswer.of(each) for each in calibrations],
        next_cursor=next_cursor,
    )
