"""Readiness: the index catches up, or the reason is in the answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api.operations.health import check_readiness
from index.errors import CorpusError, DatabaseUnavailable
from tests.api.small_lineup import fill, open_small


@dataclass
class Index:
    """An index whose database answers, or not."""

    generation: int = 0
    error: CorpusError | None = None

    def refresh(self) -> None:
        if self.error is not None:
            raise self.error
        self.generation += 1


def test_an_index_that_catches_up_is_ready() -> None:
    answer = check_readiness(Index(41))
    assert (answer.ready, answer.generation) == (True, 42)
    assert set(answer.checks.values()) == {"ok"}


def test_a_database_that_does_not_answer_is_the_reason() -> None:
    answer = check_readiness(Index(41, DatabaseUnavailable("the disk is full")))
    assert (answer.ready, answer.generation) == (False, None)
    assert answer.checks == {"model": "ok", "index": str(DatabaseUnavailable("the disk is full"))}


def test_a_real_index_reaches_the_last_change(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        assert check_readiness(lineup.index).generation == 12
