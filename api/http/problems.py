"""Errors as `application/problem+json` (RFC 9457), by the table of `api.problems`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.errors import InvalidRequest, Overloaded
from api.problems import DEFECT, ROOTS, problem_of

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)


def problem_response(err: Exception) -> JSONResponse:
    """The error as application/problem+json."""
    problem = problem_of(err)
    if problem is DEFECT:
        return _response(
            DEFECT.status, DEFECT.type, DEFECT.title, "an unexpected error; the server's log has it"
        )
    response = _response(
        problem.status,
        problem.type,
        problem.title,
        str(err),
        errors=list(getattr(err, "errors", ())),
    )
    if isinstance(err, Overloaded):
        response.headers["Retry-After"] = str(err.retry_after_seconds)
    return response


def answer_with_problems(app: FastAPI) -> None:
    """Every error that leaves a route becomes a problem, validation and unknown routes included."""
    for root in ROOTS:
        app.add_exception_handler(root, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


async def _known(request: Request, err: Exception) -> JSONResponse:
    if problem_of(err).status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, err)
    return problem_response(err)


async def _invalid(_: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, RequestValidationError)
    details = [
        {"field": ".".join(map(str, each["loc"])), "detail": str(each["msg"])}
        for each in err.errors()
    ]
    return problem_response(InvalidRequest("the request does not fit its schema", details))


async def _http(_: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, HTTPException)
    return _response(err.status_code, "about:blank", str(err.detail), headers=err.headers)


async def _defect(request: Request, err: Exception) -> JSONResponse:
    log.error("%s %s", request.method, request.url.path, exc_info=err)
    return problem_response(err)


def _response(
    status: int,
    type_: str,
    title: str,
    detail: str | None = None,
    errors: list[Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body: dict[str, Any] = {"type": type_, "title": title, "status": status}
    if detail is not None:
        body["detail"] = detail
    if errors:
        body["errors"] = errors
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)
