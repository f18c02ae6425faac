"""The picture of a stored image is made of the original, else of the thumbnail."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from api.copies.kept import find_kept_picture
from embedder.decoding.picture import PictureOrder
from embedder.decoding.threads import ThreadDecoders
from tests.api.modelless import LIMITS, encode, png, sha256_of, stores_in

DECODERS = ThreadDecoders(1)
ORDER = PictureOrder(LIMITS, view_hashes=True)
SHA256 = sha256_of(png(1))


def webp(width: int, height: int) -> bytes:
    return encode(Image.new("RGB", (width, height), "teal"), "WEBP")


def test_nothing_that_is_kept_is_no_picture(tmp_path: Path) -> None:
    assert find_kept_picture(stores_in(tmp_path), DECODERS, lambda: ORDER, SHA256) is None


def test_a_broken_original_leaves_the_thumbnail_and_a_narrow_one_is_read(tmp_path: Path) -> None:
    stores = stores_in(tmp_path)
    stores.originals.put(SHA256, b"no picture")
    stores.thumbnails.put(SHA256, webp(64, LIMITS.min_image_side - 1))
    found = find_kept_picture(stores, DECODERS, lambda: ORDER, SHA256)
    assert found is not None
    picture, _ = found
    assert (picture.width, picture.height) == (64, LIMITS.min_image_side - 1)


def test_the_original_comes_first(tmp_path: Path) -> None:
    stores = stores_in(tmp_path)
    stores.originals.put(SHA256, png(1))
    stores.thumbnails.put(SHA256, webp(64, 64))
    found = find_kept_picture(stores, DECODERS, lambda: ORDER, SHA256)
    assert found is not None
    picture, _ = found
    assert picture.format == "png"
