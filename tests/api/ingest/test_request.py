"""A request is kept as it was asked, and refuses what it cannot mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from api.errors import InvalidRequest
from api.ingest.request import Dedup, IngestRequest
from index.truth.provenance import Provenance


def request(**stated: object) -> IngestRequest:
    return IngestRequest.model_validate({"sources": ["/x"], "corpus": "known"} | stated)


@pytest.mark.parametrize(
    "stated",
    [
        {"sources": []},
        {"sources": ["/x"] * 10_001},
        {"corpus": "Known"},
        {"corpus": ""},
        {"kind": "fake"},
        {"dedup": "none"},
        {"label": "x" * 201},
        {"embedding_space": "abc"},
        {"unknown": 1},
        {"provenance": [1]},
    ],
)
def test_what_does_not_fit_is_refused(stated: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        request(**stated)


def test_a_pattern_is_read_when_it_is_needed() -> None:
    assert request().parsed_pattern is None
    with pytest.raises(InvalidRequest, match="brace"):
        _ = request(pattern="{a").parsed_pattern
    pattern = request(pattern="{generator}/*").parsed_pattern
    assert pattern is not None
    assert pattern.read("sdxl/a.png") == {"generator": "sdxl"}


def test_only_what_was_asked_is_kept_so_that_the_same_words_are_the_same_job() -> None:
    asked = request(label="face", dedup="near")

    kept = asked.model_dump(mode="json", exclude_defaults=True)

    assert kept == {"sources": ["/x"], "corpus": "known", "label": "face", "dedup": "near"}
    assert IngestRequest.model_validate(kept) == asked
    assert asked.dedup is Dedup.NEAR


def test_what_is_stated_for_all_items_is_their_provenance() -> None:
    asked = request(
        generator="sdxl",
        label="face",
        licence="CC0",
        origin="a collection",
        acquired_at="2026-01-02T03:00:00+02:00",
        provenance={"case": 7},
    )

    assert asked.for_all == Provenance(
        "sdxl", "face", "CC0", "a collection", datetime(2026, 1, 2, 1, tzinfo=UTC), {"case": 7}
    )
    assert request().for_all == Provenance()
