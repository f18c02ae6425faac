"""Add one image to a corpus. It is embedded as look-ups are."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from api.copies.spaces import Describer
from api.corpora.json import AddedEntry, EntryAnswer
from api.images import BlobStores, describe_image, order_for_entry
from api.ingest.provenance import NOTHING, join_provenance
from embedder.decoding.picture import Picture, PictureOrder
from index.blobs import publish_blobs
from index.errors import EntryQuarantined
from index.truth.adding import NewEntry, add_entries
from index.truth.computations import Computation
from index.truth.corpora import get_corpus
from index.truth.databases.database import Database
from index.truth.entries import get_entry
from index.truth.images import find_embedding, has_copy_vector
from index.truth.provenance import Provenance
from index.truth.quarantine import find_quarantined_images
from index.truth.spaces import Space

log = logging.getLogger(__name__)


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
    def picture_order(self) -> PictureOrder: ...

    def make_picture(self, data: bytes, order: PictureOrder) -> Picture:
        """Make a picture of bytes from outside. Raises `ImageError`."""
        ...

    def embed_picture(self, picture: Picture) -> tuple[NDArray[np.float32], float]:
        """Embed the pixels of a picture: vector ``(d,)`` and logit. Raises `Overloaded`."""
        ...


def add_image(
    product: OpenedProduct,
    data: bytes,
    corpus: str,
    declared: Provenance,
    describer: Describer | None = None,
) -> AddedEntry:
    """Add one image to an existing corpus, with the vector of its copies if there is a `describer`.

    An image that is known in this embedding space is not embedded again. Raises `ImageError`,
    `UnknownCorpus`, `EntryQuarantined`, `Overloaded`.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with product.database.read() as conn:
        found = get_corpus(conn, corpus)
        keep, features = found.keep, found.features
        if sha256 in (quarantined := find_quarantined_images(conn, corpus, [sha256])):
            raise EntryQuarantined(quarantined[sha256], corpus)
        known = find_embedding(conn, product.space, sha256)
        is_described = describer is None or has_copy_vector(conn, describer.space, sha256)
    wanted = None if describer is None or is_described else describer.input
    if known:
        missing = product.blob_stores.order_missing(
            keep, sha256, product.picture_order.limits, features=features
        )
        picture = product.make_picture(data, replace(missing, descriptor=wanted))
        new = NewEntry(known.image, None, None, join_file_statements(declared, picture))
        publish_blobs(product.blob_stores.stage_missing(keep, sha256, data, picture))
    else:
        order = order_for_entry(product.picture_order, keep, features=features)
        order = replace(order, descriptor=wanted)
        picture = product.make_picture(data, order)
        provenance = join_file_statements(declared, picture)
        vector, logit = product.embed_picture(picture)
        facts = describe_image(sha256, data, picture)
        new = NewEntry(facts, vector, logit, provenance, product.computation)
        publish_blobs(product.blob_stores.stage(keep, sha256, data, picture))
    new = add_copy_vector(new, picture, describer)
    with product.database.write() as conn:
        (result,) = add_entries(
            conn,
            corpus,
            product.space,
            [new],
            copy_space=None if describer is None else describer.space,
        )
        if result.quarantined:  # since the check above
            raise EntryQuarantined(result.entry_id, corpus)
        entry = get_entry(conn, result.entry_id)
    return AddedEntry(status=result.status, entry=EntryAnswer.of(entry))


def add_copy_vector(new: NewEntry, picture: Picture, describer: Describer | None) -> NewEntry:
    """Return an entry with the vector of its copies, if its picture was made for the descriptor.

    A descriptor that fails leaves the entry without one, which a back-fill can add.
    """
    if describer is None or picture.descriptor_pixels is None:
        return new
    try:
        (vector,) = describer.describe(picture.descriptor_pixels[np.newaxis])  # (1, c)
    except Exception:  # a boundary: what is missing is in the log and in `lineup fsck`
        log.exception("a picture is added without the vector of a copy")
        return new
    return replace(new, copy_vector=vector, copy_computation=describer.computation)


def join_file_statements(declared: Provenance, picture: Picture) -> Provenance:
    """Return the declared provenance of an image, joined with the metadata of its file."""
    name = str(declared.extra.get("path", ""))
    joined = join_provenance(
        name,
        NOTHING,
        declared,
        file_fields=picture.file_metadata or {},
        file_generator=picture.file_generator,
    )
    extra = {key: value for key, value in joined.extra.items() if key != "path" or value}
    return replace(joined, extra=extra)
