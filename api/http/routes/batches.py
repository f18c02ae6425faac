"""Batches of look-ups: many probes in one request, for who screens many."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.errors import UnsupportedBody
from api.fields import Answer
from api.http.lanes import Kind, Lanes
from api.http.problems import ProblemAnswer, describe_problem
from api.http.routes.bodies import describe_body, read_model
from api.http.routes.dependencies import hold_now
from api.http.routing import lane, make_router, read_media_type
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.batches.batch import look_up_batch
from api.lookups.batches.request import LookupBatch

router = make_router(tags=["lookups"])


class OutcomeAnswer(Answer):
    """What became of one probe: a look-up, or a problem."""

    name: str | None = Field(description="The client's name of the probe. Null without one.")
    lookup: LookupAnswer | None = Field(
        None, description="The answer, as of a look-up of this probe alone. Null with a problem."
    )
    problem: ProblemAnswer | None = Field(
        None, description="Why this probe was not looked up. Null with an answer."
    )


class BatchAnswer(Answer):
    """The outcomes of a batch."""

    answered: int = Field(ge=0, description="Number of probes that were looked up.")
    failed: int = Field(ge=0, description="Number of probes that have a problem.")
    outcomes: list[OutcomeAnswer] = Field(description="One for each probe, in their order.")


@router.post(
    "/lookups/batch",
    response_model=BatchAnswer,
    openapi_extra={"requestBody": describe_body(LookupBatch)},
    summary="Look up many probes",
)
@lane(Kind.NONE)
async def create_lookups(request: Request) -> Response:
    """Looks up several probes with one query, in less time than one by one.

    Each probe is an embedding, the `sha256` of an image that was ingested, or hashes, as in
    `LookupRequest`; images are sent one at a time. Each has the answer that it would have alone. A
    probe that is wrong has a problem of its own, and the others are answered. A query that is wrong
    fails the whole request.

    All answers are stored together before the first is sent. If the request fails, none is stored.
    """
    if read_media_type(request) != "application/json":
        raise UnsupportedBody(read_media_type(request), ("application/json",))
    batch = await read_model(request, LookupBatch)
    lanes: Lanes = request.app.state.lanes
    with hold_now(request) as lineup:
        async with lanes[Kind.BATCHES].turn():
            return await run_in_threadpool(_answer, lineup, batch)


def _answer(lineup: Lineup, batch: LookupBatch) -> Response:
    """Look up and write the answers, in the same thread: they would hold the event loop."""
    outcomes = look_up_batch(lineup, batch)
    answer = _write(batch, outcomes)
    return Response(answer.model_dump_json(), media_type="application/json")


def _write(batch: LookupBatch, outcomes: Sequence[LookupAnswer | Exception]) -> BatchAnswer:
    written = [
        OutcomeAnswer(name=probe.name, problem=describe_problem(outcome))
        if isinstance(outcome, Exception)
        else OutcomeAnswer(name=probe.name, lookup=outcome)
        for probe, outcome in zip(batch.probes, outcomes, strict=True)
    ]
    failed = sum(each.problem is not None for each in written)
    return BatchAnswer(answered=len(written) - failed, failed=failed, outcomes=written)
