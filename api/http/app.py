"""The HTTP application: its lifespan, its routes and its middleware."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from api.http.answers import SafeAnswers
from api.http.guards import BodyLimit, HostGuard, OriginGuard
from api.http.lanes import Lanes
from api.http.openapi import complete_openapi
from api.http.problems import answer_with_problems
from api.http.readiness import Readiness
from api.http.routes import (
    batches,
    calibrations,
    corpora,
    evaluations,
    inspections,
    jobs,
    lookups,
    page,
    service,
)
from api.http.routing import make_router
from api.ingest.uploads import UploadQuota
from api.operations.checks_json import ReadyAnswer
from api.operations.health import check_readiness
from api.release import get_version
from api.settings import Settings
from api.worker.current import CurrentLineup

# How much a multipart body may hold beside its file: other fields and boundaries.
FORM_OVERHEAD_BYTES = 2**20

INGESTS = re.compile(r"/v1/corpora/[^/]+/ingests")

DESCRIPTION = """
Lineup compares a questioned image (the probe) with corpora of known fakes and known-real images.

A look-up answers two separate questions, and never merges them into one number:

- `classifier`: what does the forensic classifier say about the probe alone?
- `similarity`: is the probe similar to known fakes in the corpora, and to which?

What the answers do not mean:

- A cosine similarity is in [-1, 1]; higher is nearer. It is not a probability.
- `not_similar` does not mean that the image is real. It means that no searched known fake is as
  near as the threshold.
- The verdict `no_traces` says that the classifier finds no synthetic traces. It does not show that
  the image is genuine: `miss_rate` is the share of known fakes that get this verdict too.
- A false-match rate is worth nothing where the hit rate is no higher. `discrimination` says so, and
  similarity gives no verdict then.
- `caution` is set for a model that is not for casework. Read it before the verdicts.
- `inconclusive` is a regular answer. `reason` and `explanation` say why.

Words:

- corpus: a named set of reference images of one kind, known fakes or known-real images. "Known" is
  what the person who added the images declares; Lineup does not verify it.
- entry: one image in one corpus, with its provenance.
- embedding: the vector that the model computes from an image. Only embeddings of the same embedding
  space (the same weights and preprocessing) are compared.
- delivery: how an image was re-encoded before it arrived, for example JPEG 75.
- calibration: a measurement of how near known-real images (the reference population) come to the
  known fakes, and how near known fakes come to one another. Look-ups take their threshold, the
  false-match rate, the hit rate and the limits of the classifier from it. Without one, `next_step`
  says what to do.
- generation: a state of the corpora, named by the number of its last change. It never changes, so a
  look-up can be recomputed.

Times are in UTC. Every error is `application/problem+json` (RFC 9457).
"""


document = make_router(include_in_schema=False)


@document.get("/openapi.json")
async def read_openapi(request: Request) -> JSONResponse:
    """Describe every route and field."""
    return JSONResponse(request.app.openapi())


class Application(FastAPI):
    """FastAPI inside `SafeAnswers`: middleware that is added would stand inside of FastAPI's own
    answer to an unexpected error.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Build what handles every request."""
        return SafeAnswers(super().build_middleware_stack())


def create_app(settings: Settings, current: CurrentLineup | None = None) -> FastAPI:
    """Build the application. Its lifespan opens and closes everything; this opens nothing."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = current or CurrentLineup(settings)
        app.state.current = opened
        app.state.uploads = UploadQuota(
            settings.upload_dir, settings.max_uploads_bytes, settings.free_disk_bytes
        )
        app.state.lanes = lanes = Lanes(settings)
        lanes.make_threads()
        app.state.gathered_lookups = lookups.gather_lookups()

        def check() -> ReadyAnswer:
            with opened.held() as lineup:
                return check_readiness(lineup, lanes.images, lineup.copies.describe())

        app.state.readiness = Readiness(check)
        try:
            yield
        finally:
            await run_in_threadpool(opened.close)

    app = Application(
        title="Lineup",
        version=get_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's documentation pages load scripts from another host; the document is served by a
        # route of our own, which is as strict as the others
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(batches.router, prefix="/v1")
    for routes in (lookups, calibrations, evaluations, corpora, inspections, jobs, service):
        app.include_router(routes.router, prefix="/v1")
    app.include_router(jobs.aliases, prefix="/v1")
    app.include_router(service.health)
    app.include_router(page.router)
    app.include_router(document)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    answer_with_problems(app)
    complete_openapi(app)
    app.add_middleware(
        BodyLimit,
        max_body_bytes=settings.max_image_bytes + FORM_OVERHEAD_BYTES,
        larger={INGESTS: settings.max_upload_bytes + FORM_OVERHEAD_BYTES},
    )
    app.add_middleware(OriginGuard, allowed_origins=settings.allowed_origins)
    app.add_middleware(HostGuard, allowed_hosts=[*settings.allowed_hosts, settings.host])
    return app
