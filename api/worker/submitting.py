"""Ingests that a client asks of a server: sources within its roots, or an upload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from api.errors import InvalidRequest
from api.fields import FreeJSONForMany, Instant, Order, Sha256, SourceLocation
from api.ingest.patterns import MAX_PATTERN_CHARACTERS
from api.ingest.request import Dedup, IngestRequest
from api.ingest.spool import Counted, accept, forget, keep_upload
from api.jobs.json import JobAnswer
from api.sources.access import Access
from api.sources.locations import make_absolute
from api.worker.starting import start_ingest
from index.truth.corpora import CorpusKind, Keep
from index.truth.databases.database import Database
from index.truth.spaces import Space

MAX_NAME_BYTES = 255  # of one name, on the usual file systems


class IngestOrder(Order):
    """An ingest request. The corpus is named in the path."""

    sources: list[SourceLocation] = Field(
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
        max_length=MAX_PATTERN_CHARACTERS,
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
    provenance: FreeJSONForMany = Field(
        {}, description="Further provenance of all images, as free JSON."
    )
    dedup: Dedup = Field(
        Dedup.EXACT,
        description="exact: skip files whose bytes the corpus already holds. near: also skip "
        "images that it holds in another version, by perceptual hash.",
    )
    path_column: str | None = Field(
        None, max_length=1000, description="Name of the column with the paths, for a manifest."
    )
    image_column: str | None = Field(
        None,
        max_length=1000,
        description="Name of the column with the images, for a Parquet table.",
    )
    embedding_space: Sha256 | None = Field(
        None,
        description="Fingerprint of the space of ready embeddings in files that do not state it.",
    )


def submit(
    database: Database, space: Space, roots: Sequence[str], corpus: str, order: IngestOrder
) -> JobAnswer:
    """Queue an ingest of sources within the roots.

    Raises `InvalidRequest`, `SourceNotAllowed`, `CorpusKindConflict`, `CorpusKeepConflict`.
    """
    if not order.sources:
        raise InvalidRequest("sources: name at least one, or upload one as multipart/form-data")
    sources = [make_absolute(source) for source in order.sources]
    roots = [make_absolute(root) for root in roots]
    access = Access(roots)
    for asked, source in zip(order.sources, sources, strict=True):
        access.require(source, asked=asked)
    return _queue(database, space, corpus, order, sources, roots)


def submit_upload(
    database: Database,
    space: Space,
    upload_dir: Path,
    corpus: str,
    order: IngestOrder,
    file: BinaryIO,
    name: str,
    count: Counted = accept,
) -> JobAnswer:
    """Keep an upload until its job has ended, and queue the ingest of it.

    `count` is called with the bytes of each piece that is stored. Raises like `submit`, and
    `StorageFull`, OSError and what `count` raises.
    """
    if order.sources:
        raise InvalidRequest("sources: an upload is its own source")
    require_short_name(name)
    kept = keep_upload(file, name, upload_dir, count)
    try:
        return _queue(database, space, corpus, order, [str(kept)], [str(kept.parent)])
    except BaseException:
        forget([str(kept)], upload_dir)
        raise


def require_short_name(name: str) -> None:
    """Require the name of an upload that a disk can hold. Raises `InvalidRequest`."""
    size = len(name.encode("utf-8", "replace"))
    if size > MAX_NAME_BYTES:
        reason = f"the file's name has {size:,} bytes; the limit is {MAX_NAME_BYTES}"
        raise InvalidRequest(reason, [{"field": "source", "detail": reason}])


def _queue(
    database: Database,
    space: Space,
    corpus: str,
    order: IngestOrder,
    sources: list[str],
    roots: list[str],
) -> JobAnswer:
    stated = order.model_dump(exclude={"sources", "keep"}, exclude_unset=True)
    request = IngestRequest(corpus=corpus, sources=sources, roots=roots, **stated)
    return JobAnswer.of(start_ingest(database, space, request, order.keep))
