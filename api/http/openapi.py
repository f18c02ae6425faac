"""What FastAPI cannot see: bodies with two media types, and errors that are problem documents."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.http.problems import MEDIA_TYPE, ProblemAnswer
from api.lookups.batches.request import LookupBatch
from api.lookups.request import LookupRequest
from api.worker.submitting import IngestOrder

SCHEMAS = "#/components/schemas/{model}"
REFERRED: tuple[type[BaseModel], ...] = (
    LookupRequest,
    LookupBatch,
    IngestOrder,
    ProblemAnswer,
)
FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")


def complete_openapi(app: FastAPI) -> None:
    """Add the schemas that routes refer to in `openapi_extra`, and describe errors as they are."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        schemas = document["components"]["schemas"]
        _, found = models_json_schema(
            [(model, "validation") for model in REFERRED], ref_template=SCHEMAS
        )
        for name, schema in found["$defs"].items():
            schemas.setdefault(name, schema)
        for methods in document["paths"].values():
            for operation in methods.values():
                _describe_errors(operation["responses"])
        for name in FASTAPI_ERRORS:
            schemas.pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe_errors(responses: dict[str, Any]) -> None:
    """FastAPI lists its own answer to an invalid request, which this service does not send."""
    responses.pop("422", None)
    schema = {"$ref": SCHEMAS.format(model=ProblemAnswer.__name__)}
    responses["default"] = {
        "description": "An error. `type` names its kind.",
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
