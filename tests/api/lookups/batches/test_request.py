"""What a batch of look-ups may ask for, and probes that are kept although they do not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from api.lookups.batches.request import (
    MAX_FAULTS,
    MAX_NEIGHBOURS,
    MAX_PROBES,
    LookupBatch,
    UnfitProbe,
)

SHA = "1" * 64


def read(**batch: Any) -> LookupBatch:
    return LookupBatch.model_validate_json(json.dumps(batch))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({}, "Field required"),
        ({"probes": []}, "at least 1 item"),
        ({"probes": [{"sha256": SHA}] * (MAX_PROBES + 1)}, f"at most {MAX_PROBES} items"),
        ({"probes": {"sha256": SHA}}, "valid array"),
        ({"probes": [{}], "query": {"stability": True}}, "needs their images"),
        ({"probes": [{}], "query": {"k": 0}}, "greater than or equal to 1"),
        ({"probes": [{}], "k": 5}, "not permitted"),
        ({"probes": [{}] * (MAX_NEIGHBOURS // 1000 + 1), "query": {"k": 1000}}, "k times"),
    ],
)
def test_a_batch_that_asks_for_too_much_or_for_nothing_is_refused(
    batch: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        read(**batch)


@pytest.mark.parametrize(
    ("probe", "field"),
    [
        ("text", ""),
        (None, ""),
        ([], ""),
        ({"sha256": "ABC"}, "sha256"),
        ({"embedding": ["a"] * 1000}, "embedding.0"),
        ({"embedding": {"0": 1.0}}, "embedding"),
        ({"pdq_quality": 101}, "pdq_quality"),
        ({"view_hashes": [{"pdq_hash": "x"}]}, "view_hashes.0.pdq_hash"),
        ({"image": "x"}, "image"),
        ({"logit": 1e999}, "logit"),
        ({"k": 3}, "k"),
    ],
)
def test_a_probe_that_does_not_fit_is_kept_with_its_faults(probe: Any, field: str) -> None:
    named = {"name": "a", **probe} if isinstance(probe, dict) else probe
    batch = read(probes=[{"sha256": SHA}, named, {"name": "last", "sha256": SHA}])
    first, kept, last = batch.probes
    assert isinstance(kept, UnfitProbe)
    assert kept.faults[0]["field"] == field
    assert len(kept.faults) <= MAX_FAULTS
    assert kept.name == ("a" if isinstance(probe, dict) else None)
    assert (first.sha256, last.name) == (SHA, "last")


@pytest.mark.parametrize("name", [5, "a" * 1001, "a\0b", ["x"]])
def test_a_name_that_cannot_be_repeated_is_not(name: object) -> None:
    (kept,) = read(probes=[{"name": name, "sha256": SHA}]).probes
    assert isinstance(kept, UnfitProbe)
    assert kept.name is None
    assert [each["field"] for each in kept.faults] == ["name"]


def test_as_many_as_are_allowed_are_read() -> None:
    batch = read(probes=[{"sha256": SHA}] * MAX_PROBES, query={"k": MAX_NEIGHBOURS // MAX_PROBES})
    assert len(batch.probes) == MAX_PROBES
