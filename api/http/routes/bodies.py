"""Bodies that a route reads itself, because it takes two media types:

JSON, or a form with a file.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.errors import InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


def parsed(model: type[Body], text: str | bytes) -> Body:
    """JSON text as a model. Raises `InvalidRequest`, which names each field that does not fit."""
    try:
        return model.model_validate_json(text)
    except ValidationError as err:
        details = [
            {"field": ".".join(map(str, each["loc"])), "detail": each["msg"]}
            for each in err.errors()
        ]
        raise InvalidRequest("the request does not fit its schema", errors=details) from err


def request_body(model: type[BaseModel], form: dict[str, Any]) -> dict[str, Any]:
    """The body for `openapi_extra`: a model as JSON, or a form;

    `api.http.openapi` adds the model's schema.
    """
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}},
            "multipart/form-data": {"schema": {"type": "object", **form}},
        },
    }
