"""Models, the index, liveness and readiness over HTTP."""

from __future__ import annotations

from fastapi.testclient import TestClient

from tests.api.conftest import Picture
from tests.api.http.client import look_up, problem


def test_the_process_is_alive(client: TestClient) -> None:
    response = client.get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_the_service_is_ready_with_the_generation_that_lookups_see(
    client: TestClient, picture: Picture
) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["checks"] == dict.fromkeys(
        ("model", "database", "index", "places", "decoding", "storage"), "ok"
    )
    assert response.json()["generation"] == look_up(client, picture(0))["method"]["generation"]


def test_the_doctor_says_what_is_missing(client: TestClient) -> None:
    answer = client.get("/v1/doctor").json()

    assert answer["healthy"]
    calibration = [each for each in answer["findings"] if each["topic"] == "calibration"]
    assert [each["level"] for each in calibration] == ["advice"]
    assert "lineup calibrate" in calibration[0]["next_step"]
    assert calibration[0]["calibration"]["photographs_wanted"] == 100


def test_the_active_model_comes_first(client: TestClient) -> None:
    first = client.get("/v1/models").json()["models"][0]

    assert (first["name"], first["active"], first["dimension"]) == ("builtin", True, 192)


def test_a_back_fill_without_a_descriptor_is_a_problem_that_says_why(client: TestClient) -> None:
    """The tests run without one."""
    answer = client.post("/v1/copies/backfill")

    assert problem(answer) == (503, "model-unavailable")
    assert "LINEUP_COPY_DESCRIPTOR is none" in answer.json()["detail"]


def test_a_service_without_copy_descriptors_is_ready_and_says_so(client: TestClient) -> None:
    ready = client.get("/readyz").json()

    assert ready["ready"]
    assert ready["copies"] == "LINEUP_COPY_DESCRIPTOR is none"
    findings = client.get("/v1/doctor").json()["findings"]
    (copies,) = [each for each in findings if each["topic"] == "copies"]
    assert copies["level"] == "ok"
