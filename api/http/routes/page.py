"""The look-up page: drop an image, read the two verdicts and the nearest entries.

Its script calls POST /v1/lookups like any client.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from api.corpora.catalogue import corpora_page
from api.http.routes.dependencies import Opened

FOLDER = Path(__file__).parent.parent
templates = Jinja2Templates(FOLDER / "templates")
router = APIRouter(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
def show_page(request: Request, lineup: Opened) -> HTMLResponse:
    """Return the look-up page."""
    corpora = corpora_page(lineup.database, None, 1000).corpora
    return templates.TemplateResponse(
        request, "lookup.html", {"corpora": corpora, "lineup": lineup}
    )
