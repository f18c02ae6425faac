"""A dry run writes nothing and announces what the ingest then does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.ingest.dry_run import DryRunAnswer, Trial
from api.sources.item import UnusableSource
from index.truth.quarantine import quarantine_entry
from tests.api.ingest.conftest import Shelf
from tests.api.ingest.test_task import write_table
from tests.api.modelless import DECODERS, LIMITS, SPACE, corpus_names, fill, jpeg_of, png


def try_out(shelf: Shelf, *, database: bool = True, **stated: object) -> DryRunAnswer:
    return Trial(
        shelf.database if database else None,
        SPACE,
        DECODERS,
        LIMITS,
        shelf.uploads,
        shelf.request(**stated),
    ).run()


def test_what_cannot_be_read_or_means_nothing_is_refused(shelf: Shelf) -> None:
    with pytest.raises(UnusableSource):
        try_out(shelf, sources=[str(shelf.folder / "nowhere")])
    write_table(shelf.folder / "ready.parquet", range(2))
    with pytest.raises(InvalidRequest, match="--embedding-space"):
        try_out(shelf, sources=[str(shelf.folder / "ready.parquet")])


def test_a_missing_database_counts_as_an_empty_one(shelf: Shelf) -> None:
    fill(shelf.database, "known", [1])
    shelf.write("a.png", png(1))

    assert try_out(shelf, database=False).new == 1
    assert try_out(shelf).new == 0


def test_each_item_is_counted_as_what_it_would_become(shelf: Shelf) -> None:
    (entry_id,) = fill(shelf.database, "known", [1])
    fill(shelf.database, "others", [2])
    (quarantined,) = fill(shelf.database, "known", [3])
    with shelf.database.write() as conn:
        quarantine_entry(conn, quarantined, "a photograph")
    for name, data in {
        "a-there.png": png(1),
        "b-linked.png": png(2),
        "c-quarantined.png": png(3),
        "d-new.png": png(4),
        "e-duplicate.png": png(4),
        "f-near.jpg": jpeg_of(4),
        "g-bad.txt": b"no image",
        "h-large.png": png(5) + bytes(300 * 1024),
    }.items():
        shelf.write(name, data)

    answer = try_out(shelf)

    assert (answer.found, answer.new, answer.linked, answer.failed) == (8, 2, 1, 2)
    assert (answer.skipped, answer.duplicates, answer.near_duplicates) == (3, 1, 1)
    assert [(each.name, each.reason) for each in answer.failures] == [
        ("g-bad.txt", "not_an_image"),
        ("h-large.png", "too_large"),
    ]
    assert corpus_names(shelf.database) == ["known", "others"]
    assert [entry.id for entry in shelf.entries()] == [entry_id]


def test_ready_embeddings_are_tried_row_by_row(shelf: Shelf) -> None:
    fill(shelf.database, "known", [0])
    table = shelf.folder / "ready.parquet"
    write_table(table, range(4), width=[1, 1, -1, 1])

    answer = try_out(shelf, sources=[str(table)], embedding_space=SPACE.fingerprint)

    assert (answer.found, answer.new, answer.skipped, answer.failed) == (4, 2, 1, 1)
    assert [each.reason for each in answer.failures] == ["invalid_row"]


NUMBERS = itertools.count()
FILES = st.lists(
    st.sampled_from(["png0", "png1", "png2", "jpeg0", "jpeg2", "bad"]), min_size=1, max_size=8
)


@given(known=st.sets(st.integers(0, 2)), files=FILES)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_ingest_does_what_the_dry_run_announced(
    sqlite_shelf: Shelf, known: set[int], files: list[str]
) -> None:
    shelf, corpus = sqlite_shelf, f"corpus-{next(NUMBERS)}"
    fill(shelf.database, corpus, sorted(known))
    source = shelf.folder / "in" / corpus
    made = {"png": png, "jpeg": jpeg_of}
    for number, name in enumerate(files):
        data = b"no image" if name == "bad" else made[name[:-1]](int(name[-1]))
        shelf.write(f"{corpus}/{number}.img", data)

    announced = try_out(shelf, sources=[str(source)], corpus=corpus)
    done = shelf.ingest(sources=[str(source)], corpus=corpus).counts

    assert (announced.found, announced.new, announced.linked, announced.skipped) == (
        done.found,
        done.added,
        done.linked,
        done.skipped,
    )
    assert (announced.failed, announced.duplicates) == (done.failed, done.duplicates)
