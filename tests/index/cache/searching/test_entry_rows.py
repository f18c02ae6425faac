"""Rows in memory beside SQL: whoever changes whatever, from this connection or another, an answer
shows of an entry what SQL has at that moment.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.live import LiveIndex
from index.cache.searching.entry_rows import EntryRows
from index.cache.searching.questions import Question
from index.errors import UnknownCorpus
from index.truth.adding import add_entries
from index.truth.changes import HEAD, read_head
from index.truth.corpora import (
    CorpusKind,
    Keep,
    ensure_corpus,
    list_corpora,
    remove_corpus,
    set_keep,
)
from index.truth.databases.database import Database
from index.truth.entries import Entry, list_entries, remove_entry
from index.truth.filters import EVERYTHING, Filter
from index.truth.jobs.job import Job
from index.truth.perceptual import PerceptualHash
from index.truth.quarantine import list_quarantined, quarantine_entry, release_entry
from index.truth.removal import begin_removal, continue_removal
from tests.index.tracing import trace_messages

KINDS = {"fakes": CorpusKind.KNOWN_FAKE, "reals": CorpusKind.KNOWN_REAL}
NAMES = st.sampled_from(sorted(KINDS))
IMAGES = st.integers(0, 9)
HASH = PerceptualHash(bytes(range(32)), 100)
# How much is known of an image when it is added: a ready embedding comes without its file's facts.
FACTS = {
    "none": {"byte_size": None, "width": None, "height": None, "format": None, "seen": False},
    "sizes": {"seen": False},
    "hash": {"width": None, "height": None, "perceptual_hash": HASH},
    "all": {"perceptual_hash": HASH},
}
ADDED = st.lists(st.tuples(IMAGES, st.sampled_from(sorted(FACTS))), min_size=1, max_size=5)
WRITES = st.one_of(
    st.tuples(st.just("add"), NAMES, ADDED),
    st.tuples(st.just("add"), NAMES, ADDED),
    st.tuples(st.just("keep"), NAMES, st.sampled_from(Keep)),
    st.tuples(st.just("remove"), IMAGES),
    st.tuples(st.just("quarantine"), IMAGES),
    st.tuples(st.just("release"), NAMES),
    st.tuples(st.just("remove corpus"), NAMES),
    st.tuples(st.just("empty corpus"), NAMES),
    st.tuples(st.just("make corpus"), NAMES),
    st.tuples(st.just("go on emptying")),
)
# Who writes, and whether it is looked at before the commit too.
PLANS = st.lists(st.tuples(st.booleans(), st.booleans(), WRITES), min_size=3, max_size=12)


class Places:
    """One database, opened twice, each time with an index of its own: two processes."""

    def __init__(self, url: str, material: Any, folder: Path) -> None:
        self.material = material
        self.removals: list[Job] = []
        with ExitStack() as opened:
            self.databases = [opened.enter_context(Database.open(url)) for _ in range(2)]
            self.indexes = [
                opened.enter_context(LiveIndex.open(database, material.space, folder / str(number)))
                for number, database in enumerate(self.databases)
            ]
            self.close = opened.pop_all().close
        material.fill(self.databases[0], "fakes", [0])  # of an unknown space, nothing is asked

    def write(self, conn: Any, step: Any) -> None:
        every = list_entries(conn, limit=1000)
        match step:
            case ("add", name, added):
                self.add(conn, name, added)
            case ("make corpus", name):
                ensure_corpus(conn, name, KINDS[name])
            case ("go on emptying",):
                for job in self.removals:
                    continue_removal(conn, job, 2)
            case ("remove", number) if every:
                remove_entry(conn, every[number % len(every)].id)
            case ("quarantine", number) if every:
                quarantine_entry(conn, every[number % len(every)].id, "a test")
            case (_, name, *_) if name in {each.name for each in list_corpora(conn)}:
                self.write_corpus(conn, step)

    def add(self, conn: Any, name: str, added: Any) -> None:
        ensure_corpus(conn, name, KINDS[name])
        entries = [(self.material.entry(image), FACTS[known]) for image, known in added]
        new = [replace(each, image=replace(each.image, **known)) for each, known in entries]
        add_entries(conn, name, self.material.space, new)

    def write_corpus(self, conn: Any, step: Any) -> None:
        match step:
            case ("keep", name, keep):
                set_keep(conn, name, keep)
            case ("release", name):
                for each in list_quarantined(conn, name)[:1]:
                    release_entry(conn, each.entry.id)
            case ("remove corpus", name):
                remove_corpus(conn, name)
            case ("empty corpus", name):
                self.removals.append(begin_removal(conn, name, self.material.space, 2).job)

    def look(self) -> None:
        """Both answer what SQL has now, with and without a question of SQL."""
        with self.databases[0].read() as conn:
            every = {each.id: each for each in list_entries(conn, limit=1000)}
        probe, sha256 = self.material.vector("probe"), self.material.sha256(3)
        fakes, reals = (Filter(kind=kind) for kind in CorpusKind)
        questions = [
            Question(probe, 1000, EVERYTHING),
            Question(self.material.vector(3), 1000, EVERYTHING, sha256),
            Question(probe, 1000, fakes, sha256, HASH),
            Question(None, 1000, EVERYTHING, sha256),
            Question(probe, 1000, fakes),
            Question(probe, 1000, reals),
        ]
        for index in self.indexes:
            nearest = index.search_all([questions[0], *questions[4:]])
            together = index.search_all(questions)
            assert nearest == (together[0], *together[4:])
            assert shown(together[0]) == every == shown(together[1])
            assert {i: e for i, e in every.items() if e.kind is reals.kind} == shown(together[5])
            assert {i: e for i, e in every.items() if e.kind is fakes.kind} == shown(together[4])
            assert {i: e for i, e in every.items() if e.kind is fakes.kind} == shown(together[2])
            assert {i: e for i, e in every.items() if e.sha256 == sha256} == shown(together[3])
            for each in (*together[:3], *together[4:]):
                assert each.searched == len(each.neighbours)
            self.name_corpora(index, every)

    def name_corpora(self, index: LiveIndex, every: dict[int, Entry]) -> None:
        """A filter names corpora: those that exist now, whether they have entries or not."""
        with self.databases[0].read() as conn:
            live = {each.name for each in list_corpora(conn)}
        for name in KINDS:
            question = Question(
                self.material.vector("probe"), 1000, Filter(corpora=frozenset([name]))
            )
            if name in live:
                (found,) = index.search_all([question])
                assert shown(found) == {i: e for i, e in every.items() if e.corpus == name}
            else:
                with pytest.raises(UnknownCorpus):
                    index.search_all([question])

    def run(self, plan: Any) -> None:
        for elsewhere, is_watched, step in plan:
            with self.databases[elsewhere].write() as conn:
                self.write(conn, step)
                if is_watched:
                    self.look()
            self.look()


def shown(result: Any) -> dict[int, Entry]:
    return {each.entry.id: each.entry for each in result.neighbours}


def run(url: str, material: Any, folder: Path, plan: Any) -> None:
    places = Places(url, material, folder)
    try:
        places.run(plan)
    finally:
        places.close()


@settings(settings.get_profile("index"), max_examples=4)
@given(plan=PLANS)
def test_answers_show_what_sql_has_on_sqlite(
    plan: Any, new_sqlite_url: Callable[[], str], material: Any, tmp_path_factory: Any
) -> None:
    run(new_sqlite_url(), material, tmp_path_factory.mktemp("index"), plan)


@pytest.mark.postgres
@settings(settings.get_profile("index"), max_examples=2)
@given(plan=PLANS)
def test_answers_show_what_sql_has_on_postgresql(
    plan: Any, new_postgresql_url: Callable[[], str], material: Any, tmp_path_factory: Any
) -> None:
    run(new_postgresql_url(), material, tmp_path_factory.mktemp("index"), plan)


@pytest.mark.prove
@settings(settings.get_profile("index"), max_examples=400, derandomize=False)
@given(plan=PLANS)
def test_answers_show_what_sql_has_in_many_orders(
    plan: Any, new_sqlite_url: Callable[[], str], material: Any, tmp_path_factory: Any
) -> None:
    run(new_sqlite_url(), material, tmp_path_factory.mktemp("index"), plan)


def test_a_search_that_finds_nothing_new_is_one_message(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    messages, live = trace_messages(database), open_live()
    material.fill(database, "fakes", range(20))
    first = live.search(material.vector("probe"), 10)
    messages.clear()
    assert live.search(material.vector("probe"), 10) == first
    assert len(messages) == 1
    assert HEAD in messages[0]


def test_a_search_with_unknown_bytes_and_a_hash_that_nothing_is_near_is_one_message(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    messages, live = trace_messages(database), open_live()
    hashed = PerceptualHash(b"\x0f" * 32, 100)
    held = replace(material.image("held"), perceptual_hash=PerceptualHash(bytes(32), 100))
    material.fill(database, "fakes", range(20))
    with database.write() as conn:
        add_entries(conn, "fakes", material.space, [replace(material.entry("held"), image=held)])
    asked = {"probe_sha256": material.sha256("new"), "probe_hash": hashed}
    live.read_hashes()
    first = live.search(material.vector("new"), 10, **asked)
    messages.clear()
    assert live.search(material.vector("new"), 10, **asked) == first
    assert len(messages) == 1
    (nearest, *_) = first.neighbours
    assert (nearest.identical, nearest.near_duplicate) == (False, None)

    # What comes with these bytes, or near this hash, is found at once.
    (same,) = material.fill(database, "reals", ["new"])
    copy = replace(material.image("copy"), perceptual_hash=hashed)
    with database.write() as conn:
        (near,) = add_entries(
            conn, "fakes", material.space, [replace(material.entry("copy"), image=copy)]
        )
    found = live.search(material.vector("other"), 2, **asked).neighbours
    assert [each.entry.id for each in found if each.identical] == [same]
    assert [each.entry.id for each in found if each.near_duplicate] == [near.entry_id]


def test_a_batch_reads_its_rows_with_one_statement(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    messages, live = trace_messages(database), open_live()
    material.fill(database, "fakes", range(40))
    live.refresh()
    questions = [Question(material.vector(name), 5, EVERYTHING) for name in range(30)]
    answers = live.search_all(questions)
    assert len([each for each in messages if "JOIN images" in each]) == 1
    assert [each.neighbours[0].entry.sha256 for each in answers] == [
        material.sha256(name) for name in range(30)
    ]


SET_KEEP = """
import sys
from index.truth.corpora import Keep, set_keep
from index.truth.databases.database import Database
with Database.open(sys.argv[1]) as database, database.write() as conn:
    set_keep(conn, "fakes", Keep.NONE)
"""


@pytest.mark.prove  # above, a second connection stands for the other process
def test_a_setting_that_another_process_changes_is_shown_at_the_next_search(
    database: Database, database_url: str, live: LiveIndex, material: Any
) -> None:
    material.fill(database, "fakes", "ab")
    (before, _) = live.search(material.vector("a"), 2).neighbours
    assert before.entry.keep is Keep.THUMBNAIL
    subprocess.run([sys.executable, "-c", SET_KEEP, database_url], check=True)
    assert {e.keep for e in shown(live.search(material.vector("a"), 2)).values()} == {Keep.NONE}


class TestRows:
    """`EntryRows` alone, with room for a few."""

    @pytest.fixture
    def ids(self, database: Database, material: Any) -> list[int]:
        return [*material.fill(database, "fakes", range(12))]

    def test_rows_of_another_number_of_amendments_are_read_again(
        self, database: Database, ids: list[int]
    ) -> None:
        rows = EntryRows(9)
        with database.read() as conn:
            assert rows.find(conn, ids[:2], 0).keys() == {*ids[:2]}
        assert rows.held(ids, 0).keys() == {*ids[:2]}
        assert rows.held(ids, 1) == {}
        with database.read() as conn:
            rows.find(conn, ids[2:3], 1)
        assert rows.held(ids, 0) == {}
        assert rows.held(ids, 1).keys() == {ids[2]}

    def test_rows_end_with_any_other_number_as_after_a_restore(
        self, database: Database, ids: list[int]
    ) -> None:
        rows = EntryRows(9)
        with database.read() as conn:
            rows.find(conn, ids[:1], 5)
            assert rows.find(conn, ids[:2], 4).keys() == {*ids[:2]}
        assert rows.held(ids, 4).keys() == {*ids[:2]}
        assert rows.held(ids, 5) == {}  # the restored database gets there by other amendments

    def test_the_number_of_rows_is_bounded_and_those_in_use_stay(
        self, database: Database, ids: list[int]
    ) -> None:
        rows = EntryRows(6)
        with database.read() as conn:
            for entry_id in ids[1:]:
                rows.find(conn, [entry_id], 0)
                rows.find(conn, ids[:1], 0)
                assert ids[0] in rows.held(ids[:1], 0)
            for some in (ids, ids[::-1], ids[5:]):
                assert rows.find(conn, some, 0).keys() == {*some}
                assert 0 < len(rows.held(ids, 0)) <= 6

    def test_what_sql_does_not_have_is_not_held(self, database: Database, ids: list[int]) -> None:
        rows = EntryRows(9)
        with database.read() as conn:
            assert rows.find(conn, [ids[0], 10**6], read_head(conn).amendments).keys() == {ids[0]}
