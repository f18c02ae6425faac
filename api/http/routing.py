"""How every route reads a request: one place, so that new routes cannot forget it.

A route refuses query parameters that it does not have, and parts of a form likewise; reads JSON
strictly and forms in threads; and runs in the lane of its kind. An endpoint that takes nothing but
the request reads it itself, and is called without FastAPI's search for parameters: that takes a
look-up as long as its search.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from inspect import iscoroutinefunction, signature
from typing import Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from api.errors import InvalidRequest, UnsupportedBody
from api.http.forms import read_form
from api.http.lanes import Kind, Lanes
from api.http.strict_json import check_text, read_json

READING_METHODS = frozenset({"GET", "HEAD"})
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_KIND = "lane"  # the attribute of an endpoint that names its lane


def lane(kind: Kind) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint run in this lane. Without it, it runs among reads or changes."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _KIND, kind)
        return endpoint

    return mark


def enter_lane(kind: Kind) -> params.Depends:
    """Return what FastAPI enters when the body is there, and leaves before the answer is sent.

    An export is left when its file is sent.
    """

    async def enter(request: Request) -> AsyncIterator[None]:
        lanes: Lanes = request.app.state.lanes
        async with lanes[kind].turn():
            yield

    dependency: params.Depends = Depends(
        enter, scope="request" if kind is Kind.EXPORTS else "function"
    )
    return dependency


class StrictRequest(Request):
    """A request whose JSON is read strictly, and whose form is read in threads."""

    fields: frozenset[str] = frozenset()  # the names of the form's parts

    async def json(self) -> Any:  # noqa: ANN401 - as Starlette's
        """Read the body as JSON. Raises `InvalidRequest`."""
        return await anyio.to_thread.run_sync(read_json, await self.body())

    async def form(self, **_limits: Any) -> FormData:  # type: ignore[override]  # noqa: ANN401 - FastAPI awaits it
        """Read the body as a form; empty without a body. Raises `InvalidRequest`."""
        if self._form is None:
            media_type = read_media_type(self)
            if media_type == "multipart/form-data":
                self._form = await read_form(self, self.fields)
            elif media_type:
                raise UnsupportedBody(media_type, ("multipart/form-data",))
            else:
                self._form = FormData()
        return self._form


class Route(APIRoute):
    """A route of Lineup."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependencies: Sequence[params.Depends] | None = None,
        **options: Any,  # noqa: ANN401 - as FastAPI's
    ) -> None:
        is_read = READING_METHODS.issuperset(methods or ("GET",))
        kind = getattr(endpoint, _KIND, Kind.READS if is_read else Kind.CHANGES)
        own = [] if kind is Kind.NONE else [enter_lane(kind)]
        super().__init__(
            path, endpoint, methods=methods, dependencies=[*own, *(dependencies or ())], **options
        )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request of this route."""
        handle = super().get_route_handler()
        if _takes_only_request(self.endpoint, self.dependant):
            handle = self.endpoint
        known = frozenset(_list_query(self.dependant))
        fields = frozenset(str(each.alias) for each in self.dependant.body_params)

        async def handle_strictly(request: Request) -> Response:
            _check_query(request, known)
            strict = StrictRequest(request.scope, request.receive)
            strict.fields = fields
            return await handle(strict)

        return handle_strictly


def make_router(**options: Any) -> APIRouter:  # noqa: ANN401 - as FastAPI's
    """Make a router whose routes are `Route`."""
    return APIRouter(route_class=Route, **options)


def read_media_type(request: Request) -> str:
    """The media type of the request's body without parameters, in lower case; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _takes_only_request(endpoint: Callable[..., Any], dependant: Dependant) -> bool:
    """Whether FastAPI has nothing to find for an endpoint, and calls it in the event loop."""
    names = [*signature(endpoint).parameters]
    is_alone = names == [dependant.request_param_name] and not dependant.dependencies
    return is_alone and iscoroutinefunction(endpoint)


def _list_query(dependant: Dependant) -> list[str]:
    """Return the names of the query parameters of a route and of what it depends on."""
    names = [str(each.alias) for each in dependant.query_params]
    return names + [name for each in dependant.dependencies for name in _list_query(each)]


def _check_query(request: Request, known: frozenset[str]) -> None:
    """Raise `InvalidRequest` for a query parameter that the route does not have, or has once."""
    sent = request.query_params.multi_items() if request.scope["query_string"] else []
    names = [name for name, _ in sent]
    wrong = [
        {"field": f"query.{name[:50]}", "detail": detail}
        for detail, found in (
            ("this route has no such parameter", [each for each in names if each not in known]),
            ("it stands there twice", [each for each in known if names.count(each) > 1]),
        )
        for name in sorted(set(found))
    ]
    if wrong:
        raise InvalidRequest("the query has parameters that mean nothing here", wrong)
    for _, value in sent:
        check_text(value)
    for value in request.path_params.values():
        check_text(str(value))
