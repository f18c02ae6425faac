"""The outermost middleware: headers on every answer, and an answer to every error."""

from __future__ import annotations

import logging

import pytest
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from api.http.answers import SAFE_HEADERS, SafeAnswers


async def answer(scope: Scope, _: Receive, send: Send) -> None:
    headers = [(b"content-security-policy", b"default-src *"), (b"x-own", b"kept")]
    if scope["path"] == "/before":
        raise RuntimeError("a secret")
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/after":
        raise RuntimeError("a secret")
    await send({"type": "http.response.body", "body": b"0"})


def test_headers_forbid_guessing_framing_and_loading_from_and_by_elsewhere() -> None:
    headers = TestClient(SafeAnswers(answer)).get("/").headers
    assert headers["x-own"] == "kept"
    assert {name: headers.get_list(name) for name in SAFE_HEADERS} == {
        name: [value] for name, value in SAFE_HEADERS.items()
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"].split(", ")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


def test_an_error_that_nothing_answers_is_a_defect_with_the_headers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        response = TestClient(SafeAnswers(answer)).get("/before")
    assert response.status_code == 500
    assert response.json()["type"] == "urn:lineup:problem:defect"
    assert "secret" not in response.text
    assert {name: response.headers[name] for name in SAFE_HEADERS} == SAFE_HEADERS
    assert "a secret" in caplog.text


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    assert TestClient(SafeAnswers(answer)).get("/after").status_code == 200
