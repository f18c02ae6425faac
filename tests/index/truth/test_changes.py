import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text

from index import failpoints
from index.cache.live import LiveIndex
from index.errors import CorpusError, UnknownCorpus
from index.proof.fsck import fsck
from index.truth.adding import AddStatus, NewEntry, add_embeddings, add_entries
from index.truth.changes import (
    ChangeKind,
    Head,
    MemberRow,
    count_members,
    digest_at,
    last_before_gap,
    last_number,
    members_at,
    read_changes,
    read_head,
    record_amendment,
    record_removals,
)
from index.truth.corpora import CorpusKind, create_corpus, lock_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.digest import EMPTY, member_digest
from index.truth.entries import entries_of_image, remove_entry
from index.truth.membership import live_digest
from index.truth.schema import changes
from index.truth.spaces import find_space_id
from index.truth.statements import VARIABLES


def test_an_empty_log_has_no_last_change_and_the_empty_digest(database: Database) -> None:
    with database.read() as conn:
        assert (last_number(conn), last_before_gap(conn)) == (0, 0)
        assert read_changes(conn, None, 0, 10) == ()
        assert digest_at(conn, 1, 0) == EMPTY
        assert list(members_at(conn, None, 0, 10)) == []


def test_numbers_have_no_gap_even_after_a_rollback(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "ab")

    def remove_and_fail() -> None:
        with database.write() as conn:
            remove_corpus(conn, "fakes")
            remove_corpus(conn, "nowhere")

    with pytest.raises(UnknownCorpus):
        remove_and_fail()
    material.fill(database, "fakes", "c")
    with database.write() as conn:
        remove_corpus(conn, "fakes")
        numbers = conn.execute(select(changes.c.number).order_by(changes.c.number)).scalars().all()
        assert numbers == list(range(1, 7))
        assert last_number(conn) == last_before_gap(conn) == 6


def test_every_change_states_the_digest_of_the_members_after_it(
    database: Database, material: Any
) -> None:
    ids = material.fill(database, "fakes", "abc")
    with database.write() as conn:
        remove_entry(conn, ids[1])
    with database.read() as conn:
        logged = read_changes(conn, 1, 0, 10)
        assert [(c.number, c.kind, c.entry_id) for c in logged] == [
            (1, "add", ids[0]),
            (2, "add", ids[1]),
            (3, "add", ids[2]),
            (4, "remove", ids[1]),
        ]
        for number in range(5):
            members = [member for page in members_at(conn, 1, number, 2) for member in page]
            digest = (
                sum(member_digest(member.entry_id, member.vector) for member in members) % 2**256
            )
            assert digest_at(conn, 1, number) == digest
        assert digest_at(conn, 1, 4) == live_digest(conn, 1)


def test_a_corpus_of_several_slices_comes_and_goes_in_one_row_of_numbers(
    database: Database, material: Any, tmp_path: Path
) -> None:
    ids = material.fill(database, "fakes", range(2 * VARIABLES + 1))
    other = material.fill(database, "more", range(3))
    small = [NewEntry(material.image(name), material.vector(name, 4), 0.0) for name in range(5)]
    with database.write() as conn:
        add_entries(conn, "fakes", material.other_space, small)
    with database.write() as conn:
        assert remove_corpus(conn, "fakes") == len(ids)
    with database.read() as conn:
        logged = read_changes(conn, None, 0, 10**5)
        came = {(c.entry_id, c.space_id) for c in logged if c.kind == "add"}
        gone = [(c.entry_id, c.space_id) for c in logged if c.kind == "remove"]
        assert [c.number for c in logged] == list(range(1, last_number(conn) + 1))
        assert gone == sorted([(i, 1) for i in ids] + [(i, 2) for i in ids[:5]])
        assert came - set(gone) == {(i, space_id) for i in other for space_id in (1, 2)}
        assert digest_at(conn, 1, last_number(conn)) == live_digest(conn, 1) != EMPTY
        assert digest_at(conn, 2, last_number(conn)) == live_digest(conn, 2) != EMPTY
    assert fsck(database, None, tmp_path).findings == ()


def test_reading_stops_before_a_missing_number(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "abcd")
    _take_out(database, 3)
    with database.read() as conn:
        assert [change.number for change in read_changes(conn, 1, 0, 10)] == [1, 2]
        assert read_changes(conn, 1, 2, 10) == ()
        assert last_before_gap(conn) == 2
    _take_out(database, 1)
    with database.read() as conn:
        assert read_changes(conn, 1, 0, 10) == ()
        assert last_before_gap(conn) == 0


def test_a_live_index_waits_at_a_gap_and_goes_on_when_it_is_filled(
    database: Database, live: LiveIndex, material: Any
) -> None:
    ids = material.fill(database, "fakes", "abcd")
    missing = _take_out(database, 3)
    result = live.search(material.vector("c"), 10)
    assert result.generation == 2
    assert {n.entry.id for n in result.neighbours} == set(ids[:2])
    assert not live.ready
    _put_back(database, missing)
    result = live.search(material.vector("c"), 1)
    assert (result.generation, result.neighbours[0].entry.id, live.ready) == (4, ids[2], True)
    assert live.verify().agrees


def test_an_entry_removed_beyond_a_gap_is_gone_nevertheless(
    database: Database, live: LiveIndex, material: Any
) -> None:
    ids = material.fill(database, "fakes", "ab")
    assert live.refresh() == 2
    material.fill(database, "fakes", "c")
    with database.write() as conn:
        remove_entry(conn, ids[0])
    _take_out(database, 3)
    result = live.search(material.vector("a"), 10)
    assert [n.entry.id for n in result.neighbours] == [ids[1]]
    assert (result.generation, result.searched) == (2, 1)


def test_an_index_opened_at_a_gap_holds_what_comes_before_it(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    ids = material.fill(database, "fakes", "abcd")
    missing = _take_out(database, 2)
    live = open_live()
    assert live.generation == 1
    assert [n.entry.id for n in live.search(material.vector("a"), 10).neighbours] == [ids[0]]
    _put_back(database, missing)
    assert live.refresh() == 4


@pytest.mark.postgres
def test_a_smaller_number_that_commits_after_a_larger_one_is_not_skipped(
    new_postgresql_url: Callable[[], str], material: Any, tmp_path: Path
) -> None:
    """As a writer that does not take the lock of the counter would do it: two transactions, the
    first commits last.
    """
    url = new_postgresql_url()
    with Database.open(url) as database, LiveIndex.open(database, material.space, tmp_path) as live:
        ids = material.fill(database, "fakes", "abc")
        first, second = _take_out(database, 2), _take_out(database, 3)
        assert live.refresh() == 1
        with database.write() as slow:
            slow.execute(insert(changes), first)
            _put_back(database, second)
            assert live.refresh() == 1
            assert not live.ready
        assert live.refresh() == 3
        assert {n.entry.id for n in live.search(material.vector("a"), 9).neighbours} == set(ids)
        assert live.verify().agrees


def test_an_entry_and_an_embedding_of_its_image_written_at_once_are_logged_as_a_pair(
    database: Database, material: Any, tmp_path: Path
) -> None:
    """Neither transaction sees what the other wrote, until one waits for the other at the
    counter.
    """
    material.fill(database, "fakes", "a")
    small = NewEntry(material.image("a"), material.vector("a", 4), 0.0)
    with database.write() as conn:
        add_entries(conn, "fakes", material.other_space, [small])
        other = _started(lambda: material.fill(database, "more", "a"))
    other.join()
    assert fsck(database, None, tmp_path).findings == ()
    with LiveIndex.open(database, material.other_space, tmp_path) as live:
        assert {n.entry.corpus for n in live.search(small.vector, 5).neighbours} == {
            "fakes",
            "more",
        }


def test_no_entry_comes_into_a_corpus_that_is_being_removed(
    database: Database, material: Any, tmp_path: Path
) -> None:
    material.fill(database, "fakes", "a")
    refused: list[CorpusError] = []

    def add() -> None:
        try:
            with database.write() as conn:
                add_entries(conn, "fakes", material.space, [material.entry("b")])
        except UnknownCorpus as err:
            refused.append(err)

    with database.write() as conn:
        remove_corpus(conn, "fakes")
        other = _started(add)
    other.join()
    assert len(refused) == 1
    assert fsck(database, None, tmp_path).findings == ()


def test_a_corpus_is_removed_with_the_entries_that_were_coming_into_it(
    database: Database, material: Any, tmp_path: Path
) -> None:
    material.fill(database, "fakes", "a")
    removed: list[int] = []

    def remove() -> None:
        with database.write() as conn:
            removed.append(remove_corpus(conn, "fakes"))

    with database.write() as conn:
        add_entries(conn, "fakes", material.space, [material.entry("b")])
        other = _started(remove)
    other.join()
    assert removed == [2]
    assert fsck(database, None, tmp_path).findings == ()


def test_an_entry_is_not_removed_while_its_image_is_being_added_again(
    database: Database, material: Any
) -> None:
    """Who finds the entry there may rely on it: on PostgreSQL the removal committed here, and its
    id was missed.
    """
    (entry_id,) = material.fill(database, "fakes", "a")
    removers: list[threading.Thread] = []

    def remove() -> None:
        with database.write() as conn:
            remove_entry(conn, entry_id)

    def start_removal(point: failpoints.Failpoint) -> None:
        if point is failpoints.Failpoint.ENTRIES_WRITTEN and not removers:
            removers.append(_started(remove))

    failpoints.install(start_removal)
    try:
        with database.write() as conn:
            (again,) = add_entries(conn, "fakes", material.space, [material.entry("a")])
    finally:
        failpoints.install(None)
    removers[0].join()
    assert (again.entry_id, again.status) == (entry_id, AddStatus.SKIPPED)
    with database.read() as conn:
        assert entries_of_image(conn, again.sha256) == ()


@pytest.mark.postgres
def test_two_writers_and_a_reader_on_postgresql_lose_and_double_nothing(
    new_postgresql_url: Callable[[], str], material: Any, tmp_path: Path
) -> None:
    _race(new_postgresql_url(), material, tmp_path)


def test_two_writers_and_a_reader_on_sqlite_lose_and_double_nothing(
    new_sqlite_url: Callable[[], str], material: Any, tmp_path: Path
) -> None:
    _race(new_sqlite_url(), material, tmp_path)


def _race(url: str, material: Any, directory: Path) -> None:
    """Two writers add overlapping images to overlapping corpora, one of them removes; a reader
    watches all the time.
    """
    failures = []

    def write(turn: Any) -> None:
        try:
            with Database.open(url) as own:
                for batch in range(8):
                    names = range(batch * 4, batch * 4 + 8)
                    order = list(names) if turn else list(reversed(names))
                    ids = material.fill(own, "shared", order)
                    material.fill(own, f"own-{turn}", order[:3])
                    if turn and batch % 3 == 0:
                        with own.write() as conn:
                            remove_entry(conn, ids[0])
        except Exception as err:
            failures.append(err)

    with (
        Database.open(url) as database,
        LiveIndex.open(database, material.space, directory) as live,
    ):
        with database.write() as conn:
            create_corpus(conn, "shared", CorpusKind.KNOWN_FAKE)
        writers = [threading.Thread(target=write, args=(turn,)) for turn in (0, 1)]
        for writer in writers:
            writer.start()
        generations = [0]
        while any(writer.is_alive() for writer in writers):
            result = live.search(material.vector(0), 100)
            generations.append(result.generation)
            assert (
                len(result.neighbours)
                == result.searched
                == len({n.entry.id for n in result.neighbours})
            )
            assert (
                len({(n.entry.corpus, n.entry.sha256) for n in result.neighbours})
                == result.searched
            )
        for writer in writers:
            writer.join()
        assert failures == []
        assert generations == sorted(generations)
        live.refresh()
        assert live.ready
        assert live.verify().agrees
        with database.read() as conn:
            assert last_before_gap(conn) == last_number(conn) == live.generation


def _started(work: Callable[[], Any]) -> threading.Thread:
    """Start a second writer and give it time to come as far as it can while this transaction is
    open.
    """
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.3)
    return thread


def _take_out(database: Database, number: int) -> Any:
    """Delete a change and return its row: what a reader sees while a slower transaction has not
    committed.
    """
    with database.write() as conn:
        row = conn.execute(select(changes).where(changes.c.number == number)).one()._asdict()
        conn.execute(text("DELETE FROM changes WHERE number = :n"), {"n": number})
    return row


def _put_back(database: Database, row: Any) -> None:
    with database.write() as conn:
        conn.execute(insert(changes), row)


def test_only_additions_to_the_requested_space_have_a_row(
    database: Database, material: Any
) -> None:
    (entry_id,) = material.fill(database, "fakes", "a", generator="sdxl", label="cats")
    with database.write() as conn:
        small = NewEntry(material.image("a"), material.vector("a", 4), 0.0)
        add_embeddings(conn, material.other_space, [small])
        remove_entry(conn, entry_id)
        space_id = find_space_id(conn, material.space)
        other_id = find_space_id(conn, material.other_space)
        logged = read_changes(conn, space_id, 0, 10)
        corpus_id = lock_corpus(conn, "fakes")
    assert [(c.kind, c.space_id) for c in logged] == [
        (ChangeKind.ADD, space_id),
        (ChangeKind.ADD, other_id),
        (ChangeKind.REMOVE, space_id),
        (ChangeKind.REMOVE, other_id),
    ]
    assert logged[0].row == MemberRow(
        entry_id, material.vector("a").tobytes(), corpus_id, "sdxl", "cats", None
    )
    assert [change.row for change in logged[1:]] == [None, None, None]


def test_changes_are_read_in_pages_that_lose_none(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "abcdefg")
    with database.read() as conn:
        whole = read_changes(conn, 1, 0, 100)
        pages: list[Any] = []
        while page := read_changes(conn, 1, len(pages), 3):
            assert len(page) <= 3
            pages += page
    assert tuple(pages) == whole
    assert len(whole) == 7


def test_the_members_of_a_space_are_counted_by_the_log(database: Database, material: Any) -> None:
    ids = material.fill(database, "fakes", "abc")
    with database.write() as conn:
        space_id = find_space_id(conn, material.space)
        assert count_members(conn, space_id) == 3
        remove_entry(conn, ids[0])
        assert count_members(conn, space_id) == 2
        remove_corpus(conn, "fakes")
        assert count_members(conn, space_id) == 0
        assert count_members(conn, None) == 0


def test_a_repeated_addition_or_removal_is_not_logged_again(
    database: Database, material: Any
) -> None:
    ids = material.fill(database, "fakes", "ab")
    with database.write() as conn:
        add_entries(conn, "fakes", material.space, [material.entry("a")])
        assert last_number(conn) == 2
        remove_entry(conn, ids[0])
        assert last_number(conn) == 3
        record_removals(conn, list(ids))  # the first is logged as removed, the second is now
        assert last_number(conn) == 4
        record_removals(conn, list(ids))
        assert last_number(conn) == 4


@pytest.mark.parametrize(
    ("missing", "last"), [((), 4), ((4,), 3), ((2,), 1), ((1,), 0), ((3, 4), 2), ((1, 2, 3, 4), 0)]
)
def test_a_reader_stops_before_the_first_missing_number(
    database: Database, material: Any, missing: tuple[int, ...], last: int
) -> None:
    material.fill(database, "fakes", "abcd")
    with database.write() as conn:
        conn.execute(delete(changes).where(changes.c.number.in_(missing)))
        assert last_before_gap(conn) == last
        assert [change.number for change in read_changes(conn, 1, 0, 10)] == list(
            range(1, last + 1)
        )


def test_a_rolled_back_transaction_returns_its_numbers(database: Database, material: Any) -> None:
    def add_and_fail() -> None:
        with database.write() as conn:
            create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
            add_entries(conn, "fakes", material.space, [material.entry("a")])
            assert last_number(conn) == 1
            raise InterruptedError

    with pytest.raises(InterruptedError):
        add_and_fail()
    with database.read() as conn:
        assert last_number(conn) == 0
    material.fill(database, "fakes", "b")
    with database.read() as conn:
        assert [change.number for change in read_changes(conn, 1, 0, 10)] == [1]


def test_two_databases_of_the_same_changes_come_to_different_heads(
    new_database_url: Callable[[], str], material: Any
) -> None:
    """Whoever remembers what it read from one of them would answer from it of the other."""

    def fill() -> list[Head]:
        heads = []
        with Database.open(new_database_url()) as database:
            material.fill(database, "fakes", "ab")
            for _ in range(2):
                with database.read() as conn:
                    heads.append(read_head(conn))
                with database.write() as conn:
                    record_amendment(conn)
        return heads

    (first, amended), (second, amended_too) = fill(), fill()
    assert first.last == second.last
    assert first.changed_at != second.changed_at
    assert first.amendments == second.amendments == 0
    assert amended.amendments < amended_too.amendments


def test_an_amendment_has_a_greater_number_than_the_one_before(database: Database) -> None:
    """Even if the clock was set back."""
    future = 10**17
    with database.write() as conn:
        conn.execute(text("UPDATE change_counter SET amendments = :future"), {"future": future})
        record_amendment(conn)
        assert read_head(conn).amendments == future + 1
