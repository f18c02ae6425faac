from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.backups.backup import back_up
from index.backups.restore import restore
from index.blobs import BlobStore
from index.cache.live import LiveIndex
from index.errors import InvalidReason, NotQuarantined, UnknownCorpus, UnknownEntry
from index.proof.fsck import fsck
from index.truth.adding import AddStatus, add_entries
from index.truth.corpora import CorpusKind, Keep, create_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import (
    entries_of_image,
    get_entry,
    list_entries,
    remove_entry,
    sha256s_not_kept,
)
from index.truth.quarantine import (
    MAX_REASON_CHARACTERS,
    RELEASED,
    find_quarantined_images,
    get_quarantined,
    list_quarantined,
    quarantine_entry,
    release_entry,
)

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL


def quarantine(database: Database, entry_id: int, reason: str = "matches everything") -> Any:
    with database.write() as conn:
        return quarantine_entry(conn, entry_id, reason)


def release(database: Database, entry_id: int) -> Any:
    with database.write() as conn:
        return release_entry(conn, entry_id)


def add(database: Database, corpus: str, material: Any, *names: object) -> Any:
    with database.write() as conn:
        return add_entries(conn, corpus, material.space, [material.entry(name) for name in names])


@pytest.mark.parametrize("reason", ["", " \n", "x" * (MAX_REASON_CHARACTERS + 1)])
def test_a_quarantine_needs_a_reason_of_some_sentences(
    database: Database, material: Any, reason: str
) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    with pytest.raises(InvalidReason):
        quarantine(database, entry_id, reason)
    with database.read() as conn:
        assert get_entry(conn, entry_id).id == entry_id


@pytest.mark.parametrize("entry_id", [0, -1, 99, 2**63, 2**80])
def test_what_never_was_can_be_neither_quarantined_nor_released(
    database: Database, entry_id: int
) -> None:
    with pytest.raises(UnknownEntry):
        quarantine(database, entry_id)
    with pytest.raises(UnknownEntry):
        release(database, entry_id)


def test_an_entry_that_is_in_quarantine_is_not_there_to_be_quarantined_again(
    database: Database, material: Any
) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    quarantine(database, entry_id, "first")
    with pytest.raises(UnknownEntry):
        quarantine(database, entry_id, "second")
    with database.read() as conn:
        assert get_quarantined(conn, entry_id).reason == "first"


def test_only_what_is_in_quarantine_can_be_released(database: Database, material: Any) -> None:
    live, removed, quarantined = material.fill(database, "fakes", "abc")
    with database.write() as conn:
        remove_entry(conn, removed)
    quarantine(database, quarantined)
    release(database, quarantined)
    for entry_id in (live, removed, quarantined):
        with pytest.raises(NotQuarantined):
            release(database, entry_id)


def test_a_quarantined_entry_is_in_no_list_and_no_search_of_any_process(
    database: Database, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    one, other = material.fill(database, "fakes", "ab")
    here, elsewhere = open_live(), open_live()
    quarantine(database, one)
    for live in (here, elsewhere):
        found = live.search(material.vector("a"), 5, probe_sha256=material.sha256("a"))
        assert [each.entry.id for each in found.neighbours] == [other]
    with database.read() as conn:
        assert [entry.id for entry in list_entries(conn)] == [other]
        assert entries_of_image(conn, material.sha256("a")) == ()
        with pytest.raises(UnknownEntry):
            get_entry(conn, one)


def test_the_image_stays_in_the_other_corpora(database: Database, material: Any) -> None:
    (one,) = material.fill(database, "fakes", ["a"])
    (other,) = material.fill(database, "more", ["a"])
    quarantine(database, one)
    with database.read() as conn:
        assert [entry.id for entry in entries_of_image(conn, material.sha256("a"))] == [other]


def test_the_list_tells_reason_and_time_and_is_paged(database: Database, material: Any) -> None:
    ids = material.fill(database, "fakes", "abcd")
    material.fill(database, "more", "x")
    before = [quarantine(database, entry_id, f"  reason {entry_id} ") for entry_id in ids[:3]]
    with database.read() as conn:
        pages = [list_quarantined(conn, "fakes", after, 2) for after in (0, ids[1], ids[2])]
        assert list_quarantined(conn, "more") == ()
        with pytest.raises(UnknownCorpus):
            list_quarantined(conn, "nowhere")
    assert [[each.entry.id for each in page] for page in pages] == [list(ids[:2]), [ids[2]], []]
    assert [*pages[0], *pages[1]] == before
    assert before[0].reason == f"reason {ids[0]}"
    assert before[0].entry.sha256 == material.sha256("a")


def test_adding_the_image_again_does_not_bring_it_back(database: Database, material: Any) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    quarantine(database, entry_id)
    again, new, repeated = add(database, "fakes", material, "a", "b", "a")
    assert (again.status, again.entry_id, again.quarantined) == (AddStatus.SKIPPED, entry_id, True)
    assert (repeated.status, repeated.entry_id, repeated.quarantined) == (
        AddStatus.SKIPPED,
        entry_id,
        True,
    )
    assert (new.status, new.quarantined) == (AddStatus.ADDED, False)
    with database.read() as conn:
        assert [entry.id for entry in list_entries(conn)] == [new.entry_id]


def test_who_adds_the_image_while_it_goes_into_quarantine_does_not_bring_it_back(
    database: Database, material: Any
) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    with ThreadPoolExecutor(1) as pool:
        with database.write() as conn:
            quarantine_entry(conn, entry_id, "just now")
            adding = pool.submit(add, database, "fakes", material, "a")
            wait([adding], timeout=0.3)  # it waits for this transaction
            assert not adding.done()
        (again,) = adding.result()
    assert (again.entry_id, again.quarantined) == (entry_id, True)
    with database.read() as conn:
        assert list_entries(conn) == ()


def test_another_corpus_takes_the_image_all_the_same(database: Database, material: Any) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    quarantine(database, entry_id)
    with database.write() as conn:
        create_corpus(conn, "reals", REAL)
    (linked,) = add(database, "reals", material, "a")
    assert (linked.status, linked.quarantined) == (AddStatus.LINKED, False)


def test_what_was_simply_removed_comes_back_as_before(database: Database, material: Any) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    with database.write() as conn:
        remove_entry(conn, entry_id)
    (again,) = add(database, "fakes", material, "a")
    assert (again.status, again.quarantined) == (AddStatus.LINKED, False)


def test_a_removed_corpus_takes_its_quarantine_with_it(database: Database, material: Any) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    quarantine(database, entry_id)
    with database.write() as conn:
        remove_corpus(conn, "fakes")
        assert sha256s_not_kept(conn, [material.sha256("a")], list(Keep)) == {material.sha256("a")}
    with pytest.raises(NotQuarantined):
        release(database, entry_id)
    material.fill(database, "fakes", ["a"])
    with database.read() as conn:
        assert len(list_entries(conn, "fakes")) == 1
        assert list_quarantined(conn, "fakes") == ()


def test_which_images_are_in_quarantine_is_told_of_one_corpus(
    database: Database, material: Any
) -> None:
    one, _ = material.fill(database, "fakes", "ab")
    material.fill(database, "more", "a")
    quarantine(database, one)
    asked = [material.sha256(name) for name in ("a", "b", "unknown")]
    with database.read() as conn:
        assert find_quarantined_images(conn, "fakes", asked) == {material.sha256("a"): one}
        assert find_quarantined_images(conn, "more", asked) == {}
        assert find_quarantined_images(conn, "fakes", []) == {}
        assert find_quarantined_images(conn, "nowhere", asked) == {}


def test_a_release_is_a_new_entry_that_tells_where_it_was(
    database: Database, material: Any, open_live: Callable[..., LiveIndex]
) -> None:
    (entry_id,) = material.fill(
        database, "fakes", ["a"], generator="sdxl", label="face", extra={"path": "a.png"}
    )
    live = open_live()
    with database.read() as conn:
        before = get_entry(conn, entry_id)
    first = quarantine(database, entry_id, "first")
    released = release(database, entry_id)
    assert released.is_new
    assert released.quarantined == first
    entry = released.entry
    assert entry.id > entry_id
    assert (entry.image, entry.generator, entry.label, entry.corpus) == (
        before.image,
        "sdxl",
        "face",
        "fakes",
    )
    earlier = {
        "entry": entry_id,
        "reason": "first",
        "quarantined_at": first.since.isoformat(),
    }
    assert entry.provenance == {"path": "a.png", RELEASED: [earlier]}
    assert [each.entry.id for each in live.search(material.vector("a"), 5).neighbours] == [entry.id]

    quarantine(database, entry.id, "second")
    (_, last) = release(database, entry.id).entry.provenance[RELEASED]
    assert (last["entry"], last["reason"]) == (entry.id, "second")


def test_a_release_finds_the_entry_that_is_there_again(database: Database, material: Any) -> None:
    """An older Lineup, which knows no quarantine, may have added the image."""
    (entry_id,) = material.fill(database, "fakes", ["a"])
    with database.write() as conn:
        remove_entry(conn, entry_id)
    (there,) = add(database, "fakes", material, "a")
    with database.write() as conn:
        conn.exec_driver_sql(f"UPDATE entries SET removal_reason = 'old' WHERE id = {entry_id}")
    released = release(database, entry_id)
    assert (released.entry.id, released.is_new) == (there.entry_id, False)
    with database.read() as conn:
        assert len(list_entries(conn)) == 1


def test_what_the_corpus_keeps_of_a_quarantined_image_stays_and_nothing_is_wrong(
    database: Database, material: Any, tmp_path: Path
) -> None:
    one, other = material.fill(database, "fakes", "ab")
    thumbnails = BlobStore(tmp_path / "thumbnails")
    for name in "ab":
        thumbnails.put(material.sha256(name), name.encode())
    quarantine(database, one)
    with database.write() as conn:
        remove_entry(conn, other)
        assert sha256s_not_kept(conn, [material.sha256("a"), material.sha256("b")], list(Keep)) == {
            material.sha256("b")
        }
    thumbnails.remove(material.sha256("b"))
    assert fsck(database, None, tmp_path / "index", thumbnails).findings == ()
    thumbnails.remove(material.sha256("a"))
    (finding,) = fsck(database, None, tmp_path / "index", thumbnails).findings
    assert finding.kind == "thumbnail_missing"
    release(database, one)
    thumbnails.put(material.sha256("a"), b"a")
    assert fsck(database, None, tmp_path / "index", thumbnails).findings == ()


def test_a_backup_brings_the_quarantine_and_its_thumbnails_back(
    database: Database, material: Any, tmp_path: Path
) -> None:
    (entry_id,) = material.fill(database, "fakes", ["a"])
    thumbnails = BlobStore(tmp_path / "thumbnails")
    thumbnails.put(material.sha256("a"), b"thumbnail")
    was = quarantine(database, entry_id, "looks real: Fälschung \U0001f600")
    archive, there = tmp_path / "lineup.tar", tmp_path / "there"
    back_up(database, tmp_path / "index", thumbnails=thumbnails, archive=archive)
    restore(
        archive, f"sqlite:///{there}/lineup.db", there / "index", BlobStore(there / "thumbnails")
    )
    with Database.open(f"sqlite:///{there}/lineup.db") as restored:
        with restored.read() as conn:
            assert list_quarantined(conn, "fakes") == (was,)
            assert list_entries(conn) == ()
        assert BlobStore(there / "thumbnails").get(material.sha256("a")) == b"thumbnail"
        assert fsck(restored, None, there / "index", BlobStore(there / "thumbnails")).findings == ()
        assert release(restored, entry_id).is_new


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "quarantine", "release"]), st.sampled_from("abc")),
    max_size=12,
)


@settings(settings.get_profile("index"), max_examples=15)
@given(steps=STEPS)
def test_an_image_is_live_or_in_quarantine_or_neither_whatever_is_done(
    new_sqlite_url: Callable[[], str], material: Any, steps: list[tuple[str, str]]
) -> None:
    live: set[str] = set()
    quarantined: set[str] = set()
    with Database.open(new_sqlite_url()) as database:
        with database.write() as conn:
            create_corpus(conn, "fakes", FAKE)
        for step, name in steps:
            _take(database, material, step, name)
            if step == "add" and name not in quarantined:
                live.add(name)
            elif step == "remove":
                live.discard(name)
            elif step == "quarantine" and name in live:
                live.remove(name)
                quarantined.add(name)
            elif step == "release" and name in quarantined:
                quarantined.remove(name)
                live.add(name)
        with database.read() as conn:
            assert sorted(entry.sha256 for entry in list_entries(conn)) == sorted(
                map(material.sha256, live)
            )
            listed = [each.entry.sha256 for each in list_quarantined(conn, "fakes")]
            assert sorted(listed) == sorted(map(material.sha256, quarantined))
        assert fsck(database, None, Path("nowhere")).findings == ()


def _take(database: Database, material: Any, step: str, name: str) -> None:
    sha256 = material.sha256(name)
    if step == "add":
        add(database, "fakes", material, name)
        return
    with database.write() as conn:
        if step == "release":
            for entry_id in find_quarantined_images(conn, "fakes", [sha256]).values():
                release_entry(conn, entry_id)
            return
        for entry in entries_of_image(conn, sha256):
            if step == "remove":
                remove_entry(conn, entry.id)
            else:
                quarantine_entry(conn, entry.id, "tried")
