"""Inspections: entries that a person should check, and the quarantine."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api.http.lanes import Kind
from api.http.routes.dependencies import Opened
from api.http.routes.parameters import CorpusName, Cursor, EntryId, Limit
from api.http.routing import lane, make_router
from api.inspection.inspecting import (
    MAX_COMPARISONS,
    inspect,
    put_into_quarantine,
    quarantine_page,
    release,
)
from api.inspection.json import (
    InspectionAnswer,
    QuarantinedAnswer,
    QuarantinePage,
    QuarantineRequest,
    ReleasedAnswer,
)

router = make_router()
Listed = Annotated[
    int,
    Query(
        ge=1, le=1000, description="Largest number of items listed of each kind. All are counted."
    ),
]


@router.get(
    "/corpora/{name}/inspection",
    tags=["corpora"],
    summary="Inspect a corpus",
)
@lane(Kind.INSPECTIONS)
def inspection(name: CorpusName, lineup: Opened, limit: Listed = 20) -> InspectionAnswer:
    """Finds entries that a person should check: images that corpora of both kinds hold, known fakes
    that look real, entries that are nearest to too many images, and near duplicates.

    Uses the embeddings of the active model, and changes nothing. A corpus that is too large for a
    request is refused; the command `lineup inspect` accepts any.
    """
    return inspect(
        lineup.database,
        lineup.space,
        lineup.classifier_policy,
        name,
        limit,
        MAX_COMPARISONS,
    )


@router.get(
    "/corpora/{name}/quarantine", tags=["corpora"], summary="List the quarantine of a corpus"
)
def read_quarantine(
    name: CorpusName, lineup: Opened, cursor: Cursor = None, limit: Limit = 100
) -> QuarantinePage:
    """Entries in quarantine, which no answer contains until they are released."""
    return quarantine_page(lineup.database, name, cursor, limit)


@router.post(
    "/entries/{entry_id}/quarantine", tags=["entries"], summary="Put an entry into quarantine"
)
def quarantine(entry_id: EntryId, request: QuarantineRequest, lineup: Opened) -> QuarantinedAnswer:
    """When this returns, no new answer contains the entry. Adding its image to the corpus again
    does not bring it back.
    """
    return put_into_quarantine(lineup.database, entry_id, request.reason)


@router.post(
    "/entries/{entry_id}/release", tags=["entries"], summary="Release an entry from quarantine"
)
def release_from_quarantine(entry_id: EntryId, lineup: Opened) -> ReleasedAnswer:
    """Creates a new entry for the image, with a new id and the same provenance."""
    return release(lineup.database, entry_id)
