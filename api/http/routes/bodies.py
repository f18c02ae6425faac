"""Bodies that a route reads itself, because it accepts two media types, JSON or a form with a file,
or because they are large.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.errors import InvalidRequest
from api.http.problems import DOES_NOT_FIT, list_field_problems
from api.http.strict_json import read_json

Body = TypeVar("Body", bound=BaseModel)
# A body up to this size is read in the event loop. The embedding of a large model, 1,024 numbers,
# has 22 kB and takes 0.15 ms, about as much as handing it to a thread (2026-11-30).
MAX_BYTES_AT_ONCE = 2**15


def parse_json(model: type[Body], text: str | bytes) -> Body:
    """Read JSON text as a model. Raises `InvalidRequest`, which names each field that is wrong."""
    read_json(text)
    try:
        return model.model_validate_json(text)
    except ValidationError as err:
        errors = err.errors(include_url=False, include_context=False)
        raise InvalidRequest(DOES_NOT_FIT, list_field_problems(errors)) from err


async def read_model(request: Request, model: type[Body]) -> Body:
    """Read the body to its end as a model; a large one in a thread, beside the event loop.

    Raises `InvalidRequest`.
    """
    body = await request.body()
    if len(body) <= MAX_BYTES_AT_ONCE:
        return parse_json(model, body)
    return await run_in_threadpool(parse_json, model, body)


def read_announced_bytes(request: Request) -> int:
    """The bytes that the request says to have; 0 if it does not say."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


def describe_body(model: type[BaseModel], form: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `requestBody` of a route that accepts a model as JSON, or a form if it has one.

    `api.http.openapi` adds the model's schema.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    if form is not None:
        content["multipart/form-data"] = {"schema": {"type": "object", **form}}
    return {"required": True, "content": content}
