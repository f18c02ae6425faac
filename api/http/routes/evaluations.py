"""Evaluations: the server's model, measured on labelled images that the server can read."""

from __future__ import annotations

from api.evaluation.extra import require_extra
from api.evaluation.json import EvaluationAnswer
from api.evaluation.request import EvaluationRequest
from api.http.lanes import Kind
from api.http.routes.dependencies import Opened
from api.http.routing import lane, make_router

router = make_router(tags=["evaluations"])


@router.post("/evaluations", summary="Evaluate the model on labelled images")
@lane(Kind.EVALUATIONS)
def create_evaluation(wanted: EvaluationRequest, lineup: Opened) -> EvaluationAnswer:
    """Measures while the request waits, on at most 1,000 images; of more, a random sample is used.
    The command `lineup evaluate` has no such limit.

    The source, and each image that a manifest names, must lie within LINEUP_INGEST_ROOTS. Nothing
    is stored. The server needs the extra `evaluate`.
    """
    require_extra()
    from api.evaluation.running import evaluate_for_client  # noqa: PLC0415 - of the extra; slow to load

    return evaluate_for_client(lineup.embedder, lineup.settings, wanted)
