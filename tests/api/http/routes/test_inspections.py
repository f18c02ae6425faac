"""Quarantine and inspection over HTTP, over the filled application of `conftest`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.routes import inspections as routes
from api.inspection import inspecting
from embedder.network.embed import Embedder
from index.cache.live import LiveIndex
from tests.api.conftest import OpenFilled, Picture


@pytest.fixture
def filled(open_filled: OpenFilled, tmp_path: Path) -> Iterator[TestClient]:
    """A filled application that a test may change."""
    with open_filled(tmp_path) as client:
        yield client


def first_entry(client: TestClient, corpus: str = "diffusion") -> int:
    return int(client.get(f"/v1/corpora/{corpus}/entries").json()["entries"][0]["id"])


def quarantine(client: TestClient, entry_id: int, reason: str = "a photograph") -> Any:
    return client.post(f"/v1/entries/{entry_id}/quarantine", json={"reason": reason})


def found(client: TestClient, image: bytes) -> list[int]:
    answer = client.post("/v1/lookups", files={"image": image}).json()
    return [neighbour["entry"]["id"] for neighbour in answer["similarity"]["neighbours"]]


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "x" * 1001}, {"reason": "a", "why": "b"}, {"reason": 1}]
)
def test_a_quarantine_without_a_proper_reason_is_refused(
    client: TestClient, body: dict[str, Any]
) -> None:
    answer = client.post(f"/v1/entries/{first_entry(client)}/quarantine", json=body)
    assert (answer.status_code, answer.json()["type"]) == (
        422,
        "urn:lineup:problem:invalid-request",
    )


@pytest.mark.parametrize(
    ("reason", "kind"), [("  ", "invalid-value"), ("a\x00b", "invalid-request")]
)
def test_a_reason_that_says_nothing_or_cannot_be_stored_is_refused(
    client: TestClient, reason: str, kind: str
) -> None:
    answer = quarantine(client, first_entry(client), reason)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:lineup:problem:{kind}")


def test_what_is_not_there_is_not_found(client: TestClient) -> None:
    for path in ("/v1/corpora/nowhere/inspection", "/v1/corpora/nowhere/quarantine"):
        assert client.get(path).json()["type"] == "urn:lineup:problem:unknown-corpus"
    assert quarantine(client, 10**9).json()["type"] == "urn:lineup:problem:unknown-entry"
    assert (
        client.post(f"/v1/entries/{10**9}/release").json()["type"]
        == "urn:lineup:problem:unknown-entry"
    )


def test_a_live_entry_has_nothing_to_be_released_from(client: TestClient) -> None:
    answer = client.post(f"/v1/entries/{first_entry(client)}/release")
    assert (answer.status_code, answer.json()["type"]) == (
        409,
        "urn:lineup:problem:not-quarantined",
    )


@pytest.mark.parametrize("limit", [0, 1001, "all"])
def test_a_limit_outside_of_its_range_is_refused(client: TestClient, limit: object) -> None:
    assert client.get(f"/v1/corpora/diffusion/inspection?limit={limit}").status_code == 422


def test_a_cursor_of_somebody_else_is_refused(client: TestClient) -> None:
    assert client.get("/v1/corpora/diffusion/quarantine?cursor=bm9uZQ").status_code == 422


def test_a_corpus_that_takes_too_long_for_a_request_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert routes.MAX_COMPARISONS == inspecting.MAX_COMPARISONS
    monkeypatch.setattr(routes, "MAX_COMPARISONS", 14)  # three entries beside all five
    answer = client.get("/v1/corpora/diffusion/inspection")
    assert (answer.status_code, answer.json()["type"]) == (
        422,
        "urn:lineup:problem:inspection-too-large",
    )
    assert "lineup inspect" in answer.json()["detail"]
    assert client.get("/v1/corpora/swaps/inspection").status_code == 200


def test_a_quarantined_entry_is_gone_from_all_answers_and_comes_back_by_its_release(
    filled: TestClient, picture: Picture
) -> None:
    entry_id = first_entry(filled)
    before = filled.get(f"/v1/entries/{entry_id}").json()
    assert found(filled, picture(0))[0] == entry_id

    quarantined = quarantine(filled, entry_id)
    assert quarantined.status_code == 200
    assert quarantined.json()["entry"] == before
    assert entry_id not in found(filled, picture(0))
    assert filled.get(f"/v1/entries/{entry_id}").status_code == 404
    assert filled.get(f"/v1/entries/{entry_id}/thumbnail").status_code == 404
    assert filled.get("/v1/corpora/diffusion").json()["entry_count"] == 2
    assert quarantine(filled, entry_id).status_code == 404
    (listed,) = filled.get("/v1/corpora/diffusion/quarantine").json()["entries"]
    assert listed == quarantined.json()

    back = filled.post(f"/v1/entries/{entry_id}/release").json()
    assert (back["released"], back["made"]) == (entry_id, True)
    (history,) = back["entry"]["provenance"].pop("released_from_quarantine")
    assert (history["entry"], history["reason"]) == (entry_id, "a photograph")
    new_id = back["entry"]["id"]
    changing = {"id": new_id, "created_at": back["entry"]["created_at"]}
    assert back["entry"] == before | changing
    assert found(filled, picture(0))[0] == new_id
    assert filled.get(f"/v1/entries/{new_id}/thumbnail").status_code == 200
    assert filled.get("/v1/corpora/diffusion/quarantine").json() == {
        "entries": [],
        "next_cursor": None,
    }
    assert filled.post(f"/v1/entries/{entry_id}/release").status_code == 409


def test_adding_a_quarantined_image_again_is_refused_in_its_corpus_only(
    filled: TestClient, picture: Picture
) -> None:
    entry_id = first_entry(filled)
    quarantine(filled, entry_id)
    again = filled.post("/v1/corpora/diffusion/entries", files={"image": picture(0)})
    assert (again.status_code, again.json()["type"]) == (
        409,
        "urn:lineup:problem:entry-quarantined",
    )
    assert f"entry {entry_id}" in again.json()["detail"]
    assert filled.post("/v1/corpora/swaps/entries", files={"image": picture(0)}).status_code == 201
    assert filled.get("/v1/corpora/diffusion").json()["entry_count"] == 2


def test_the_quarantine_is_paged(filled: TestClient) -> None:
    ids = [entry["id"] for entry in filled.get("/v1/corpora/diffusion/entries").json()["entries"]]
    for entry_id in ids:
        quarantine(filled, entry_id)
    first = filled.get("/v1/corpora/diffusion/quarantine?limit=2").json()
    rest = filled.get(
        f"/v1/corpora/diffusion/quarantine?limit=2&cursor={first['next_cursor']}"
    ).json()
    assert [each["entry"]["id"] for each in first["entries"] + rest["entries"]] == ids
    assert rest["next_cursor"] is None


def test_an_inspection_names_the_same_bytes_on_both_sides_and_counts_all_that_it_does_not_list(
    filled: TestClient, picture: Picture, embedder: Embedder
) -> None:
    for seed in (0, 1):
        filled.post("/v1/corpora/camera/entries", files={"image": picture(seed)}).raise_for_status()
    answer = filled.get("/v1/corpora/diffusion/inspection?limit=1").json()
    assert (
        answer["entry_count"],
        answer["compared"],
        answer["known_real"],
        answer["known_fake"],
    ) == (3, 3, 3, 1)
    assert answer["limit"] == 1
    assert answer["contradictions"]["total"] == 2
    (named,) = answer["contradictions"]["items"]
    assert named["relation"] == "identical"
    assert named["entry"]["id"] == first_entry(filled)
    assert (named["entry"]["corpus"], named["other"]["corpus"]) == ("diffusion", "camera")
    assert answer["looks_real"]["no_traces_logit"] == embedder.info.no_traces_logit
    assert answer["hubs_for_photographs"]["pictures"] == 3
    assert answer["clusters"] == {"total": 0, "entry_count": 0, "items": []}
    reals = filled.get("/v1/corpora/camera/inspection").json()
    assert (reals["looks_real"], reals["hubs_for_photographs"]) == (None, None)
    assert reals["contradictions"]["total"] == 2


def test_a_change_made_by_another_process_is_seen_by_the_next_lookup(
    filled: TestClient, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of a server follows the log; the quarantine itself tells it nothing."""
    entry_id = first_entry(filled)
    assert found(filled, picture(0))[0] == entry_id
    monkeypatch.setattr(LiveIndex, "refresh", lambda self: self.generation)
    inspecting.put_into_quarantine(_database(filled), entry_id, "elsewhere")
    assert entry_id not in found(filled, picture(0))


def _database(client: TestClient) -> Any:
    with client.app.state.current.held() as lineup:  # type: ignore[attr-defined]
        return lineup.database
