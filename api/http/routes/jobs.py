"""Jobs over HTTP: submit an ingest; list, watch, pause, resume and cancel jobs.

The server's own worker runs them, or any `lineup worker`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as FormFile

from api.calibrations.needs import add_next_step
from api.errors import InvalidRequest, UnsupportedBody
from api.fields import CORPUS_NAME
from api.http.forms import open_form
from api.http.lanes import Kind, Lanes
from api.http.routes.bodies import describe_body, parse_json, read_announced_bytes
from api.http.routes.dependencies import Opened
from api.http.routes.parameters import Cursor, JobId, Limit
from api.http.routing import lane, make_router, read_media_type
from api.ingest.uploads import UploadQuota, describe_expiry
from api.jobs.catalogue import describe_job, glance_at_job, page_items, page_jobs, pause, resume
from api.jobs.json import JobAnswer, JobItemPage, JobPage
from api.worker.starting import cancel
from api.worker.submitting import IngestOrder, submit, submit_upload
from index.truth.databases.database import Database
from index.truth.jobs.items import Outcome
from index.truth.jobs.job import OPEN_STATES

router = make_router(tags=["jobs"])
NewOrOldName = Annotated[
    str,
    Path(
        description="Name of the corpus. A corpus that does not exist is created.",
        pattern=CORPUS_NAME,
    ),
]

EVENT_SECONDS = 0.5  # between two reads of a job that a client watches

UPLOAD_PARTS = ("source", "order")
_UPLOAD = {
    "required": ["source"],
    "properties": {
        "source": {
            "type": "string",
            "format": "binary",
            "description": "The archive, table or file of ready embeddings to ingest.",
        },
        "order": {
            "type": "string",
            "description": 'The JSON of `IngestOrder` without `sources`. Example: {"label": "x"}.',
        },
    },
}


@router.post(
    "/corpora/{name}/ingests",
    status_code=202,
    response_model=JobAnswer,
    openapi_extra={"requestBody": describe_body(IngestOrder, _UPLOAD)},
    summary="Ingest sources into a corpus",
)
@lane(Kind.NONE)
async def create_ingest(
    name: NewOrOldName, request: Request, response: Response, lineup: Opened
) -> JobAnswer:
    """Starts a job that ingests sources into a corpus.

    Send the paths or URLs of sources as JSON; they must lie within LINEUP_INGEST_ROOTS. Or upload
    one archive, table or file of ready embeddings as multipart/form-data. Sending the same request
    again while its job has not ended returns that job.
    """
    lanes: Lanes = request.app.state.lanes
    media_type = read_media_type(request)
    if media_type == "application/json":
        order = await run_in_threadpool(parse_json, IngestOrder, await request.body())
        async with lanes[Kind.CHANGES].turn():
            answer = await run_in_threadpool(
                submit, lineup.database, lineup.space, lineup.settings.ingest_roots, name, order
            )
    elif media_type == "multipart/form-data":
        quota: UploadQuota = request.app.state.uploads
        with quota.receive(read_announced_bytes(request)) as arrival:
            async with open_form(
                request, UPLOAD_PARTS, lineup.settings.data_dir, arrival.receive
            ) as form:
                source, text = form.get("source"), form.get("order", "{}")
                if not isinstance(source, FormFile) or not isinstance(text, str):
                    raise InvalidRequest(
                        "the form needs a file in the part `source`; the part `order` is JSON text"
                    )
                order = await run_in_threadpool(parse_json, IngestOrder, text)
                async with lanes[Kind.CHANGES].turn():
                    answer = await run_in_threadpool(
                        submit_upload,
                        lineup.database,
                        lineup.space,
                        lineup.settings.upload_dir,
                        name,
                        order,
                        source.file,
                        source.filename or "",
                        arrival.store,
                    )
    else:
        raise UnsupportedBody(media_type, ("application/json", "multipart/form-data"))
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


@router.get("/jobs", summary="List jobs")
def read_jobs(lineup: Opened, cursor: Cursor = None, limit: Limit = 100) -> JobPage:
    """Returns ingests, re-embeddings and calibrations, newest first."""
    return page_jobs(lineup.database, cursor, limit)


@router.get("/jobs/{job_id}", summary="Read a job")
def read_job(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Returns the job's progress, with the reasons of its skipped and failed items."""
    settings = lineup.settings
    job = describe_job(lineup.database, job_id, local=True)  # where an upload is, is in its paths
    job = describe_expiry(job, settings.upload_dir, settings.failed_upload_days).for_client()
    return add_next_step(lineup.database, job, settings.false_match_rate)


@router.get("/jobs/{job_id}/items", summary="List the skipped and failed items of a job")
def read_items(
    job_id: JobId,
    lineup: Opened,
    outcome: Annotated[
        Outcome | None, Query(description="List only items with this outcome, such as failed.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> JobItemPage:
    """Returns skipped and failed items, and near duplicates that were added, in the order of the
    source. Items that were added without remark are not listed.
    """
    return page_items(lineup.database, job_id, outcome, cursor, limit)


@router.get(
    "/jobs/{job_id}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "Server-sent events. The data of each event is a JobAnswer.",
        }
    },
)
@lane(Kind.NONE)
async def watch_job(job_id: JobId, lineup: Opened) -> StreamingResponse:
    """Sends the event `progress` whenever the job has changed.

    The last event is named by the state in which the job stops: completed, failed, paused or
    cancelled.
    """
    # An unknown job is answered with 404 before the stream begins.
    await run_in_threadpool(describe_job, lineup.database, job_id)
    return StreamingResponse(
        _watch(lineup.database, job_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


@router.post("/jobs/{job_id}/pause", summary="Pause a job")
def pause_job(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Starts no more items of the job. Items that are already in work are finished."""
    return pause(lineup.database, job_id)


@router.post("/jobs/{job_id}/resume", summary="Resume a job")
def resume_job(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Continues a paused or failed job where it stopped."""
    return resume(lineup.database, job_id)


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job")
def cancel_job(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Ends the job for good. What it has added stays."""
    return cancel(lineup.database, lineup.settings.upload_dir, job_id)


def _build_aliases() -> APIRouter:
    """The routes under `/ingests`, their path in earlier releases; not in the OpenAPI document."""
    aliases = make_router(include_in_schema=False)
    for route in router.routes:
        if isinstance(route, APIRoute) and route.path.startswith("/jobs"):
            aliases.add_api_route(
                route.path.replace("/jobs", "/ingests", 1),
                route.endpoint,
                methods=sorted(route.methods or ()),
                response_model=route.response_model,
                response_class=route.response_class,
            )
    return aliases


async def _watch(database: Database, job_id: int) -> AsyncIterator[str]:
    """Yield an event whenever the job has changed, until it stops; no thread waits in between."""
    seen = None
    while True:
        answer = await run_in_threadpool(glance_at_job, database, job_id)
        is_open = answer.state in OPEN_STATES
        if answer != seen:
            seen = answer
            event = "progress" if is_open else answer.state
            yield f"event: {event}\nid: {answer.done}\ndata: {answer.model_dump_json()}\n\n"
        if not is_open:
            return
        await asyncio.sleep(EVENT_SECONDS)


aliases = _build_aliases()
