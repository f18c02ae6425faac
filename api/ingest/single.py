"""Add one image to a corpus. It is embedded as look-ups are."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from api.corpora.json import AddedEntry, EntryAnswer
from api.images import BlobStores, describe_image
from api.ingest.provenance import NOTHING, join_provenance
from embedder.file_metadata.generator import find_generator
from embedder.file_metadata.reading import read_file_metadata
from embedder.pictures.decode import DecodedImage, ImageLimits, decode
from index.errors import EntryQuarantined
from index.truth.adding import NewEntry, add_entries
from index.truth.computations import Computation
from index.truth.corpora import get_corpus
from index.truth.database import Database
from index.truth.entries import get_entry
from index.truth.images import find_embedding
from index.truth.provenance import Provenance
from index.truth.quarantine import find_quarantined_images
from index.truth.spaces import Space


class OpenedProduct(Protocol):
    """What `add_image` needs of `api.lineup.Lineup`."""

    @property
    def database(self) -> Database: ...

    @property
    def space(self) -> Space: ...

    @property
    def blob_stores(self) -> BlobStores: ...

    @property
    def computation(self) -> Computation: ...

    @property
    def limits(self) -> ImageLimits: ...

    def embed_image(self, decoded: DecodedImage) -> tuple[NDArray[np.float32], float]:
        """Embed one image: vector ``(d,)`` and logit. Raises `ImageError`, `Overloaded`."""
        ...


def add_image(product: OpenedProduct, data: bytes, corpus: str, declared: Provenance) -> AddedEntry:
    """Add one image to an existing corpus.

    An image that is known in this embedding space is not embedded again. Raises `ImageError`,
    `UnknownCorpus`, `EntryQuarantined`, `Overloaded`.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with product.database.read() as conn:
        keep = get_corpus(conn, corpus).keep
        if sha256 in (quarantined := find_quarantined_images(conn, corpus, [sha256])):
            raise EntryQuarantined(quarantined[sha256], corpus)
        known = find_embedding(conn, product.space, sha256)
    provenance = join_file_statements(declared, data)
    if known:
        product.blob_stores.put_missing(keep, sha256, data, product.limits)
        new = NewEntry(known.image, None, None, provenance)
    else:
        decoded = decode(data, product.limits)
        vector, logit = product.embed_image(decoded)
        product.blob_stores.put(keep, sha256, data, decoded)
        facts = describe_image(sha256, data, decoded)
        new = NewEntry(facts, vector, logit, provenance, product.computation)
    with product.database.write() as conn:
        (result,) = add_entries(conn, corpus, product.space, [new])
        if result.quarantined:  # since the check above
            raise EntryQuarantined(result.entry_id, corpus)
        entry = get_entry(conn, result.entry_id)
    return AddedEntry(status=result.status, entry=EntryAnswer.of(entry))


def join_file_statements(declared: Provenance, data: bytes) -> Provenance:
    """Return the declared provenance of an image, joined with the metadata of its file."""
    fields = read_file_metadata(data)
    name = str(declared.extra.get("path", ""))
    joined = join_provenance(
        name, NOTHING, declared, file_fields=fields, file_generator=find_generator(fields)
    )
    extra = {key: value for key, value in joined.extra.items() if key != "path" or value}
    return replace(joined, extra=extra)
