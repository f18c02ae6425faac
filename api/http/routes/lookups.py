"""Look-ups: is this image similar to known fakes, and what does the classifier say about it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import File, Path, Request, Response, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as FormFile

from api.errors import InvalidRequest, UnsupportedBody
from api.http.forms import open_form
from api.http.gathering import Gathering
from api.http.lanes import Kind, Lanes
from api.http.routes.bodies import describe_body, parse_json, read_model
from api.http.routes.dependencies import Opened, hold_now
from api.http.routing import lane, make_router, read_media_type
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.batches.together import find_kind, look_up_together
from api.lookups.lookup import look_up_image, look_up_request
from api.lookups.replays.json import ReplayAnswer
from api.lookups.replays.replay import replay
from api.lookups.request import LookupQuery, LookupRequest
from api.lookups.stored import find_answer

router = make_router(tags=["lookups"])
GatheredLookups = Gathering[tuple[Lineup, LookupRequest], Response]
LookupId = Annotated[str, Path(description="Id of a look-up, from its answer.")]

IMAGE_PARTS = ("image", "query")
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
    openapi_extra={"requestBody": describe_body(LookupRequest, _IMAGE_FORM)},
    summary="Look up an image",
)
@lane(Kind.NONE)
async def create_lookup(request: Request) -> Response:
    """Compares one image with the corpora, and asks the classifier about it.

    Send the image file as multipart/form-data, or JSON with an `embedding`, with the `sha256` of an
    image that was ingested, or with a `pdq_hash` and its `pdq_quality`.

    The answer has two separate parts. `classifier` is the model's opinion of the image alone.
    `similarity` says which entries are near, and whether a known fake is near enough for a verdict.
    A high cosine similarity is not a probability that the image is fake. The answer is stored, so
    that it can be read and recomputed later; a server that is read-only stores nothing, and says so
    in `stored`.
    """
    lanes: Lanes = request.app.state.lanes
    with hold_now(request) as lineup:
        wanted = await _read_body(request, lineup)
        async with lanes[Kind.IMAGES].turn():
            return await _answer_in_turn(request, lineup, wanted)


async def _answer_in_turn(
    request: Request, lineup: Lineup, wanted: LookupRequest | Callable[[], LookupAnswer]
) -> Response:
    if not isinstance(wanted, LookupRequest):
        return await run_in_threadpool(_answer, wanted)
    kind = find_kind(lineup, wanted)
    if kind is None:
        return await run_in_threadpool(_answer, partial(look_up_request, lineup, wanted))
    gathered: GatheredLookups = request.app.state.gathered_lookups
    return await gathered.ask(kind, (lineup, wanted))


def gather_lookups() -> GatheredLookups:
    """Make what answers the look-ups of several requests together."""
    return Gathering(_answer_together)


@router.get("/lookups/{lookup_id}", summary="Read a look-up")
def read_lookup(lookup_id: LookupId, lineup: Opened) -> LookupAnswer:
    """Returns the stored answer. Values that a later release renamed have their new names."""
    return find_answer(lineup.database, lookup_id)


@router.post("/lookups/{lookup_id}/replay", summary="Recompute a look-up")
@lane(Kind.IMAGES)
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


async def _read_body(
    request: Request, lineup: Lineup
) -> LookupRequest | Callable[[], LookupAnswer]:
    """Read the body to its end and return the look-up that it asks for; one by an image is a call
    for a thread.
    """
    media_type = read_media_type(request)
    if media_type == "application/json":
        return await read_model(request, LookupRequest)
    if media_type == "multipart/form-data":
        async with open_form(request, IMAGE_PARTS) as form:
            image, query = form.get("image"), form.get("query", "{}")
            if not isinstance(image, FormFile) or not isinstance(query, str):
                raise InvalidRequest(
                    "the form needs a file in the part `image`; the part `query` is JSON text"
                )
            data = await run_in_threadpool(image.file.read)
            wanted_query = await run_in_threadpool(parse_json, LookupQuery, query)
        return partial(look_up_image, lineup, data, wanted_query)
    raise UnsupportedBody(media_type, ("multipart/form-data", "application/json"))


def _answer_together(
    asked: Sequence[tuple[Lineup, LookupRequest]],
) -> list[Response | Exception]:
    """Answer requests of one kind, which have the product in common."""
    lineup = asked[0][0]
    answers = look_up_together(lineup, [wanted for _, wanted in asked])
    return [each if isinstance(each, Exception) else _respond(each) for each in answers]


def _answer(look_up: Callable[[], LookupAnswer]) -> Response:
    """Look up and write the answer, in the same thread: a long answer would hold the event loop."""
    return _respond(look_up())


def _respond(answer: LookupAnswer) -> Response:
    return Response(
        answer.model_dump_json(),
        201,
        {"Location": f"/v1/lookups/{answer.id}"} if answer.stored else None,
        media_type="application/json",
    )
