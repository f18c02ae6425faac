"""Corpora and entries over HTTP."""

from __future__ import annotations

from hashlib import sha256
from time import monotonic, sleep

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.corpora.removing import MOST_AT_ONCE
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.images import ImageFacts
from index.truth.provenance import Provenance
from tests.api.conftest import Picture
from tests.api.http.client import look_up, neighbours, problem


def test_a_corpus_that_exists_is_not_created_again(client: TestClient) -> None:
    assert problem(client.post("/v1/corpora", json={"name": "camera"})) == (409, "corpus-exists")


def test_an_image_for_an_unknown_corpus_is_refused(client: TestClient, picture: Picture) -> None:
    response = client.post("/v1/corpora/nowhere/entries", files={"image": picture(0)})

    assert problem(response) == (404, "unknown-corpus")


@pytest.mark.parametrize("cursor", ["bad!", "_w"])
def test_a_foreign_cursor_is_refused(client: TestClient, cursor: str) -> None:
    assert problem(client.get("/v1/corpora", params={"cursor": cursor})) == (422, "invalid-request")


def test_a_cursor_that_is_not_ascii_is_refused(client: TestClient) -> None:
    assert problem(client.get("/v1/corpora", params={"cursor": "é"})) == (422, "invalid-request")


def test_corpora_are_listed_by_name_a_page_at_a_time(client: TestClient) -> None:
    first = client.get("/v1/corpora", params={"limit": 2}).json()

    second = client.get("/v1/corpora", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [corpus["name"] for corpus in first["corpora"]] == ["camera", "diffusion"]
    assert [corpus["name"] for corpus in second["corpora"]] == ["swaps"]
    assert second["next_cursor"] is None


def test_a_corpus_is_created_read_and_removed(client: TestClient) -> None:
    created = client.post("/v1/corpora", json={"name": "short-lived", "description": "for a test"})
    address = created.headers["location"]

    read = client.get(address).json()
    removed = client.delete(address)

    assert (created.status_code, removed.status_code) == (201, 204)
    assert read == created.json()
    assert (read["kind"], read["entry_count"]) == ("known_fake", 0)
    assert problem(client.get(address)) == (404, "unknown-corpus")


def test_a_large_corpus_is_gone_at_once_and_its_rows_by_a_job(client: TestClient) -> None:
    with client.app.state.current.held() as lineup, lineup.database.write() as conn:
        ensure_corpus(conn, "large", CorpusKind.KNOWN_FAKE)
        size = (MOST_AT_ONCE + 1, lineup.space.dimension)
        vectors = np.random.default_rng(0).standard_normal(size)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        new = [
            NewEntry(
                ImageFacts(sha256(f"large {number}".encode()).hexdigest(), 10, 8, 8, "png"),
                vector.astype(np.float32),
                0.0,
                Provenance(),
            )
            for number, vector in enumerate(vectors)
        ]
        add_entries(conn, "large", lineup.space, new)
    removed = client.delete("/v1/corpora/large")
    job = removed.json()
    assert (removed.status_code, job["kind"], job["found"]) == (202, "remove", MOST_AT_ONCE + 1)
    assert removed.headers["location"] == f"/v1/jobs/{job['id']}"
    assert problem(client.get("/v1/corpora/large")) == (404, "unknown-corpus")
    assert problem(client.post(f"/v1/jobs/{job['id']}/cancel")) == (409, "job-state-conflict")
    deadline = monotonic() + 20
    while (job := client.get(removed.headers["location"]).json())["state"] != "completed":
        assert monotonic() < deadline
        sleep(0.05)
    assert (job["removed"], job["done"]) == (MOST_AT_ONCE + 1, MOST_AT_ONCE + 1)


def test_entries_are_listed_in_the_order_of_their_ids_a_page_at_a_time(
    client: TestClient, picture: Picture
) -> None:
    address = "/v1/corpora/diffusion/entries"
    first = client.get(address, params={"limit": 2}).json()

    second = client.get(address, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    listed = [entry["sha256"] for entry in first["entries"] + second["entries"]]
    assert listed == [sha256(picture(seed)).hexdigest() for seed in (0, 1, 2)]
    assert second["next_cursor"] is None


def test_the_same_image_is_added_once(client: TestClient, corpus: str, picture: Picture) -> None:
    first = client.post(f"{corpus}/entries", files={"image": picture(5)})
    second = client.post(f"{corpus}/entries", files={"image": picture(5)})

    assert (first.status_code, first.json()["status"]) == (201, "added")
    assert (second.status_code, second.json()["status"]) == (200, "skipped")
    assert second.json()["entry"] == first.json()["entry"]
    assert client.get(corpus).json()["entry_count"] == 1


def test_an_image_of_another_corpus_is_linked(
    client: TestClient, corpus: str, picture: Picture
) -> None:
    added = client.post(f"{corpus}/entries", files={"image": picture(0)})

    assert (added.status_code, added.json()["status"]) == (201, "linked")


@pytest.mark.parametrize(
    "acquired_at", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T05:04:05+02:00"]
)
def test_an_entry_keeps_what_was_told_of_it(
    client: TestClient, corpus: str, picture: Picture, acquired_at: str
) -> None:
    form_fields = {"generator": "sdxl", "label": "face", "licence": "CC0", "source": "a colleague"}
    form = {**form_fields, "acquired_at": acquired_at, "provenance": '{"case": 114}'}

    added = client.post(f"{corpus}/entries", files={"image": picture(5)}, data=form)

    entry = client.get(added.headers["location"]).json()
    assert {key: entry[key] for key in form_fields} == form_fields
    assert entry["acquired_at"] == "2026-01-02T03:04:05Z"
    assert entry["provenance"] == {"case": 114}


def test_an_image_that_is_added_again_after_its_removal_has_a_thumbnail(
    client: TestClient, corpus: str, picture: Picture
) -> None:
    client.delete(client.post(f"{corpus}/entries", files={"image": picture(7)}).headers["location"])

    address = client.post(f"{corpus}/entries", files={"image": picture(7)}).headers["location"]

    assert client.get(f"{address}/thumbnail").status_code == 200


def test_a_removed_entry_is_gone_from_every_answer(
    client: TestClient, corpus: str, picture: Picture
) -> None:
    address = client.post(f"{corpus}/entries", files={"image": picture(6)}).headers["location"]
    own = {"filter": {"kind": None, "corpora": ["own"]}}
    before = look_up(client, picture(6), **own)
    thumbnail = client.get(f"{address}/thumbnail")

    removed = client.delete(address)

    assert removed.status_code == 204
    assert thumbnail.headers["content-type"] == "image/webp"
    assert len(neighbours(before)) == 1
    assert neighbours(look_up(client, picture(6), **own)) == []
    assert problem(client.get(address)) == (404, "unknown-entry")
    assert problem(client.get(f"{address}/thumbnail")) == (404, "unknown-entry")
