"""An ingest fills the copy space beside the forensic one, and never fails because of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from api.copies.spaces import DescriberOf
from embedder.decoding.picture import PictureOrder, make_picture
from index.cache.live import LiveIndex
from index.truth.coverage import coverage
from index.truth.databases.database import Database
from index.truth.jobs.job import JobCounts
from index.truth.schema import embeddings
from index.truth.spaces import find_space_id, list_spaces
from tests.api.copies.colours import INPUT, Colours
from tests.api.modelless import LIMITS, SPACE, png


@pytest.fixture
def colours(shelf: Any) -> Colours:
    colours = Colours()
    shelf.find_describer = lambda: DescriberOf.of(colours)
    return colours


def counts(database: Database, colours: Colours) -> tuple[int, int]:
    """The entries with an embedding, and those with a copy vector."""
    with database.read() as conn:
        return (
            coverage(conn, SPACE).embedded,
            coverage(conn, DescriberOf.of(colours).space).embedded,
        )


def test_new_and_linked_pictures_are_described_and_known_ones_are_not_again(
    shelf: Any, database: Database, colours: Colours, tmp_path: Path
) -> None:
    for seed in range(3):
        shelf.write(f"{seed}.png", png(seed))
    shelf.write("broken.png", b"no picture")
    assert shelf.ingest().counts == JobCounts(found=4, added=3, failed=1)
    assert counts(database, colours) == (3, 3)
    assert shelf.ingest(label="again").counts.skipped == 3
    assert shelf.ingest(corpus="more").counts.linked == 3
    assert counts(database, colours) == (6, 6)
    assert colours.described == 3
    with database.read() as conn:
        copies = find_space_id(conn, DescriberOf.of(colours).space)
        query = select(embeddings.c.vector).where(embeddings.c.space_id == copies)
        stored = [np.frombuffer(bytes(row.vector), "<f2") for row in conn.execute(query)]
    assert all(
        np.linalg.norm(vector.astype(float)) == pytest.approx(1, abs=1e-3) for vector in stored
    )
    with LiveIndex.open(database, DescriberOf.of(colours).space, tmp_path / "index") as live:
        assert live.verify().agrees


def test_a_linked_picture_gets_the_vector_that_it_lacks(
    shelf: Any, database: Database, colours: Colours
) -> None:
    find, shelf.find_describer = shelf.find_describer, lambda: None
    shelf.write("0.png", png(0))
    shelf.ingest()
    assert counts(database, colours) == (1, 0)
    shelf.find_describer = find
    assert shelf.ingest(corpus="more").counts.linked == 1
    assert counts(database, colours) == (2, 2)


def test_a_descriptor_that_fails_leaves_entries_without_their_vectors(
    shelf: Any, database: Database, colours: Colours, caplog: pytest.LogCaptureFixture
) -> None:
    colours.fails = True
    shelf.write("0.png", png(0))
    with caplog.at_level(logging.ERROR):
        assert shelf.ingest().counts == JobCounts(found=1, added=1)
    assert counts(database, colours) == (1, 0)
    assert "without the vector" in caplog.text


def test_a_picture_without_a_vector_takes_no_vector_from_others(
    shelf: Any, database: Database, colours: Colours
) -> None:
    order = PictureOrder(LIMITS, descriptor=INPUT)
    pixels = make_picture(png(1), order).descriptor_pixels
    assert pixels is not None
    colours.refused = pixels.tobytes()
    for seed in range(3):
        shelf.write(f"{seed}.png", png(seed))
    assert shelf.ingest().counts == JobCounts(found=3, added=3)
    assert counts(database, colours) == (3, 2)


def test_without_a_descriptor_nothing_of_a_copy_space_is_stored(
    shelf: Any, database: Database
) -> None:
    shelf.write("0.png", png(0))
    shelf.ingest()
    with database.read() as conn:
        assert list_spaces(conn) == (SPACE,)
