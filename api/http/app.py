"""The HTTP application: what is opened when it starts, which routes it has, how it answers
errors.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api.batcher import Admission
from api.http.guards import BodyLimit, CrossSiteGuard, SafeHeaders
from api.http.openapi import describe_bodies
from api.http.problems import answer_with_problems
from api.http.routes import (
    calibrations,
    corpora,
    evaluations,
    ingests,
    inspections,
    lookups,
    page,
    service,
)
from api.settings import Settings
from api.worker.current import CurrentLineup

# A multipart body may hold this much beside its image: other fields, boundaries.
FORM_OVERHEAD_BYTES = 2**20

INGESTS = re.compile(r"/v1/corpora/[^/]+/ingests")

DESCRIPTION = """
Is this image similar to known fakes, and what does the forensic classifier say about it? These are
two separate answers, never one number. `cosine_similarity` is in [-1, 1], up is
nearer; it is not a probability.

Errors are `application/problem+json` (RFC 9457).
"""


def create_app(settings: Settings) -> FastAPI:
    """The application over `settings`; nothing is opened before its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current = CurrentLineup(settings)
        app.state.current = current
        app.state.admission = Admission(settings.queue_size)
        try:
            yield
        finally:
            await run_in_threadpool(current.close)

    app = FastAPI(
        title="Lineup",
        version=version("lineup-forensics"),
        description=DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's documentation pages load their scripts from another host; /openapi.json has it
        # all
        docs_url=None,
        redoc_url=None,
    )
    for routes in (lookups, calibrations, evaluations, corpora, inspections, ingests, service):
        app.include_router(routes.router, prefix="/v1")
    app.include_router(service.health)
    app.include_router(page.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    answer_with_problems(app)
    describe_bodies(app)
    app.add_middleware(
        BodyLimit,
        max_body_bytes=settings.max_image_bytes + FORM_OVERHEAD_BYTES,
        larger={INGESTS: settings.max_upload_bytes + FORM_OVERHEAD_BYTES},
    )
    app.add_middleware(CrossSiteGuard)
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=[*settings.allowed_hosts, settings.host]
    )
    app.add_middleware(SafeHeaders)
    return app
