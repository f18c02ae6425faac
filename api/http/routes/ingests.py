"""Bulk ingests over HTTP: asked for, watched, steered.

The server's own worker does them, or any `lineup worker`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as FormFile

from api.errors import InvalidRequest, UnsupportedBody
from api.http.routes.bodies import describe_body, parse_json
from api.http.routes.dependencies import Opened
from api.jobs.catalogue import glimpse, items_page, jobs_page, one_job, pause, resume
from api.jobs.json import JobAnswer, JobItemPage, JobPage
from api.worker.starting import cancel
from api.worker.submitting import IngestOrder, submit, submit_upload
from index.truth.database import Database
from index.truth.jobs import OPEN_STATES, Outcome

router = APIRouter(tags=["ingests"])
JobId = Annotated[int, Path(description="Id of a job.", ge=1, lt=2**63)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page.")]
Name = Annotated[str, Path(description="Name of the corpus; it is made where there is none.")]

EVENT_SECONDS = 0.5  # between two looks at a job that somebody watches

_UPLOAD = {
    "required": ["source"],
    "properties": {
        "source": {
            "type": "string",
            "format": "binary",
            "description": "An archive, a table or ready embeddings.",
        },
        "order": {
            "type": "string",
            "description": 'JSON of IngestOrder without `sources`, such as {"label": "x"}.',
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
async def create_ingest(
    name: Name, request: Request, response: Response, lineup: Opened
) -> JobAnswer:
    """Queues a job: sources that the server can read, as JSON, or one that is uploaded as
    multipart/form-data.

    Sources must lie in a folder or under a URL that LINEUP_INGEST_ROOTS names. The same order again
    while its job has not ended is that same job.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        order = parse_json(IngestOrder, await request.body())
        answer = await run_in_threadpool(
            submit, lineup.database, lineup.space, lineup.settings.ingest_roots, name, order
        )
    elif media_type == "multipart/form-data":
        async with request.form(max_files=1, max_fields=4) as form:
            source, text = form.get("source"), form.get("order", "{}")
            if not isinstance(source, FormFile) or not isinstance(text, str):
                raise InvalidRequest(
                    "the form needs a file in the part `source`; `order`, if sent, is JSON text"
                )
            order = parse_json(IngestOrder, text)
            answer = await run_in_threadpool(
                submit_upload,
                lineup.database,
                lineup.space,
                lineup.settings.upload_dir,
                name,
                order,
                source.file,
                source.filename or "",
            )
    else:
        raise UnsupportedBody(media_type, ("application/json", "multipart/form-data"))
    response.headers["Location"] = f"/v1/ingests/{answer.id}"
    return answer


@router.get("/ingests", summary="List the jobs")
def read_ingests(lineup: Opened, cursor: Cursor = None, limit: Limit = 100) -> JobPage:
    """The newest first."""
    return jobs_page(lineup.database, cursor, limit)


@router.get("/ingests/{job_id}", summary="Read a job")
def read_ingest(job_id: JobId, lineup: Opened) -> JobAnswer:
    """How far it has come, and why items were skipped or failed."""
    return one_job(lineup.database, job_id)


@router.get("/ingests/{job_id}/items", summary="List the items that did not simply succeed")
def read_items(
    job_id: JobId,
    lineup: Opened,
    outcome: Annotated[Outcome | None, Query(description="Only these, such as failed.")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> JobItemPage:
    """In the order of the source."""
    return items_page(lineup.database, job_id, outcome, cursor, limit)


@router.get(
    "/ingests/{job_id}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "Server-sent events: a JobAnswer each.",
        }
    },
)
async def watch_ingest(job_id: JobId, lineup: Opened) -> StreamingResponse:
    """Server-sent events:

    `progress` whenever it has come further; the last one is named by the state it rests in.
    """
    await run_in_threadpool(
        one_job, lineup.database, job_id
    )  # an unknown job is answered 404 before a stream begins
    events = _events(lineup.database, job_id)
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


@router.post("/ingests/{job_id}/pause", summary="Pause a job")
def pause_ingest(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Nothing more of it is begun; what is in flight is finished."""
    return pause(lineup.database, job_id)


@router.post("/ingests/{job_id}/resume", summary="Resume a job")
def resume_ingest(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Goes on with a paused or failed job."""
    return resume(lineup.database, job_id)


@router.post("/ingests/{job_id}/cancel", summary="Cancel a job")
def cancel_ingest(job_id: JobId, lineup: Opened) -> JobAnswer:
    """Ends it for good; what it has added stays."""
    return cancel(lineup.database, lineup.settings.upload_dir, job_id)


async def _events(database: Database, job_id: int) -> AsyncIterator[str]:
    """A job whenever it has come further, until it rests.

    No thread is kept while nothing happens.
    """
    seen = None
    while True:
        answer = await run_in_threadpool(glimpse, database, job_id)
        open_still = answer.state in OPEN_STATES
        if answer != seen:
            seen = answer
            event = "progress" if open_still else answer.state
            yield f"event: {event}\nid: {answer.done}\ndata: {answer.model_dump_json()}\n\n"
        if not open_still:
            return
        await asyncio.sleep(EVENT_SECONDS)
