"""Look-ups of strangers that share a search, a read and a commit.

Those share them that cost alike: no picture is decoded or compared, and they search the same
entries in the same way. So a slow question never holds up quick ones. One that fails fails alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from api.copies.kept import is_kept
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.lookup import PreparedLookup, look_up_all, prepare_request
from api.lookups.request import LookupRequest, SearchFilter
from api.storing import OF_THE_DATABASE

NO_FILTER = SearchFilter()


def find_kind(lineup: Lineup, request: LookupRequest) -> Hashable | None:
    """Return what a look-up has in common with those it may share with; None if it shares nothing,
    because a picture is decoded for it.
    """
    sha256 = None if request.embedding is not None else request.sha256
    if sha256 is not None and is_kept(lineup.blob_stores, sha256):
        return None
    chosen = None if request.filter == NO_FILTER else request.filter.model_dump_json()
    return lineup, request.k, request.exact, chosen


def look_up_together(
    lineup: Lineup, requests: Sequence[LookupRequest]
) -> list[LookupAnswer | Exception]:
    """Answer each request as `look_up_request` does, or give what it raises."""
    outcomes: list[LookupAnswer | Exception | PreparedLookup] = [
        _prepare(lineup, each) for each in requests
    ]
    prepared = [each for each in outcomes if isinstance(each, PreparedLookup)]
    answers = iter(answer_together(lineup, prepared))
    return [next(answers) if isinstance(each, PreparedLookup) else each for each in outcomes]


def _prepare(lineup: Lineup, request: LookupRequest) -> PreparedLookup | Exception:
    try:
        return prepare_request(lineup, request)
    except Exception as err:  # a boundary: whoever asked gets it
        return err


def answer_together(
    lineup: Lineup, prepared: Sequence[PreparedLookup]
) -> list[LookupAnswer | Exception]:
    """Answer together; where one fails, each alone. What one raises is given in its place."""
    if not prepared:
        return []
    try:
        return [*look_up_all(lineup, prepared)]
    except Exception as err:  # a boundary, as above
        if len(prepared) == 1 or isinstance(err, OF_THE_DATABASE):
            return [err] * len(prepared)
    return [answer for each in prepared for answer in answer_together(lineup, [each])]
