"""The OpenAPI document: complete, readable, and true to what the routes answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.http.app import create_app
from api.http.problems import MEDIA_TYPE
from tests.api.conftest import settings
from tests.api.http.client import Json

# Words of an earlier style, and claims that no field can make.
BANNED = re.compile(
    r"\b(told|whoever|whichever|it were|of now|of before|spoken for|proves?|guarantees?)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """Built without opening anything."""
    return create_app(settings(tmp_path_factory.mktemp("data"))).openapi()


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def described_fields(document: Json) -> Iterator[tuple[str, Json]]:
    for model, schema in document["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            yield f"{model}.{name}", field


def description_of(field: Json, schemas: Json) -> str:
    """A field's own description, or that of the one model that it is."""
    referred = field.get("$ref", "").rpartition("/")[2]
    return field.get("description") or schemas.get(referred, {}).get("description", "")


def texts(document: Json) -> Iterator[tuple[str, str]]:
    schemas = document["components"]["schemas"]
    yield "info", document["info"]["description"]
    for name, operation in operations(document):
        yield f"summary of {name}", operation["summary"]
        yield name, operation["description"]
        for parameter in operation.get("parameters", []):
            yield f"{name} {parameter['name']}", parameter.get("description", "")
        for status, response in operation["responses"].items():
            if response["description"] != "Successful Response":  # of FastAPI
                yield f"{name} {status}", response["description"]
        for media in operation.get("requestBody", {}).get("content", {}).values():
            for part, field in media["schema"].get("properties", {}).items():
                yield f"{name} {part}", field.get("description", "")
    for name, field in described_fields(document):
        yield name, description_of(field, schemas)


def test_every_text_is_there(document: Json) -> None:
    assert [name for name, text in texts(document) if not text.strip()] == []


def test_every_text_is_a_sentence(document: Json) -> None:
    """It begins with no space and ends with a full stop, or it is the title of an operation."""
    for name, text in texts(document):
        if name.startswith("summary of "):
            assert re.fullmatch(r"[A-Z][^.]+", text), name
        elif name != "info":
            assert re.fullmatch(r"\S.*[.`]", text.rstrip(), re.DOTALL), (name, text)


def test_no_text_uses_words_of_the_earlier_style_or_claims_too_much(document: Json) -> None:
    found = [(name, hit[0]) for name, text in texts(document) if (hit := BANNED.search(text))]
    assert found == []


def test_no_text_calls_an_image_authentic(document: Json) -> None:
    assert [name for name, text in texts(document) if re.search(r"\bauthentic\b", text)] == []


def test_every_schema_that_is_referred_to_is_there_and_none_is_fastapis_own(document: Json) -> None:
    schemas = document["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= schemas.keys()
    assert {
        "IngestOrder",
        "LookupRequest",
        "LookupBatch",
        "BatchProbe",
        "JobAnswer",
        "ProblemAnswer",
    } <= schemas.keys()
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()


def test_every_operation_describes_its_errors_as_problems(document: Json) -> None:
    for name, operation in operations(document):
        responses = operation["responses"]
        content = responses["default"]["content"]
        assert content[MEDIA_TYPE]["schema"]["$ref"].endswith("/ProblemAnswer"), name
        assert "422" not in responses, name


def test_the_document_is_the_same_each_time_it_is_asked_for(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path))
    first: Any = json.dumps(app.openapi())
    assert json.dumps(app.openapi()) == first


def test_routes_that_read_two_media_types_describe_both(document: Json) -> None:
    for path, model in (
        ("/v1/lookups", "LookupRequest"),
        ("/v1/corpora/{name}/ingests", "IngestOrder"),
    ):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert content.keys() == {"application/json", "multipart/form-data"}
        assert content["application/json"]["schema"]["$ref"].endswith(f"/{model}")
        properties = content["multipart/form-data"]["schema"]["properties"]
        assert [each["format"] for each in properties.values() if "format" in each] == ["binary"]


def test_the_page_and_the_aliases_of_earlier_releases_are_not_in_the_document(
    document: Json,
) -> None:
    assert "/" not in document["paths"]
    assert not [path for path in document["paths"] if path.startswith("/v1/ingests")]
