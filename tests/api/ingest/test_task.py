"""An ingest: what is known is not computed again, what cannot be taken fails alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.errors import InvalidRequest
from api.ingest import task as ingest_task
from api.ingest.spool import keep_list
from api.sources.item import UnusableSource
from embedder.copies.features import LocalFeatures
from index import failpoints
from index.errors import ForeignSpace
from index.failpoints import Failpoint
from index.truth.corpora import CorpusKind, Keep, create_corpus
from index.truth.entries import remove_entry
from index.truth.jobs.job import JobCounts, JobState
from index.truth.quarantine import quarantine_entry
from tests.api.ingest.conftest import Shelf
from tests.api.modelless import OTHER_SPACE, SPACE, fill, jpeg_of, png, sha256_of


def write_table(path: Path, seeds: range, **columns: object) -> None:
    """Ready embeddings of the pictures of these seeds."""
    vectors = np.eye(SPACE.dimension, dtype=np.float32)[[seed % SPACE.dimension for seed in seeds]]
    whole = {
        "sha256": [sha256_of(png(seed)) for seed in seeds],
        "logit": [0.25] * len(seeds),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), SPACE.dimension),
    }
    pq.write_table(pa.table(whole | columns), path)


def test_a_source_that_is_gone_is_refused(shelf: Shelf) -> None:
    with pytest.raises(UnusableSource, match="nowhere"):
        shelf.ingest(sources=[str(shelf.folder / "nowhere")])


def test_items_that_cannot_be_taken_fail_alone_with_their_reasons(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))
    shelf.write("b.txt", b"no image")
    shelf.write("c.png", png(2)[:-200])
    shelf.write("d.png", png(3) + bytes(300 * 1024))
    shelf.write("e.png", png(4, side=8))

    done = shelf.ingest()

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=5, added=1, failed=4))
    assert [(item.name, item.reason) for item in shelf.items(done)] == [
        ("b.txt", "not_an_image"),
        ("c.png", "truncated"),
        ("d.png", "too_large"),
        ("e.png", "too_small"),
    ]


def test_an_image_is_embedded_once_however_often_it_comes(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))
    shelf.write("b.png", png(1))
    shelf.write("c.png", png(2))
    first = shelf.ingest()
    assert first.counts == JobCounts(found=3, added=2, skipped=1, duplicates=1)
    assert [item.reason for item in shelf.items(first)] == ["duplicate"]
    shelf.embedder.embedded.clear()
    shelf.write("d.png", png(3))

    again = shelf.ingest()
    linked = shelf.ingest(corpus="others")

    assert again.counts == JobCounts(found=4, added=1, skipped=3)
    assert {item.reason for item in shelf.items(again)} == {"already_there"}
    assert {item.entry_id for item in shelf.items(again)} == {
        entry.id for entry in shelf.entries()[:2]
    }
    assert linked.counts == JobCounts(found=4, linked=3, skipped=1, duplicates=1)
    assert shelf.embedder.embedded == [sha256_of(png(3))]


def test_what_is_in_quarantine_is_not_added_again(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))
    shelf.ingest()
    (entry,) = shelf.entries()
    with shelf.database.write() as conn:
        quarantine_entry(conn, entry.id, "a photograph")

    done = shelf.ingest(label="again")

    assert done.counts == JobCounts(found=1, skipped=1)
    (item,) = shelf.items(done)
    assert (item.reason, item.entry_id) == ("quarantined", entry.id)
    assert f"lineup release {entry.id}" in item.detail
    assert shelf.entries() == []


def test_a_removed_image_is_added_again_from_what_is_stored(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))
    shelf.ingest()
    (entry,) = shelf.entries()
    with shelf.database.write() as conn:
        remove_entry(conn, entry.id)
    shelf.embedder.embedded.clear()

    assert shelf.ingest().counts == JobCounts(found=1, linked=1)
    assert shelf.embedder.embedded == []


def test_near_duplicates_are_reported_and_kept_unless_they_are_left_out(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))
    shelf.write("b.jpg", jpeg_of(1))
    shelf.write("c.png", png(2))
    kept = shelf.ingest(corpus="all")
    left_out = shelf.ingest(corpus="some", dedup="near", keep=Keep.ORIGINAL)
    stored = len(list(shelf.stores.originals))
    again = shelf.ingest(corpus="some", dedup="near", label="x")

    assert kept.counts == JobCounts(found=3, added=3, near_duplicates=1)
    assert [item.reason for item in shelf.items(kept)] == ["near_duplicate"]
    assert left_out.counts == JobCounts(found=3, linked=2, skipped=1, near_duplicates=1)
    assert stored == 2
    assert again.counts == JobCounts(found=3, skipped=3, near_duplicates=1)
    held = {entry.sha256: entry.id for entry in shelf.entries("some")}
    (near,) = [item for item in shelf.items(again) if item.reason == "near_duplicate"]
    assert near.entry_id == held[sha256_of(png(1))]


@pytest.mark.parametrize(
    ("keep", "thumbnails", "originals"),
    [(Keep.ORIGINAL, 2, 2), (Keep.THUMBNAIL, 2, 0), (Keep.NONE, 0, 0)],
)
def test_a_corpus_keeps_what_it_was_made_for(
    shelf: Shelf, keep: Keep, thumbnails: int, originals: int
) -> None:
    fill(shelf.database, "elsewhere", [1])  # known, and its file comes now
    shelf.write("a.png", png(1))
    shelf.write("b.png", png(2))

    done = shelf.ingest(keep)

    assert (done.counts.added, done.counts.linked) == (1, 1)
    assert len(list(shelf.stores.thumbnails)) == thumbnails
    assert len(list(shelf.stores.originals)) == originals
    if originals:
        assert shelf.stores.originals.get(sha256_of(png(2))) == png(2)


def test_a_corpus_stores_the_features_of_new_and_of_known_pictures(shelf: Shelf) -> None:
    fill(shelf.database, "elsewhere", [1])  # known, and its file comes now
    with shelf.database.write() as conn:
        create_corpus(conn, "known", CorpusKind.KNOWN_FAKE, features=True)
    shelf.write("a.png", png(1))
    shelf.write("b.png", png(2))

    done = shelf.ingest()

    assert (done.counts.added, done.counts.linked) == (1, 1)
    assert set(shelf.stores.features) == {sha256_of(png(1)), sha256_of(png(2))}
    for seed in (1, 2):
        features = LocalFeatures.from_bytes(shelf.stores.features.get(sha256_of(png(seed))))
        assert (features.width, features.height) == (64, 64)


def test_the_blobs_of_a_chunk_are_there_before_its_entries_commit_and_nothing_is_left_over(
    shelf: Shelf,
) -> None:
    for seed in range(3):
        shelf.write(f"{seed}.png", png(seed))
    shelf.write("bad.png", b"no image")
    stores, found = shelf.stores, list[int]()

    def look(point: Failpoint) -> None:
        if point is Failpoint.ENTRIES_WRITTEN:
            found.append(len(list(stores.thumbnails)))

    failpoints.install(look)
    try:
        shelf.ingest(Keep.THUMBNAIL)
    finally:
        failpoints.install(None)
    assert found == [3]
    assert len(shelf.entries()) == 3
    assert stores.thumbnails.leftovers() == ()


def test_provenance_is_joined_and_says_where_the_bytes_can_be_read_again(shelf: Shelf) -> None:
    path = shelf.write("sdxl/a.png", png(1))

    shelf.ingest(pattern="{generator}/*", label="face", provenance={"case": 7})

    (entry,) = shelf.entries()
    assert (entry.generator, entry.label, entry.source) == ("sdxl", "face", "in")
    assert entry.provenance == {
        "path": "sdxl/a.png",
        "location": str(path),
        "pattern": {"generator": "sdxl"},
        "case": 7,
    }


def test_provenance_that_cannot_be_stored_fails_its_item(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))

    done = shelf.ingest(provenance={"note": "a\x00b"})

    assert done.counts.failed == 1
    assert [item.reason for item in shelf.items(done)] == ["invalid_provenance"]
    assert shelf.entries() == []


def test_a_file_outside_of_the_roots_is_not_read(shelf: Shelf) -> None:
    secret = shelf.folder / "secret.png"
    secret.write_bytes(png(9))
    shelf.write("a.png", png(1))
    listing = shelf.write("list.csv", f"path\na.png\n{secret}\n../secret.png\n".encode())

    done = shelf.ingest(sources=[str(listing)], roots=[str(shelf.folder / "in")])

    assert done.counts == JobCounts(found=3, added=1, failed=2)
    assert {item.reason for item in shelf.items(done)} == {"not_allowed"}


def test_several_sources_of_several_kinds_are_one_job(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_task, "CHUNK_ITEMS", 2)
    for seed in range(3):
        shelf.write(f"{seed}.png", png(seed))
    archive, table = shelf.folder / "a.zip", shelf.folder / "ready.parquet"
    with zipfile.ZipFile(archive, "w") as file:
        for seed in range(2, 7):
            file.writestr(f"{seed}.png", png(seed))
    write_table(table, range(6, 10))

    done = shelf.ingest(
        sources=[str(shelf.folder / "in"), str(archive), str(table)],
        embedding_space=SPACE.fingerprint,
    )

    assert done.counts == JobCounts(found=12, added=10, skipped=2, duplicates=2)
    assert len(shelf.entries()) == 10
    assert {entry.source for entry in shelf.entries()} >= {"in", "a.zip"}


def test_ready_embeddings_are_taken_as_they_are(shelf: Shelf) -> None:
    table = shelf.folder / "ready.parquet"
    write_table(table, range(3), generator=["sdxl", "flux", None])

    done = shelf.ingest(sources=[str(table)], embedding_space=SPACE.fingerprint)

    assert done.counts == JobCounts(found=3, added=3)
    assert [entry.generator for entry in shelf.entries()] == ["sdxl", "flux", None]
    assert shelf.embedder.embedded == []


def test_ready_embeddings_of_another_or_an_unknown_space_are_refused(shelf: Shelf) -> None:
    table = shelf.folder / "ready.parquet"
    write_table(table, range(3))

    with pytest.raises(ForeignSpace):
        shelf.ingest(sources=[str(table)], embedding_space=OTHER_SPACE.fingerprint)
    with pytest.raises(InvalidRequest, match="--embedding-space"):
        shelf.ingest(sources=[str(table)])
    assert shelf.entries() == []


def test_a_list_from_standard_input_is_a_source(shelf: Shelf) -> None:
    shelf.write("a.png", png(1))
    shelf.write("b.png", png(2))
    kept = keep_list(io.BytesIO(b"a.png\nb.png\nmissing.png\n"), shelf.uploads.absolute())

    done = shelf.ingest(sources=[str(kept)], folder=str(shelf.folder / "in"))

    assert (done.counts.added, done.counts.failed) == (2, 1)
    assert {entry.source for entry in shelf.entries()} == {"standard input"}
