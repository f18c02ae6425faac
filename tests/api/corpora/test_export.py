"""An export is whole or not there, and reads back as the entries that it was made of."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from api.copies.spaces import DescriberOf
from api.corpora.export import export_corpus
from api.errors import ExportUnwritable, FileAlreadyExists
from api.sources.access import Access
from api.sources.ready import open_ready
from index.errors import UnknownCorpus
from index.truth.active import activate_copy_space
from index.truth.computations import Computation
from index.truth.corpora import CorpusKind
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from tests.api.copies.colours import Colours
from tests.api.ingest.conftest import Shelf
from tests.api.modelless import LOGIT, OTHER_SPACE, SPACE, fill, png, sha256_of


def test_what_cannot_be_exported_leaves_no_file(database: Database, tmp_path: Path) -> None:
    fill(database, "known", [1])
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "there.parquet").write_bytes(b"mine")

    with pytest.raises(UnknownCorpus):
        export_corpus(database, SPACE, "none", folder / "a.parquet")
    with pytest.raises(FileAlreadyExists):
        export_corpus(database, SPACE, "known", folder / "there.parquet")
    with pytest.raises(ExportUnwritable, match="No such file"):
        export_corpus(database, SPACE, "known", folder / "nowhere" / "a.parquet")
    with pytest.raises(ExportUnwritable):
        export_corpus(database, SPACE, "known", folder / "a" / "b.parquet", replace=True)

    assert [path.name for path in folder.iterdir()] == ["there.parquet"]
    assert (folder / "there.parquet").read_bytes() == b"mine"


def test_a_file_is_replaced_only_when_asked(database: Database, tmp_path: Path) -> None:
    fill(database, "known", [1])
    target = tmp_path / "a.parquet"
    target.write_bytes(b"an older export")

    answer = export_corpus(database, SPACE, "known", target, replace=True)

    assert answer.byte_size == target.stat().st_size
    assert pq.read_table(target).num_rows == 1


def test_the_file_holds_the_live_entries_of_the_space_in_one_state(
    database: Database, tmp_path: Path
) -> None:
    acquired_at = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
    ids = fill(
        database,
        "known",
        range(4),
        generator="sdxl",
        acquired_at=acquired_at,
        extra={"case": 7, "ü": [1]},
    )
    fill(database, "known", [7], space=OTHER_SPACE)  # not in the space that is exported
    fill(database, "others", [8])
    with database.write() as conn:
        remove_entry(conn, ids[0])

    answer = export_corpus(database, SPACE, "known", tmp_path / "known.parquet")

    table = pq.read_table(tmp_path / "known.parquet")
    assert (answer.corpus, answer.entries, answer.embedding_space) == (
        "known",
        3,
        SPACE.fingerprint,
    )
    assert table["sha256"].to_pylist() == [sha256_of(png(seed)) for seed in (1, 2, 3)]
    assert set(table["generator"].to_pylist()) == {"sdxl"}
    assert set(table["acquired_at"].to_pylist()) == {acquired_at}
    assert set(table["provenance"].to_pylist()) == {'{"case":7,"ü":[1]}'}
    assert table["logit"].to_pylist() == [LOGIT] * 3
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["lineup.embedding_space"] == SPACE.fingerprint
    assert (metadata["lineup.corpus"], metadata["lineup.kind"]) == ("known", "known_fake")
    assert metadata["lineup.generation"] == str(answer.generation)


def test_an_empty_corpus_is_a_file_without_rows(database: Database, tmp_path: Path) -> None:
    fill(database, "known", [], CorpusKind.KNOWN_REAL)

    answer = export_corpus(database, SPACE, "known", tmp_path / "a.parquet")

    assert answer.entries == 0
    source = open_ready(str(tmp_path / "a.parquet"), Access())
    assert source is not None
    assert list(source.spans(10)) == []
    source.close()


def test_a_file_says_what_computed_its_vectors_if_it_was_one_thing(
    database: Database, tmp_path: Path
) -> None:
    known = Computation("cuda", "float16")
    fill(database, "same", range(2), computation=known)
    fill(database, "mixed", [1])
    fill(database, "mixed", [2])
    fill(database, "unknown", [3])
    declared = {}
    for corpus in ("same", "mixed", "unknown"):
        path = tmp_path / f"{corpus}.parquet"
        export_corpus(database, SPACE, corpus, path)
        source = open_ready(str(path), Access())
        assert source is not None
        declared[corpus] = source.computed_by
        source.close()

    assert declared == {"same": ("cuda", "float16"), "mixed": None, "unknown": None}


def test_an_ingest_takes_an_export_back_as_it_was(database: Database, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shelf = Shelf(database, tmp_path)
    fill(database, "known", range(3), generator="sdxl", extra={"path": "a/b.png", "case": 7})
    export_corpus(database, SPACE, "known", tmp_path / "known.parquet")

    done = shelf.ingest(sources=[str(tmp_path / "known.parquet")], corpus="copy")

    assert (done.counts.added, done.counts.linked, done.counts.failed) == (0, 3, 0)
    exported = [(each.sha256, each.generator, each.provenance) for each in shelf.entries("known")]
    back = [(each.sha256, each.generator, each.provenance) for each in shelf.entries("copy")]
    assert back == exported
    again = export_corpus(database, SPACE, "copy", tmp_path / "copy.parquet")
    one, other = (
        np.stack(pq.read_table(tmp_path / f"{name}.parquet")["vector"].to_pylist())
        for name in ("known", "copy")
    )
    assert again.entries == 3
    np.testing.assert_array_equal(one, other)


def test_of_two_exports_to_one_new_file_one_is_refused(database: Database, tmp_path: Path) -> None:
    fill(database, "known", range(3))
    target, refused = tmp_path / "a.parquet", list[Exception]()
    together = threading.Barrier(2)

    def export() -> None:
        together.wait(10)
        try:
            export_corpus(database, SPACE, "known", target)
        except FileAlreadyExists as err:
            refused.append(err)

    threads = [threading.Thread(target=export) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 1
    assert pq.read_table(target).num_rows == 3


def test_vectors_of_copies_are_written_only_where_asked_and_not_read_back(
    database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(database, tmp_path)
    describer = DescriberOf.of(Colours())
    fill(database, "known", [0])  # without one
    with database.write() as conn:
        activate_copy_space(conn, "colours", describer.space)
    shelf.find_describer = lambda: describer
    shelf.write("1.png", png(1))
    shelf.ingest()
    plain, full = tmp_path / "plain.parquet", tmp_path / "full.parquet"
    export_corpus(database, SPACE, "known", plain)
    export_corpus(database, SPACE, "known", full, copies=True)
    assert "copy_vector" not in pq.read_schema(plain).names
    table = pq.read_table(full)
    assert table.schema.metadata[b"lineup.copy_space"].decode() == describer.space.fingerprint
    first, second = table.column("copy_vector").to_pylist()
    assert first is None
    assert np.linalg.norm(np.array(second, np.float64)) == pytest.approx(1, abs=1e-3)
    read = open_ready(str(full), Access())
    assert read is not None
    (span,) = read.spans(10)
    assert all("copy_vector" not in declared for declared in read.rows(span).declared)
    read.close()
