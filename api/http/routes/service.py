"""The service itself: models, liveness, readiness."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.http.routes.dependencies import Current, Opened
from api.jobs.json import JobAnswer
from api.operations.activating import (
    ActivatedModel,
    activate,
    models,
    queue_reembed,
    require_listed,
)
from api.operations.health import readiness
from api.operations.indexes import plan_index
from api.operations.json import IndexAnswer, ModelsAnswer, ReadyAnswer

router = APIRouter(tags=["service"])
health = APIRouter(tags=["service"])
ModelName = Annotated[str, Path(description="Name of a model that GET /v1/models lists.")]
Incomplete = Annotated[
    bool, Query(description="Although entries are not embedded by it: no lookup will find them.")
]


@router.get("/models", summary="List the models")
def read_models(lineup: Opened) -> ModelsAnswer:
    """The active one first; an embedding sent to POST /v1/lookups must be of its
    `embedding_space`.
    """
    return models(lineup.settings, lineup.embedder)


@router.post("/models/{name}/activate", summary="Make a model the active one")
def activate_model(
    name: ModelName, current: Current, incomplete: Incomplete = False
) -> ActivatedModel:
    """The model of lookups and ingests wherever none is named; this server answers by it when this
    returns, others within a second or so. Refused while entries are not embedded by it, unless
    `incomplete`.
    """
    require_listed(name)
    activated = activate(current.settings, name, incomplete=incomplete)
    current.look()
    return activated


@router.post("/models/{name}/reembed", status_code=202, summary="Embed by a model what is not")
def reembed(name: ModelName, lineup: Opened, response: Response) -> JobAnswer:
    """Queues a job: embeddings by this model, beside those that are there, of every image that can
    still be read.

    Lookups go on undisturbed. While such a job has not ended, this is that same job.
    """
    require_listed(name)
    answer = queue_reembed(lineup, name)
    response.headers["Location"] = f"/v1/ingests/{answer.id}"
    return answer


@router.get("/index", summary="Explain the index")
def read_index(lineup: Opened) -> IndexAnswer:
    """How lookups are answered now: the plan, the recall measured on this corpus, and why."""
    return plan_index(lineup)


@health.get("/livez", summary="Is the process alive")
async def live() -> dict[str, str]:
    """Answers as long as the process can answer; restart it when this does not."""
    return {"status": "alive"}


@health.get(
    "/readyz",
    summary="Can lookups be answered",
    responses={503: {"model": ReadyAnswer, "description": "Not now; `checks` says why."}},
)
def ready(response: Response, lineup: Opened) -> ReadyAnswer:
    """200 when the truth answers and the index is in step with it; do not send requests here while
    it says 503.
    """
    answer = readiness(lineup)
    response.status_code = 200 if answer.ready else 503
    return answer
