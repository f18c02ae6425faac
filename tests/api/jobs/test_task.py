"""Results know their places."""

from __future__ import annotations

from api.jobs.task import Added, AlreadyThere, ItemResult, NotTaken
from index.truth.jobs.items import JobItem, Outcome


def test_a_failure_is_the_row_that_is_stored_and_every_result_has_a_position() -> None:
    failed = NotTaken.failed(7, "a.png", "truncated", "the file ends early")
    results: list[ItemResult[str]] = [
        failed,
        Added(3, "b.png", "x"),
        AlreadyThere(5, "c", "0" * 64),
    ]

    assert failed.item == JobItem(7, "a.png", Outcome.FAILED, "truncated", "the file ends early")
    assert [result.position for result in results] == [7, 3, 5]
