"""The service itself: models, index, liveness and readiness."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.decoding import find_confinement
from api.http.lanes import Kind
from api.http.readiness import Readiness
from api.http.routes.dependencies import Current, Opened
from api.http.routing import lane, make_router
from api.jobs.json import JobAnswer
from api.operations.activating import (
    activate,
    list_models,
    queue_reembed,
    require_listed,
)
from api.operations.checks_json import DoctorAnswer, ReadyAnswer
from api.operations.doctor import examine
from api.operations.filling import queue_backfill
from api.operations.indexes import plan_index
from api.operations.indexes_json import IndexAnswer
from api.operations.models_json import ActivatedModel, ModelsAnswer

router = make_router(tags=["service"])
health = make_router(tags=["service"])
ModelName = Annotated[str, Path(description="Name of a model, as GET /v1/models lists it.")]
Incomplete = Annotated[
    bool,
    Query(description="Activate it even if look-ups will miss entries without its embedding."),
]


@router.get("/models", summary="List models")
def read_models(lineup: Opened) -> ModelsAnswer:
    """The active model comes first. An embedding that is sent to POST /v1/lookups must have the
    active model's `embedding_space`.

    Models that were added on the server's machine with `lineup models add` are listed too. None can
    be added over HTTP.
    """
    confinement = find_confinement(lineup.decoders)
    return list_models(lineup.settings, lineup.embedder, confinement)


@router.post("/models/{name}/activate", summary="Activate a model")
def activate_model(
    name: ModelName, current: Current, incomplete: Incomplete = False
) -> ActivatedModel:
    """Look-ups and ingests use the active model if they name none. This server uses it when this
    returns; other servers follow within a few seconds.

    Refused while some entries have no embedding of the model, unless `incomplete` is true.
    """
    require_listed(current.settings, name)
    activated = activate(current.settings, name, incomplete=incomplete)
    current.look()
    return activated


@router.post(
    "/models/{name}/reembed",
    status_code=202,
    summary="Add a model's embeddings to existing entries",
)
def reembed(name: ModelName, lineup: Opened, response: Response) -> JobAnswer:
    """Starts a job that embeds every image that can still be read and has no embedding of this
    model. Existing embeddings stay, and look-ups continue.

    If such a job has not ended, the answer is that job.
    """
    require_listed(lineup.settings, name)
    answer = queue_reembed(lineup, name)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


@router.post(
    "/copies/backfill",
    status_code=202,
    summary="Describe existing entries with the copy descriptor",
)
def backfill_copies(lineup: Opened, response: Response) -> JobAnswer:
    """Starts a job that computes the vector of the active copy descriptor for every image that has
    none, from the kept original, the file that it came from or its thumbnail. Where no descriptor
    is active, the first one that is installed becomes it. Look-ups continue.

    If such a job has not ended, the answer is that job.
    """
    answer = queue_backfill(lineup)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


@router.get("/index", summary="Explain the index")
def read_index(lineup: Opened) -> IndexAnswer:
    """Returns how the index searches now, why, and the recall measured on it."""
    return plan_index(lineup.index)


@router.get("/doctor", summary="Examine the installation")
def read_doctor(lineup: Opened) -> DoctorAnswer:
    """Says what works and what is missing before answers are worth something: for example that no
    calibration covers the known fakes, and which command measures one. `lineup doctor` says the
    same.
    """
    return examine(lineup)


@health.get("/livez", summary="Check that the process is alive")
@lane(Kind.NONE)
async def live() -> dict[str, str]:
    """Answers as long as the process can answer. Restart the process if this fails."""
    return {"status": "alive"}


@health.get(
    "/readyz",
    summary="Check that look-ups can be answered",
    responses={
        503: {
            "model": ReadyAnswer,
            "description": "Look-ups cannot be answered now. `checks` says why.",
        }
    },
)
@lane(Kind.NONE)
async def ready(request: Request, response: Response) -> ReadyAnswer:
    """Answers 200 if look-ups can be answered, otherwise 503. Send no requests to this server while
    it answers 503.
    """
    readiness: Readiness = request.app.state.readiness
    answer = await readiness.ask()
    response.status_code = 200 if answer.ready else 503
    return answer
