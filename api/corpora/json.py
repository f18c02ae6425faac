"""Corpora and entries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Sha256
from index.truth.corpora import Corpus as CorpusRow
from index.truth.corpora import CorpusKind, Keep
from index.truth.entries import AddStatus, Entry


class CorpusAnswer(Answer):
    """A named set of reference images."""

    name: CorpusName
    kind: CorpusKind = Field(description="known_fake or known_real.")
    keep: Keep = Field(
        description="What is kept of its images: original (and thumbnail), thumbnail, or none."
    )
    description: str = Field(
        examples=["Known fakes of case 2026-114"], description="What the corpus keeper says of it."
    )
    entry_count: int = Field(description="Live entries.", ge=0)
    created_at: datetime = Field(description="UTC.")

    @classmethod
    def of(cls, corpus: CorpusRow) -> CorpusAnswer:
        """From the row that `index` reads."""
        return cls(
            name=corpus.name,
            kind=corpus.kind,
            keep=corpus.keep,
            description=corpus.description,
            entry_count=corpus.entries,
            created_at=corpus.created_at,
        )


class CorpusPage(Answer):
    """Corpora in the order of their names."""

    corpora: list[CorpusAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )


class NewCorpus(Answer):
    """What is needed to create a corpus."""

    name: CorpusName
    kind: CorpusKind = Field(
        CorpusKind.KNOWN_FAKE, description="known_fake or known_real; it cannot be changed later."
    )
    keep: Keep = Field(
        Keep.THUMBNAIL, description="What is kept of its images: original, thumbnail or none."
    )
    description: str = Field("", max_length=1000, description="Free text.")


class EntryAnswer(Answer):
    """One image's membership in one corpus, with its provenance."""

    id: int = Field(description="Never reused, not even after removal.", examples=[42])
    corpus: CorpusName
    kind: CorpusKind = Field(description="The corpus's: known_fake or known_real.")
    sha256: Sha256 = Field(description="Of the image's bytes, as they were ingested.")
    format: str | None = Field(
        examples=["jpeg"],
        description="By content, not by name; like the sizes null where a ready embedding said "
        "none.",
    )
    width: int | None = Field(description="Pixels, after the EXIF orientation.")
    height: int | None = Field(description="Pixels, after the EXIF orientation.")
    byte_size: int | None = Field(description="Bytes of the original file.")
    pdq_hash: str | None = Field(
        None,
        description="Perceptual hash (PDQ), 64 hex digits; null where the image was never seen "
        "by this release.",
    )
    pdq_quality: int | None = Field(
        None,
        description="Of the hash, 0 to 100; under 50 the picture is too flat for it to mean "
        "anything.",
    )
    generator: str | None = Field(
        description="What made it, normalised free text; null when not told.", examples=["sdxl"]
    )
    label: str | None = Field(description="Free label; null when not told.")
    licence: str | None = Field(description="Of the image; null when not told.")
    source: str | None = Field(description="Where the corpus keeper got it from.")
    acquired_at: datetime | None = Field(
        description="When the image was acquired, UTC; null when not told."
    )
    provenance: dict[str, Any] = Field(description="Free JSON that came with the entry.")
    created_at: datetime = Field(description="When the entry was ingested, UTC.")
    job_id: int | None = Field(
        None, description="The job that added it; null for one added on its own."
    )

    @classmethod
    def of(cls, entry: Entry) -> EntryAnswer:
        """From the row that `index` reads."""
        hashed = entry.image.perceptual_hash
        return cls(
            id=entry.id,
            corpus=entry.corpus,
            kind=entry.kind,
            sha256=entry.sha256,
            format=entry.image.format,
            width=entry.image.width,
            height=entry.image.height,
            byte_size=entry.image.byte_size,
            pdq_hash=hashed.bits.hex() if hashed else None,
            pdq_quality=hashed.quality if hashed else None,
            generator=entry.generator,
            label=entry.label,
            licence=entry.licence,
            source=entry.source,
            acquired_at=entry.acquired_at,
            provenance=dict(entry.provenance),
            created_at=entry.created_at,
            job_id=entry.job_id,
        )


class EntryPage(Answer):
    """Entries in the order of their ids."""

    entries: list[EntryAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )


class AddedEntry(Answer):
    """What became of one image offered to a corpus."""

    status: AddStatus = Field(
        description="added: embedded and stored; linked: the image was known from elsewhere, the "
        "entry is new; "
        "embedded: the entry was there, its embedding by the active model is new; skipped: all of "
        "it was there."
    )
    entry: EntryAnswer = Field(description="The entry, new or found.")
