"""Ready embeddings become entries row by row: each bad row fails alone, and what is said of a row is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.errors import InvalidRequest
from api.export import export_corpus
from api.ingest import task
from api.ingest.provenance import joined
from api.ingest.ready import ReadyChunks
from api.ingest.request import IngestRequest
from api.jobs.running import start_ingest, work_on
from api.jobs.task import End, Left, Taken
from api.lineup import Lineup
from api.sources.item import Item, Span, UnreadableItem
from api.sources.ready_rows import ReadyRows
from index import Database, ForeignSpace, JobCounts, Outcome, Space, fsck, list_entries, list_items
from tests.api.conftest import settings

DIMENSION = 8
SPACE = Space("a" * 64, "m", "b" * 64, "c" * 64, DIMENSION)
NUL = "a\x00"


def sha256_of(number: int) -> str:
    return f"{number:064x}"


def vectors(count: int, dimension: int = DIMENSION, seed: int = 0) -> np.ndarray:
    wide = np.random.default_rng(seed).standard_normal((count, dimension))
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


class Rows:
    """A source of the rows given. Implements `ReadySource`."""

    location = "/x/rows.npy"
    dimension = DIMENSION

    def __init__(
        self, told: Sequence[Mapping[str, Any]], embedding_space: str | None = SPACE.fingerprint, **other: Any
    ) -> None:
        self.embedding_space = embedding_space
        count = len(told)
        self._rows = ReadyRows(
            other.get("names", [f"{number}.png" for number in range(count)]),
            other.get("vectors", vectors(count)),
            np.array(other.get("logits", [0.5] * count)),
            other.get("sha256s", [sha256_of(number) for number in range(count)]),
            other.get("facts", [{}] * count),
            told,
            other.get("unreadable", {}),
        )

    def spans(self, size: int) -> Iterator[Span]:
        raise NotImplementedError

    def rows(self, span: Span) -> ReadyRows:  # noqa: ARG002 - all of them
        return self._rows

    def close(self) -> None: ...


def read(rows: Rows, first: int = 0, **words: Any) -> list[End]:
    request = IngestRequest(sources=[rows.location], corpus="k", **words)
    span = Span(len(rows.rows(Span(0, None)).names), None)
    return list(ReadyChunks(SPACE, request).read(rows, span, first))


def failures(ends: Sequence[End]) -> dict[int, tuple[str, str]]:
    return {end.item.position: (end.item.reason, end.item.detail) for end in ends if isinstance(end, Left)}


def only(ends: Sequence[End]) -> Taken:
    (end,) = ends
    assert isinstance(end, Taken)
    return end


def test_vectors_of_another_space_or_of_none_that_anybody_names_are_refused() -> None:
    ready = ReadyChunks(SPACE, IngestRequest(sources=["/x"], corpus="k"))
    with pytest.raises(ForeignSpace):
        ready.require_space(Rows([{}], embedding_space="d" * 64))
    with pytest.raises(InvalidRequest, match="does not say"):
        ready.require_space(Rows([{}], embedding_space=None))
    named = IngestRequest(sources=["/x"], corpus="k", embedding_space=SPACE.fingerprint)
    ReadyChunks(SPACE, named).require_space(Rows([{}], embedding_space=None))
    with pytest.raises(ForeignSpace):
        ReadyChunks(SPACE, named.model_copy(update={"embedding_space": "d" * 64})).require_space(Rows([{}]))


def test_each_bad_row_fails_alone_with_its_name_and_reason() -> None:
    given = vectors(12)
    given[1] *= 2
    given[2, 3] = np.nan
    told: list[dict[str, Any]] = [{} for _ in range(12)]
    told[8], told[9] = {"label": NUL}, {"provenance": {"a": NUL}}
    facts: list[dict[str, Any]] = [{} for _ in range(12)]
    facts[6], facts[7] = {"width": 0}, {"pdq_hash": "zz", "pdq_quality": 3}
    facts[11] = {"byte_size": 7, "width": 2, "height": 1, "format": "png", "pdq_hash": "ab" * 32, "pdq_quality": 100}
    ends = read(
        Rows(
            told,
            vectors=given,
            logits=[0.5, 0.5, 0.5, np.inf, *[0.5] * 8],
            sha256s=[*map(sha256_of, range(4)), None, "A" * 64, *map(sha256_of, range(6, 12))],
            facts=facts,
            unreadable={10: UnreadableItem("corrupt_table", "its row group is damaged")},
        ),
        first=100,
    )

    assert failures(ends) == {
        101: ("invalid_embedding", "an embedding has the L2 norm 2 instead of 1"),
        102: ("invalid_embedding", "an embedding holds a value that is not finite"),
        103: ("invalid_embedding", "a logit is not finite"),
        104: ("invalid_row", "a ready embedding needs the sha256 of its image"),
        105: ("invalid_row", "a sha256 is 64 lower-case hex digits"),
        106: ("invalid_row", "an image has at least one byte and one pixel"),
        107: ("invalid_row", "a PDQ hash is 64 hex digits"),
        108: ("invalid_row", "text holds a NUL character, which PostgreSQL cannot store"),
        109: ("invalid_row", "provenance holds a NUL character, which PostgreSQL cannot store"),
        110: ("corrupt_table", "its row group is damaged"),
    }
    taken = [end for end in ends if isinstance(end, Taken)]
    assert [(end.position, end.name) for end in taken] == [(100, "0.png"), (111, "11.png")]
    assert np.array_equal(np.stack([end.entry.vector for end in taken]), given[[0, 11]])  # type: ignore[misc]
    assert [end.entry.logit for end in taken] == [0.5, 0.5]
    assert (taken[1].entry.image.width, taken[1].entry.image.perceptual_hash.quality) == (2, 100)  # type: ignore[union-attr]
    assert not any(end.entry.image.seen for end in taken)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"generator": "flux", "licence": "CC0", "provenance": {"case": 7}},
    {"pattern": "{generator}/{label}/*"},
    {"pattern": "{label}.png", "origin": "a laboratory", "acquired_at": "2024-05-01T10:00:00"},
]
TOLD: list[dict[str, Any]] = [
    {},
    {"generator": "SD XL", "label": "face", "path": "sdxl/face/1.png"},
    {"Generator": "sdxl", "class": 3, "license": " ", "seed": 17},
    {"acquired_at": "last summer", "source": "somewhere", "provenance": "no object"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_row_says_what_any_item_would_say(options: dict[str, Any]) -> None:
    names = ["sdxl/face/1.png", "sdxl/face/1.png", "1.png", "rows.npy, row 3"]
    request = IngestRequest(sources=["/x"], corpus="k", **options)

    ends = read(Rows(TOLD, names=names), **options)

    for end, name, told in zip(ends, names, TOLD, strict=True):
        item = Item(name, lambda _: b"", told)
        expected = joined(item, request.told, request.parsed_pattern, {}, None).normalised()
        assert isinstance(end, Taken)
        assert end.entry.provenance == expected
        assert end.entry.provenance.stored == expected.stored


def test_free_provenance_is_kept_as_it_is_and_words_beside_it_too() -> None:
    free = {"path": "a.png", "source": {"path": "a.png", "generator": "SD XL"}, "note": [1, None]}
    exported = {"generator": "sd-xl", "label": "face", "provenance": free}

    assert only(read(Rows([exported]))).entry.provenance.extra == free
    assert only(read(Rows([exported | {"seed": 17}]))).entry.provenance.extra == {"source": {"seed": 17}, **free}
    taken = only(read(Rows([{"label": "face", "seed": 17, "provenance": {"note": 1}}]), generator="flux"))
    assert (taken.entry.provenance.generator, taken.entry.provenance.label) == ("flux", "face")
    assert taken.entry.provenance.extra == {"source": {"seed": 17}, "note": 1}
    told = only(read(Rows([exported]), generator="flux", provenance={"case": 7})).entry.provenance
    assert (told.generator, told.extra["case"], told.extra["note"]) == ("sd-xl", 7, [1, None])
    assert told.extra["conflicts"] == {"generator": {"source": "sd-xl", "option": "flux"}}


def write_table(path: Path, space: Space, columns: Mapping[str, Any], rows: np.ndarray) -> str:
    of_vector = pa.list_(pa.float32(), space.dimension)
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=of_vector)})
    pq.write_table(table.replace_schema_metadata({"lineup.embedding_space": space.fingerprint}), path)
    return str(path)


def test_a_table_of_several_chunks_is_in_the_database_and_the_index_and_comes_back_out(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows are of one image, one is in another corpus already, one is bad; twice the same is no more."""
    monkeypatch.setattr(task, "READY_ROWS", 700)
    count = 1500
    chosen = settings(tmp_path / "data", database_url).model_copy(update={"index_flat_limit": 500})
    with Lineup.opened(chosen, migrate=True) as lineup:
        rows = vectors(count, lineup.space.dimension)
        shas = [sha256_of(number) for number in range(count)]
        shas[900], shas[77] = shas[3], "no sha256"
        columns = {
            "sha256": shas,
            "logit": rows[:, 0].astype(np.float64),
            "generator": [f"SD {number % 5}" for number in range(count)],
            "acquired_at": [None, "2024-05-01T10:00:00", "last summer"] * (count // 3),
            "provenance": [json.dumps({"path": f"{number}.png", "b": 1, "a": number}) for number in range(count)],
        }
        table = write_table(tmp_path / "table.parquet", lineup.space, columns, rows)
        first = {name: values[:1] for name, values in columns.items()}
        assert ingest(lineup, write_table(tmp_path / "one.parquet", lineup.space, first, rows[:1]), "other").added == 1

        counts = ingest(lineup, table, "known")

        assert counts == JobCounts(found=count, added=count - 3, linked=1, skipped=1, failed=1, duplicates=1)
        assert lineup.index.held.manifest is not None
        assert lineup.index.held.manifest.generation == lineup.index.generation == count - 1
        assert lineup.index.verify().agrees
        found = lineup.index.search(rows[1234], 1).neighbours[0]
        assert (found.entry.sha256, found.entry.generator, found.entry.provenance) == (
            shas[1234],
            "sd-4",
            {"path": "1234.png", "b": 1, "a": 1234},
        )
        assert failed_and_skipped(lineup.database) == {
            77: (Outcome.FAILED, "invalid_row", "table.parquet, row 77"),
            900: (Outcome.SKIPPED, "duplicate", "table.parquet, row 900"),
        }
        assert ingest(lineup, table, "known") == JobCounts(found=count, skipped=count - 1, failed=1)
        assert fsck(lineup.database, None, tmp_path).findings == ()
        exported = tmp_path / "exported.parquet"
        export_corpus(lineup.database, lineup.space, "known", exported)
        assert ingest(lineup, str(exported), "again").linked == count - 2
        with lineup.database.read() as conn:
            kept, again = (list_entries(conn, name, limit=count) for name in ("known", "again"))
        assert [facts_of(entry) for entry in again] == [facts_of(entry) for entry in kept]


def ingest(lineup: Lineup, table: str, corpus: str) -> JobCounts:
    return work_on(lineup, start_ingest(lineup, IngestRequest(sources=[table], corpus=corpus))).counts


def failed_and_skipped(database: Database) -> dict[int, tuple[Outcome, str, str]]:
    with database.read() as conn:
        return {item.position: (item.outcome, item.reason, item.name) for item in list_items(conn, 2)}


def facts_of(entry: Any) -> tuple[Any, ...]:
    return (entry.image, entry.generator, entry.label, entry.licence, entry.source, entry.acquired_at, entry.provenance)
