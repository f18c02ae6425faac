"""Hostile values in every path, query, body and form of every route, taken from the OpenAPI
document, so that a new route is swept too: each is answered with a typed problem, never a defect.

The short form gives every field some values in turn, so that each value goes to some field;
`make prove` gives every field every value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.http.answers import SAFE_HEADERS
from api.http.app import create_app
from api.http.routing import Route
from tests.api.conftest import settings as make_settings
from tests.clients import NO_BROWSER

Json = dict[str, Any]
Deal = Callable[[Sequence[Any]], Sequence[Any]]
FEW = 5  # values for each field in the short form
NAMES = [
    "BAD Name",
    "a" * 300,
    "a" * 10_000,
    "\0",
    "a\0b",
    "..",
    "../../etc/passwd",
    "a/b",
    "%2F",
    "é",
    "\u202egnp.exe",
    "\x1b[2J",
    "-1",
    "0",
    str(2**63),
    "9" * 400,
    "1e9",
    "NaN",
    "null",
    "' OR 1=1 --",
    "\N{PILE OF POO}",
    " ",
    "",
]
RAW_NAMES = ["%00", "%ff", "%ED%A0%80", "%2F", "%2e%2e%2f", "%5c", "%0d%0aX: y", "%", "%zz"]
QUOTED_NAMES = [*(quote(name, safe="") for name in NAMES), *RAW_NAMES]
FIELDS = [*NAMES, "{}", "[]"]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    10**30,
    1.5,
    -0.0,
    1e308,
    "",
    *NAMES,
    [],
    [[]],
    {},
    {"a": {"b": []}},
    ["a"] * 2000,
    [None],
]
# JSON that no serialiser writes.
RAW_JSON = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"a"',
    b"\xff\xfe{}",
    b"\x00",
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": -Infinity}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": "\\ud800"}',
    b'{"a": "\\u0000"}',
    b'{"\\u0000": 1}',
    b'{"a": 1, "a": 2}',
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"{}" * 2,
    b"\xef\xbb\xbf{}",
    b'{"a": "' + b"\xed\xa0\x80" + b'"}',
]
# Forms that no program sends.
HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
RAW_FORMS = [
    b"",
    b"--x--\r\n",
    b"--y\r\n\r\n--y--",
    HEAD,
    HEAD + b"data\r\n--x",
    b"--x\r\n\r\n\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name*=utf-8''%ff\r\n\r\na\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\na\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n\xff\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{"k": NaN}\r\n--x--\r\n',
    HEAD.replace(b"a.png", b"a\\\0.png") + b"\r\n--x--\r\n",
    HEAD.replace(b"a.png", b"\xff") + b"a\r\n--x--\r\n",
    (HEAD + b"a\r\n") * 2 + b"--x--\r\n",
    (b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{}\r\n') * 2000 + b"--x--\r\n",
    b"--x\r\n" + b"A: b\r\n" * 100 + b"\r\n\r\n--x--\r\n",
    b"--x\r\nA: " + b"b" * 100_000 + b"\r\n\r\n\r\n--x--\r\n",
    HEAD + b"\r\n--" * 100_000 + b"\r\n--x--\r\n",
]
CONTENT_TYPES = [
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "x" * 300,
    "multipart/form-data; boundary=\u00e9",
    "multipart/form-data; charset=idna; boundary=x",
    "application/x-www-form-urlencoded",
    "application/json; charset=utf-16",
    "text/plain",
    "nonsense",
    "",
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The application with one entry, so that routes get beyond `not found`."""
    data = tmp_path_factory.mktemp("hostile")
    chosen = make_settings(data).model_copy(update={"server_works": False})
    with TestClient(create_app(chosen), base_url="http://localhost", headers=NO_BROWSER) as opened:
        opened.post("/v1/corpora", json={"name": "known", "kind": "known_fake"})
        yield opened


@pytest.fixture(scope="module")
def document(client: TestClient) -> Json:
    found: Json = client.get("/openapi.json").json()
    return found


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.prove)])
def deal(request: pytest.FixtureRequest) -> Iterator[Deal]:
    """Gives a field its share of a list of values: the next few, or all. None may be left over."""
    few = FEW if request.param == "some" else None
    dealt: dict[int, int] = {}
    known: dict[int, Sequence[Any]] = {}

    def give(values: Sequence[Any]) -> Sequence[Any]:
        begin, count = dealt.get(id(values), 0), few or len(values)
        dealt[id(values)], known[id(values)] = begin + count, values
        return [values[each % len(values)] for each in range(begin, begin + count)]

    yield give
    assert all(dealt[key] >= len(values) for key, values in known.items())


def operations(document: Json) -> list[tuple[str, str, Json]]:
    """Every method, path and operation."""
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def parameters(operation: Json, place: str) -> list[Json]:
    return [each for each in operation.get("parameters", ()) if each["in"] == place]


def good(parameter: Json) -> str:
    """A value that the route accepts: what it names may not exist."""
    if parameter["schema"].get("type") == "integer":
        return "1"
    return "known"


def fill(path: str, operation: Json, name: str = "", value: str = "") -> str:
    """The path with good values, and with one that is given, already quoted."""
    for each in parameters(operation, "path"):
        chosen = value if each["name"] == name else good(each)
        path = path.replace(f"{{{each['name']}}}", chosen)
    return path


def content_of(document: Json, operation: Json) -> Json:
    """The body's schemas by media type, with references followed."""
    content = operation.get("requestBody", {}).get("content", {})
    return {kind: follow(document, each["schema"]) for kind, each in content.items()}


def follow(document: Json, schema: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def assert_typed(response: httpx.Response, sent: object = "") -> None:
    """An answer of the route, or a problem: never a defect, never without its headers."""
    assert response.status_code < 500, (sent, response.status_code, response.text[:500])
    assert {name: response.headers[name] for name in SAFE_HEADERS} == SAFE_HEADERS, sent
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json", sent
        if response.request.method == "HEAD":
            assert response.content == b""
            return
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["type"].startswith("urn:lineup:problem:")


def test_every_route_of_the_application_is_a_strict_one(client: TestClient) -> None:
    plain = [
        route
        for route in iterate_routes(client.app.routes)
        if not isinstance(route, Route) and getattr(route, "path", "") != "/static"
    ]
    assert plain == []


def iterate_routes(routes: Any) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None:
            yield from iterate_routes(inner.routes)
        else:
            yield route


def test_hostile_names_in_every_path(client: TestClient, document: Json, deal: Deal) -> None:
    for method, path, operation in operations(document):
        for parameter in parameters(operation, "path"):
            for value in deal(QUOTED_NAMES):
                asked = fill(path, operation, parameter["name"], value)
                assert_typed(client.request(method, asked), (method, asked[:200]))
            if parameter["name"] == "name" and "corpora" in path:
                asked = fill(path, operation, "name", "BAD%20Name")
                assert client.request(method, asked).status_code == 422


def test_hostile_values_in_every_query(client: TestClient, document: Json, deal: Deal) -> None:
    for method, path, operation in operations(document):
        asked = fill(path, operation)
        for parameter in parameters(operation, "query"):
            for value in deal(QUOTED_NAMES):
                query = f"{asked}?{parameter['name']}={value}"
                assert_typed(client.request(method, query), (method, query[:200]))


def test_unknown_query_parameters_are_refused_on_every_route(
    client: TestClient, document: Json
) -> None:
    paths = [
        *((method, fill(path, operation)) for method, path, operation in operations(document)),
        ("GET", "/"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/ingests"),
    ]
    for method, path in paths:
        response = client.request(method, f"{path}?limti=1")
        assert (response.status_code, response.json()["type"]) == (
            422,
            "urn:lineup:problem:invalid-request",
        ), (method, path)
        assert response.json()["errors"][0]["field"] == "query.limti"
    twice = client.get("/v1/corpora?limit=1&limit=2")
    assert twice.status_code == 422


def test_json_that_is_none_or_cannot_be_stored_on_every_route(
    client: TestClient, document: Json, deal: Deal
) -> None:
    for method, path, operation in operations(document):
        if "application/json" not in content_of(document, operation):
            continue
        for body in deal(RAW_JSON):
            response = client.request(
                method,
                fill(path, operation),
                content=body,
                headers={"content-type": "application/json"},
            )
            assert_typed(response, (method, path, body[:50]))
            assert response.status_code in {422, 404}, (method, path, body[:50], response.text)


def test_hostile_values_in_every_field_of_every_body(
    client: TestClient, document: Json, deal: Deal
) -> None:
    for method, path, operation in operations(document):
        schema = content_of(document, operation).get("application/json", {})
        for name in schema.get("properties", ()):
            for value in deal(VALUES):
                body = {**make_body(document, schema), name: value}
                response = client.request(method, fill(path, operation), json=body)
                assert_typed(response, (method, path, name, str(value)[:50]))


def make_body(document: Json, schema: Json) -> Json:
    """The fields that must be there, with values of the right kind."""
    made: Json = {}
    for name in schema.get("required", ()):
        field = follow(document, schema["properties"][name])
        first = field.get("examples", field.get("enum", ["known"]))[0]
        made[name] = 1 if field.get("type") == "integer" else first
    return made


def test_hostile_values_in_every_field_of_every_form(
    client: TestClient, document: Json, deal: Deal
) -> None:
    for method, path, operation in operations(document):
        schema = content_of(document, operation).get("multipart/form-data", {})
        for name in schema.get("properties", ()):
            for value in deal(FIELDS):
                response = client.request(
                    method,
                    fill(path, operation),
                    files={"image": b"x"} if "image" in schema["properties"] else {"source": b"x"},
                    data={name: value},
                )
                assert_typed(response, (method, path, name, value[:50]))


def test_forms_that_are_none_on_every_route(client: TestClient, document: Json, deal: Deal) -> None:
    for method, path, operation in operations(document):
        if "multipart/form-data" not in content_of(document, operation):
            continue
        for body, media_type in [
            *((body, "multipart/form-data; boundary=x") for body in deal(RAW_FORMS)),
            *((HEAD + b"a\r\n--x--\r\n", each) for each in deal(CONTENT_TYPES)),
        ]:
            response = client.request(
                method,
                fill(path, operation),
                content=body,
                headers=[(b"content-type", media_type.encode())],
            )
            assert_typed(response, (method, path, body[:80], media_type))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "BREW"])
@pytest.mark.parametrize(
    "path",
    ["/", "/livez", "/v1/corpora", "/static/lineup.js", "/nowhere", "/static/%00", "//", "/.."],
)
def test_every_method_of_every_kind_of_path(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path)
    assert_typed(response, (method, path))


@pytest.mark.parametrize("value", ["bytes=9-1", "bytes=-", "nonsense", "bytes=999999999-", "a=1-2"])
def test_a_wrong_range_of_a_file_is_a_problem(client: TestClient, value: str) -> None:
    response = client.get("/static/lineup.js", headers={"range": value})
    assert_typed(response, value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_any_json_in_any_field(client: TestClient, document: Json, data: st.DataObject) -> None:
    with_json = [
        (method, path, operation, schema)
        for method, path, operation in operations(document)
        if (schema := content_of(document, operation).get("application/json"))
    ]
    method, path, operation, schema = data.draw(st.sampled_from(with_json))
    body = make_body(document, schema)
    for name in data.draw(st.lists(st.sampled_from(sorted(schema["properties"])), max_size=3)):
        body[name] = data.draw(json_values)
    response = client.request(
        method,
        fill(path, operation),
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert_typed(response, (method, path, body))
