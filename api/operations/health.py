"""Whether look-ups can be answered: the database answers, and the index follows it."""

from __future__ import annotations

from typing import Protocol

from api.operations.json import ReadyAnswer
from index.errors import CorpusError


class Refreshable(Protocol):
    """An index that can catch up with the database."""

    @property
    def generation(self) -> int:
        """The last change that the index has seen."""
        ...

    def refresh(self) -> object:
        """Catch up. Raises `CorpusError`."""
        ...


def check_readiness(index: Refreshable) -> ReadyAnswer:
    """Let the index catch up with the database, and report what is wrong.

    It never raises for a part that is down.
    """
    try:
        index.refresh()
    except CorpusError as err:
        return ReadyAnswer(ready=False, checks={"model": "ok", "index": str(err)}, generation=None)
    return ReadyAnswer(
        ready=True,
        checks={"model": "ok", "database": "ok", "index": "ok"},
        generation=index.generation,
    )
