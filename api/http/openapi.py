"""What FastAPI cannot see in the OpenAPI document: bodies that a route reads itself, for it takes
two media types.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api.lookups.json import LookupRequest
from api.worker.submitting import IngestOrder

SCHEMAS = "#/components/schemas/{model}"


def describe_bodies(app: FastAPI) -> None:
    """Add the schemas that `openapi_extra` of the routes refers to."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        _, found = models_json_schema(
            [(LookupRequest, "validation"), (IngestOrder, "validation")], ref_template=SCHEMAS
        )
        for name, schema in found.get("$defs", {}).items():
            document["components"]["schemas"].setdefault(name, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
