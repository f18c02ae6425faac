"""A transaction, and two empty corpora."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.write() as connection:
        yield connection


@pytest.fixture
def corpora(database: Database) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        create_corpus(conn, "reals", CorpusKind.KNOWN_REAL)
