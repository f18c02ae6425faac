"""What is asked of an ingest, as it is kept with the job: the same words again are the same job."""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Instant, Sha256
from api.ingest.patterns import Pattern
from index.truth.corpora import CorpusKind
from index.truth.provenance import Provenance


class Dedup(StrEnum):
    """Which items are left out because the corpus has them.

    Identical bytes are an entry once, always.
    """

    EXACT = "exact"
    NEAR = "near"  # also the same picture by perceptual hash


class IngestRequest(Answer):
    """An ingest as it was asked for."""

    sources: list[str] = Field(
        min_length=1,
        max_length=10_000,
        description="Absolute paths or URLs: folders, archives (zip, tar), tables (Parquet), "
        "manifests (CSV, JSONL), "
        "ready embeddings (Parquet, .npy, safetensors) or single images.",
    )
    folder: str | None = Field(None, description="What relative paths of a list are relative to.")
    roots: list[str] | None = Field(
        None,
        description="Folders and URL prefixes that may be read; null where the operator asks "
        "himself.",
    )
    corpus: CorpusName
    kind: CorpusKind = Field(CorpusKind.KNOWN_FAKE, description="Of the corpus.")
    pattern: str | None = Field(
        None,
        max_length=1000,
        description="Provenance in the names of items: `{generator}/{split}/*`. A name in braces "
        "takes one part of a "
        "path, `*` anything within a part, `**` anything.",
    )
    generator: str | None = Field(
        None, max_length=200, description="What made the images, for all of them."
    )
    label: str | None = Field(None, max_length=200, description="Free label, for all of them.")
    licence: str | None = Field(None, max_length=200, description="Licence, for all of them.")
    origin: str | None = Field(
        None,
        max_length=1000,
        description="Where they come from; without it the name of the source.",
    )
    acquired_at: Instant | None = Field(
        None, description="When they were acquired. A time without a zone is UTC."
    )
    provenance: dict[str, Any] = Field({}, description="Free JSON, for all of them.")
    dedup: Dedup = Field(
        Dedup.EXACT, description="near: leave out what the corpus has by perceptual hash."
    )
    path_column: str | None = Field(None, description="Of a manifest: the column with the paths.")
    image_column: str | None = Field(
        None, description="Of a Parquet table: the column with the images."
    )
    embedding_space: Sha256 | None = Field(
        None, description="Of ready embeddings in files that do not say it themselves (.npy)."
    )

    @cached_property
    def parsed_pattern(self) -> Pattern | None:
        """Raises `InvalidRequest`."""
        return None if self.pattern is None else Pattern(self.pattern)

    @property
    def told(self) -> Provenance:
        """What is said of all items."""
        return Provenance(
            generator=self.generator,
            label=self.label,
            licence=self.licence,
            source=self.origin,
            acquired_at=self.acquired_at and self.acquired_at.astimezone(UTC),
            extra=self.provenance,
        )
