"""The look-up page: drop an image, read the two verdicts and the nearest entries.

Its script calls POST /v1/lookups like any client.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from markupsafe import Markup, escape

from api.corpora.catalogue import page_corpora
from api.http.routes.dependencies import Opened
from api.http.routing import make_router
from api.lineup import Lineup
from api.lookups.answers.names import VERDICT_NAMES
from api.operations.checks_json import DoctorFinding, Level
from api.operations.doctor import examine_data
from api.visible import show, show_value

FOLDER = Path(__file__).parent.parent
MOST_CORPORA = 1000  # listed under "Search in"
# The page says by itself how to fill an empty installation.
TOPICS = ("calibration", "embeddings", "jobs")
templates = Jinja2Templates(FOLDER / "templates")
router = make_router(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
def show_page(request: Request, lineup: Opened) -> HTMLResponse:
    """Return the look-up page."""
    context = {
        "corpora": page_corpora(lineup.database, None, MOST_CORPORA).corpora,
        "lineup": lineup,
        "caution": lineup.model.info.caution,
        "names": dict(VERDICT_NAMES),
        "missing": find_missing(lineup),
    }
    return templates.TemplateResponse(request, "lookup.html", context)


def find_missing(lineup: Lineup) -> list[DoctorFinding]:
    """Return what is missing before answers are worth something, as `lineup doctor` says it."""
    settings = lineup.settings
    found = examine_data(lineup.database, lineup.space, settings.false_match_rate)
    return [each for each in found if each.level is not Level.OK and each.topic in TOPICS]


def mark_code(words: str) -> Markup:
    """Return a sentence as HTML in which what stands between backquotes is code."""
    parts = [escape(part) for part in show(words).split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


templates.env.filters["code"] = mark_code
templates.env.finalize = show_value
