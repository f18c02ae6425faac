"""The OpenAPI document: complete, and true to what the routes answer."""

from __future__ import annotations

from fastapi.testclient import TestClient

from tests.api.http.client import Json


def described_by(schema: Json, schemas: Json) -> bool:
    """Whether a field has a description of its own or is one object that has."""
    referred = schema.get("$ref", "").rpartition("/")[2]
    return bool(schema.get("description") or schemas.get(referred, {}).get("description"))


def test_every_operation_has_a_summary_and_a_description(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    operations = [operation for path in paths.values() for operation in path.values()]

    assert [
        each["operationId"]
        for each in operations
        if not (each.get("summary") and each.get("description"))
    ] == []


def test_every_field_of_a_model_has_a_description(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    ours = {
        name: schema for name, schema in schemas.items() if not name.endswith("ValidationError")
    }

    fields = [
        (model, *field)
        for model, schema in ours.items()
        for field in schema.get("properties", {}).items()
    ]

    assert [
        f"{model}.{name}" for model, name, schema in fields if not described_by(schema, schemas)
    ] == []
