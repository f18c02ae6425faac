"""The service itself: models, liveness, readiness."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.answers import IndexAnswer, ModelsAnswer, ReadyAnswer
from api.catalogue import models
from api.health import readiness
from api.indexes import plan_index
from api.routes.dependencies import Opened

router = APIRouter(tags=["service"])
health = APIRouter(tags=["service"])


@router.get("/models", summary="List the models")
def read_models(lineup: Opened) -> ModelsAnswer:
    """The active one first; an embedding sent to POST /v1/lookups must be of its `embedding_space`."""
    return models(lineup.settings, lineup.embedder)


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
    """200 when the truth answers and the index is in step with it; do not send requests here while it says 503."""
    answer = readiness(lineup)
    response.status_code = 200 if answer.ready else 503
    return answer
