"""Bodies that a route reads itself, because it accepts two media types: JSON, or a form with a
file.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.errors import InvalidRequest
from api.http.problems import DOES_NOT_FIT, list_field_problems
from api.http.strict_json import read_json

Body = TypeVar("Body", bound=BaseModel)


def parse_json(model: type[Body], text: str | bytes) -> Body:
    """Read JSON text as a model. Raises `InvalidRequest`, which names each field that is wrong."""
    read_json(text)
    try:
        return model.model_validate_json(text)
    except ValidationError as err:
        errors = err.errors(include_url=False, include_context=False)
        raise InvalidRequest(DOES_NOT_FIT, list_field_problems(errors)) from err


def read_announced_bytes(request: Request) -> int:
    """The bytes that the request says to have; 0 if it does not say."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


def describe_body(model: type[BaseModel], form: dict[str, Any]) -> dict[str, Any]:
    """The `requestBody` of a route that accepts a model as JSON, or a form.

    `api.http.openapi` adds the model's schema.
    """
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}},
            "multipart/form-data": {"schema": {"type": "object", **form}},
        },
    }
