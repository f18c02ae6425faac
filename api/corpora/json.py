"""Corpora and entries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Order, Sha256
from api.server_paths import name_provenance
from index.truth.adding import AddStatus
from index.truth.corpora import Corpus as CorpusRow
from index.truth.corpora import CorpusKind, Keep
from index.truth.entries import Entry


class CorpusAnswer(Answer):
    """A corpus: a named set of reference images of one kind."""

    name: CorpusName
    kind: CorpusKind = Field(
        description="What is known about every image in the corpus: known_fake or known_real."
    )
    keep: Keep = Field(
        description="What Lineup keeps of the images beside their embeddings: original (the file "
        "and a thumbnail), thumbnail, or none."
    )
    features: bool = Field(
        False,
        description="Whether the local features of the images are stored, so that edited copies "
        "are verified by those of the original; otherwise by those of the thumbnail. They take up "
        "to 170 kB an image, and hold a grey picture of it, 192 pixels long.",
    )
    description: str = Field(
        examples=["Known fakes of case 2026-114"], description="Free text about the corpus."
    )
    entry_count: int = Field(
        description="Number of entries, without those that were removed or are in quarantine.", ge=0
    )
    created_at: datetime = Field(description="When the corpus was created, in UTC.")

    @classmethod
    def of(cls, corpus: CorpusRow) -> CorpusAnswer:
        """From the row that `index` reads."""
        return cls(
            name=corpus.name,
            kind=corpus.kind,
            keep=corpus.keep,
            features=corpus.features,
            description=corpus.description,
            entry_count=corpus.entries,
            created_at=corpus.created_at,
        )


class CorpusPage(Answer):
    """One page of corpora, ordered by name."""

    corpora: list[CorpusAnswer] = Field(description="The corpora of this page, at most `limit`.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. Null on the last page."
    )


class NewCorpus(Order):
    """The corpus to create."""

    name: CorpusName
    kind: CorpusKind = Field(
        CorpusKind.KNOWN_FAKE,
        description="What is known about every image in the corpus: known_fake or known_real. It "
        "cannot be changed later.",
    )
    keep: Keep = Field(
        Keep.THUMBNAIL,
        description="What Lineup keeps of the images beside their embeddings: original (the file "
        "and a thumbnail), thumbnail, or none.",
    )
    features: bool = Field(
        False,
        description="Whether the local features of the images are stored, so that edited copies "
        "are verified by those of the original; otherwise by those of the thumbnail. They take up "
        "to 170 kB an image, and hold a grey picture of it, 192 pixels long.",
    )
    description: str = Field("", max_length=1000, description="Free text about the corpus.")


class EntryAnswer(Answer):
    """An entry: one image in one corpus, with its provenance."""

    id: int = Field(
        description="Id of the entry. It is never used again, even after the entry is removed.",
        examples=[42],
    )
    corpus: CorpusName = Field(description="Name of the corpus that holds the entry.")
    kind: CorpusKind = Field(description="Kind of the entry's corpus: known_fake or known_real.")
    sha256: Sha256 = Field(description="SHA-256 of the image file as it was ingested.")
    format: str | None = Field(
        examples=["jpeg"],
        description="Image format, detected from the file's content. Null for a ready embedding "
        "that did not state it.",
    )
    width: int | None = Field(
        description="Width in pixels, after the EXIF orientation is applied. Null if not known."
    )
    height: int | None = Field(
        description="Height in pixels, after the EXIF orientation is applied. Null if not known."
    )
    byte_size: int | None = Field(
        description="Size of the original file in bytes. Null if not known."
    )
    pdq_hash: str | None = Field(
        None,
        description="Perceptual hash (PDQ) as 64 hex digits. Null if it was never computed for "
        "this image.",
    )
    pdq_quality: int | None = Field(
        None,
        description="Quality of the perceptual hash, from 0 to 100. Below 50 the image has too "
        "little structure, and the hash is not compared.",
    )
    generator: str | None = Field(
        description="Name of the generator that made the image, normalised. Null if not declared.",
        examples=["sdxl"],
    )
    label: str | None = Field(description="Free label. Null if not declared.")
    licence: str | None = Field(description="Licence of the image. Null if not declared.")
    source: str | None = Field(
        description="Where the image comes from, for example the collection. Null if not declared."
    )
    acquired_at: datetime | None = Field(
        description="When the image was acquired, in UTC. Null if not declared."
    )
    provenance: dict[str, Any] = Field(description="Further provenance, as free JSON.")
    created_at: datetime = Field(description="When the entry was added, in UTC.")
    job_id: int | None = Field(
        None,
        description="Id of the job that added the entry. Null if it was added by a single request.",
    )

    @classmethod
    def of(cls, entry: Entry, *, local: bool = False) -> EntryAnswer:
        """From the row that `index` reads.

        `local`: for somebody on this machine, with the path of the image in the provenance.
        """
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
            provenance=dict(entry.provenance) if local else name_provenance(entry.provenance),
            created_at=entry.created_at,
            job_id=entry.job_id,
        )


class EntryPage(Answer):
    """One page of entries, ordered by id."""

    entries: list[EntryAnswer] = Field(description="The entries of this page, at most `limit`.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. Null on the last page."
    )


class AddedEntry(Answer):
    """The result of adding one image to a corpus."""

    status: AddStatus = Field(
        description="added: the image was embedded and stored. linked: the image was already "
        "stored for another corpus or an earlier entry; only the entry is new. "
        "embedded: the entry existed; its embedding by the active model is new. "
        "skipped: nothing was missing, so nothing changed."
    )
    entry: EntryAnswer = Field(description="The entry of the image, new or existing.")
