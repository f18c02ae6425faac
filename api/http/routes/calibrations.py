"""Calibrations: start, list and read them.

The server's own worker measures them, or any `lineup worker`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from api.calibrations.catalogue import describe_calibration, page_calibrations
from api.calibrations.json import CalibrationAnswer, CalibrationPage
from api.calibrations.request import CalibrationRequest
from api.http.routes.dependencies import Opened
from api.http.routes.parameters import Cursor
from api.http.routing import make_router
from api.jobs.json import JobAnswer
from api.worker.starting import start_calibration
from index.truth.schema import LARGEST_ID

router = make_router(tags=["calibrations"])
CalibrationId = Annotated[int, Path(description="Id of a calibration.", ge=1, le=LARGEST_ID)]
Limit = Annotated[int, Query(ge=1, le=100, description="Largest number of items on a page.")]


@router.post("/calibrations", status_code=202, summary="Start a calibration")
def create_calibration(wanted: CalibrationRequest, response: Response, lineup: Opened) -> JobAnswer:
    """Starts a job that measures how near known-real images are to the known fakes, unchanged and
    after each kind of delivery, and stores the result as a calibration.

    Look-ups take their threshold, false-match rate, likelihood ratio and attribution from it. An
    image whose file cannot be read any more is measured unchanged only. If a job for the same
    request has not ended, the answer is that job.
    """
    answer = JobAnswer.of(start_calibration(lineup.database, lineup.space, wanted))
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


@router.get("/calibrations", summary="List calibrations")
def read_calibrations(lineup: Opened, cursor: Cursor = None, limit: Limit = 20) -> CalibrationPage:
    """Newest first."""
    return page_calibrations(lineup.database, cursor, limit)


@router.get("/calibrations/{calibration_id}", summary="Read a calibration")
def read_calibration(calibration_id: CalibrationId, lineup: Opened) -> CalibrationAnswer:
    """Returns thresholds and figures for each kind of delivery."""
    return describe_calibration(lineup.database, calibration_id)
