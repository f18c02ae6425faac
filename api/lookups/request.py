"""What a look-up is asked for: how to search, and a probe without its image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.fields import (
    MAX_FILTER_PLACES,
    MAX_FILTER_VALUES,
    CorpusName,
    FilterText,
    Instant,
    Order,
    Place,
    Scalar,
    Sha256,
)
from api.lookups.views_json import ViewHashAnswer
from embedder.pictures.views import MAX_VIEWS
from index.truth.corpora import CorpusKind


class SearchFilter(Order):
    """Which entries are searched. Criteria that are left out do not restrict the search."""

    corpora: list[CorpusName] | None = Field(
        None,
        max_length=MAX_FILTER_VALUES,
        description="Names of the corpora to search. Null for all.",
    )
    kind: CorpusKind | None = Field(
        CorpusKind.KNOWN_FAKE,
        description="Kind of corpora to search: known_fake (the default) or known_real. Null for "
        "both.",
    )
    generators: list[FilterText] | None = Field(
        None,
        max_length=MAX_FILTER_VALUES,
        description="Entries by any of these generators. Names are compared in their normalised "
        "form.",
    )
    labels: list[FilterText] | None = Field(
        None, max_length=MAX_FILTER_VALUES, description="Entries with any of these labels."
    )
    acquired_from: Instant | None = Field(
        None, description="Entries acquired at this time or later. A time without a zone is UTC."
    )
    acquired_to: Instant | None = Field(
        None, description="Entries acquired before this time. A time without a zone is UTC."
    )
    provenance: dict[Place, list[Scalar]] | None = Field(
        None,
        max_length=MAX_FILTER_PLACES,
        description="Values in the entries' free provenance. Each key is a field name or a JSON "
        "pointer such as `/camera/model`, with its accepted values. An entry must "
        "satisfy every key. `true` does not equal 1; 1 equals 1.0; null does not "
        "match a missing field.",
        examples=[{"/camera/model": ["X100"], "reviewed": [True]}],
    )


class LookupQuery(Order):
    """How to search."""

    k: int = Field(
        10,
        ge=1,
        le=1000,
        description="Number of nearest entries to return. Fewer are returned only if fewer exist."
        " Near duplicates that are further away come in addition.",
    )
    filter: SearchFilter = Field(SearchFilter(), description="Which entries to search.")
    exact: bool = Field(False, description="Compare every selected entry, however long it takes.")
    false_match_rate: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None,
        description="False-match rate whose threshold decides what is similar. Null: the "
        "operator's setting, 1 % by default.",
    )
    stability: bool = Field(
        False,
        description="Also look up a fixed list of re-encodings of the probe. A verdict that one "
        "of them changes becomes inconclusive.",
    )


class SentProbe(Order):
    """A probe without its image file: an `embedding`, a `sha256`, both if the client embedded the
    image itself, or a `pdq_hash` alone, which finds copies only.
    """

    checked_later = frozenset({"embedding"})  # `InvalidVector`

    embedding: list[float] | None = Field(
        None,
        description="Embedding of the probe in `embedding_space`, with an L2 norm of 1.",
        max_length=65536,
    )
    embedding_space: Sha256 | None = Field(
        None,
        description="Fingerprint of the embedding's space, required with `embedding`. GET "
        "/v1/models states it.",
    )
    logit: float | None = Field(
        None,
        description="The classifier's logit for the probe. Without it the answer has no "
        "classifier's opinion.",
        allow_inf_nan=False,
    )
    sha256: Sha256 | None = Field(
        None,
        description="SHA-256 of the probe's file. Without `embedding`, an image with these bytes "
        "must have been ingested.",
    )
    pdq_hash: Sha256 | None = Field(
        None, description="Perceptual hash (PDQ) of the probe, as 64 hex digits."
    )
    pdq_quality: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Quality of `pdq_hash`, from 0 to 100. The hash is compared only if this is "
        "given.",
    )
    view_hashes: list[ViewHashAnswer] = Field(
        [],
        max_length=MAX_VIEWS,
        description="Further hashes of the probe, which find mirrored, turned, framed and cropped "
        "copies: each of a part of it, after a symmetry was undone. Without an image and without "
        "them, only `pdq_hash` is compared.",
    )


class LookupRequest(SentProbe, LookupQuery):
    """A look-up without an image file: by `embedding`, by `sha256`, by both if the client embedded
    the image itself, or by `pdq_hash` alone, which finds copies only.
    """
