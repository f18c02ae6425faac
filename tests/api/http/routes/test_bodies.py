"""Bodies with two media types: how the type is read, JSON is parsed, and both are described."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from api.errors import InvalidRequest
from api.http.routes.bodies import describe_body, parse_json
from api.http.routing import read_media_type


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    k: int = 10
    names: list[str] = []


def request(content_type: str | None) -> Request:
    headers = [] if content_type is None else [(b"content-type", content_type.encode("latin-1"))]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[]", ""),
        ('{"k": "x"}', "k"),
        ('{"K": 1}', "K"),
        ('{"names": ["a", 1]}', "names.1"),
    ],
)
def test_json_that_does_not_fit_names_the_field(text: str | bytes, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_json(Wanted, text)
    assert [each["field"] for each in caught.value.errors] == [field]
    assert all(each["detail"] for each in caught.value.errors)


def test_json_that_fits_is_a_model() -> None:
    assert parse_json(Wanted, b'{"k": 3}') == Wanted(k=3)
    assert parse_json(Wanted, "{}") == Wanted()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (None, ""),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        (" multipart/form-data ;boundary=x", "multipart/form-data"),
    ],
)
def test_the_media_type_is_read_without_parameters(sent: str | None, expected: str) -> None:
    assert read_media_type(request(sent)) == expected


def test_a_body_is_described_as_json_and_as_a_form() -> None:
    form = {"required": ["image"], "properties": {"image": {"type": "string"}}}
    described = describe_body(Wanted, form)
    assert described["required"] is True
    json_body = described["content"]["application/json"]["schema"]
    assert json_body == {"$ref": "#/components/schemas/Wanted"}
    assert described["content"]["multipart/form-data"]["schema"] == {"type": "object", **form}


@pytest.mark.parametrize("text", ["", "{", b"\xff{}", '{"k": 1, "k": 1}', '{"k": NaN}'])
def test_what_is_no_json_says_so(text: str | bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        parse_json(Wanted, text)
