"""`fsck` of the change log: each contradiction alone, and none in a log of many changes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from index.proof.findings import FindingKind
from index.proof.fsck_log import check_log
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.quarantine import quarantine_entry, release_entry

Kind = FindingKind


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_fsck` has both databases


@pytest.fixture
def filled(database: Database, material: Any) -> Database:
    """Three entries, of which the third was removed: four changes."""
    ids = material.fill(database, "fakes", "abc")
    with database.write() as conn:
        remove_entry(conn, ids[2])
    return database


def damage(database: Database, *statements: str) -> None:
    with database.write() as conn:
        conn.execute(text("PRAGMA defer_foreign_keys = ON"))
        for statement in statements:
            conn.execute(text(statement))


def found(database: Database) -> dict[FindingKind, str]:
    with database.read() as conn:
        return {finding.kind: finding.item for finding in check_log(conn)}


def test_a_healthy_log_has_no_finding(filled: Database) -> None:
    assert found(filled) == {}


@settings(settings.get_profile("index"), max_examples=8)
@given(steps=st.lists(st.tuples(st.sampled_from("aaaqrx"), st.integers(0, 9)), max_size=14))
def test_whatever_is_done_the_log_stays_healthy(
    new_sqlite_url: Any, material: Any, steps: list[tuple[str, int]]
) -> None:
    with Database.open(new_sqlite_url()) as database:
        live, quarantined = list[int](), list[int]()
        material.fill(database, "fakes", ["first"])
        for step, number in steps:
            if step == "a":
                ids = material.fill(database, "fakes", [f"n{number}-{len(live)}"])
                live += [i for i in ids if i not in live]
            with database.write() as conn:
                if step == "r" and live:
                    remove_entry(conn, live.pop(number % len(live)))
                elif step == "q" and live:
                    quarantined.append(live.pop(number % len(live)))
                    quarantine_entry(conn, quarantined[-1], "a reason")
                elif step == "x" and quarantined:
                    live.append(release_entry(conn, quarantined.pop()).entry.id)
        assert found(database) == {}
        with database.write() as conn:
            remove_corpus(conn, "fakes")
        assert found(database) == {}


@pytest.mark.parametrize(
    ("statements", "kind", "item"),
    [
        (["UPDATE change_counter SET last = 7"], Kind.COUNTER_MISMATCH, "change_counter"),
        (["DELETE FROM changes WHERE number = 2"], Kind.CHANGE_GAP, "change 2"),
        (["DELETE FROM changes WHERE number = 1"], Kind.CHANGE_GAP, "change 1"),
        (
            [
                "UPDATE changes SET digest = (SELECT digest FROM changes WHERE number = 1) "
                "WHERE number = 3"
            ],
            Kind.CHANGE_DIGEST,
            "change 3",
        ),
        (
            ["UPDATE changes SET kind = 'remove' WHERE number = 2"],
            Kind.REMOVE_WITHOUT_ADD,
            "change 2",
        ),
        (
            ["UPDATE entries SET removed_at = created_at WHERE id = 1"],
            Kind.REMOVED_NOT_LOGGED,
            "entry 1",
        ),
        (
            ["UPDATE entries SET removed_at = NULL WHERE id = 3"],
            Kind.LIVE_BUT_LOGGED_REMOVED,
            "entry 3",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_contradiction_is_found_where_it_is(
    filled: Database, statements: list[str], kind: FindingKind, item: str
) -> None:
    damage(filled, *statements)
    assert found(filled)[kind] == item


def test_live_rows_that_are_not_the_members_of_the_log_are_found(filled: Database) -> None:
    damage(filled, "UPDATE entries SET removed_at = created_at WHERE id = 1")
    assert found(filled)[Kind.LIVE_DIGEST].startswith("space ")


def test_a_changed_vector_is_found_by_the_digest_of_its_addition(filled: Database) -> None:
    damage(
        filled,
        "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) WHERE id = 2",
    )
    kinds = found(filled)
    assert kinds[Kind.CHANGE_DIGEST] == "change 2"
    assert Kind.LIVE_DIGEST in kinds


def test_only_the_first_wrong_digest_of_a_space_is_reported(
    filled: Database, material: Any
) -> None:
    with filled.write() as conn:
        new = NewEntry(material.image("a"), material.vector("a", 4), 0.0)
        add_entries(conn, "fakes", material.other_space, [new])
    damage(filled, "UPDATE changes SET digest = zeroblob(32)")
    with filled.read() as conn:
        wrong = [each for each in check_log(conn) if each.kind is Kind.CHANGE_DIGEST]
    assert [each.item for each in wrong] == ["change 1", "change 5"]


def test_an_entry_that_the_log_never_added_is_found(filled: Database) -> None:
    damage(
        filled,
        "DELETE FROM changes WHERE number > 2",
        "UPDATE change_counter SET last = 2",
        "UPDATE entries SET removed_at = NULL WHERE id = 3",
    )
    assert found(filled)[Kind.LIVE_NOT_LOGGED] == "entry 3"
