"""Errors as `application/problem+json` (RFC 9457), by the table of `api.problems`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.errors import InvalidRequest
from api.problems import DEFECT, ROOTS, URN, name_failure, problem_of
from api.server_paths import describe_for_client
from index.errors import CorpusError
from index.truth.databases.database import Database

MEDIA_TYPE = "application/problem+json"
DOES_NOT_FIT = "the request does not fit its schema"
# Field problems that an answer lists. A person reads the first ones; a body of megabytes can have
# hundreds of thousands, and an answer is built in the event loop.
MAX_FIELD_PROBLEMS = 100
# Errors that Starlette raises itself. None of Lineup's own errors has these types.
_BY_STATUS: Mapping[int, tuple[str, str]] = {
    HTTPStatus.NOT_FOUND: ("unknown-route", "Unknown route"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method-not-allowed", "Method not allowed"),
}
log = logging.getLogger(__name__)


class HoldsDatabase(Protocol):
    """A product with its database: `api.lineup.Lineup`."""

    @property
    def database(self) -> Database: ...


class CurrentProduct(Protocol):
    """What holds the product of a server: `api.worker.current.CurrentLineup`."""

    def held(self) -> AbstractContextManager[HoldsDatabase]: ...


class FieldProblem(BaseModel):
    """A field of the request that is wrong."""

    field: str = Field(description="Path of the field, with dots.", examples=["filter.kind"])
    detail: str = Field(description="What is wrong, for people.")


class ProblemAnswer(BaseModel):
    """An error (RFC 9457, problem details)."""

    type: str = Field(
        examples=["urn:lineup:problem:unknown-corpus"],
        description="URI of the kind of problem. It is stable, so programs can rely on it.",
    )
    title: str = Field(examples=["Unknown corpus"], description="The kind of problem, for people.")
    status: int = Field(examples=[404], description="HTTP status code.")
    detail: str | None = Field(None, description="This occurrence of the problem, for people.")
    errors: list[FieldProblem] | None = Field(
        None,
        description="The fields that are wrong, if the request does not fit its schema: "
        f"the first {MAX_FIELD_PROBLEMS}.",
    )


def describe_problem(err: Exception) -> ProblemAnswer:
    """Describe an error. An unexpected one reveals nothing about itself."""
    err = name_failure(err)
    problem = problem_of(err)
    listed = islice(getattr(err, "errors", ()), MAX_FIELD_PROBLEMS)
    errors = [FieldProblem.model_validate(each) for each in listed]
    return ProblemAnswer(
        type=problem.type,
        title=problem.title,
        status=problem.status,
        detail="an unexpected error; the server's log describes it"
        if problem is DEFECT
        else describe_for_client(err),
        errors=errors or None,
    )


def build_response(err: Exception) -> JSONResponse:
    """Build the response for an error.

    An error with `retry_after_seconds`, a whole number or None, says it as `Retry-After`.
    """
    err = name_failure(err)
    answer = describe_problem(err)
    seconds = getattr(err, "retry_after_seconds", None)
    return _respond(answer, None if seconds is None else {"Retry-After": str(seconds)})


def list_field_problems(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The first field problems of a pydantic error, as `InvalidRequest` takes them."""
    return [
        {"field": ".".join(map(str, each["loc"])), "detail": str(each["msg"])}
        for each in islice(errors, MAX_FIELD_PROBLEMS)
    ]


def answer_with_problems(app: FastAPI) -> None:
    """Turn every error that leaves a route into a problem, including invalid requests and unknown
    routes.
    """
    for root in ROOTS:
        app.add_exception_handler(root, _answer_known)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(ClientDisconnect, _answer_gone)
    app.add_exception_handler(Exception, _answer_defect)


async def _answer_known(request: Request, err: Exception) -> JSONResponse:
    if problem_of(err).status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, err)
    return build_response(err)


async def _answer_invalid(_: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, RequestValidationError)
    return build_response(InvalidRequest(DOES_NOT_FIT, list_field_problems(err.errors())))


async def _answer_http(request: Request, err: Exception) -> JSONResponse:
    """An error of Starlette, for example an unknown route. Its type is named after its status."""
    assert isinstance(err, HTTPException)
    if isinstance(err.__cause__, ROOTS):  # raised while FastAPI read the body
        return build_response(err.__cause__)
    detail = None if err.detail == HTTPStatus(err.status_code).phrase else str(err.detail)
    return describe_status(
        err.status_code, err.headers or {}, detail or f"{request.method} {request.url.path}"
    )


def describe_status(
    status: int, headers: Mapping[str, str], detail: str | None = None
) -> JSONResponse:
    """Build the response for an error of the framework, which has a status and headers only."""
    phrase = HTTPStatus(status).phrase
    slug, title = _BY_STATUS.get(status, (phrase.lower().replace(" ", "-"), phrase))
    answer = ProblemAnswer(type=f"{URN}{slug}", title=title, status=status, detail=detail)
    kept = {
        name: value
        for name, value in headers.items()
        if name.lower() not in {"content-length", "content-type"}
    }
    return _respond(answer, kept)


async def _answer_gone(_: Request, __: Exception) -> JSONResponse:
    """The client has closed the connection while it sent its body. Nobody reads this answer."""
    return build_response(InvalidRequest("the request ended before its body did"))


async def _answer_defect(request: Request, err: Exception) -> JSONResponse:
    log.error("%s %s", request.method, request.url.path, exc_info=err)
    current = getattr(request.app.state, "current", None)
    if current is not None and problem_of(name_failure(err)) is DEFECT:
        err = await run_in_threadpool(_find_damage, current, err)
    return build_response(err)


def _find_damage(current: CurrentProduct, err: Exception) -> Exception:
    """Return the damage of the database behind an error that nobody foresaw; itself without any."""
    try:
        with current.held() as lineup:
            return lineup.database.find_damage() or err
    except CorpusError as failure:
        return failure


def _respond(answer: ProblemAnswer, headers: Mapping[str, str] | None) -> JSONResponse:
    return JSONResponse(
        answer.model_dump(exclude_none=True), answer.status, headers, media_type=MEDIA_TYPE
    )
