"""Fixtures of the routes: an empty corpus, and the embedding space of the built-in model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def corpus(client: TestClient) -> Iterator[str]:
    """The address of an empty corpus of known reals, which lookups leave out by default."""
    address = client.post("/v1/corpora", json={"name": "own", "kind": "known_real"}).headers[
        "location"
    ]
    yield address
    client.delete(address)


@pytest.fixture(scope="module")
def space(client: TestClient) -> str:
    return client.get("/v1/models").json()["models"][0]["embedding_space"]
