"""The JSON of a job states every count of its row."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

from api.jobs.json import JobAnswer, JobItemAnswer
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import Job, JobCounts, JobKind, JobState
from tests.api.modelless import SPACE

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_every_count_of_a_job_is_in_its_answer() -> None:
    counts = JobCounts(*range(1, 1 + len(fields(JobCounts))))
    request = {"sources": ["/x"]}
    job = Job(
        7,
        JobKind.INGEST,
        JobState.FAILED,
        "known",
        SPACE,
        request,
        True,
        counts,
        "why",
        "it waits",
        NOW,
        NOW,
        None,
    )

    answer = JobAnswer.of(job, {Outcome.FAILED: {"truncated": 6}}, 2, 1.5, 3)

    assert {each.name: getattr(answer, each.name) for each in fields(JobCounts)} == {
        each.name: getattr(counts, each.name) for each in fields(JobCounts)
    }
    results = (counts.added, counts.linked, counts.embedded, counts.skipped, counts.failed)
    assert answer.done == sum(results) + counts.removed
    assert (answer.id, answer.corpus, answer.error) == (7, "known", "why")
    assert answer.request == {"sources": ["x"]}
    assert JobAnswer.of(job, local=True).request == request
    assert (answer.model, answer.embedding_space) == (SPACE.model, SPACE.fingerprint)
    assert (answer.obstacle, answer.tried_again) == ("it waits", 3)
    assert (answer.workers, answer.images_per_second, answer.finished_at) == (2, 1.5, None)
    assert JobAnswer.model_validate_json(answer.model_dump_json()) == answer


def test_an_item_is_stated_as_its_row() -> None:
    item = JobItem(3, "a.png", Outcome.SKIPPED, "duplicate", "the same bytes", 9)

    assert JobItemAnswer.of(item).model_dump() == {
        "position": 3,
        "name": "a.png",
        "outcome": "skipped",
        "reason": "duplicate",
        "detail": "the same bytes",
        "entry_id": 9,
    }
