"""Ingests asked of a server: only what it is allowed to read, or what was sent with the request."""

from __future__ import annotations

import shutil
import uuid
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from pydantic import Field

from api.errors import InvalidRequest
from api.fields import Answer, Instant, Sha256
from api.ingest.request import Dedup, IngestRequest
from api.jobs.json import JobAnswer
from api.lineup import Lineup
from api.sources.locations import require_within, resolved
from api.worker.running import start_ingest
from index.truth.corpora import CorpusKind, Keep


class IngestOrder(Answer):
    """An ingest as a client asks for it; the corpus is in the path of the request."""

    sources: list[str] = Field(
        [],
        max_length=10_000,
        description="Paths on the server or URLs, within LINEUP_INGEST_ROOTS; none in an upload.",
    )
    kind: CorpusKind = Field(CorpusKind.KNOWN_FAKE, description="Of the corpus, if it is made now.")
    keep: Keep | None = Field(
        None, description="What to keep of the images; null: what the corpus keeps."
    )
    pattern: str | None = Field(
        None, max_length=1000, description="Such as `{generator}/{split}/*`."
    )
    generator: str | None = Field(
        None, max_length=200, description="What made the images, for all of them."
    )
    label: str | None = Field(None, max_length=200, description="Free label, for all of them.")
    licence: str | None = Field(None, max_length=200, description="Licence, for all of them.")
    origin: str | None = Field(None, max_length=1000, description="Where they come from.")
    acquired_at: Instant | None = Field(None, description="A time without a zone is UTC.")
    provenance: dict[str, Any] = Field({}, description="Free JSON, for all of them.")
    dedup: Dedup = Field(
        Dedup.EXACT, description="near: leave out pictures that the corpus has, by perceptual hash."
    )
    path_column: str | None = Field(None, description="Of a manifest: the column with the paths.")
    image_column: str | None = Field(
        None, description="Of a Parquet table: the column with the images."
    )
    embedding_space: Sha256 | None = Field(
        None, description="Of ready embeddings that do not say it themselves."
    )


def submit(lineup: Lineup, corpus: str, order: IngestOrder) -> JobAnswer:
    """Queue an ingest of sources that the server may read.

    Raises `InvalidRequest`, `SourceNotAllowed`, `CorpusKindConflict`, `CorpusKeepConflict`.
    """
    if not order.sources:
        raise InvalidRequest("sources: name at least one, or upload one as multipart/form-data")
    sources = [resolved(source) for source in order.sources]
    return _queued(
        lineup, corpus, order, sources, [resolved(root) for root in lineup.settings.ingest_roots]
    )


def submit_upload(
    lineup: Lineup, corpus: str, order: IngestOrder, file: BinaryIO, name: str
) -> JobAnswer:
    """Keep an upload until its job has ended, and queue the ingest of it.

    Raises like `submit`, and OSError.
    """
    if order.sources:
        raise InvalidRequest("sources: an upload is its own source")
    folder = lineup.settings.upload_dir.absolute() / uuid.uuid4().hex
    folder.mkdir(parents=True)
    kept = folder / (PurePosixPath(name.replace("\\", "/")).name.lstrip(".") or "upload")
    try:
        with kept.open("xb") as target:
            shutil.copyfileobj(file, target, 2**20)
        return _queued(lineup, corpus, order, [str(kept)], [str(folder)])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _queued(
    lineup: Lineup, corpus: str, order: IngestOrder, sources: list[str], roots: list[str]
) -> JobAnswer:
    words = order.model_dump(exclude={"sources", "keep"}, exclude_unset=True)
    request = IngestRequest(corpus=corpus, sources=sources, roots=roots, **words)
    for source in sources:
        require_within(source, roots)
    return JobAnswer.of(start_ingest(lineup, request, order.keep))
