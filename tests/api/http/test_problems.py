"""Errors become problem documents: of the tables, of validation, of unknown routes, and defects."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError

from api.errors import InvalidRequest, Overloaded
from api.http.problems import (
    MAX_FIELD_PROBLEMS,
    MEDIA_TYPE,
    ProblemAnswer,
    answer_with_problems,
    build_response,
    list_field_problems,
)
from api.problems import DEFECT, PROBLEMS, URN
from index.errors import InvalidInput, InvalidProvenance, TruthDamaged, UnknownCorpus

RAISED: dict[str, Exception] = {
    "unknown": UnknownCorpus("nowhere"),
    "full": Overloaded(4, 7),
    "damaged": TruthDamaged("a row has no image"),
    "defect": RuntimeError("secret path"),
    "fields": InvalidRequest("does not fit", [{"field": "k", "detail": "too small"}]),
}


class Sent(BaseModel):
    k: int


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()

    @app.get("/raise/{name}")
    def fail(name: str) -> None:
        raise RAISED[name]

    @app.post("/sent")
    def take(sent: Sent, limit: Annotated[int, Query(ge=1)] = 1) -> int:
        return sent.k * limit

    answer_with_problems(app)
    return TestClient(app, raise_server_exceptions=False)


def read(response: Any) -> dict[str, Any]:
    assert response.headers["content-type"] == MEDIA_TYPE
    answer = response.json()
    assert answer["status"] == response.status_code
    assert ProblemAnswer.model_validate(answer).title
    return answer


def test_an_error_of_the_table_has_its_row_and_its_own_words(client: TestClient) -> None:
    answer = read(client.get("/raise/unknown"))
    row = PROBLEMS[UnknownCorpus]
    assert (answer["status"], answer["type"], answer["title"]) == (404, row.type, row.title)
    assert answer["detail"] == str(RAISED["unknown"])
    assert "errors" not in answer


def test_a_full_queue_says_when_to_come_back(client: TestClient) -> None:
    response = client.get("/raise/full")
    assert (read(response)["status"], response.headers["retry-after"]) == (503, "7")
    assert "retry-after" not in client.get("/raise/unknown").headers


def test_a_defect_reveals_nothing_and_is_logged_with_its_cause(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = read(client.get("/raise/defect"))
    assert (answer["status"], answer["type"]) == (500, DEFECT.type)
    assert "secret" not in json.dumps(answer)
    (record,) = [each for each in caplog.records if each.name == "api.http.problems"]
    assert record.exc_info is not None
    assert record.exc_info[1] is RAISED["defect"]
    assert "GET /raise/defect" in record.getMessage()


def test_errors_of_the_server_are_logged_and_those_of_the_client_are_not(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "api.http.problems"):
        assert read(client.get("/raise/unknown"))["status"] == 404
        assert [each for each in caplog.records if each.name == "api.http.problems"] == []
        assert read(client.get("/raise/damaged"))["status"] == 500
    (record,) = [each for each in caplog.records if each.name == "api.http.problems"]
    assert "a row has no image" in record.getMessage()


def test_fields_that_are_wrong_are_named(client: TestClient) -> None:
    answer = read(client.post("/sent?limit=0", json={"k": "many"}))
    assert (answer["status"], answer["type"]) == (422, PROBLEMS[InvalidRequest].type)
    assert [each["field"] for each in answer["errors"]] == ["query.limit", "body.k"]
    assert all(each["detail"] for each in answer["errors"])
    answer = read(client.get("/raise/fields"))
    assert answer["errors"] == [{"field": "k", "detail": "too small"}]


def test_unknown_routes_and_methods_are_problems_too(client: TestClient) -> None:
    missing = read(client.get("/nowhere"))
    assert (missing["status"], missing["type"]) == (404, "urn:lineup:problem:unknown-route")
    assert (missing["title"], missing["detail"]) == ("Unknown route", "GET /nowhere")
    response = client.put("/sent")
    answer = read(response)
    assert (answer["status"], response.headers["allow"]) == (405, "POST")
    assert answer["type"] == "urn:lineup:problem:method-not-allowed"


def test_the_types_of_unknown_routes_are_those_of_no_other_error() -> None:
    own = {problem.type for problem in PROBLEMS.values()}
    assert own.isdisjoint({f"{URN}unknown-route", f"{URN}method-not-allowed"})


def test_an_error_without_a_row_is_answered_by_its_nearest_base() -> None:
    assert InvalidProvenance not in PROBLEMS
    response = build_response(InvalidProvenance("no text"))
    assert json.loads(bytes(response.body))["type"] == PROBLEMS[InvalidInput].type


def test_the_path_of_a_field_has_dots() -> None:
    class Outer(BaseModel):
        inner: list[Sent]

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": [{"k": 1}, {"k": None}]})
    (found,) = list_field_problems(caught.value.errors())
    assert found["field"] == "inner.1.k"


def test_of_very_many_field_problems_the_first_are_listed() -> None:
    each = {"field": "k", "detail": "unknown"}
    answer = json.loads(build_response(InvalidRequest("does not fit", [each] * 1000)).body)
    assert answer["errors"] == [each] * MAX_FIELD_PROBLEMS
    assert (
        len(list_field_problems([{"loc": ("k",), "msg": "unknown"}] * 1000)) == MAX_FIELD_PROBLEMS
    )
