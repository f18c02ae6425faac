"""Look-ups: is this image similar to known fakes, and what does the classifier say about it?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Path, Request, Response, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as FormFile

from api.errors import InvalidRequest, UnsupportedBody
from api.http.routes.bodies import describe_body, parse_json, read_media_type
from api.http.routes.dependencies import Admitted, Opened
from api.lineup import Lineup
from api.lookups.json import LookupAnswer
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.replay import replay
from api.lookups.replay_json import ReplayAnswer
from api.lookups.request import LookupQuery, LookupRequest
from api.lookups.stored import find_answer

router = APIRouter(tags=["lookups"])
LookupId = Annotated[str, Path(description="Id of a look-up, from its answer.")]

_IMAGE_FORM = {
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "The image file to look up, unchanged.",
        },
        "query": {
            "type": "string",
            "description": 'How to search, as the JSON of `LookupQuery`. Example: {"k": 5}.',
        },
    },
}


@router.post(
    "/lookups",
    status_code=201,
    response_model=LookupAnswer,
    dependencies=[Admitted],
    openapi_extra={"requestBody": describe_body(LookupRequest, _IMAGE_FORM)},
    summary="Look up an image",
)
async def create_lookup(request: Request, response: Response, lineup: Opened) -> LookupAnswer:
    """Compares one image with the corpora, and asks the classifier about it.

    Send the image file as multipart/form-data, or JSON with an `embedding` or with the `sha256` of
    an image that was ingested.

    The answer has two separate parts. `classifier` is the model's opinion of the image alone.
    `similarity` says which entries are near, and whether a known fake is near enough for a verdict.
    A high cosine similarity is not a probability that the image is fake. The answer is stored, so
    that it can be read and recomputed later; a server that is read-only stores nothing, and says so
    in `stored`.
    """
    answer = await _look_up(request, lineup)
    if answer.stored:
        response.headers["Location"] = f"/v1/lookups/{answer.id}"
    return answer


@router.get("/lookups/{lookup_id}", summary="Read a look-up")
def read_lookup(lookup_id: LookupId, lineup: Opened) -> LookupAnswer:
    """Returns the stored answer. Values that a later release renamed have their new names."""
    return find_answer(lineup.database, lookup_id)


@router.post("/lookups/{lookup_id}/replay", summary="Recompute a look-up")
def replay_lookup(
    lookup_id: LookupId,
    lineup: Opened,
    image: Annotated[
        UploadFile | None, File(description="The image that was looked up, unchanged.")
    ] = None,
) -> ReplayAnswer:
    """Repeats a stored look-up on the entries that it saw then, whatever was added or removed
    since, and compares the result with the stored answer.

    The search, the figures and the verdicts are computed again from the stored embedding; no image
    is. Send the image to embed it again, too, and to compare the embeddings. If the rules of
    verdicts have changed since, the values are compared, and the verdicts of then and of today are
    both in `rules`.

    Works for look-ups that were answered with the active model. Stores nothing.
    """
    return replay(lineup, lookup_id, None if image is None else image.file.read())


async def _look_up(request: Request, lineup: Lineup) -> LookupAnswer:
    media_type = read_media_type(request)
    if media_type == "application/json":
        wanted = parse_json(LookupRequest, await request.body())
        return await run_in_threadpool(look_up_request, lineup, wanted)
    if media_type == "multipart/form-data":
        async with request.form(max_files=1, max_fields=4) as form:
            image, query = form.get("image"), form.get("query", "{}")
            if not isinstance(image, FormFile) or not isinstance(query, str):
                raise InvalidRequest(
                    "the form needs a file in the part `image`; the part `query` is JSON text"
                )
            data, wanted_query = await image.read(), parse_json(LookupQuery, query)
        return await run_in_threadpool(look_up_image, lineup, data, wanted_query)
    raise UnsupportedBody(media_type, ("multipart/form-data", "application/json"))
