"""An ingest request, as it is stored with its job. The same request again is the same job."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property

from pydantic import Field

from api.fields import CorpusName, FreeJSONForMany, Instant, Order, Sha256, SourceLocation
from api.ingest.patterns import MAX_PATTERN_CHARACTERS, Pattern
from index.truth.corpora import CorpusKind
from index.truth.provenance import Provenance


class Dedup(StrEnum):
    """Which items are skipped because the corpus already holds them.

    Files with the same bytes are always one entry.
    """

    EXACT = "exact"
    NEAR = "near"  # also the same picture by perceptual hash


class IngestRequest(Order):
    """An ingest request as it is stored with its job."""

    sources: list[SourceLocation] = Field(
        min_length=1,
        max_length=10_000,
        description="Absolute paths or URLs of folders, archives (zip, tar), tables (Parquet), "
        "manifests (CSV, JSONL), ready embeddings (Parquet, .npy, safetensors) or "
        "single images.",
    )
    folder: str | None = Field(
        None, description="Folder that the relative paths of a list of paths start from."
    )
    roots: list[str] | None = Field(
        None,
        description="Folders and URL prefixes that may be read. Null if anything may be read, "
        "because the operator started the job.",
    )
    corpus: CorpusName = Field(description="Name of the corpus.")
    kind: CorpusKind = Field(
        CorpusKind.KNOWN_FAKE, description="Kind of the corpus: known_fake or known_real."
    )
    pattern: str | None = Field(
        None,
        max_length=MAX_PATTERN_CHARACTERS,
        description="Pattern that reads provenance from the items' names: "
        "`{generator}/{split}/*`. A name in braces matches one part of a path, `*` "
        "anything within a part, `**` anything.",
    )
    generator: str | None = Field(None, max_length=200, description="Generator of all images.")
    label: str | None = Field(None, max_length=200, description="Label of all images.")
    licence: str | None = Field(None, max_length=200, description="Licence of all images.")
    origin: str | None = Field(
        None,
        max_length=1000,
        description="Where all images come from. It becomes their `source`. Without it, the name "
        "of the ingested source is used.",
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
        description="Fingerprint of the space of ready embeddings in files that do not state it "
        "(.npy).",
    )

    @cached_property
    def parsed_pattern(self) -> Pattern | None:
        """The pattern over the items' names, if there is one. Raises `InvalidRequest`."""
        return None if self.pattern is None else Pattern(self.pattern)

    @property
    def for_all(self) -> Provenance:
        """The provenance that the request states for all items."""
        return Provenance(
            generator=self.generator,
            label=self.label,
            licence=self.licence,
            source=self.origin,
            acquired_at=self.acquired_at,
            extra=self.provenance,
        )
