"""One image is added: embedded only if it is new, with what its file states."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from api.errors import Overloaded
from api.images import BlobStores
from api.ingest.single import add_image, join_file_statements
from embedder.decoding.picture import Picture, PictureOrder, make_picture
from embedder.errors import NotAnImage, TruncatedImage
from index.errors import EntryQuarantined, UnknownCorpus
from index.truth.computations import Computation
from index.truth.corpora import CorpusKind, Keep, create_corpus
from index.truth.databases.database import Database
from index.truth.entries import list_entries
from index.truth.images import find_embedding
from index.truth.provenance import Provenance
from index.truth.quarantine import quarantine_entry
from index.truth.spaces import Space
from tests.api.modelless import (
    COMPUTATION,
    LOGIT,
    ORDER,
    SPACE,
    fill,
    picture_of,
    png,
    sha256_of,
    stores_in,
    vector_of,
)


@dataclass
class Product:
    """What `add_image` needs, without a model. Implements `api.ingest.single.OpenedProduct`."""

    database: Database
    blob_stores: BlobStores
    space: Space = SPACE
    picture_order: PictureOrder = ORDER
    computation: Computation = COMPUTATION
    embedded: int = 0
    refuse: Exception | None = None
    during: list[Any] = field(default_factory=list)

    def make_picture(self, data: bytes, order: PictureOrder) -> Picture:
        return make_picture(data, order)

    def embed_picture(self, picture: Picture) -> tuple[NDArray[np.float32], float]:
        self.embedded += 1
        if self.refuse is not None:
            raise self.refuse
        for act in self.during:
            act()
        return vector_of(picture), LOGIT


@pytest.fixture
def product(database: Database, tmp_path: Path) -> Product:
    with database.write() as conn:
        create_corpus(conn, "known", CorpusKind.KNOWN_FAKE, keep=Keep.ORIGINAL)
    return Product(database, stores_in(tmp_path))


def png_with(**texts: str) -> bytes:
    info, file = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.open(io.BytesIO(png(1))).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def is_empty(product: Product) -> bool:
    with product.database.read() as conn:
        return not list_entries(conn, "known")


def test_what_cannot_be_added_is_refused_and_nothing_is_stored(product: Product) -> None:
    with pytest.raises(UnknownCorpus):
        add_image(product, png(1), "unknown", Provenance())
    with pytest.raises(NotAnImage):
        add_image(product, b"no image", "known", Provenance())
    with pytest.raises(TruncatedImage):
        add_image(product, png(1)[:-100], "known", Provenance())
    product.refuse = Overloaded(1, 1)
    with pytest.raises(Overloaded):
        add_image(product, png(1), "known", Provenance())

    assert is_empty(product)
    assert list(product.blob_stores.originals) == []


def test_an_image_in_quarantine_is_refused_before_it_is_embedded(product: Product) -> None:
    (entry_id,) = fill(product.database, "known", [1])
    with product.database.write() as conn:
        quarantine_entry(conn, entry_id, "a photograph")

    with pytest.raises(EntryQuarantined):
        add_image(product, png(1), "known", Provenance())

    assert product.embedded == 0


def test_an_image_that_goes_into_quarantine_meanwhile_is_refused_too(product: Product) -> None:
    def quarantine() -> None:
        (entry_id,) = fill(product.database, "known", [1])
        with product.database.write() as conn:
            quarantine_entry(conn, entry_id, "a photograph")

    product.during = [quarantine]
    with pytest.raises(EntryQuarantined):
        add_image(product, png(1), "known", Provenance())

    assert is_empty(product)


def test_a_new_image_is_embedded_once_and_its_blobs_are_kept(product: Product) -> None:
    added = add_image(product, png(1), "known", Provenance(generator="SD XL"))
    again = add_image(product, png(1), "known", Provenance(generator="flux"))

    assert (added.status, again.status) == ("added", "skipped")
    assert added.entry.id == again.entry.id
    assert again.entry.generator == "sd-xl"
    assert (added.entry.width, added.entry.format, added.entry.byte_size) == (
        64,
        "png",
        len(png(1)),
    )
    assert product.embedded == 1
    with product.database.read() as conn:
        stored = find_embedding(conn, SPACE, sha256_of(png(1)))
    assert stored is not None
    assert stored.computation == COMPUTATION
    assert product.blob_stores.originals.get(sha256_of(png(1))) == png(1)
    assert sha256_of(png(1)) in product.blob_stores.thumbnails


def test_an_image_of_another_corpus_is_linked_and_its_missing_blobs_are_stored(
    product: Product,
) -> None:
    fill(product.database, "others", [1])

    added = add_image(product, png(1), "known", Provenance())

    assert (added.status, product.embedded) == ("linked", 0)
    assert product.blob_stores.originals.get(sha256_of(png(1))) == png(1)


def test_what_the_file_states_joins_what_was_declared() -> None:
    data = picture_of(png_with(parameters="a cat\nSteps: 20, Model: dreamshaper"))

    alone = join_file_statements(Provenance(), data)
    beside = join_file_statements(Provenance(generator="flux", extra={"case": 7}), data)

    assert alone.generator == "dreamshaper"
    assert "path" not in alone.extra
    assert beside.generator == "flux"
    assert beside.extra["case"] == 7
    assert beside.extra["conflicts"] == {"generator": {"option": "flux", "file": "dreamshaper"}}


def test_a_declared_path_stays(product: Product) -> None:
    joined = join_file_statements(Provenance(extra={"path": "a/b.png"}), picture_of(png(1)))

    assert joined.extra == {"path": "a/b.png"}
