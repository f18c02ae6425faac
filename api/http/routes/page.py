"""The look-up page: drop an image, read the two verdicts and the nearest entries.

Its script calls POST /v1/lookups like any client.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from api.corpora.catalogue import page_corpora
from api.http.routes.dependencies import Opened
from api.lookups.names import VERDICT_NAMES

FOLDER = Path(__file__).parent.parent
MOST_CORPORA = 1000  # listed under "Search in"
templates = Jinja2Templates(FOLDER / "templates")
router = APIRouter(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
def show_page(request: Request, lineup: Opened) -> HTMLResponse:
    """Return the look-up page."""
    data_dir = str(lineup.settings.data_dir.absolute())
    context = {
        "corpora": page_corpora(lineup.database, None, MOST_CORPORA).corpora,
        "lineup": lineup,
        "caution": lineup.embedder.info.caution,
        "names": dict(VERDICT_NAMES),
        "data_dir": data_dir,
        "quoted_data_dir": shlex.quote(data_dir),
    }
    return templates.TemplateResponse(request, "lookup.html", context)
