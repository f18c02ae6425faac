"""A corpus that is removed in several transactions: gone at once, and at every generation alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from index.cache.live import LiveIndex
from index.cache.searching.as_of import search_at
from index.cache.searching.questions import Question
from index.errors import JobStateConflict, UnknownCorpus, UnknownEntry
from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, create_corpus, get_corpus, list_corpora
from index.truth.databases.database import Database
from index.truth.entries import get_entry
from index.truth.filters import EVERYTHING, Filter
from index.truth.images import find_known_images
from index.truth.jobs.job import JobState, cancel_job, get_job, pause_job
from index.truth.removal import (
    Batch,
    begin_removal,
    continue_removal,
    find_emptying_ids,
    find_removal,
)
from index.truth.schema import corpora, entries

LIMIT = 4


@pytest.fixture
def filled(database: Database, material: Any) -> tuple[int, ...]:
    """Ten entries that are removed, two others, and an image that is in both corpora."""
    going = material.fill(database, "going", range(10))
    material.fill(database, "staying", [9, 20, 21])
    return tuple(going)


def begin(database: Database, material: Any) -> Batch:
    with database.write() as conn:
        return begin_removal(conn, "going", material.space, LIMIT)


def finish(database: Database, batch: Batch) -> Batch:
    while batch.job.state is JobState.RUNNING:
        with database.write() as conn:
            batch = continue_removal(conn, batch.job, LIMIT)
    return batch


def corpora_found(live: LiveIndex, material: Any, chosen: Filter = EVERYTHING) -> set[str]:
    found = live.search(material.vector(3), 30, chosen, probe_sha256=material.sha256(9))
    return {each.entry.corpus for each in found.neighbours}


def test_entries_leave_every_answer_with_the_first_transaction(
    database: Database, material: Any, filled: tuple[int, ...], live: LiveIndex
) -> None:
    assert corpora_found(live, material) == {"going", "staying"}
    batch = begin(database, material)
    assert (batch.removed, batch.job.state, batch.job.counts.found) == (4, JobState.RUNNING, 10)
    assert corpora_found(live, material) == {"staying"}
    assert live.search(material.vector(3), 30).searched == 3
    with database.read() as conn:
        assert [each.name for each in list_corpora(conn)] == ["staying"]
        for entry_id in filled:
            with pytest.raises(UnknownEntry):
                get_entry(conn, entry_id)
        with pytest.raises(UnknownCorpus):
            get_corpus(conn, "going")
    with pytest.raises(UnknownCorpus):
        corpora_found(live, material, Filter(corpora=frozenset(["going"])))


def test_images_of_a_corpus_that_is_emptied_are_new_to_the_next_one_of_its_name(
    database: Database, material: Any, filled: tuple[int, ...]
) -> None:
    begin(database, material)
    with database.write() as conn:
        create_corpus(conn, "going", CorpusKind.KNOWN_FAKE)
    sha256s = [material.sha256(8), material.sha256(9)]
    with database.read() as conn:
        known = find_known_images(conn, material.space, sha256s)
    assert [known[sha256].corpora for sha256 in sha256s] == [frozenset(), {"staying"}]


def test_the_rest_is_removed_in_bounded_transactions(
    database: Database, material: Any, filled: tuple[int, ...], live: LiveIndex
) -> None:
    batch = finish(database, begin(database, material))
    assert (batch.job.state, batch.job.counts.removed) == (JobState.COMPLETED, len(filled))
    assert batch.job.counts.done == batch.job.counts.found
    with database.read() as conn:
        live_entries = (
            select(func.count()).select_from(entries).where(entries.c.removed_at.is_(None))
        )
        assert conn.execute(live_entries).scalar_one() == 3
        assert find_emptying_ids(conn) == ()
        assert last_number(conn) == 13 + 10
    assert corpora_found(live, material) == {"staying"}
    assert live.verify().agrees


def test_a_search_of_an_earlier_generation_finds_what_it_found_then(
    database: Database, material: Any, filled: tuple[int, ...], live: LiveIndex
) -> None:
    """Whichever batches a generation holds, the corpus is in it whole or not at all."""
    batch, expected = begin(database, material), dict[int, set[int]]()
    with database.read() as conn:
        first = last_number(conn) - batch.removed
    while batch.job.state is JobState.RUNNING:
        found = live.search(material.vector(3), 30)
        expected[found.generation] = {each.entry.id for each in found.neighbours}
        with database.write() as conn:
            batch = continue_removal(conn, batch.job, LIMIT)
    assert len(expected) > 1
    with database.read() as conn:
        space_id = conn.execute(text("SELECT id FROM embedding_spaces")).scalar_one()
        question = Question(material.vector(3), 30, EVERYTHING)
        for generation, ids in expected.items():
            (then,) = search_at(conn, space_id, generation, [question])
            assert {each.entry.id for each in then.neighbours} == ids
        (before,) = search_at(conn, space_id, first, [question])
        assert {each.entry.id for each in before.neighbours} >= set(filled)


def test_the_name_is_free_at_once_and_the_new_corpus_is_another_one(
    database: Database, material: Any, filled: tuple[int, ...], live: LiveIndex
) -> None:
    batch = begin(database, material)
    (new,) = material.fill(database, "going", [1])
    assert new not in filled
    found = live.search(material.vector(1), 30)
    assert [each.entry.id for each in found.neighbours if each.entry.corpus == "going"] == [new]
    finish(database, batch)
    found = live.search(material.vector(1), 30)
    assert [each.entry.id for each in found.neighbours if each.entry.corpus == "going"] == [new]


@pytest.mark.parametrize("point", [Failpoint.CORPUS_MARKED, Failpoint.NUMBERS_TAKEN])
def test_what_is_interrupted_is_continued(
    database: Database,
    material: Any,
    filled: tuple[int, ...],
    at_failpoint: Callable[[Failpoint, Callable[[], object]], None],
    point: Failpoint,
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt() -> None:
        raise Interrupted

    at_failpoint(point, interrupt)
    with pytest.raises(Interrupted):
        begin(database, material)
    with database.read() as conn:
        assert [each.entries for each in list_corpora(conn)] == [10, 3]
    at_failpoint(point, lambda: None)
    begin(database, material)
    at_failpoint(Failpoint.NUMBERS_TAKEN, interrupt)
    with database.read() as conn:
        job = find_removal(conn, "going")
    with pytest.raises(Interrupted), database.write() as conn:
        continue_removal(conn, job, LIMIT)
    at_failpoint(Failpoint.NUMBERS_TAKEN, lambda: None)
    with database.read() as conn:
        job = get_job(conn, job.id)
    assert job.counts.removed == LIMIT
    assert finish(database, Batch(0, (), job)).job.counts.removed == len(filled)


def test_a_paused_removal_waits_and_none_is_cancelled(
    database: Database, material: Any, filled: tuple[int, ...]
) -> None:
    batch = begin(database, material)
    with database.write() as conn:
        pause_job(conn, batch.job.id)
    with database.write() as conn:
        paused = continue_removal(conn, batch.job, LIMIT)
    assert (paused.removed, paused.job.state) == (0, JobState.PAUSED)
    with database.write() as conn, pytest.raises(JobStateConflict):
        cancel_job(conn, batch.job.id)
    assert filled


def test_only_images_of_the_batch_and_of_its_quarantine_are_named(
    database: Database, material: Any, filled: tuple[int, ...]
) -> None:
    named = set[str]()
    batch = begin(database, material)
    named.update(batch.sha256s)
    while batch.job.state is JobState.RUNNING:
        with database.write() as conn:
            batch = continue_removal(conn, batch.job, LIMIT)
        named.update(batch.sha256s)
    assert named == {material.sha256(name) for name in range(10)}


def test_fsck_finds_nothing_wrong_in_between(
    database: Database, material: Any, filled: tuple[int, ...], tmp_path: Path
) -> None:
    batch = begin(database, material)
    assert filled
    assert fsck(database, None, tmp_path, None).findings == ()
    finish(database, batch)
    assert fsck(database, None, tmp_path, None).findings == ()
    with database.read() as conn:
        assert conn.execute(select(corpora.c.removed_from)).scalars().all().count(None) == 1
