"""What deserves a look in a corpus, and the quarantine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.http.routes.corpora import Cursor, EntryId, Limit, Name
from api.http.routes.dependencies import Admitted, Opened
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

router = APIRouter()
Listed = Annotated[
    int, Query(ge=1, le=1000, description="Items listed of each kind; all are counted.")
]


@router.get(
    "/corpora/{name}/inspection",
    tags=["corpora"],
    dependencies=[Admitted],
    summary="Inspect a corpus",
)
def inspection(name: Name, lineup: Opened, limit: Listed = 20) -> InspectionAnswer:
    """Contradictions, known fakes that look real, hubs and clusters, by the active model; nothing
    is changed.

    It is computed when it is asked for. A corpus that takes too long for a request is refused;
    `lineup inspect` takes any.
    """
    return inspect(lineup, name, limit, MAX_COMPARISONS)


@router.get("/corpora/{name}/quarantine", tags=["corpora"], summary="List a corpus' quarantine")
def read_quarantine(
    name: Name, lineup: Opened, cursor: Cursor = None, limit: Limit = 100
) -> QuarantinePage:
    """Entries that are in no answer until they are released, with the reason and since when."""
    return quarantine_page(lineup.database, name, cursor, limit)


@router.post(
    "/entries/{entry_id}/quarantine", tags=["entries"], summary="Put an entry into quarantine"
)
def quarantine(entry_id: EntryId, request: QuarantineRequest, lineup: Opened) -> QuarantinedAnswer:
    """Gone from every answer when this returns.

    Adding its image to the corpus again does not bring it back.
    """
    return put_into_quarantine(lineup.database, entry_id, request.reason)


@router.post(
    "/entries/{entry_id}/release", tags=["entries"], summary="Release an entry from quarantine"
)
def release_from_quarantine(entry_id: EntryId, lineup: Opened) -> ReleasedAnswer:
    """It comes back as a new entry, with a new id and the provenance that it had."""
    return release(lineup.database, entry_id)
