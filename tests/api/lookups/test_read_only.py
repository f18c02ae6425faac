"""A Lineup that is told to write nothing: look-ups are answered and not stored."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.lookups.stored import find_answer
from api.worker.taking import work_on_open_jobs
from index.errors import DatabaseReadOnly, UnknownLookup
from index.truth.schema import lookups
from tests.api.small_lineup import FAKE, add, encoded, fill, open_small, picture


def test_a_look_up_is_answered_and_not_stored(
    tmp_path: Path, new_database_url: Callable[[], str]
) -> None:
    url, data = new_database_url(), encoded(picture(3))
    with open_small(tmp_path, database_url=url) as writing:
        fill(writing)
        stored = look_up_image(writing, data, LookupQuery())
    with open_small(tmp_path, database_url=url, read_only=True) as reading:
        answer = look_up_image(reading, data, LookupQuery())
        assert (stored.stored, answer.stored) == (True, False)
        assert answer.evidence_sha256 == stored.evidence_sha256
        assert find_answer(reading.database, stored.id).stored
        with pytest.raises(UnknownLookup):
            find_answer(reading.database, answer.id)
        with reading.database.read() as conn:
            assert conn.execute(select(func.count()).select_from(lookups)).scalar_one() == 1
        with pytest.raises(DatabaseReadOnly):
            add(reading, "fakes", FAKE, data)
        with pytest.raises(DatabaseReadOnly):
            work_on_open_jobs(reading, threading.Event(), helping=True)
