"""Whether lookups can be answered: the truth answers, and the index is in step with it."""

from __future__ import annotations

from api.lineup import Lineup
from api.operations.json import ReadyAnswer
from index.errors import CorpusError


def readiness(lineup: Lineup) -> ReadyAnswer:
    """Catch the index up and say what is wrong, if anything is.

    Never raises for a part that is down.
    """
    try:
        lineup.index.refresh()
    except CorpusError as err:
        return ReadyAnswer(ready=False, checks={"model": "ok", "index": str(err)}, generation=None)
    return ReadyAnswer(
        ready=True,
        checks={"model": "ok", "database": "ok", "index": "ok"},
        generation=lineup.index.generation,
    )
