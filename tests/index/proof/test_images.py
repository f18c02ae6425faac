"""The images that an inspection reads: columns, vectors in one file, shared source numbers."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import pytest
from sqlalchemy import text

from index.errors import TruthDamaged
from index.proof.images import ImageReader, Images
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from index.truth.perceptual import MIN_QUALITY, PerceptualHash
from index.truth.provenance import Provenance
from index.truth.schema import corpora


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_inspection` has both databases


@pytest.fixture
def spool() -> Iterator[IO[bytes]]:
    with TemporaryFile() as file:
        yield file


def put(
    database: Database,
    material: Any,
    corpus: str,
    name: str,
    quality: int | None = 100,
    **extra: Any,
) -> int:
    hashed = None if quality is None else PerceptualHash(name.encode().ljust(32, b"."), quality)
    facts = ImageFacts(material.sha256(name), 10, 8, 8, "png", hashed)
    new = NewEntry(facts, material.vector(name), float(len(name)), Provenance(extra=extra))
    with database.write() as conn:
        ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
        (result,) = add_entries(conn, corpus, material.space, [new])
    return int(result.entry_id)


def read(database: Database, material: Any, spool: IO[bytes], *names: str) -> list[Images]:
    with database.read() as conn:
        reader = ImageReader(conn, material.space, spool)
        return [reader.read(corpora.c.name == name) for name in names]


def test_columns_are_those_of_the_rows_by_rising_entry(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    ids = [put(database, material, "a", name) for name in ("x", "yy", "zzz")]
    (images,) = read(database, material, spool, "a")
    assert images.entry_ids.tolist() == ids
    assert images.logits.tolist() == [1.0, 2.0, 3.0]
    assert len(images) == 3
    np.testing.assert_array_equal(
        images.vectors, [material.vector(name) for name in ("x", "yy", "zzz")]
    )
    assert images.hash_bits[1].tobytes() == b"yy".ljust(32, b".")


def test_a_hash_counts_if_it_is_reliable(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    for name, quality in (("good", MIN_QUALITY), ("flat", MIN_QUALITY - 1), ("none", None)):
        put(database, material, "a", name, quality)
    (images,) = read(database, material, spool, "a")
    assert images.hashed.tolist() == [True, False, False]
    first, *others = images.hashes_of(slice(0, 3))
    assert first is not None
    assert (first.bits, first.reliable) == (b"good".ljust(32, b"."), True)
    assert others == [None, None]
    assert not images.hash_bits[1:].any()


def test_sets_share_one_file_and_their_source_numbers(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    put(database, material, "a", "x", source_image="p")
    put(database, material, "b", "y", source_image="p")
    put(database, material, "b", "z")
    first, second = read(database, material, spool, "a", "b")
    assert first.sources[0] == second.sources[0] != second.sources[1]
    np.testing.assert_array_equal(first.vectors, [material.vector("x")])
    np.testing.assert_array_equal(second.vectors, [material.vector("y"), material.vector("z")])
    assert spool.tell() == 3 * 8 * 4


def test_removed_entries_and_corpora_are_left_out(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    left = put(database, material, "a", "x")
    kept = put(database, material, "a", "y")
    put(database, material, "gone", "z")
    with database.write() as conn:
        remove_entry(conn, left)
        remove_corpus(conn, "gone")
    images, gone = read(database, material, spool, "a", "gone")
    assert (images.entry_ids.tolist(), len(gone)) == ([kept], 0)


def test_an_image_in_two_corpora_is_read_once_for_its_first_entry(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    first = put(database, material, "a", "x")
    put(database, material, "b", "x")
    with database.read() as conn:
        images = ImageReader(conn, material.space, spool).read(corpora.c.removed_at.is_(None))
    assert images.entry_ids.tolist() == [first]


def test_nothing_is_read_in_a_space_that_the_database_does_not_know(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    put(database, material, "a", "x")
    with database.read() as conn:
        images = ImageReader(conn, material.other_space, spool).read(corpora.c.name == "a")
    assert (len(images), images.vectors.shape, images.hash_bits.shape) == (0, (0, 4), (0, 32))


def test_a_stored_vector_of_another_length_is_damage(
    database: Database, material: Any, spool: IO[bytes]
) -> None:
    put(database, material, "a", "x")
    with database.write() as conn:
        conn.execute(text("UPDATE embeddings SET vector = x'00000000'"))
    with pytest.raises(TruthDamaged, match="length"):
        read(database, material, spool, "a")
