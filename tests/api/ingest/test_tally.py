"""How each item of a chunk is counted, and the row that says why: a table."""

from __future__ import annotations

import pytest

from api.ingest.tally import Tally
from api.jobs.task import Added, AlreadyThere, ItemResult, NotTaken
from index.truth.adding import AddStatus, NewEntry
from index.truth.images import ImageFacts
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import JobCounts
from index.truth.provenance import Provenance

SHA = "a" * 64
JOB, OTHER_JOB = 7, 6


def offered(position: int = 0) -> Added[NewEntry]:
    image = ImageFacts(SHA, 1, 1, 1, "png")
    return Added(position, "a.png", NewEntry(image, None, None, Provenance()))


def tally(**known: object) -> Tally:
    nothing: dict[str, object] = {"entries": {}, "near": {}, "statuses": {}, "quarantined": {}}
    return Tally(JOB, **(nothing | known))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "known", "counted", "reason", "entry_id"),
    [
        (offered(), {"statuses": {0: AddStatus.ADDED}}, "added", None, None),
        (offered(), {"statuses": {0: AddStatus.LINKED}}, "linked", None, None),
        (offered(), {"statuses": {0: AddStatus.EMBEDDED}}, "embedded", None, None),
        (
            offered(),
            {"statuses": {0: AddStatus.SKIPPED}, "entries": {SHA: (9, JOB)}},
            "skipped",
            "duplicate",
            9,
        ),
        (
            offered(),
            {"statuses": {0: AddStatus.SKIPPED}, "entries": {SHA: (9, OTHER_JOB)}},
            "skipped",
            "already_there",
            9,
        ),
        (
            offered(),
            {"statuses": {0: AddStatus.SKIPPED}, "entries": {SHA: (9, None)}},
            "skipped",
            "already_there",
            9,
        ),
        (AlreadyThere(0, "a.png", SHA), {"entries": {SHA: (9, JOB)}}, "skipped", "duplicate", 9),
        (AlreadyThere(0, "a.png", SHA), {}, "skipped", "already_there", None),
        (offered(), {"quarantined": {SHA: 9}}, "skipped", "quarantined", 9),
        (offered(), {"near": {0: 9}}, "skipped", "near_duplicate", 9),
        (offered(), {"near": {0: None}}, "skipped", "near_duplicate", None),
        (
            offered(),
            {"near": {0: 9}, "statuses": {0: AddStatus.ADDED}},
            "added",
            "near_duplicate",
            9,
        ),
        (
            offered(),
            {"near": {0: 9}, "statuses": {0: AddStatus.LINKED}},
            "linked",
            "near_duplicate",
            9,
        ),
        (NotTaken.failed(0, "a.png", "truncated", "cut"), {}, "failed", "truncated", None),
    ],
)
def test_each_result_is_counted_once_with_its_reason(
    result: ItemResult[NewEntry],
    known: dict[str, object],
    counted: str,
    reason: str | None,
    entry_id: int | None,
) -> None:
    ended = tally(**known).count([result])

    assert (ended.counts.done, getattr(ended.counts, counted)) == (1, 1)
    assert ended.counts.duplicates == (reason == "duplicate")
    assert ended.counts.near_duplicates == (reason == "near_duplicate")
    if reason is None:
        assert ended.items == []
    else:
        (item,) = ended.items
        assert (item.position, item.name, item.outcome) == (0, "a.png", Outcome(counted))
        assert (item.reason, item.entry_id) == (reason, entry_id)


def test_the_detail_says_what_it_is_the_same_as() -> None:
    stored, earlier = (
        tally(near={0: entry_id}).count([offered()]).items[0].detail for entry_id in (9, None)
    )

    assert "entry 9" in stored
    assert "an item shortly before it" in earlier


def test_a_chunk_is_counted_in_the_order_of_its_items() -> None:
    failed = JobItem(1, "b", Outcome.FAILED, "truncated")
    ended = tally(statuses={0: AddStatus.ADDED, 2: AddStatus.ADDED}, near={2: None}).count(
        [offered(0), NotTaken(failed), offered(2), AlreadyThere(3, "d", SHA)]
    )

    assert ended.counts == JobCounts(added=2, skipped=1, failed=1, near_duplicates=1)
    assert [item.position for item in ended.items] == [1, 2, 3]
