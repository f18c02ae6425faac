"""Lookups: is this image similar to known fakes, and what does the classifier say of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.errors import InvalidRequest, UnsupportedBody
from api.http.routes.bodies import parsed, request_body
from api.http.routes.dependencies import Admitted, Opened
from api.lineup import Lineup
from api.lookups.json import LookupAnswer, LookupQuery, LookupRequest
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.replay import ReplayAnswer, replay
from api.lookups.stored import find_answer

router = APIRouter(tags=["lookups"])
LookupId = Annotated[str, Path(description="From the answer of a lookup.")]

_IMAGE_FORM = {
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "The probe, as the original file.",
        },
        "query": {"type": "string", "description": 'JSON of LookupQuery, for example {"k": 5}.'},
    },
}


@router.post(
    "/lookups",
    status_code=201,
    response_model=LookupAnswer,
    dependencies=[Admitted],
    openapi_extra={"requestBody": request_body(LookupRequest, _IMAGE_FORM)},
    summary="Look up one probe",
)
async def create_lookup(request: Request, response: Response, lineup: Opened) -> LookupAnswer:
    """Send the image as multipart/form-data, or JSON with an `embedding` or the `sha256` of an
    ingested image.

    The answer has two separate parts: `classifier` (the model's own opinion of the probe) and
    `similarity` (its neighbours among the corpora). A high cosine similarity is not a probability
    that the image is fake.
    """
    answer = await _answer(request, lineup)
    response.headers["Location"] = f"/v1/lookups/{answer.id}"
    return answer


@router.get("/lookups/{lookup_id}", summary="Read an earlier lookup")
def read_lookup(lookup_id: LookupId, lineup: Opened) -> LookupAnswer:
    """The answer as it was given, with the generation that it saw."""
    return find_answer(lineup.database, lookup_id)


@router.post("/lookups/{lookup_id}/replay", summary="Recompute an earlier lookup")
def replay_lookup(lookup_id: LookupId, lineup: Opened) -> ReplayAnswer:
    """As of its generation, whatever was added or removed since, and whether it comes out the same.

    Only for lookups by the active model. Nothing is stored.
    """
    return replay(lineup, lookup_id)


async def _answer(request: Request, lineup: Lineup) -> LookupAnswer:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        asked = parsed(LookupRequest, await request.body())
        return await run_in_threadpool(look_up_request, lineup, asked)
    if media_type == "multipart/form-data":
        async with request.form(max_files=1, max_fields=4) as form:
            image, query = form.get("image"), form.get("query", "{}")
            if not isinstance(image, UploadFile) or not isinstance(query, str):
                raise InvalidRequest(
                    "the form needs a file in the part `image`; `query`, if sent, is JSON text"
                )
            data, asked_query = await image.read(), parsed(LookupQuery, query)
        return await run_in_threadpool(look_up_image, lineup, data, asked_query)
    raise UnsupportedBody(media_type, ("multipart/form-data", "application/json"))
