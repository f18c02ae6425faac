from typing import Any

import pytest

from index.cache.live import LiveIndex
from index.errors import (
    CorpusExists,
    CorpusKeepConflict,
    CorpusKindConflict,
    InvalidCorpusName,
    InvalidProvenance,
    UnknownCorpus,
    UnknownEntry,
)
from index.truth.corpora import (
    CorpusKind,
    Keep,
    create_corpus,
    ensure_corpus,
    find_corpus_ids,
    get_corpus,
    list_corpora,
    lock_corpus,
    remove_corpus,
    set_features,
    set_keep,
)
from index.truth.databases.database import Database
from index.truth.entries import get_entry

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL


def test_a_name_that_breaks_the_pattern_is_refused(database: Database) -> None:
    for name in ("", "-a", ".a", "Upper", "with space", "ä", "a" * 65, "a/b", "a\n"):
        with pytest.raises(InvalidCorpusName), database.write() as conn:
            create_corpus(conn, name, FAKE)


def test_a_corpus_that_is_not_there_is_unknown(database: Database) -> None:
    for action in (get_corpus, remove_corpus):
        with pytest.raises(UnknownCorpus, match="'nowhere'"), database.write() as conn:
            action(conn, "nowhere")


def test_a_name_is_taken_once(database: Database) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", FAKE)
        with pytest.raises(CorpusExists):
            create_corpus(conn, "fakes", FAKE)


def test_ensuring_a_corpus_of_the_other_kind_is_a_conflict(database: Database) -> None:
    with database.write() as conn:
        ensure_corpus(conn, "fakes", FAKE)
        with pytest.raises(CorpusKindConflict) as caught:
            ensure_corpus(conn, "fakes", REAL)
    assert (caught.value.kind, caught.value.wanted) == (FAKE, REAL)


def test_ensuring_a_corpus_twice_gives_the_same(database: Database) -> None:
    with database.write() as conn:
        assert ensure_corpus(conn, "fakes", FAKE, " of 2026 ") == ensure_corpus(
            conn, "fakes", FAKE, "other words"
        )
        assert get_corpus(conn, "fakes").description == "of 2026"


def test_corpora_are_listed_by_name_with_their_live_entries(
    database: Database, material: Any
) -> None:
    material.fill(database, "b", "xyz")
    material.fill(database, "a", "x", REAL)
    with database.write() as conn:
        create_corpus(conn, "c", FAKE)
        assert [(c.name, c.kind, c.entries) for c in list_corpora(conn)] == [
            ("a", REAL, 1),
            ("b", FAKE, 3),
            ("c", FAKE, 0),
        ]


def test_removing_a_corpus_removes_its_entries_and_no_other(
    database: Database, material: Any
) -> None:
    gone = material.fill(database, "gone", "xyz")
    stays = material.fill(database, "stays", "xy")
    with database.write() as conn:
        assert remove_corpus(conn, "gone") == 3
    with database.read() as conn:
        assert [corpus.name for corpus in list_corpora(conn)] == ["stays"]
        assert [get_entry(conn, entry_id).corpus for entry_id in stays] == ["stays", "stays"]
        for entry_id in gone:
            with pytest.raises(UnknownEntry):
                get_entry(conn, entry_id)


def test_the_name_of_a_removed_corpus_is_free_and_its_entries_do_not_come_back(
    database: Database, material: Any
) -> None:
    before = material.fill(database, "fakes", "xyz")
    with database.write() as conn:
        remove_corpus(conn, "fakes")
        assert create_corpus(conn, "fakes", REAL).entries == 0
    after = material.fill(database, "fakes", "x", REAL)
    assert not set(before) & set(after)


def test_removing_a_corpus_of_more_entries_than_fit_one_statement(
    database: Database, material: Any, live: LiveIndex
) -> None:
    material.fill(database, "large", range(1_100))
    assert live.search(material.vector(0), 1).searched == 1_100
    with database.write() as conn:
        assert remove_corpus(conn, "large") == 1_100
    assert live.search(material.vector(0), 1).searched == 0
    assert live.verify().agrees


@pytest.mark.parametrize("name", ["a", "0", "a.b_c-d", "a" * 64, "0-9"])
def test_a_name_of_the_pattern_is_accepted(database: Database, name: str) -> None:
    with database.write() as conn:
        assert create_corpus(conn, name, FAKE).name == name


@pytest.mark.parametrize("keep", list(Keep))
def test_a_corpus_keeps_what_it_was_created_with(database: Database, keep: Keep) -> None:
    with database.write() as conn:
        assert create_corpus(conn, "fakes", FAKE, keep=keep).keep is keep
        assert ensure_corpus(conn, "fakes", FAKE, keep=keep).keep is keep
        assert ensure_corpus(conn, "fakes", FAKE).keep is keep
        assert get_corpus(conn, "fakes").keep is keep


def test_a_corpus_that_keeps_something_else_is_a_conflict(database: Database) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", FAKE)
        with pytest.raises(CorpusKeepConflict) as caught:
            ensure_corpus(conn, "fakes", FAKE, keep=Keep.NONE)
    assert (caught.value.keep, caught.value.wanted) == (Keep.THUMBNAIL, Keep.NONE)


def test_what_a_corpus_keeps_can_be_changed(database: Database, material: Any) -> None:
    ids = material.fill(database, "fakes", "ab")
    with database.write() as conn:
        assert set_keep(conn, "fakes", Keep.ORIGINAL).keep is Keep.ORIGINAL
        create_corpus(conn, "other", FAKE)
        assert get_corpus(conn, "other").keep is Keep.THUMBNAIL
        assert get_entry(conn, ids[0]).keep is Keep.ORIGINAL
        with pytest.raises(UnknownCorpus):
            set_keep(conn, "nowhere", Keep.NONE)


def test_a_corpus_stores_features_where_that_was_chosen(database: Database) -> None:
    with database.write() as conn:
        assert not create_corpus(conn, "fakes", FAKE).features
        assert create_corpus(conn, "others", FAKE, features=True).features
        assert set_features(conn, "fakes", features=True).features
        assert not set_features(conn, "fakes", features=False).features
        with pytest.raises(UnknownCorpus):
            set_features(conn, "nowhere", features=True)


@pytest.mark.parametrize(
    ("keep", "thumbnails", "originals"),
    [(Keep.ORIGINAL, True, True), (Keep.THUMBNAIL, True, False), (Keep.NONE, False, False)],
)
def test_an_original_includes_the_thumbnail(keep: Keep, thumbnails: bool, originals: bool) -> None:
    assert (keep.thumbnails, keep.originals) == (thumbnails, originals)


def test_the_ids_of_corpora_rise_and_an_unknown_name_is_named(database: Database) -> None:
    with database.write() as conn:
        for name in ("c", "a", "b"):
            create_corpus(conn, name, FAKE)
        ids = {name: lock_corpus(conn, name) for name in ("a", "b", "c")}
        assert find_corpus_ids(conn, frozenset("abc")) == tuple(sorted(ids.values()))
        assert find_corpus_ids(conn, frozenset("b")) == (ids["b"],)
        assert find_corpus_ids(conn, frozenset()) == ()
        with pytest.raises(UnknownCorpus, match="'x'"):
            find_corpus_ids(conn, frozenset(["y", "a", "x"]))


def test_a_removed_corpus_cannot_be_locked_or_found(database: Database) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", FAKE)
        remove_corpus(conn, "fakes")
        for action in (lock_corpus, get_corpus, remove_corpus):
            with pytest.raises(UnknownCorpus):
                action(conn, "fakes")
        with pytest.raises(UnknownCorpus):
            find_corpus_ids(conn, frozenset(["fakes"]))
        assert list_corpora(conn) == ()


def test_a_description_that_cannot_be_stored_is_refused(database: Database) -> None:
    with database.write() as conn, pytest.raises(InvalidProvenance):
        create_corpus(conn, "fakes", FAKE, "a\x00b")
