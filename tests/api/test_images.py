"""The blobs of an image: put before its entry, removed when no entry needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.images import BlobStores, describe_image, hash_image
from embedder.errors import NotAnImage
from embedder.pictures.decode import decode
from index.truth.corpora import Keep, set_keep
from index.truth.database import Database
from index.truth.entries import remove_entry
from index.truth.perceptual import near_duplicate
from index.truth.quarantine import quarantine_entry
from tests.api.modelless import LIMITS, fill, jpeg_of, png, sha256_of, stores_in


@pytest.fixture
def stores(tmp_path: Path) -> BlobStores:
    return stores_in(tmp_path)


def held(stores: BlobStores) -> tuple[int, int]:
    return len(list(stores.thumbnails)), len(list(stores.originals))


def put(stores: BlobStores, keep: Keep, seed: int) -> None:
    stores.put(keep, sha256_of(png(seed)), png(seed), decode(png(seed), LIMITS))


def test_facts_are_those_of_the_file_and_the_picture() -> None:
    data = jpeg_of(3)

    facts = describe_image(sha256_of(data), data, decode(data, LIMITS))

    assert (facts.sha256, facts.byte_size) == (sha256_of(data), len(data))
    assert (facts.width, facts.height, facts.format, facts.seen) == (64, 64, "jpeg", True)
    assert facts.perceptual_hash == hash_image(decode(data, LIMITS))
    facts.check()


def test_the_hash_is_near_for_the_same_picture_and_far_for_another() -> None:
    one, same, other = (hash_image(decode(data, LIMITS)) for data in (png(1), jpeg_of(1), png(2)))

    assert one.reliable
    assert near_duplicate(one, same)
    assert not near_duplicate(one, other)


@pytest.mark.parametrize(
    ("keep", "expected"), [(Keep.ORIGINAL, (1, 1)), (Keep.THUMBNAIL, (1, 0)), (Keep.NONE, (0, 0))]
)
def test_a_corpus_keeps_what_it_asks_for(
    stores: BlobStores, keep: Keep, expected: tuple[int, int]
) -> None:
    put(stores, keep, 1)
    assert held(stores) == expected

    stores.put_missing(keep, sha256_of(png(2)), png(2), LIMITS)
    assert held(stores) == (2 * expected[0], 2 * expected[1])


def test_what_is_there_is_not_made_again(stores: BlobStores) -> None:
    put(stores, Keep.THUMBNAIL, 1)

    stores.put_missing(Keep.ORIGINAL, sha256_of(png(1)), b"is not decoded", LIMITS)

    assert stores.originals.get(sha256_of(png(1))) == b"is not decoded"
    with pytest.raises(NotAnImage):
        stores.put_missing(Keep.THUMBNAIL, sha256_of(png(2)), b"no image", LIMITS)


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
