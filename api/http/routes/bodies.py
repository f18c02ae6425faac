"""Bodies that a route reads itself, because it accepts two media types: JSON, or a form with a
file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from api.errors import InvalidRequest
from api.http.problems import DOES_NOT_FIT, list_field_problems

Body = TypeVar("Body", bound=BaseModel)


def read_media_type(request: Request) -> str:
    """The media type of the request's body without parameters, in lower case; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_json(model: type[Body], text: str | bytes) -> Body:
    """Read JSON text as a model. Raises `InvalidRequest`, which names each field that is wrong."""
    try:
        return model.model_validate_json(text)
    except ValidationError as err:
        raise InvalidRequest(DOES_NOT_FIT, list_field_problems(err.errors())) from err


def read_announced_bytes(request: Request) -> int:
    """The bytes that the request says to have; 0 if it does not say."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


@asynccontextmanager
async def receive_upload(request: Request, count: Callable[[int], None]) -> AsyncIterator[FormData]:
    """Read a form with one file; `count` is called with the bytes of each piece that arrives.

    An error of `count` ends the request. The file of the form is removed after the block.
    """

    async def counted() -> AsyncGenerator[bytes, None]:
        async for piece in request.stream():
            count(len(piece))
            yield piece

    try:
        async with aclosing(counted()) as pieces:
            parser = MultiPartParser(request.headers, pieces, max_files=1, max_fields=4)
            form = await parser.parse()
    except MultiPartException as err:
        raise HTTPException(400, err.message) from err
    try:
        yield form
    finally:
        await form.close()


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
