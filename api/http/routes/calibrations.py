"""Calibrations over HTTP: asked for, listed, read.

The server's own worker measures them, or any `lineup worker`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.calibrations.json import (
    CalibrationAnswer,
    CalibrationPage,
    calibrations_page,
    one_calibration,
)
from api.calibrations.request import CalibrationRequest
from api.http.routes.dependencies import Opened
from api.jobs.json import JobAnswer
from api.worker.running import start_calibration

router = APIRouter(tags=["calibrations"])
CalibrationId = Annotated[int, Path(description="Id of a calibration.", ge=1, lt=2**63)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items a page.")]


@router.post("/calibrations", status_code=202, summary="Calibrate")
def create_calibration(wanted: CalibrationRequest, response: Response, lineup: Opened) -> JobAnswer:
    """Queues a job that embeds the reference images as they may be delivered, then measures and
    stores a calibration.

    Images whose files cannot be read any more are calibrated as they are only. The same request
    while its job has not ended is that same job.
    """
    answer = JobAnswer.of(start_calibration(lineup, wanted))
    response.headers["Location"] = f"/v1/ingests/{answer.id}"
    return answer


@router.get("/calibrations", summary="List the calibrations")
def read_calibrations(lineup: Opened, cursor: Cursor = None, limit: Limit = 20) -> CalibrationPage:
    """The newest first."""
    return calibrations_page(lineup.database, cursor, limit)


@router.get("/calibrations/{calibration_id}", summary="Read a calibration")
def read_calibration(calibration_id: CalibrationId, lineup: Opened) -> CalibrationAnswer:
    """Thresholds, ratios and figures by kind of delivery."""
    return one_calibration(lineup.database, calibration_id)
