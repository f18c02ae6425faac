"""The blobs of an image: put before its entry, removed when no entry needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.images import (
    BlobStores,
    describe_image,
    hash_of,
    order_for_entry,
    view_hashes_of,
)
from embedder.decoding.picture import Picture, PictureOrder, make_picture
from embedder.pictures import views
from embedder.pictures.perceptual import NOTHING_TO_SEE
from index.blobs import publish_blobs
from index.copies import Box, Symmetry, View, ViewHash
from index.truth.corpora import Keep, set_features, set_keep
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.perceptual import PerceptualHash, near_duplicate
from index.truth.quarantine import quarantine_entry
from tests.api.modelless import LIMITS, fill, jpeg_of, picture_of, png, sha256_of, stores_in


@pytest.fixture
def stores(tmp_path: Path) -> BlobStores:
    return stores_in(tmp_path)


def held(stores: BlobStores) -> tuple[int, int]:
    return len(list(stores.thumbnails)), len(list(stores.originals))


def put(stores: BlobStores, keep: Keep, seed: int) -> None:
    publish_blobs(stores.stage(keep, sha256_of(png(seed)), png(seed), picture_of(png(seed))))


def put_missing(stores: BlobStores, keep: Keep, data: bytes) -> None:
    picture = make_picture(data, stores.order_missing(keep, sha256_of(data), LIMITS))
    publish_blobs(stores.stage_missing(keep, sha256_of(data), data, picture))


def test_facts_are_those_of_the_file_and_the_picture() -> None:
    data = jpeg_of(3)

    facts = describe_image(sha256_of(data), data, picture_of(data))

    assert (facts.sha256, facts.byte_size) == (sha256_of(data), len(data))
    assert (facts.width, facts.height, facts.format, facts.seen) == (64, 64, "jpeg", True)
    assert facts.perceptual_hash == hash_of(picture_of(data))
    facts.check()


def test_the_hash_is_near_for_the_same_picture_and_far_for_another() -> None:
    one, same, other = (hash_of(picture_of(data)) for data in (png(1), jpeg_of(1), png(2)))

    assert one.reliable
    assert near_duplicate(one, same)
    assert not near_duplicate(one, other)


def test_the_views_of_a_picture_are_those_of_the_index() -> None:
    part, kept = views.Box(0, 0, 0.5, 1), views.Box(0.1, 0, 1, 0.9)
    view = views.View(views.Symmetry.TURNED_90, part, kept)
    picture = Picture("png", view_hashes=(views.ViewHash(view, NOTHING_TO_SEE),))
    expected = View(Symmetry.TURNED_90, Box(0, 0, 0.5, 1), Box(0.1, 0, 1, 0.9))
    assert view_hashes_of(picture) == (ViewHash(expected, PerceptualHash(bytes(32), 0)),)
    made = make_picture(png(7), PictureOrder(LIMITS, view_hashes=True))
    assert len({each.view for each in view_hashes_of(made)}) == len(made.view_hashes)


@pytest.mark.parametrize(
    ("keep", "expected"), [(Keep.ORIGINAL, (1, 1)), (Keep.THUMBNAIL, (1, 0)), (Keep.NONE, (0, 0))]
)
def test_a_corpus_keeps_what_it_asks_for(
    stores: BlobStores, keep: Keep, expected: tuple[int, int]
) -> None:
    put(stores, keep, 1)
    assert held(stores) == expected

    put_missing(stores, keep, png(2))
    assert held(stores) == (2 * expected[0], 2 * expected[1])


def test_what_is_staged_is_not_there_until_it_is_published(stores: BlobStores) -> None:
    data = png(1)
    staged = stores.stage(Keep.ORIGINAL, sha256_of(data), data, picture_of(data))
    assert held(stores) == (0, 0)
    assert len(stores.thumbnails.leftovers()) == len(stores.originals.leftovers()) == 1
    publish_blobs(staged)
    assert held(stores) == (1, 1)
    assert stores.thumbnails.get(sha256_of(data)) == picture_of(data).thumbnail
    assert stores.thumbnails.leftovers() == stores.originals.leftovers() == ()


def test_what_is_there_is_not_made_again(stores: BlobStores) -> None:
    put(stores, Keep.THUMBNAIL, 1)
    sha256 = sha256_of(png(1))
    order = stores.order_missing(Keep.ORIGINAL, sha256, LIMITS)
    assert order == PictureOrder(LIMITS, file_metadata=True), "which decodes nothing"

    put_missing(stores, Keep.ORIGINAL, png(1))

    assert stores.originals.get(sha256) == png(1)
    stores.originals.put(sha256, b"another")
    put_missing(stores, Keep.ORIGINAL, png(1))
    assert stores.originals.get(sha256) == b"another"


def test_the_order_for_an_entry_has_a_thumbnail_where_the_corpus_keeps_one() -> None:
    for keep, pixels in ((Keep.ORIGINAL, 256), (Keep.THUMBNAIL, 256), (Keep.NONE, None)):
        order = order_for_entry(PictureOrder(LIMITS), keep)
        assert (order.perceptual_hash, order.file_metadata) == (True, True)
        assert order.thumbnail_pixels == pixels


def test_features_stay_while_a_corpus_that_stores_them_has_the_image(
    database: Database, stores: BlobStores
) -> None:
    (one,) = fill(database, "known", [1])
    fill(database, "others", [1, 2])
    shas = [sha256_of(png(seed)) for seed in (1, 2)]
    for sha256 in shas:
        stores.features.put(sha256, b"features")
    with database.write() as conn:
        set_features(conn, "known", features=True)

    stores.remove_unneeded(database, shas)
    assert list(stores.features) == shas[:1]

    with database.write() as conn:
        remove_entry(conn, one)
    stores.remove_unneeded(database, shas)
    assert list(stores.features) == []


def test_blobs_stay_while_a_live_or_quarantined_entry_needs_them(
    database: Database, stores: BlobStores
) -> None:
    one, two = fill(database, "known", [1, 2])
    fill(database, "others", [1])
    shas = [sha256_of(png(seed)) for seed in (1, 2, 3)]
    with database.write() as conn:
        set_keep(conn, "known", Keep.ORIGINAL)
    for seed in (1, 2, 3):  # nothing is known of the third
        put(stores, Keep.ORIGINAL, seed)

    stores.remove_unneeded(database, shas)
    assert held(stores) == (2, 2)

    with database.write() as conn:
        quarantine_entry(conn, two, "a photograph")
        remove_entry(conn, one)
    stores.remove_unneeded(database, shas)
    # The other corpus keeps a thumbnail of the first; the second may be released.
    assert list(stores.originals) == [shas[1]]
    assert held(stores) == (2, 1)

    stores.remove_unneeded(database, [])
    assert held(stores) == (2, 1)
