"""Models, the index, liveness and readiness over HTTP."""

from __future__ import annotations

from fastapi.testclient import TestClient

from tests.api.conftest import Picture
from tests.api.http.client import look_up


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
