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
    """An ingest request. The corpus is named in the path."""

    sources: list[str] = Field(
        [],
        max_length=10_000,
        description="Absolute paths on the server, or URLs, within LINEUP_INGEST_ROOTS. Leave it "
        "out when uploading a file.",
    )
    kind: CorpusKind = Field(
        CorpusKind.KNOWN_FAKE,
        description="Kind of the corpus, if this request creates it: known_fake or known_real.",
    )
    keep: Keep | None = Field(
        None,
        description="What to keep of the images: original, thumbnail or none. Null: the corpus's "
        "own setting.",
    )
    pattern: str | None = Field(
        None,
        max_length=1000,
        description="Pattern that reads provenance from the items' names, such as "
        "`{generator}/{split}/*`.",
    )
    generator: str | None = Field(None, max_length=200, description="Generator of all images.")
    label: str | None = Field(None, max_length=200, description="Label of all images.")
    licence: str | None = Field(None, max_length=200, description="Licence of all images.")
    origin: str | None = Field(
        None, max_length=1000, description="Where all images come from. It becomes their `source`."
    )
    acquired_at: Instant | None = Field(
        None, description="When the images were acquired. A time without a zone is UTC."
    )
    provenance: dict[str, Any] = Field(
        {}, description="Further provenance of all images, as free JSON."
    )
    dedup: Dedup = Field(
        Dedup.EXACT,
        description="exact: skip files whose bytes the corpus already holds. near: also skip "
        "images that it holds in another version, by perceptual hash.",
    )
    path_column: str | None = Field(
        None, description="Name of the column with the paths, for a manifest."
    )
    image_column: str | None = Field(
        None, description="Name of the column with the images, for a Parquet table."
    )
    embedding_space: Sha256 | None = Field(
        None,
        description="Fingerprint of the space of ready embeddings in files that do not state it.",
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
